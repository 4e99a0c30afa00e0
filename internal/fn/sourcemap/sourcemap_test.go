package sourcemap_test

import (
	"strings"
	"testing"

	"syncline/internal/fn/sourcemap"
)

// Generated line 1 comes from a.ts:1:1 and, from column 9, from lib/z.js:6:1;
// line 2 from nowhere; line 3 from lib/z.js:6:3 and, from column 5, from a.ts:3:2.
const text = `{"version":3,"sources":["a.ts","lib/z.js"],"names":[],"mappings":"AAAA,QCKA;;AAAE,IDHD"}`

func TestPlacesAreFoundByLineAndColumn(t *testing.T) {
	t.Parallel()
	m, err := sourcemap.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	own := m.Keep(func(s string) bool { return !strings.HasPrefix(s, "lib/") })
	inline, err := own.Inline()
	if err != nil {
		t.Fatal(err)
	}
	read, err := sourcemap.Inlined(append([]byte("code();\n"), inline...))
	if err != nil {
		t.Fatal(err)
	}
	none := sourcemap.Place{}
	for _, c := range []struct {
		line, column int
		whole, own   sourcemap.Place
	}{
		{1, 1, sourcemap.Place{Source: "a.ts", Line: 1, Column: 1}, sourcemap.Place{Source: "a.ts", Line: 1, Column: 1}},
		{1, 8, sourcemap.Place{Source: "a.ts", Line: 1, Column: 1}, sourcemap.Place{Source: "a.ts", Line: 1, Column: 1}},
		{1, 9, sourcemap.Place{Source: "lib/z.js", Line: 6, Column: 1}, none},
		{1, 999, sourcemap.Place{Source: "lib/z.js", Line: 6, Column: 1}, none},
		{2, 1, none, none},
		{3, 1, sourcemap.Place{Source: "lib/z.js", Line: 6, Column: 3}, none},
		{3, 5, sourcemap.Place{Source: "a.ts", Line: 3, Column: 2}, sourcemap.Place{Source: "a.ts", Line: 3, Column: 2}},
		{4, 1, none, none},
		{0, 0, none, none},
	} {
		if got, _ := m.At(c.line, c.column); got != c.whole {
			t.Errorf("%d:%d comes from %+v, want %+v", c.line, c.column, got, c.whole)
		}
		if got, _ := read.At(c.line, c.column); got != c.own {
			t.Errorf("of our own, %d:%d comes from %+v, want %+v", c.line, c.column, got, c.own)
		}
	}
}

func TestWhatIsNoSourceMapIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not JSON":          `x`,
		"another version":   `{"version":2}`,
		"not VLQ":           `{"version":3,"sources":["a"],"mappings":"A!AA"}`,
		"cut off":           `{"version":3,"sources":["a"],"mappings":"AAAg"}`,
		"an unknown source": `{"version":3,"sources":[],"mappings":"AAAA"}`,
		"a number too long": `{"version":3,"sources":["a"],"mappings":"gggggggggA"}`,
	} {
		if _, err := sourcemap.Parse([]byte(text)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if m, err := sourcemap.Inlined([]byte("code();\n")); m != nil || err != nil {
		t.Errorf("a file without a map gave %v, %v", m, err)
	}
}
