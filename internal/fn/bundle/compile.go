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
	// Functions are the bundles, by file.
	Functions map[string]CompiledFunction
	// Libraries are the sources of what they continue ([fn.Library]), by hash.
	Libraries map[string][]byte
	// Problems say, by file, why there is no bundle of it.
	Problems map[string]Problems
}

// CompiledFunction is one bundle.
type CompiledFunction struct {
	Source []byte
	Engine syncline.Engine // "" is quickjs
	// NeedsNode says that it needs modules that are Node's own.
	NeedsNode bool
}

// Compile bundles the functions of files (relative to the project, with
// slashes), whether index.ts names them or not, for the engine that the builder
// was made with. What is wrong with one leaves the others.
func (b *Builder) Compile(ctx context.Context, files []string) (*Compiled, error) {
	if err := b.prepare(); err != nil {
		return nil, err
	}
	all := make([]found, len(files))
	for i, file := range files {
		all[i] = foundFile(file)
	}
	out := &Compiled{Functions: map[string]CompiledFunction{}, Libraries: map[string][]byte{}, Problems: map[string]Problems{}}
	known, unknown := b.cache.find(b.dir, all)
	lacks := map[string]bool{}
	for file, e := range known {
		out.Functions[file] = CompiledFunction{Source: e.Code}
		lacks[file] = e.Lacks
	}
	out.each(ctx, unknown, func(some []found) Problems {
		made, problems := compile(b.dir, some, b.library)
		for file, c := range made {
			out.Functions[file] = CompiledFunction{Source: c.code}
			lacks[file] = c.lacks
		}
		return problems
	})
	// Those that are for Node, or cannot do without it, once more.
	var node, refused []found
	for _, f := range all {
		switch _, ok := out.Functions[f.file]; {
		case !ok:
		case b.engine == syncline.EngineNode, lacks[f.file] && b.engine == EngineAuto:
			node = append(node, f)
		case lacks[f.file]:
			refused = append(refused, f)
		}
	}
	out.each(ctx, node, func(some []found) Problems {
		made, problems := compileWith(b.dir, some, b.library, leaveIt)
		for file, c := range made {
			out.Functions[file] = CompiledFunction{Source: c.code, Engine: syncline.EngineNode, NeedsNode: lacks[file]}
		}
		return problems
	})
	for _, f := range refused {
		delete(out.Functions, f.file)
		_, problems := compileWith(b.dir, []found{f}, b.library, refuse)
		out.Problems[f.file] = problems
	}
	for _, f := range out.Functions {
		if hash, ok := fn.Library(f.Source); ok {
			out.Libraries[hash] = b.library.source
		}
	}
	return out, ctx.Err()
}

// each calls build with all functions, and where there are problems with fewer
// and fewer, until those that have them are alone.
func (c *Compiled) each(ctx context.Context, some []found, build func(some []found) Problems) {
	if len(some) == 0 || ctx.Err() != nil {
		return // the caller sees the context too
	}
	problems := build(some)
	if len(problems) == 0 {
		return
	}
	if len(some) == 1 {
		c.Problems[some[0].file] = problems
		return
	}
	// Those that a problem names are set apart, so that the rest is one round.
	var bad, rest []found
	for _, f := range some {
		if slices.ContainsFunc(problems, func(p Problem) bool { return p.File == f.file }) {
			bad = append(bad, f)
		} else {
			rest = append(rest, f)
		}
	}
	if len(bad) == 0 || len(rest) == 0 { // it is in a file that they share
		c.each(ctx, some[:len(some)/2], build)
		c.each(ctx, some[len(some)/2:], build)
		return
	}
	for _, f := range bad {
		c.each(ctx, []found{f}, build)
	}
	c.each(ctx, rest, build)
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
