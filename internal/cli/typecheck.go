package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
)

// typeChecker is the project's own TypeScript, which watches the project and
// reports what it finds each time that something changes.
type typeChecker struct {
	dir string
	// found is called with all problems of one check.
	found func(problems []problem)
}

// errNoTypeScript says that the project has no TypeScript to check it with.
var errNoTypeScript = errors.New("the project has no TypeScript")

// tscOf is the project's TypeScript compiler: in a node_modules of its folder
// or of one above.
func tscOf(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for {
		tsc := filepath.Join(abs, "node_modules", ".bin", "tsc")
		if info, err := os.Stat(tsc); err == nil && !info.IsDir() {
			return tsc, nil
		}
		parent := filepath.Dir(abs)
		if parent == abs {
			return "", errNoTypeScript
		}
		abs = parent
	}
}

// run checks until ctx ends. It returns errNoTypeScript when there is none.
func (t *typeChecker) run(ctx context.Context) error {
	tsc, err := tscOf(t.dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tsc, "--noEmit", "--watch", "--preserveWatchOutput", "--pretty", "false")
	cmd.Dir = t.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// With its standard input closed, tsc --watch goes on.
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := t.read(out)
	if err := cmd.Wait(); ctx.Err() == nil {
		return errors.Join(errors.New("the type checker ended"), readErr, err)
	}
	return nil
}

// What tsc writes with --pretty false.
var (
	tscProblem = regexp.MustCompile(`^(.+?)\((\d+),(\d+)\): error (TS\d+: .*)$`)
	tscOther   = regexp.MustCompile(`^error (TS\d+: .*)$`) // about no file
	tscEnd     = regexp.MustCompile(`Found (\d+) errors?\.`)
)

// read reads reports until out ends.
func (t *typeChecker) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20) // types can be long
	var problems []problem
	for lines.Scan() {
		line := lines.Text()
		if m := tscProblem.FindStringSubmatch(line); m != nil {
			p := problem{file: filepath.Join(t.dir, filepath.FromSlash(m[1])), message: m[4]}
			p.line, _ = strconv.Atoi(m[2])
			p.column, _ = strconv.Atoi(m[3])
			problems = append(problems, p)
		} else if m := tscOther.FindStringSubmatch(line); m != nil {
			problems = append(problems, problem{message: m[1]})
		} else if tscEnd.MatchString(line) {
			t.found(problems)
			problems = nil
		}
	}
	return lines.Err()
}
