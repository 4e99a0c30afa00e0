package bundle

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// entrySpace is the namespace of the modules that bundles begin with. Each is
// named for its function's file, so that a bundle does not depend on which
// others there are.
const entrySpace = "syncline-entry"

// entries resolves them.
func entries(dir string) api.Plugin {
	return api.Plugin{Name: "entries", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: "^" + entrySpace + ":"}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: strings.TrimPrefix(a.Path, entrySpace+":"), Namespace: entrySpace}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: entrySpace}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := entryFunction(a.Path)
			return api.OnLoadResult{Contents: &text, ResolveDir: dir, Loader: api.LoaderJS}, nil
		})
	}}
}

// hosted are the modules that the engine offers, as expressions.
var hosted = map[string]string{
	"nango":    "globalThis.__syncline.module",
	"syncline": "globalThis.__syncline.module",
	"crypto":   "globalThis.crypto",
	"buffer":   "{ Buffer }",
	"url":      "{ URL, URLSearchParams }",
}

// builtins are Node's own modules; those that are not hosted cannot be had.
var builtins = regexp.MustCompile(`^(node:.+|assert|async_hooks|buffer|child_process|cluster|constants|crypto|dgram|dns|domain|events|fs|http|http2|https|inspector|module|net|os|path|perf_hooks|process|punycode|querystring|readline|repl|stream|string_decoder|sys|timers|tls|tty|url|util|v8|vm|wasi|worker_threads|zlib)(/.*)?$`)

// What becomes of a module of Node's that is not hosted.
type missing int

const (
	refuse  missing = iota // an error that names it
	stub                   // nothing, in the namespace missingSpace: to find out who needs it
	leaveIt                // it is there: the node engine
)

// missingSpace is the namespace of the modules that an engine lacks.
const missingSpace = "syncline-missing"

// stubModule stands for a module that is missing while a bundle is read: it takes
// whatever a file does with it at its top level.
const stubModule = `const nothing = new Proxy(function () {}, {
  get: (target, name) => (name === '__esModule' ? undefined : name === Symbol.toPrimitive ? () => '' : name === 'prototype' ? target.prototype : nothing),
  apply: () => nothing, construct: () => nothing, set: () => true, defineProperty: () => true, has: () => true,
});
module.exports = nothing;`

// absentSpace is the namespace of packages that a package asks for and that are
// not installed. Many packages do so for what they offer beside their purpose.
const absentSpace = "syncline-absent"

// hostModules resolves what the engine offers; what it lacks becomes what m says.
func hostModules(m missing) api.Plugin {
	return api.Plugin{Name: "host-modules", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `^[^./]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			name := strings.TrimPrefix(a.Path, "node:")
			_, ok := hosted[name]
			if m == leaveIt {
				ok = name == "nango" || name == "syncline" // the others are Node's
			}
			if ok {
				return api.OnResolveResult{Path: name, Namespace: "syncline-host"}, nil
			}
			if (a.Path == "zod" || strings.HasPrefix(a.Path, "zod/")) && !installed(a.ResolveDir, "zod") {
				return api.OnResolveResult{Errors: []api.Message{{
					Text: "the package zod is not installed", Detail: "run npm install in the project",
				}}}, nil
			}
			// Some packages of npm have the name of a module of Node, which
			// they stand in for.
			if builtins.MatchString(a.Path) && (name != a.Path || !installed(a.ResolveDir, a.Path)) {
				switch m {
				case stub:
					return api.OnResolveResult{Path: a.Path, Namespace: missingSpace}, nil
				case leaveIt:
					return api.OnResolveResult{Path: a.Path, External: true}, nil
				}
				return api.OnResolveResult{Errors: []api.Message{{
					Text:   "the module " + a.Path + " is Node's own and is not offered to functions",
					Detail: "offered are " + offered() + "; for HTTP use nango.get, nango.post …",
				}}}, nil
			}
			if strings.Contains(filepath.ToSlash(a.Importer), "/node_modules/") && !strings.HasPrefix(a.Path, "#") && !installed(a.ResolveDir, packageOf(a.Path)) {
				return api.OnResolveResult{Path: a.Path, Namespace: absentSpace}, nil
			}
			return api.OnResolveResult{}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: absentSpace}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := "throw new Error(" + strconv.Quote("the package "+packageOf(a.Path)+" is not installed; run npm install "+packageOf(a.Path)+" in the project") + ");"
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: missingSpace}, func(api.OnLoadArgs) (api.OnLoadResult, error) {
			text := stubModule
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "syncline-host"}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := "module.exports = " + hosted[a.Path] + ";"
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
}

// offered lists the modules of Node that every engine offers.
func offered() string {
	var names []string
	for name := range hosted {
		if name != "nango" && name != "syncline" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// withoutPackages puts nothing in the place of the packages that the project's own
// files import, zod and what is hosted excepted.
func withoutPackages() api.Plugin {
	return api.Plugin{Name: "without-packages", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `^[^./]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			_, ok := hosted[strings.TrimPrefix(a.Path, "node:")]
			if ok || a.Namespace != "file" || packageOf(a.Path) == "zod" || strings.Contains(filepath.ToSlash(a.Importer), "/node_modules/") {
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: a.Path, Namespace: missingSpace}, nil
		})
	}}
}

// packageOf is the package of an import: "@scope/name" of "@scope/name/path".
func packageOf(path string) string {
	parts := strings.SplitN(path, "/", 3)
	if strings.HasPrefix(path, "@") && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// installed reports whether a package is in a node_modules above dir.
func installed(dir, name string) bool { return packageDir(dir, name) != "" }

// packageDir is the folder of a package in the nearest node_modules above dir
// that has it, or "".
func packageDir(dir, name string) string {
	for {
		folder := filepath.Join(dir, "node_modules", name)
		if info, err := os.Stat(folder); err == nil && info.IsDir() {
			return folder
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// zodLocales keeps only zod's English messages: the others are half of it.
func zodLocales() api.Plugin {
	return api.Plugin{Name: "zod-locales", Setup: func(b api.PluginBuild) {
		b.OnLoad(api.OnLoadOptions{Filter: `[\\/]zod[\\/].*[\\/]locales[\\/]index\.(m?js|ts)$`}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := `export { default as en } from "./en.js";`
			return api.OnLoadResult{Contents: &text, ResolveDir: filepath.Dir(a.Path), Loader: api.LoaderJS}, nil
		})
	}}
}
