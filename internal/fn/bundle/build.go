package bundle

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/evanw/esbuild/pkg/api"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/sourcemap"
)

// Options say what to bundle.
type Options struct {
	Dir string // the project: the folder of index.ts and node_modules
	// Engine is what functions are bundled for: [syncline.EngineQuickJS] (the
	// default) refuses what only Node has, [syncline.EngineNode] is for all,
	// [EngineAuto] takes Node for the functions that need it. A function that
	// names its engine decides for itself.
	Engine syncline.Engine
	// Cache keeps what came of the functions in the project's node_modules, so
	// that the next process bundles only what changed.
	Cache bool
}

// EngineAuto leaves the choice to what each function needs.
const EngineAuto syncline.Engine = "auto"

// Project is what a folder holds.
type Project struct {
	Functions []Function // in the order of index.ts
	// Libraries are the sources of what the bundles continue ([fn.Library]), by
	// hash.
	Libraries map[string][]byte
	Warnings  []Problem
}

// Function is one function, ready to be deployed.
type Function struct {
	Manifest syncline.Manifest
	Source   []byte // JavaScript, one file
	Hash     string // hex SHA-256 of Source
	// Library is the hash of what Source continues; "" is nothing.
	Library string
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
	b, err := NewBuilder(o)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return b.Build(ctx)
}

// Builder bundles one project again and again. What does not change from one
// time to the next, the project's packages above all, is kept.
type Builder struct {
	dir     string
	engine  syncline.Engine
	library *library
	reader  *reader
	cache   *cache
}

// NewBuilder makes a builder of a project.
func NewBuilder(o Options) (*Builder, error) {
	dir, err := filepath.Abs(o.Dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "cannot open the project %s: %w", o.Dir, err)
	}
	switch o.Engine {
	case "":
		o.Engine = syncline.EngineQuickJS
	case syncline.EngineQuickJS, syncline.EngineNode, EngineAuto:
	default:
		return nil, syncline.Errorf(syncline.CodeInvalid, "the engine %q is unknown", o.Engine).WithHint("use auto, quickjs or node")
	}
	return &Builder{dir: dir, engine: o.Engine, cache: openCache(dir, o.Cache)}, nil
}

// Close keeps what is to be kept for the next process, and lets go of the rest.
func (b *Builder) Close() {
	b.cache.save()
	if b.reader != nil {
		b.reader.close()
	}
}

// Build bundles the project as it is now; see [Build]. It is called by one
// goroutine at a time.
func (b *Builder) Build(ctx context.Context) (*Project, error) {
	began := time.Now()
	found, problems := discover(b.dir)
	if err := b.prepare(); err != nil {
		return nil, err
	}
	known, unknown := b.cache.find(b.dir, found)
	made, sources, bad := compileAll(ctx, b.dir, unknown, b.library)
	problems = append(problems, bad...)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	said, bad := b.reader.readAll(ctx, made, b.readable(made, sources))
	problems = append(problems, bad...)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seen := map[string]stamp{}
	for i, f := range made {
		if said[i] == nil {
			continue
		}
		c := sources[f.file]
		e := &entry{Code: c.code, Lacks: c.lacks, Description: said[i]}
		known[f.file] = e
		b.cache.put(b.dir, f.file, c.inputs, began, e, seen)
	}
	manifests := make([]*syncline.Manifest, len(found))
	p := &Project{Libraries: map[string][]byte{}}
	for i, f := range found {
		e := known[f.file]
		if e == nil {
			continue
		}
		d, err := describe(e.Description)
		if err != nil {
			problems = append(problems, *evaluationProblem(f, err))
			continue
		}
		m, bad, warnings := manifest(b.dir, f, d)
		problems = append(problems, bad...)
		p.Warnings = append(p.Warnings, warnings...)
		m.Engine = b.engineOf(d.Engine, e)
		manifests[i] = &m
	}
	problems = append(problems, twice(found, manifests)...)
	problems = append(problems, b.settle(ctx, found, manifests, known)...)
	for i, f := range found {
		if manifests[i] == nil {
			continue
		}
		source := known[f.file].Code
		if manifests[i].Engine == syncline.EngineNode {
			source = known[f.file].Node
		}
		sum := sha256.Sum256(source)
		hash, _ := fn.Library(source)
		if hash != "" {
			p.Libraries[hash] = b.library.source
		}
		p.Functions = append(p.Functions, Function{
			Manifest: *manifests[i], Source: source, Hash: hex.EncodeToString(sum[:]), Library: hash, ImportedAt: f.importedAt,
		})
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		problems.sort()
		return nil, slices.Compact(problems) // what functions share is found with each
	}
	p.Warnings = append(p.Warnings, sharedModels(b.dir, p.Functions)...)
	return p, nil
}

// readable are the bundles to read. Packages that need Node cannot even be
// evaluated without it: where some do, none of the packages is there.
func (b *Builder) readable(all []found, sources map[string]compiled) map[string]compiled {
	var lacking []found
	for _, f := range all {
		if sources[f.file].lacks {
			lacking = append(lacking, f)
		}
	}
	if len(lacking) == 0 {
		return sources
	}
	own, problems := compileWith(b.dir, lacking, b.library, stub, b.library.plugin(b.dir), withoutPackages())
	if len(problems) > 0 {
		return sources // they were bundled once: this says nothing new
	}
	readable := maps.Clone(sources)
	maps.Copy(readable, own)
	return readable
}

// twice finds functions that have a name in common with one before them: of a
// file that stands in the folder of another type.
func twice(all []found, manifests []*syncline.Manifest) (problems Problems) {
	first := map[string]string{}
	for i, m := range manifests {
		if m == nil {
			continue
		}
		key := m.Integration + "/" + string(m.Type) + "/" + m.Name
		if file, ok := first[key]; ok {
			problems = append(problems, Problem{
				Place: all[i].importedAt, Message: "the " + string(m.Type) + " " + m.Name + " of " + m.Integration + " is also in " + file, Hint: "rename one of the files",
			})
			continue
		}
		first[key] = all[i].file
	}
	return problems
}

// engineOf is the engine of a function that asks for one ("" for none).
func (b *Builder) engineOf(asked syncline.Engine, e *entry) syncline.Engine {
	switch {
	case asked == syncline.EngineNode || asked == "" && b.engine == syncline.EngineNode:
		return syncline.EngineNode
	case asked == "" && b.engine == EngineAuto && e.Lacks:
		return syncline.EngineNode
	}
	return "" // quickjs
}

// settle bundles the functions for their engines: anew for node, and those that
// lack something on quickjs once more to say what and where.
func (b *Builder) settle(ctx context.Context, all []found, manifests []*syncline.Manifest, known map[string]*entry) (problems Problems) {
	var node []found
	for i, f := range all {
		switch {
		case manifests[i] == nil:
		case manifests[i].Engine == syncline.EngineNode:
			if known[f.file].Node == nil {
				node = append(node, f)
			}
		case known[f.file].Lacks:
			if ctx.Err() != nil {
				return problems // the caller sees it too
			}
			_, bad := compileWith(b.dir, []found{f}, b.library, refuse)
			if len(bad) == 0 {
				bad = lackingProblems(b.dir, f, known[f.file].Code)
			}
			problems = append(problems, bad...)
		}
	}
	if len(node) > 0 {
		own, bad := compileWith(b.dir, node, b.library, leaveIt)
		problems = append(problems, bad...)
		for file, c := range own {
			known[file].Node = c.code
			b.cache.changed = true
		}
	}
	return problems
}

// prepare makes the library and the reader, unless those that are kept hold.
func (b *Builder) prepare() error {
	stamp := zodStamp(b.dir)
	b.cache.use(environment(b.dir, stamp))
	if b.library != nil && b.library.stamp == stamp {
		return nil
	}
	l, err := libraryOf(b.dir, stamp)
	if err != nil {
		return err
	}
	if b.reader != nil {
		b.reader.close()
	}
	b.library, b.reader = l, newReader(l)
	return nil
}

// entryFunction is the source of the module that the bundle of a file's function
// begins with. A file without a default export gives undefined, which is noticed
// when the function is read.
func entryFunction(file string) string {
	return "import * as definition from " + strconv.Quote("./"+file) + ";\nexport default definition.default;"
}

// compileAll bundles functions, by file. When some cannot be bundled it returns
// those that can, so that what is wrong with them is found in the same round.
func compileAll(ctx context.Context, dir string, all []found, l *library) (good []found, sources map[string]compiled, problems Problems) {
	if len(all) == 0 {
		return nil, nil, nil
	}
	sources, problems = compile(dir, all, l)
	if len(problems) == 0 {
		return all, sources, nil
	}
	// One that is wrong leaves none of the others: halve until it is alone.
	sources = map[string]compiled{}
	var halve func(some []found)
	halve = func(some []found) {
		if len(some) == 1 || ctx.Err() != nil {
			return // the caller sees the context too
		}
		for _, half := range [][]found{some[:len(some)/2], some[len(some)/2:]} {
			if built, bad := compile(dir, half, l); len(bad) > 0 {
				halve(half)
			} else {
				good = append(good, half...)
				maps.Copy(sources, built)
			}
		}
	}
	halve(all)
	return good, sources, problems
}

// compiled is a bundle.
type compiled struct {
	code []byte
	// lacks says that it needs modules that quickjs does not have; nothing
	// stands for them.
	lacks  bool
	inputs []string // the files that it was made of, relative to the project
}

// compile bundles functions for quickjs. Those that need more of zod than the
// library has get all of it.
func compile(dir string, all []found, l *library) (map[string]compiled, Problems) {
	out, problems := compileWith(dir, all, l, stub, l.plugin(dir))
	if len(problems) > 0 {
		return nil, problems
	}
	var large []found
	for _, f := range all {
		if source := out[f.file].code; isShared(source) && usesRare.Match(source) {
			large = append(large, f)
		}
	}
	if len(large) > 0 {
		own, problems := compileWith(dir, large, l, stub)
		if len(problems) > 0 {
			return nil, problems
		}
		maps.Copy(out, own)
	}
	return out, nil
}

// pass is how many functions are bundled in one pass. Those of a pass share what
// is read for them; all of them are in memory with what they are made of.
const pass = 400

// compileWith bundles functions, those of an integration together.
func compileWith(dir string, all []found, l *library, m missing, plugins ...api.Plugin) (map[string]compiled, Problems) {
	if len(all) <= pass {
		return compilePass(dir, all, l, m, plugins)
	}
	out := make(map[string]compiled, len(all))
	var problems Problems
	for some := range slices.Chunk(all, pass) {
		built, bad := compilePass(dir, some, l, m, plugins)
		problems = append(problems, bad...)
		maps.Copy(out, built)
	}
	return out, problems
}

func compilePass(dir string, all []found, l *library, m missing, plugins []api.Plugin) (map[string]compiled, Problems) {
	points := make([]api.EntryPoint, len(all))
	for i, f := range all {
		points[i] = api.EntryPoint{InputPath: entrySpace + ":" + f.file, OutputPath: strconv.Itoa(i)}
	}
	o := buildOptions(dir)
	o.EntryPointsAdvanced = points
	o.Outdir = dir // nothing is written: it is what source maps are relative to
	o.GlobalName = "__syncline_fn"
	o.Banner = map[string]string{"js": l.banner()}
	o.Sourcemap = api.SourceMapExternal
	o.SourcesContent = api.SourcesContentExclude
	o.Metafile = true
	o.Plugins = slices.Concat([]api.Plugin{entries(dir)}, plugins, []api.Plugin{hostModules(m), zodLocales()})
	if m == leaveIt {
		o.Platform, o.MainFields, o.Conditions = api.PlatformNode, []string{"main", "module"}, nil
	}
	r := api.Build(o)
	if len(r.Errors) > 0 {
		return nil, esbuildProblems(r.Errors)
	}
	names, err := packageNames(r.Metafile)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	inputs, err := inputsOf(r.Metafile)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	out := make(map[string]compiled, len(all))
	for _, f := range r.OutputFiles { // 0.js, 0.js.map, 1.js …
		name, isMap := strings.CutSuffix(filepath.Base(f.Path), ".map")
		i, err := strconv.Atoi(strings.TrimSuffix(name, filepath.Ext(name)))
		if err != nil || i >= len(all) {
			continue
		}
		var code, places []byte
		if !isMap {
			code = l.settle(rename(f.Contents, names))
		} else if places, err = ownPlaces(f.Contents); err != nil {
			return nil, Problems{{Place: Place{File: all[i].file}, Message: err.Error()}}
		}
		c := out[all[i].file]
		c.code = slices.Concat(code, c.code, places)
		c.inputs = inputs[all[i].file]
		c.lacks = c.lacks || bytes.Contains(code, []byte(missingSpace+":")) || len(lackingIn(code)) > 0
		out[all[i].file] = c
	}
	return out, nil
}

// buildOptions are what all bundles of a project have in common.
func buildOptions(dir string) api.BuildOptions {
	return api.BuildOptions{
		AbsWorkingDir: dir,
		Bundle:        true,
		Format:        api.FormatIIFE,
		Platform:      api.PlatformNeutral,
		MainFields:    []string{"module", "main"},
		Conditions:    []string{"import", "module", "default"},
		Target:        api.ES2022,
		Charset:       api.CharsetUTF8,
		TreeShaking:   api.TreeShakingTrue,
		LegalComments: api.LegalCommentsNone,
		LogLevel:      api.LogLevelSilent,
		// Packages ask for it; there is no process.
		Define: map[string]string{"process.env.NODE_ENV": `"production"`},
	}
}

// ownPlaces makes the line that carries a bundle's source map, with the
// project's own files alone: errors are looked for there, and the files of
// packages would be half of a bundle.
func ownPlaces(text []byte) ([]byte, error) {
	m, err := sourcemap.Parse(text)
	if err != nil {
		return nil, err
	}
	return m.Keep(func(source string) bool {
		return !strings.Contains(source, "node_modules/") && !strings.HasPrefix(source, "syncline-") && !strings.HasPrefix(source, "../")
	}).Inline()
}

// unmatched is esbuild's error for a name that a hosted module does not export.
var unmatched = regexp.MustCompile(`^No matching export in "` + hostSpace + `:([^"]*)" for import "([^"]*)"`)

var unresolved = regexp.MustCompile(`^Could not resolve "([^"]*)"`)

func esbuildProblems(messages []api.Message) Problems {
	var problems Problems
	for _, m := range messages {
		p := Problem{Message: m.Text}
		if l := m.Location; l != nil && !strings.HasPrefix(l.File, "syncline-") {
			p.Place = Place{File: filepath.ToSlash(l.File), Line: l.Line, Column: column(l.LineText, l.Column)}
		}
		if hint, ok := m.Detail.(string); ok {
			p.Hint = hint
		}
		// esbuild's own notes speak of esbuild's options.
		if name := unresolved.FindStringSubmatch(m.Text); name != nil {
			p.Message = "there is no file " + name[1]
			if !strings.HasPrefix(name[1], ".") {
				p.Message, p.Hint = "the package "+name[1]+" is not installed", "run npm install in the project"
			}
		}
		if name := unmatched.FindStringSubmatch(m.Text); name != nil {
			p.Message, p.Hint = noExport(name[1], name[2])
		}
		if strings.HasPrefix(m.Text, "Top-level await") {
			p.Message, p.Hint = "await at the top level of a file is not possible", "move it into exec or onWebhook"
		}
		problems = append(problems, p)
	}
	problems.sort()
	return problems
}

// column is the place of a byte of a line, in characters from 1.
func column(line string, at int) int {
	return utf8.RuneCountInString(line[:min(at, len(line))]) + 1
}

// sharedModels warns of a model that two syncs of an integration declare: they
// write to the same collection.
func sharedModels(dir string, functions []Function) []Problem {
	var warnings []Problem
	first := map[string]string{}
	for _, f := range functions {
		for _, model := range sortedKeys(f.Manifest.Models) {
			key := f.Manifest.Integration + "\x00" + model
			if other, ok := first[key]; ok {
				warnings = append(warnings, Problem{
					Place:   modelPlace(readFile(dir, f.Manifest.Source), f.Manifest.Source, model),
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
