package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"syncline/internal/fn/bundle"
)

// project is what came of bundling a folder.
type project struct {
	functions          []bundle.Function
	libraries          map[string][]byte
	problems, warnings []problem
}

// problem is something to mend in a project.
type problem struct {
	file          string // as seen from here; "" when it is about no one file
	line, column  int    // from 1; 0 is unknown
	message, hint string
}

// place is where the problem is, as editors and terminals link it:
// "github/syncs/issues.ts:3:7: ".
func (p problem) place() string {
	switch {
	case p.file == "":
		return ""
	case p.line == 0:
		return clean(p.file) + ": "
	case p.column == 0:
		return fmt.Sprintf("%s:%d: ", clean(p.file), p.line)
	}
	return fmt.Sprintf("%s:%d:%d: ", clean(p.file), p.line, p.column)
}

// buildProject bundles the functions of a project. What is wrong with the
// project is in its problems; an error is anything else.
func buildProject(ctx context.Context, o bundle.Options) (project, error) {
	b, err := bundle.NewBuilder(o)
	if err != nil {
		return project{}, err
	}
	defer b.Close()
	return buildWith(ctx, b, o.Dir)
}

func buildWith(ctx context.Context, b *bundle.Builder, dir string) (project, error) {
	built, err := b.Build(ctx)
	var problems bundle.Problems
	if errors.As(err, &problems) {
		return project{problems: fromBundle(dir, problems)}, nil
	}
	if err != nil {
		return project{}, err
	}
	return project{functions: built.Functions, libraries: built.Libraries, warnings: fromBundle(dir, built.Warnings)}, nil
}

func fromBundle(dir string, list []bundle.Problem) (problems []problem) {
	for _, p := range list {
		problems = append(problems, problemAt(dir, p.Place, p.Message, p.Hint))
	}
	return problems
}

func problemAt(dir string, at bundle.Place, message, hint string) problem {
	p := problem{line: at.Line, column: at.Column, message: message, hint: hint}
	if at.File != "" {
		p.file = filepath.Join(dir, filepath.FromSlash(at.File))
	}
	return p
}
