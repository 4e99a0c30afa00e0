package bundle_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// The blocks of docs/functions.md that begin with a file's name are a project.
func TestTheProjectOfTheDocumentationIsGood(t *testing.T) {
	t.Parallel()
	slow(t)
	text, err := os.ReadFile("../../../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	a := &txtar.Archive{}
	for _, m := range regexp.MustCompile("(?ms)^```ts\n// (\\S+)\n(.*?)^```$").FindAllSubmatch(text, -1) {
		a.Files = append(a.Files, txtar.File{Name: string(m[1]), Data: m[2]})
	}
	p := build(t, project(t, a))
	if len(p.Functions) != 1 || len(p.Warnings) != 0 {
		t.Fatalf("%d functions, warnings %v", len(p.Functions), p.Warnings)
	}
	m := p.Functions[0].Manifest
	if m.Name != "issues" || m.Integration != "github" || !m.Subscribes("issues") || m.Models["Issue"] == nil {
		t.Errorf("the manifest is %+v", m)
	}
}
