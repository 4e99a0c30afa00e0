package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"syncline"
)

// found is a function that index.ts imports.
type found struct {
	kind        syncline.FunctionType
	integration string
	name        string
	file        string // relative to the project, with slashes
	importedAt  Place
}

const indexFile = "index.ts"

var (
	kinds = map[string]syncline.FunctionType{
		"syncs": syncline.FunctionSync, "actions": syncline.FunctionAction, "on-events": syncline.FunctionOnEvent,
	}
	goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,254}$`)
)

// discover reads which functions index.ts imports.
func discover(dir string) ([]found, Problems) {
	text, err := os.ReadFile(filepath.Join(dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Problems{{
			Message: "there is no " + indexFile + " in " + dir,
			Hint:    "it imports every function, for example: import './github/syncs/issues.js';",
		}}
	}
	if err != nil {
		return nil, Problems{{Place: Place{File: indexFile}, Message: err.Error()}}
	}
	var all []found
	var problems Problems
	first := map[string]Place{}
	for _, m := range imports(string(text)) {
		if !strings.HasPrefix(m.path, ".") {
			continue // a package: nothing that is deployed
		}
		at := Place{File: indexFile, Line: m.line, Column: m.column}
		f, problem := locate(dir, m.path)
		if problem != nil {
			problem.Place = at
			problems = append(problems, *problem)
			continue
		}
		f.importedAt = at
		key := f.integration + "/" + string(f.kind) + "/" + f.name
		if before, ok := first[key]; ok {
			problems = append(problems, Problem{
				Place: at, Message: "the " + string(f.kind) + " " + f.name + " of " + f.integration + " is imported twice; the first is in line " + itoa(before.Line),
			})
			continue
		}
		first[key] = at
		all = append(all, f)
	}
	if len(all) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{
			Place: Place{File: indexFile}, Message: "it imports no function",
			Hint: "add a line for each, for example: import './github/syncs/issues.js';",
		})
	}
	return all, problems
}

// locate reads an import path: ./integration/kind/name.js.
func locate(dir, spec string) (found, *Problem) {
	clean := path.Clean(spec)
	parts := strings.Split(clean, "/")
	if len(parts) != 3 || kinds[parts[1]] == "" {
		return found{}, &Problem{
			Message: spec + " is not in a folder of functions",
			Hint:    "functions are in <integration>/syncs, <integration>/actions or <integration>/on-events",
		}
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(clean, ".ts"), ".js"), ".mjs")
	f := found{kind: kinds[parts[1]], integration: parts[0], name: path.Base(stem)}
	for _, ext := range []string{".ts", ".mts", ".tsx", ".js", ".mjs"} {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(stem+ext))); err == nil && info.Mode().IsRegular() {
			f.file = stem + ext
			break
		}
	}
	switch {
	case f.file == "":
		return found{}, &Problem{Message: "there is no file " + stem + ".ts"}
	case !goodName.MatchString(f.name):
		return found{}, &Problem{Message: "the file name " + f.name + " cannot be a function's name", Hint: "use letters, digits, '-', '_' and '.'"}
	case !goodName.MatchString(f.integration):
		return found{}, &Problem{Message: "the folder name " + f.integration + " cannot be an integration's key", Hint: "use letters, digits, '-', '_' and '.'"}
	}
	return f, nil
}
