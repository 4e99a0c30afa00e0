package quickjs

import (
	"bytes"
	"sync"

	"syncline/internal/fn/hostjs"
)

// needs says which scripts a bundle wants, beside the host module.
type needs struct {
	scripts uint // a bit each, by their place in hostjs.Scripts
	intl    bool
}

func needsOf(source []byte) needs {
	return needs{scripts: hostjs.Needs(source), intl: bytes.Contains(source, []byte("Intl")) || bytes.Contains(source, []byte("toLocale"))}
}

func (n needs) or(m needs) needs {
	return needs{scripts: n.scripts | m.scripts, intl: n.intl || m.intl}
}

// script is a prelude script, compiled once in a process.
type script func() ([]byte, error)

func lazily(source string) script {
	return sync.OnceValues(func() ([]byte, error) { return compile(source) })
}

var (
	hostScript   = lazily(hostjs.Host)
	otherScripts = func() []script {
		var all []script
		for _, s := range hostjs.Scripts {
			all = append(all, lazily(s.Source))
		}
		return all
	}()
)

func (n needs) list() []script {
	s := []script{hostScript}
	for i, other := range otherScripts {
		if n.scripts&(1<<i) != 0 {
			s = append(s, other)
		}
	}
	return s
}
