package bundle

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs"
)

// hosted are the modules that the engine offers, as expressions.
var hosted = map[string]string{
	"nango":               "globalThis.__syncline.module",
	"syncline":            "globalThis.__syncline.module",
	"@nangohq/runner-sdk": "globalThis.__syncline.module",
	"assert":              "globalThis.__syncline.modules.assert",
	"assert/strict":       "globalThis.__syncline.modules.assert.strict",
	"buffer":              "globalThis.__syncline.modules.buffer",
	"crypto":              "globalThis.__syncline.modules.crypto",
	"events":              "globalThis.__syncline.modules.events",
	"os":                  "globalThis.__syncline.modules.os",
	"path":                "globalThis.__syncline.modules.path",
	"path/posix":          "globalThis.__syncline.modules.path",
	"process":             "globalThis.__syncline.modules.process",
	"querystring":         "globalThis.__syncline.modules.querystring",
	"string_decoder":      "globalThis.__syncline.modules.string_decoder",
	"timers":              "globalThis.__syncline.modules.timers",
	"timers/promises":     `globalThis.__syncline.modules["timers/promises"]`,
	"url":                 "globalThis.__syncline.modules.url",
	"util":                "globalThis.__syncline.modules.util",
	"util/types":          "globalThis.__syncline.modules.util.types",
}

// ours reports whether a hosted module is the host's own, on every engine.
func ours(name string) bool { return strings.HasSuffix(hosted[name], ".module") }

// nodeNames are what Node's modules export; see nodenames.mjs.
//
//go:embed nodenames.json
var nodeNames []byte

// names are what the modules export: here, and in Node alone.
type names struct {
	offered map[string][]string
	lacking map[string][]string
}

// exports finds out what the modules export, by asking the engine.
var exports = sync.OnceValues(func() (*names, error) {
	var list strings.Builder
	for name, expression := range hosted {
		fmt.Fprintf(&list, "%q: Object.keys(%s),\n", name, expression)
	}
	// The names of globals make the engine load all modules.
	source := "/* URL Blob process. */ var __syncline_fn = { default: { exec: () => ({\n" + list.String() + "}) } };"
	engine := quickjs.New(quickjs.Options{})
	defer engine.Close()
	text, err := engine.Run(context.Background(), fn.Call{
		Entry: fn.EntryExec, BundleHash: "exports", Bundle: func(context.Context) ([]byte, error) { return []byte(source), nil },
	}, noHost{})
	n := &names{lacking: map[string][]string{}}
	if err == nil {
		err = json.Unmarshal(text, &n.offered)
	}
	inNode := map[string][]string{}
	if err == nil {
		err = json.Unmarshal(nodeNames, &inNode)
	}
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "find out what the modules for functions export: %w", err)
	}
	for module, all := range n.offered {
		n.offered[module] = slices.DeleteFunc(all, func(name string) bool { return !isName.MatchString(name) || name == "default" })
		for _, name := range inNode[module] {
			if !slices.Contains(n.offered[module], name) {
				n.lacking[module] = append(n.lacking[module], name)
			}
		}
	}
	return n, nil
})

var isName = regexp.MustCompile(`^[A-Za-z_$][\w$]*$`)

// hostedModule is the source of a hosted module: for require, and for import,
// where esbuild finds out about names that are not there.
func hostedModule(name string, required bool, m missing) (string, error) {
	if required {
		return "module.exports = " + hosted[name] + ";", nil
	}
	n, err := exports()
	if err != nil {
		return "", err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "const hosted = %s;\nexport default hosted;\n", hosted[name])
	for _, export := range n.offered[name] {
		// What is not used is left out of the bundle.
		fmt.Fprintf(&text, "const _%s = /* @__PURE__ */ (() => hosted.%s)();\nexport { _%s as %s };\n", export, export, export, export)
	}
	if m == stub {
		for _, export := range n.lacking[name] {
			fmt.Fprintf(&text, "export { default as %s } from %q;\n", export, missingName+name+"."+export)
		}
	}
	return text.String(), nil
}

// missingName begins the path of what a hosted module lacks.
const missingName = "syncline:lacking:"

// ofDefault is a use of a hosted module's default export in a bundle.
var ofDefault = regexp.MustCompile(`\b(\w+)_default\d*\.([A-Za-z_$][\w$]*)`)

// lackingIn are the names ("crypto.createECDH") that a bundle uses of a hosted
// module's default export, and that only Node has.
func lackingIn(code []byte) []string {
	if !bytes.Contains(code, []byte("globalThis.__syncline.modules")) {
		return nil
	}
	n, err := exports()
	if err != nil {
		return nil
	}
	var found []string
	for _, m := range ofDefault.FindAllSubmatch(code, -1) {
		module := strings.ReplaceAll(string(m[1]), "_", "/")
		if _, ok := n.offered[module]; !ok {
			module = string(m[1]) // string_decoder
		}
		if slices.Contains(n.lacking[module], string(m[2])) {
			found = append(found, module+"."+string(m[2]))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// lackingProblems are those names as problems of a function, at their first use.
func lackingProblems(dir string, f found, code []byte) (problems Problems) {
	source := readFile(dir, f.file)
	for _, full := range lackingIn(code) {
		i := strings.LastIndex(full, ".")
		p := Problem{Place: find(source, f.file, `\.`+regexp.QuoteMeta(full[i+1:])+`\b`)}
		p.Message, p.Hint = noExport(full[:i], full[i+1:])
		problems = append(problems, p)
	}
	return problems
}

// noExport says that a module lacks a name, and what to do.
func noExport(module, name string) (message, hint string) {
	message = "the module " + module + " has no " + name
	n, err := exports()
	if err != nil {
		return message, ""
	}
	if slices.Contains(n.lacking[module], name) {
		return message + " on the engine quickjs", "run the function on Node: engine: 'node' in the function, or syncline deploy --engine node"
	}
	offered := slices.Sorted(slices.Values(n.offered[module]))
	if len(offered) <= 20 {
		return message, "it has " + strings.Join(offered, ", ")
	}
	return message, ""
}
