package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"syncline/e2e/harness"
)

var (
	block  = regexp.MustCompile("(?s)```sh\n(.*?)```")
	export = regexp.MustCompile(`(?m)^export SYNCLINE_SECRET_KEY_DEV=.*$`)
)

// TestTheCommandsOfTheReadmeWork runs every command block of the README against a
// server: the build and the server itself aside, which every test here has.
func TestTheCommandsOfTheReadmeWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary)
	_, err := w.server.Start(w.context())
	w.ok(err)
	text, err := os.ReadFile("../README.md")
	w.ok(err)
	dir := t.TempDir()
	w.ok(os.MkdirAll(filepath.Join(dir, "bin"), 0o700))
	w.ok(os.Symlink(binary, filepath.Join(dir, "bin", "syncline")))
	examples, err := filepath.Abs("../examples")
	w.ok(err)
	w.ok(os.Symlink(examples, filepath.Join(dir, "examples")))
	ran := 0
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		script := m[1]
		if strings.Contains(script, "syncline serve") {
			continue
		}
		ran++
		script = strings.ReplaceAll(script, "localhost:3003", w.server.Listen)
		script = export.ReplaceAllString(script, "export SYNCLINE_SECRET_KEY_DEV="+harness.Key)
		script = regexp.MustCompile(`(?m)^npm ci.*$`).ReplaceAllString(script, "") // installed for all tests
		cmd := exec.CommandContext(w.context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "SYNCLINE_SERVER="+w.server.URL, "SYNCLINE_SECRET_KEY_DEV="+harness.Key)
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(out), `"error":{`) {
			t.Errorf("%v\n%s\n%s", err, script, out)
		}
		t.Logf("%s", out)
	}
	if ran < 2 {
		t.Errorf("%d command blocks were found", ran)
	}
}
