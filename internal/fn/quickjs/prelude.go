package quickjs

import (
	"bytes"
	"sync"

	"syncline/internal/fn/hostjs"
)

// needs says which scripts a bundle wants. Host and Core always run, Web and
// Node only when the bundle mentions what they define, since a context is made
// for every poll.
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
		web:  has("URL", "Headers", "FormData", "fetch(", "Fetch(", "Response", "Request(", "Blob", "File("),
		node: has("Buffer", "crypto"),
		intl: has("Intl", "toLocale"),
	}
	return n
}

func (n needs) or(m needs) needs {
	return needs{web: n.web || m.web, node: n.node || m.node, intl: n.intl || m.intl}
}

// script is a prelude script, compiled once in a process.
type script func() ([]byte, error)

func lazily(source string) script {
	return sync.OnceValues(func() ([]byte, error) { return compile(source) })
}

var (
	hostScript = lazily(hostjs.Host)
	coreScript = lazily(hostjs.Core)
	webScript  = lazily(hostjs.Web)
	nodeScript = lazily(hostjs.Node)
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
