package quickjs

import (
	"bytes"
	_ "embed"
	"sync"
)

// The scripts that run before a bundle. host and core always do; web and node only
// when the bundle mentions what they define, since a context is made for every
// poll.
var (
	//go:embed js/host.js
	hostJS string
	//go:embed js/core.js
	coreJS string
	//go:embed js/web.js
	webJS string
	//go:embed js/node.js
	nodeJS string
)

// needs says which scripts a bundle wants.
type needs struct{ web, node, intl bool }

func needsOf(source []byte) needs {
	has := func(words ...string) bool {
		for _, w := range words {
			if bytes.Contains(source, []byte(w)) {
				return true
			}
		}
		return false
	}
	n := needs{
		web:  has("URL", "Headers", "FormData"),
		node: has("Buffer", "crypto"),
		intl: has("Intl", "toLocale"),
	}
	return n
}

// script is a prelude script, compiled once in a process.
type script func() ([]byte, error)

func lazily(source string) script {
	return sync.OnceValues(func() ([]byte, error) { return compile(source) })
}

var (
	hostScript = lazily(hostJS)
	coreScript = lazily(coreJS)
	webScript  = lazily(webJS)
	nodeScript = lazily(nodeJS)
)

func (n needs) scripts() []script {
	s := []script{hostScript, coreScript}
	if n.web {
		s = append(s, webScript)
	}
	if n.node {
		s = append(s, nodeScript)
	}
	return s
}
