package bundle

import (
	"context"
	"path"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// Compiled are functions that are ready to run, though not to be deployed:
// nobody asked them what they say of themselves.
type Compiled struct {
	// Sources are the bundles, by file.
	Sources map[string][]byte
	// Libraries are the sources of what they continue ([fn.Library]), by hash.
	Libraries map[string][]byte
	// Problems say, by file, why there is no bundle of it.
	Problems map[string]Problems
}

// Compile bundles the functions of files (relative to the project, with
// slashes), whether index.ts names them or not. What is wrong with one leaves
// the others.
func (b *Builder) Compile(ctx context.Context, files []string) (*Compiled, error) {
	if err := b.prepare(); err != nil {
		return nil, err
	}
	all := make([]found, len(files))
	for i, file := range files {
		all[i] = foundFile(file)
	}
	out := &Compiled{Sources: map[string][]byte{}, Libraries: map[string][]byte{}, Problems: map[string]Problems{}}
	var round func(some []found)
	round = func(some []found) {
		if len(some) == 0 || ctx.Err() != nil {
			return // the caller sees the context too
		}
		sources, problems := compile(b.dir, some, b.library)
		if len(problems) == 0 {
			for file, source := range sources {
				out.Sources[file] = source
				if hash, ok := fn.Library(source); ok {
					out.Libraries[hash] = b.library.source
				}
			}
			return
		}
		if len(some) == 1 {
			out.Problems[some[0].file] = problems
			return
		}
		// Those that a problem names are set apart, so that the rest is one round.
		named := func(f found) bool {
			return slices.ContainsFunc(problems, func(p Problem) bool { return p.File == f.file })
		}
		var bad, rest []found
		for _, f := range some {
			if named(f) {
				bad = append(bad, f)
			} else {
				rest = append(rest, f)
			}
		}
		if len(bad) == 0 || len(rest) == 0 { // it is in a file that they share
			round(some[:len(some)/2])
			round(some[len(some)/2:])
			return
		}
		for _, f := range bad {
			round([]found{f})
		}
		round(rest)
	}
	round(all)
	return out, ctx.Err()
}

// foundFile is the function of a file: integration/kind/name.ts.
func foundFile(file string) found {
	f := found{file: file, name: strings.TrimSuffix(path.Base(file), path.Ext(file))}
	if parts := strings.Split(file, "/"); len(parts) >= 3 {
		f.integration, f.kind = parts[len(parts)-3], kinds[parts[len(parts)-2]]
	}
	return f
}

// FunctionFile is the file of a function of a project, relative to it; "" when
// there is none.
func FunctionFile(dir, integration string, kind syncline.FunctionType, name string) string {
	for folder, k := range kinds {
		if k != kind {
			continue
		}
		if f, problem := locate(dir, "./"+integration+"/"+folder+"/"+name); problem == nil {
			return f.file
		}
	}
	return ""
}

// NeedNode reports whether the problems are no others than that modules are
// Node's own.
func (p Problems) NeedNode() bool {
	return len(p) > 0 && !slices.ContainsFunc(p, func(one Problem) bool { return !one.node })
}
