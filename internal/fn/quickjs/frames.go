package quickjs

import (
	"bytes"
	"encoding/base64"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/go-sourcemap/sourcemap"
)

// frames maps the frames of stack traces to the user's files by the bundle's
// inline source map. The map is read at the first error.
type frames struct {
	once sync.Once
	m    *sourcemap.Consumer
}

const mapComment = "//# sourceMappingURL=data:application/json;base64,"

var frame = regexp.MustCompile(`^\s*at (.*?)\s*\((?:<[^>]*>|[^():]*):(\d+):(\d+)\)$`)

// mapStack returns the user's frames of a stack, one a line: "at name
// (file:line:column)". Frames of the host module are left out.
func (f *frames) mapStack(source []byte, stack string) string {
	f.once.Do(func() {
		i := bytes.LastIndex(source, []byte(mapComment))
		if i < 0 {
			return
		}
		text, _, _ := bytes.Cut(source[i+len(mapComment):], []byte("\n"))
		data, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return
		}
		f.m, _ = sourcemap.Parse("", data)
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
		// QuickJS counts columns from 1, source maps from 0.
		file, _, r, c, ok := f.m.Source(row, max(column-1, 0))
		if !ok || file == "" {
			continue
		}
		out = append(out, "at "+m[1]+" ("+file+":"+strconv.Itoa(r)+":"+strconv.Itoa(c+1)+")")
	}
	return strings.Join(out, "\n")
}
