package quickjs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"syncline/internal/fn/quickjs/sourcemap"
)

// frames maps the frames of stack traces to the user's files by the bundle's
// inline source map. The map is read at the first error.
type frames struct {
	once sync.Once
	m    *sourcemap.Map
}

var frame = regexp.MustCompile(`^\s*at (.*?)\s*\((?:<[^>]*>|[^():]*):(\d+):(\d+)\)$`)

// mapStack returns the user's frames of a stack, one a line: "at name
// (file:line:column)". Frames of the host module and of packages are left out.
func (f *frames) mapStack(source []byte, stack string) string {
	f.once.Do(func() {
		// A map that cannot be read is none: the error that is shown matters more.
		f.m, _ = sourcemap.Inlined(source)
	})
	if f.m == nil {
		return strings.TrimSpace(stack)
	}
	var out []string
	for line := range strings.Lines(stack) {
		m := frame.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		row, err1 := strconv.Atoi(m[2])
		column, err2 := strconv.Atoi(m[3])
		if err1 != nil || err2 != nil {
			continue
		}
		if at, ok := f.m.At(row, column); ok {
			out = append(out, fmt.Sprintf("at %s (%s:%d:%d)", m[1], at.Source, at.Line, at.Column))
		}
	}
	return strings.Join(out, "\n")
}
