package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatTheTypeCheckerWritesIsRead(t *testing.T) {
	t.Parallel()
	var checks [][]problem
	c := &typeChecker{dir: "shop", found: func(problems []problem) { checks = append(checks, problems) }}
	err := c.read(strings.NewReader(`10:42:25 AM - Starting compilation in watch mode...

github/syncs/issues.ts(7,3): error TS2322: Type 'string' is not assignable to type 'number'.
  The expected type comes from property 'id' which is declared here on type 'Issue'
error TS18003: No inputs were found in config file 'tsconfig.json'.
10:42:26 AM - Found 2 errors. Watching for file changes.
10:42:30 AM - File change detected. Starting incremental compilation...
10:42:30 AM - Found 0 errors. Watching for file changes.
github/odd (1)/a.ts(1,2): error TS1005: ';' expected.
10:42:31 AM - Found 1 error. Watching for file changes.
`))
	if err != nil {
		t.Fatal(err)
	}
	want := [][]problem{
		{
			{file: filepath.Join("shop", "github", "syncs", "issues.ts"), line: 7, column: 3, message: "TS2322: Type 'string' is not assignable to type 'number'."},
			{message: "TS18003: No inputs were found in config file 'tsconfig.json'."},
		},
		nil,
		{{file: filepath.Join("shop", "github", "odd (1)", "a.ts"), line: 1, column: 2, message: "TS1005: ';' expected."}},
	}
	if diff := cmp.Diff(want, checks, cmp.AllowUnexported(problem{})); diff != "" {
		t.Error(diff)
	}
}

func TestTheTypeCheckerIsTheProjectsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	project := filepath.Join(dir, "functions", "crm")
	bin := filepath.Join(dir, "functions", "node_modules", ".bin")
	for _, d := range []string{project, bin} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c := &typeChecker{dir: project, found: func([]problem) {}}
	if err := c.run(t.Context()); !errors.Is(err, errNoTypeScript) {
		t.Errorf("without TypeScript: %v", err)
	}
	script := "#!/bin/sh\necho \"syncs/a.ts(1,1): error TS1: $PWD $*\"\necho 'Found 1 error. Watching'\nexec sleep 100\n"
	if err := os.WriteFile(filepath.Join(bin, "tsc"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	found := make(chan []problem, 1)
	c.found = func(problems []problem) { found <- problems }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	problems := <-found
	if len(problems) != 1 || !strings.Contains(problems[0].message, "/crm --noEmit --watch") {
		t.Errorf("it found %+v", problems)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
