// Package hostjs holds the JavaScript side of the host API and of the modules
// and globals that functions find. Engines run Host before a bundle, the others
// where the engine lacks what they define.
package hostjs

import _ "embed" // for the scripts

// The scripts.
var (
	// Host is the host module (what `import … from 'nango'` resolves to), and
	// how calls are started and settled. It is the same on every engine.
	//
	//go:embed host.js
	Host string
	// Core are globals that every context has: console, timers, encodings.
	//
	//go:embed core.js
	Core string
	// Web are URL, Headers, FormData and their kin.
	//
	//go:embed web.js
	Web string
	// Node are Buffer and crypto.
	//
	//go:embed node.js
	Node string
)
