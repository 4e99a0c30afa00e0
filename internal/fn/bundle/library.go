package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/evanw/esbuild/pkg/api"

	"syncline/internal/fn"
)

// library is what the bundles of a project continue: its zod, which is most of
// a bundle and the same in all of them. It is stored, sent and compiled once.
//
// Evaluating it is most of what a fresh context costs, so what functions hardly
// ever use of zod is left out; a bundle that does use it holds a zod of its own.
type library struct {
	source []byte
	hash   string
	stamp  string // of the zod that it was made of
	full   []byte // with all of zod, for reading what functions say of themselves
	module string // the module zod in a bundle that continues the library
}

// librarySpace is the namespace of the modules that the library holds.
const librarySpace = "syncline-library"

// rare is what of zod is not in the library, and usesRare finds its use in a
// bundle. It may find too much: that bundle is only larger.
var (
	rare     = []string{"core", "locales", "toJSONSchema", "fromJSONSchema", "compile", "withParser", "memoizer"}
	usesRare = regexp.MustCompile(`\b(?:toJSONSchema|fromJSONSchema|withParser|memoizer)\b|\.(?:core|locales|compile)\b|__syncline_library\.zod\["(?:core|locales|compile)"\]`)
)

// libraries are those that were made, by stamp. There are as many as there are
// installations of zod.
var libraries sync.Map

// libraryOf is the library of a project. One without zod has nothing in it.
func libraryOf(dir, stamp string) (*library, error) {
	if l, ok := libraries.Load(stamp); ok {
		return l.(*library), nil
	}
	l, err := buildLibrary(dir, stamp)
	if err != nil {
		return nil, err
	}
	libraries.Store(stamp, l)
	return l, nil
}

func buildLibrary(dir, stamp string) (*library, error) {
	l := &library{stamp: stamp}
	if stamp == "" {
		l.source = []byte("globalThis.__syncline_library = {};\n")
		l.full = l.source
	} else {
		names, err := zodNames(dir)
		if err != nil {
			return nil, err
		}
		l.module = zodModule(names)
		if l.source, err = buildScript(dir, leanZod(names)); err != nil {
			return nil, err
		}
		if l.full, err = buildScript(dir, `import * as zod from "zod"; globalThis.__syncline_library = { zod };`); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(l.source)
	l.hash = hex.EncodeToString(sum[:])
	return l, nil
}

// leanZod is the source of a module that makes the library of the exports of
// zod with names, less the rare ones.
func leanZod(names []string) string {
	var imports, members strings.Builder
	for i, name := range names {
		if name == "z" || name == "default" || slices.Contains(rare, name) {
			continue
		}
		fmt.Fprintf(&imports, "%s as _%d, ", name, i)
		fmt.Fprintf(&members, "%s: _%d, ", strconv.Quote(name), i)
	}
	return "import { " + imports.String() + "} from \"zod\";\nconst zod = { " + members.String() + "};\n" +
		"zod.z = zod.default = zod;\n" +
		"Object.defineProperty(zod, '__esModule', { value: true });\n" +
		"for (const name of " + string(mustJSON(rare)) + ") Object.defineProperty(zod, name, { enumerable: true, get() {\n" +
		"  throw new Error(`zod's ${name} is reached in a way that bundling does not see: write z.${name}`);\n} });\n" +
		"globalThis.__syncline_library = { zod };"
}

// zodModule is the source of the module zod in a bundle that continues the
// library. What a bundle does not use of it is not in the bundle.
func zodModule(names []string) string {
	var text, exports strings.Builder
	for i, name := range names {
		fmt.Fprintf(&text, "const _%d = /* @__PURE__ */ (() => globalThis.__syncline_library.zod%s)();\n", i, "["+strconv.Quote(name)+"]")
		fmt.Fprintf(&exports, "_%d as %s, ", i, name)
	}
	return text.String() + "export { " + exports.String() + "};\n"
}

func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // of strings
	}
	return text
}

// zodNames are the names that the project's zod exports.
func zodNames(dir string) ([]string, error) {
	o := libraryOptions(dir, `export * from "zod";`)
	o.Format = api.FormatESModule
	r := api.Build(o)
	if len(r.Errors) > 0 {
		return nil, esbuildProblems(r.Errors)
	}
	var m struct {
		Outputs map[string]struct {
			Exports []string `json:"exports"`
		} `json:"outputs"`
	}
	if err := json.Unmarshal([]byte(r.Metafile), &m); err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	var names []string
	for _, out := range m.Outputs {
		names = append(names, out.Exports...)
	}
	slices.Sort(names)
	return names, nil
}

// buildScript bundles a module that stands alone.
func buildScript(dir, text string) ([]byte, error) {
	r := api.Build(libraryOptions(dir, text))
	if len(r.Errors) > 0 {
		return nil, esbuildProblems(r.Errors)
	}
	names, err := packageNames(r.Metafile)
	if err != nil {
		return nil, Problems{{Message: err.Error()}}
	}
	return rename(r.OutputFiles[0].Contents, names), nil
}

func libraryOptions(dir, text string) api.BuildOptions {
	o := buildOptions(dir)
	o.Stdin = &api.StdinOptions{Contents: text, ResolveDir: dir, Sourcefile: "syncline-library"}
	o.Metafile = true
	o.Outfile = filepath.Join(dir, "library.js") // nothing is written
	o.MinifyWhitespace = true
	o.Plugins = []api.Plugin{hostModules(refuse), zodLocales()}
	return o
}

// zodStamp tells whether the project's zod is still the same; "" is none.
func zodStamp(dir string) string {
	folder := packageDir(dir, "zod")
	if folder == "" {
		return ""
	}
	if linked, err := filepath.EvalSymlinks(folder); err == nil {
		folder = linked
	}
	file := filepath.Join(folder, "package.json")
	info, err := os.Stat(file)
	if err != nil {
		return folder
	}
	return fmt.Sprintf("%s %d %d", file, info.Size(), info.ModTime().UnixNano())
}

// plugin gives the project's own files the library's zod. Packages keep the zod
// that is theirs, and so do files below another node_modules.
func (l *library) plugin(dir string) api.Plugin {
	return api.Plugin{Name: "library", Setup: func(b api.PluginBuild) {
		if l.stamp == "" {
			return
		}
		root := packageDir(dir, "zod")
		b.OnResolve(api.OnResolveOptions{Filter: `^zod$`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			if strings.Contains(filepath.ToSlash(a.Importer), "/node_modules/") || packageDir(a.ResolveDir, "zod") != root {
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: "zod", Namespace: librarySpace}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: librarySpace}, func(api.OnLoadArgs) (api.OnLoadResult, error) {
			text := l.module
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
}

// banner is the first line of a bundle that continues the library.
func (l *library) banner() string {
	return strings.TrimSuffix(string(fn.WithLibrary(l.hash, nil)), "\n")
}

// settle takes the banner from a bundle that does without the library. The line
// stays, since the source map counts it.
func (l *library) settle(code []byte) []byte {
	if isShared(code) {
		return code
	}
	_, rest, _ := bytes.Cut(code, []byte("\n"))
	return append([]byte("//\n"), rest...)
}

// isShared reports whether a bundle continues the library.
func isShared(code []byte) bool {
	return bytes.Contains(code, []byte("globalThis.__syncline_library.zod"))
}
