package bundle_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"syncline/internal/fn/bundle"
)

var update = flag.Bool("update", false, "write what is found into the archives of testdata")

// packages is where zod is installed, once for all tests.
var packages string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if packages, err = os.MkdirTemp("", "syncline-bundle-*"); err == nil {
			// What esbuild resolves has no symbolic links in it.
			packages, err = filepath.EvalSymlinks(packages)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(packages)
		return m.Run()
	}())
}

var install = sync.OnceValue(func() error {
	text := `{ "name": "packages", "private": true, "dependencies": { "zod": "^4" } }`
	if err := os.WriteFile(filepath.Join(packages, "package.json"), []byte(text), 0o600); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	c.Dir = packages
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("npm install: %w\n%s", err, out)
	}
	return nil
})

// nodeModules returns a node_modules with zod in it.
func nodeModules(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("npm is not on PATH; it is needed to install zod")
	}
	if err := install(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(packages, "node_modules")
}

// project writes an archive's files to a directory, but those named in apart,
// and links node_modules unless the archive has files in it.
func project(t *testing.T, a *txtar.Archive, apart ...string) string {
	t.Helper()
	dir := t.TempDir()
	own := false
	for _, f := range a.Files {
		if slices.Contains(apart, f.Name) {
			continue
		}
		own = own || strings.HasPrefix(f.Name, "node_modules/")
		write(t, dir, f.Name, f.Data)
	}
	if !own {
		if err := os.Symlink(nodeModules(t), filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func write(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// slow skips a test in short mode that bundles much and runs little of ours.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short mode")
	}
}

func parse(text string) *txtar.Archive { return txtar.Parse([]byte(text)) }

// archives lists the archives in a folder of testdata. In short mode it is one
// that has much in it: each costs an engine and two bundles with zod, which
// takes long under the race detector.
func archives(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives in %s: %v", folder, err)
	}
	if testing.Short() {
		return []string{filepath.Join("testdata", folder, map[string]string{"wrong": "several", "good": "every-field"}[folder]+".txtar")}
	}
	return files
}

func load(t *testing.T, file string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sentence is what an archive is about: the first line of its comment.
func sentence(a *txtar.Archive) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(a.Comment)), "\n")
	return line
}

// expect compares a member of an archive with what was found, or writes it with
// -update.
func expect(t *testing.T, file string, a *txtar.Archive, member, got string) {
	t.Helper()
	i := slices.IndexFunc(a.Files, func(f txtar.File) bool { return f.Name == member })
	if *update {
		switch {
		case i < 0 && got != "":
			a.Files = append(a.Files, txtar.File{Name: member, Data: []byte(got)})
		case i >= 0 && got == "":
			a.Files = slices.Delete(a.Files, i, i+1)
		case i >= 0:
			a.Files[i].Data = []byte(got)
		}
		if err := os.WriteFile(file, txtar.Format(a), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want := ""
	if i >= 0 {
		want = string(a.Files[i].Data)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s differs (-want +got); write it anew with -update:\n%s", member, d)
	}
}

// listed is a list of problems, a line each.
func listed(problems []bundle.Problem, dir string) string {
	var s strings.Builder
	for _, p := range problems {
		line := p.String()
		if dir != "" {
			line = strings.ReplaceAll(line, dir, "$DIR")
		}
		s.WriteString(line + "\n")
	}
	return s.String()
}

func problemsOf(t *testing.T, err error) bundle.Problems {
	t.Helper()
	if err == nil {
		return nil
	}
	problems, ok := errors.AsType[bundle.Problems](err)
	if !ok {
		t.Fatalf("the error is not a list of problems: %v", err)
	}
	return problems
}

// copyTree copies a directory by hard links.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		return os.Link(path, filepath.Join(to, rel))
	})
	if err != nil {
		t.Fatal(err)
	}
}
