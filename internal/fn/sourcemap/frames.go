package sourcemap

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// Frames maps the frames of stack traces to the user's files by the bundle's
// inline source map. The map is read at the first error.
type Frames struct {
	once sync.Once
	m    *Map
}

var frame = regexp.MustCompile(`^\s*at (.*?)\s*\((?:<[^>]*>|[^():]*):(\d+):(\d+)\)$`)

// MapStack returns the user's frames of a stack, one a line: "at name
// (file:line:column)". Frames of the host module and of packages are left out.
func (f *Frames) MapStack(source []byte, stack string) string {
	f.once.Do(func() {
		// A map that cannot be read is none: the error that is shown matters more.
		f.m, _ = Inlined(source)
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
