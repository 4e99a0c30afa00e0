package bundle

import (
	"os"
	"path/filepath"
	"regexp"
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

// hostModules resolves what the engine offers, and names what it cannot offer.
func hostModules() api.Plugin {
	return api.Plugin{Name: "host-modules", Setup: func(b api.PluginBuild) {
		b.OnResolve(api.OnResolveOptions{Filter: `^[^./]`}, func(a api.OnResolveArgs) (api.OnResolveResult, error) {
			name := strings.TrimPrefix(a.Path, "node:")
			if _, ok := hosted[name]; ok {
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
				return api.OnResolveResult{Errors: []api.Message{{
					Text:   "the module " + a.Path + " is Node's own and is not offered to functions",
					Detail: "offered are crypto, buffer and url; for HTTP use nango.get, nango.post …",
				}}}, nil
			}
			return api.OnResolveResult{}, nil
		})
		b.OnLoad(api.OnLoadOptions{Filter: ".*", Namespace: "syncline-host"}, func(a api.OnLoadArgs) (api.OnLoadResult, error) {
			text := "module.exports = " + hosted[a.Path] + ";"
			return api.OnLoadResult{Contents: &text, Loader: api.LoaderJS}, nil
		})
	}}
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
