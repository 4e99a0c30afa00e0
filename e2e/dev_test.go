package e2e

import (
	"bufio"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheDevLoopDeploysWhatIsSaved edits a project while "syncline dev" watches it.
func TestTheDevLoopDeploysWhatIsSaved(t *testing.T) {
	t.Parallel()
	project := filepath.Join(t.TempDir(), "project")
	example, err := filepath.Abs("../examples/github-issues")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(project, "github", "syncs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"index.ts", "package.json", "github/syncs/issues.ts"} {
		text, err := os.ReadFile(filepath.Join(example, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(project, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(example, "node_modules"), filepath.Join(project, "node_modules")); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()

	cmd := exec.CommandContext(t.Context(), binary, "dev", project, "--listen", address, "--data-dir", filepath.Join(t.TempDir(), "data"))
	cmd.Env = append(os.Environ(), "DATABASE_URL=")
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, all := make(chan string, 1000), []string{}
	go func() {
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			lines <- scan.Text()
		}
		close(lines)
	}()
	deadline := time.After(60 * time.Second)
	until := func(parts ...string) string {
		t.Helper()
		for {
			select {
			case line, ok := <-lines:
				all = append(all, line)
				found := ok
				for _, part := range parts {
					found = found && strings.Contains(line, part)
				}
				if found {
					return line
				}
				if !ok {
					t.Fatalf("it ended before it wrote %q:\n%s", parts, strings.Join(all, "\n"))
				}
			case <-deadline:
				t.Fatalf("it did not write %q:\n%s", parts, strings.Join(all, "\n"))
			}
		}
	}
	source := filepath.Join(project, "github", "syncs", "issues.ts")
	edit := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.Replace(string(text), from, to, 1)
		if edited == string(text) {
			t.Fatalf("%s has no %q", source, from)
		}
		if err := os.WriteFile(source, []byte(edited), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	until("created the integration github")
	until("created", "sync github/issues", "v1")
	until("bundled in", "deployed in")
	until("webhooks of github go to http://" + address + "/webhook/")
	edit("frequency: 'every 30s'", "frequency: 'every 45s'")
	until("updated", "sync github/issues", "v1 → v2")
	edit("export default", "export defalt")
	until("1 problem", "nothing was deployed")
	until(source + ":")
	edit("export defalt", "export default")
	until("1 function bundled in")

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	go func() { // let it write
		for range lines {
		}
	}()
	err = cmd.Wait()
	in.Close()
	if err != nil {
		t.Errorf("after an interrupt it ended with %v", err)
	}
}
