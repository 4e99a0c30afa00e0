// Package hostjs holds the JavaScript side of the host API and of the modules
// and globals that functions find. Engines run Host before a bundle, the others
// where the engine lacks what they define.
package hostjs

import (
	"bytes"
	_ "embed" // for the scripts
)

// Host is the host module (what `import … from 'nango'` resolves to), and how
// calls are started and settled. It is the same on every engine.
//
//go:embed host.js
var Host string

// Script makes globals and modules of Node that QuickJS does not have. Each
// registers its modules in __syncline.modules, by name.
type Script struct {
	Name   string
	Source string
	// Words are what a bundle that needs the script mentions; none means that
	// every bundle needs it.
	Words []string
	// After are scripts that it builds upon.
	After []string
}

//go:embed core.js
var core string

//go:embed web.js
var web string

//go:embed dom.js
var dom string

//go:embed buffer.js
var buffer string

//go:embed crypto.js
var crypto string

//go:embed util.js
var util string

//go:embed modules.js
var modules string

//go:embed collate.js
var collate string

//go:embed process.js
var process string

// Scripts are all, in the order in which they are run after Host. A fresh
// context is made for every poll, so what a bundle does not mention is left out.
var Scripts = []Script{
	// Console, timers, encodings.
	{Name: "core", Source: core},
	{Name: "dom", Source: dom, Words: []string{"AbortController", "AbortSignal", "EventTarget", "Event("}},
	{
		Name: "web", Source: web,
		Words: []string{"URL", "Headers", "FormData", "fetch(", "Fetch(", "Response(", "Response.", "Request(", "Blob", "File(", "multipart/", "modules.url"},
	},
	{Name: "buffer", Source: buffer, Words: []string{"Buffer", "arraybuffer", "'stream'", `"stream"`, "modules.buffer"}},
	{Name: "crypto", Source: crypto, Words: []string{"crypto"}, After: []string{"buffer"}},
	{Name: "util", Source: util, Words: []string{"modules.util", "modules.assert"}},
	{
		Name: "modules", Source: modules, After: []string{"buffer"},
		Words: []string{"modules.path", "modules.querystring", "modules.events", "modules.string_decoder", "modules.timers", `modules["timers/promises"]`, "modules.os"},
	},
	{Name: "collate", Source: collate, Words: []string{"localeCompare", "Intl"}},
	{Name: "process", Source: process, Words: []string{"process.", "process?.", "process["}},
}

// Needs are the scripts that sources want, a bit each by their place in Scripts.
func Needs(sources ...[]byte) uint {
	var needs uint
	for i, s := range Scripts {
		if len(s.Words) == 0 || mentions(sources, s.Words) {
			needs |= 1 << i
		}
	}
	for i := len(Scripts) - 1; i >= 0; i-- {
		if needs&(1<<i) == 0 {
			continue
		}
		for _, name := range Scripts[i].After {
			needs |= 1 << index(name)
		}
	}
	return needs
}

func mentions(sources [][]byte, words []string) bool {
	for _, source := range sources {
		for _, w := range words {
			if bytes.Contains(source, []byte(w)) {
				return true
			}
		}
	}
	return false
}

func index(name string) int {
	for i, s := range Scripts {
		if s.Name == name {
			return i
		}
	}
	panic("hostjs: there is no script " + name)
}
