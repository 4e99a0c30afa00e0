package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// watching watches dir and waits until it does.
func watching(t *testing.T, dir string) <-chan []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reports, ended := make(chan []string, 100), make(chan error, 1)
	go func() { ended <- watch(ctx, dir, func(files []string) { reports <- files }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-reports
	return reports
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func until(t *testing.T, reports <-chan []string, name string) {
	t.Helper()
	for {
		select {
		case files := <-reports:
			if slices.Contains(files, name) {
				return
			}
			for _, f := range files {
				if !watched(f) {
					t.Errorf("%s is reported", f)
				}
			}
		case <-t.Context().Done():
			t.Fatalf("%s is not reported", name)
		}
	}
}

func TestChangesAreReportedAlsoOfNewFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, sub := range []string{"github/syncs", "node_modules/zod", ".git"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	reports := watching(t, dir)
	write(t, filepath.Join(dir, "node_modules/zod/index.js"), "x")
	write(t, filepath.Join(dir, ".git/HEAD"), "x")
	write(t, filepath.Join(dir, "github/syncs/issues.ts"), "x")
	until(t, reports, filepath.Join("github", "syncs", "issues.ts"))

	// A folder with a file in it comes at once.
	made := filepath.Join(t.TempDir(), "stripe")
	if err := os.MkdirAll(filepath.Join(made, "actions"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(made, "actions/pay.ts"), "x")
	if err := os.Rename(made, filepath.Join(dir, "stripe")); err != nil {
		t.Fatal(err)
	}
	until(t, reports, "stripe")
	write(t, filepath.Join(dir, "stripe/actions/pay.ts"), "y")
	until(t, reports, filepath.Join("stripe", "actions", "pay.ts"))

	if err := os.Remove(filepath.Join(dir, "github/syncs/issues.ts")); err != nil {
		t.Fatal(err)
	}
	until(t, reports, filepath.Join("github", "syncs", "issues.ts"))
}

func TestAProjectThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	if err := watch(t.Context(), filepath.Join(t.TempDir(), "none"), func([]string) {}); err == nil {
		t.Error("it is watched")
	}
}
