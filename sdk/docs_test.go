package sdk_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The blocks of docs/go-functions.md are of the example's files, which are tested.
func TestTheCodeOfTheDocumentationIsTheExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/go-functions.md")
	must(t, err)
	blocks := regexp.MustCompile("(?ms)^```go\n// (\\S+)\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 5 || strings.Count(string(text), "```go") != len(blocks) {
		t.Errorf("%d blocks name their file", len(blocks))
	}
	for _, b := range blocks {
		source, err := os.ReadFile(filepath.Join("../examples/go-functions", b[1]))
		must(t, err)
		if !strings.Contains(string(source), b[2]) {
			t.Errorf("%s does not have\n%s", b[1], b[2])
		}
	}
}
