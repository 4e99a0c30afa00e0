package bundle

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
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
	// What a server takes as names.
	goodName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$`)
	goodKey   = regexp.MustCompile(`^[A-Za-z0-9~:.@ _-]{1,255}$`)
	goodModel = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)
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

// extensions are those that a function's file may have, the usual first.
var extensions = []string{".ts", ".mts", ".tsx", ".js", ".mjs"}

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
	// In TypeScript an import names the file that will be, in JavaScript.
	stem := clean
	if ext := path.Ext(clean); slices.Contains(extensions, ext) {
		stem = strings.TrimSuffix(clean, ext)
	}
	f := found{kind: kinds[parts[1]], integration: parts[0], name: path.Base(stem)}
	for _, ext := range extensions {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(stem+ext))); err == nil && info.Mode().IsRegular() {
			f.file = stem + ext
			break
		}
	}
	switch {
	case f.file == "":
		return found{}, &Problem{Message: "there is no file " + stem + ".ts"}
	case !goodName.MatchString(f.name):
		return found{}, &Problem{Message: "the file name " + f.name + " cannot be a function's name", Hint: "use letters, digits, '-' and '_'"}
	case !goodKey.MatchString(f.integration):
		return found{}, &Problem{Message: "the folder name " + f.integration + " cannot be an integration's key", Hint: "use letters, digits, spaces and any of ~ : . @ _ -"}
	}
	return f, nil
}
