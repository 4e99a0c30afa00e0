package bundle

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/evanw/esbuild/pkg/api"

	"syncline"
)

// Options say what to bundle.
type Options struct {
	Dir string // the project: the folder of index.ts and node_modules
}

// Project is what a folder holds.
type Project struct {
	Functions []Function // in the order of index.ts
	Warnings  []Problem
}

// Function is one function, ready to be deployed.
type Function struct {
	Manifest syncline.Manifest
	Source   []byte // JavaScript, one file
	Hash     string // hex SHA-256 of Source
	// ImportedAt is the line of index.ts that names it.
	ImportedAt Place
}

// Place is a position in a file of the project. Line and Column count from 1;
// 0 is unknown.
type Place struct {
	File         string // relative to the project, with slashes
	Line, Column int
}

// Build bundles a project. When something is wrong with it the error is
// [Problems]: everything that was found, not only the first.
func Build(ctx context.Context, o Options) (*Project, error) {
	dir, err := filepath.Abs(o.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "cannot open the project %s: %w", o.Dir, err)
	}
	found, problems := discover(dir)
	if len(problems) > 0 {
		return nil, problems
	}
	sources, problems := compile(dir, found, entryFunction)
	if len(problems) > 0 {
		return nil, problems
	}
	probes, problems := compile(dir, found, entryDescribe)
	if len(problems) > 0 {
		return nil, problems
	}
	p := &Project{}
	descriptions, problems := describeAll(ctx, found, probes)
	for i, f := range found {
		if descriptions[i] == nil {
			continue
		}
		m, bad, warnings := manifest(dir, f, descriptions[i])
		problems = append(problems, bad...)
		p.Warnings = append(p.Warnings, warnings...)
		sum := sha256.Sum256(sources[i])
		p.Functions = append(p.Functions, Function{Manifest: m, Source: sources[i], Hash: hex.EncodeToString(sum[:]), ImportedAt: f.importedAt})
	}
	p.Warnings = append(p.Warnings, sharedModels(p.Functions)...)
	if len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return p, ctx.Err()
}

// entry makes the source of the module that a bundle begins with.
type entry func(f found) string

func entryFunction(f found) string {
	return "export { default } from " + strconv.Quote("./"+f.file) + ";"
}

// compile bundles all functions in one pass, so that what they share is read
// once.
func compile(dir string, all []found, e entry) ([][]byte, Problems) {
	points := make([]api.EntryPoint, len(all))
	for i := range all {
		points[i] = api.EntryPoint{InputPath: entryPrefix + strconv.Itoa(i), OutputPath: strconv.Itoa(i)}
	}
	r := api.Build(api.BuildOptions{
		AbsWorkingDir:       dir,
		EntryPointsAdvanced: points,
		Outdir:              dir, // nothing is written: it is what source maps are relative to
		Bundle:              true,
		Format:              api.FormatIIFE,
		GlobalName:          "__syncline_fn",
		Platform:            api.PlatformNeutral,
		MainFields:          []string{"module", "main"},
		Conditions:          []string{"import", "module", "default"},
		Target:              api.ES2022,
		Charset:             api.CharsetUTF8,
		TreeShaking:         api.TreeShakingTrue,
		LegalComments:       api.LegalCommentsNone,
		Sourcemap:           api.SourceMapInline,
		SourcesContent:      api.SourcesContentExclude,
		LogLevel:            api.LogLevelSilent,
		LogLimit:            0,
		Plugins:             []api.Plugin{entries(dir, all, e), hostModules(), zodLocales()},
	})
	if len(r.Errors) > 0 {
		return nil, esbuildProblems(r.Errors)
	}
	out := make([][]byte, len(all))
	for _, f := range r.OutputFiles {
		name := filepath.Base(f.Path)
		if i, err := strconv.Atoi(name[:len(name)-len(filepath.Ext(name))]); err == nil && i < len(out) {
			out[i] = f.Contents
		}
	}
	return out, nil
}

func esbuildProblems(messages []api.Message) Problems {
	var problems Problems
	seen := map[Problem]bool{}
	for _, m := range messages {
		p := Problem{Message: m.Text}
		if m.Location != nil {
			p.Place = Place{File: filepath.ToSlash(m.Location.File), Line: m.Location.Line, Column: m.Location.Column + 1}
		}
		if hint, ok := m.Detail.(string); ok {
			p.Hint = hint
		}
		if p.Hint == "" && len(m.Notes) > 0 {
			p.Hint = m.Notes[0].Text
		}
		if !seen[p] {
			seen[p] = true
			problems = append(problems, p)
		}
	}
	problems.sort()
	return problems
}

// sharedModels warns of a model that two syncs of an integration declare: they
// write to the same collection.
func sharedModels(functions []Function) []Problem {
	var warnings []Problem
	first := map[string]string{}
	for _, f := range functions {
		for _, model := range sortedKeys(f.Manifest.Models) {
			key := f.Manifest.Integration + "\x00" + model
			if other, ok := first[key]; ok {
				warnings = append(warnings, Problem{
					Place:   Place{File: f.Manifest.Source},
					Message: "the model " + model + " is also declared by the sync " + other + ": both write to the same records",
				})
				continue
			}
			first[key] = f.Manifest.Name
		}
	}
	return warnings
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func readFile(dir, file string) string {
	b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil {
		return ""
	}
	return string(b)
}

func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
