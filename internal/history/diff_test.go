package history

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ from, to, want string }{
		"the same":              {`{"a":1,"b":[1,{"c":2}]}`, `{ "b": [1, {"c": 2}], "a": 1 }`, ``},
		"added":                 {`{"a":1}`, `{"a":1,"b":{"c":2}}`, `+/b {"c":2}`},
		"removed":               {`{"a":1,"b":null}`, `{"a":1}`, `-/b null`},
		"changed":               {`{"a":1,"b":2}`, `{"a":1,"b":3}`, `/b 2→3`},
		"in order of the names": {`{"c":1,"a":1,"b":1}`, `{"b":2,"d":1,"a":2}`, `/a 1→2 /b 1→2 -/c 1 +/d 1`},
		"deep":                  {`{"a":{"b":{"c":1,"d":1}}}`, `{"a":{"b":{"c":2,"e":1}}}`, `/a/b/c 1→2 -/a/b/d 1 +/a/b/e 1`},
		"an array is whole":     {`{"a":[1,2]}`, `{"a":[2,1]}`, `/a [1,2]→[2,1]`},
		"objects of an array":   {`{"a":[{"x":1,"y":2}]}`, `{"a":[{"y":2,"x":1}]}`, ``},
		"another type":          {`{"a":{"b":1}}`, `{"a":[1]}`, `/a {"b":1}→[1]`},
		"null is a value":       {`{"a":null}`, `{"a":1}`, `/a null→1`},
		"to null":               {`{"a":1}`, `{"a":null}`, `/a 1→null`},
		"a number's writing":    {`{"a":1.0,"b":100,"c":-0,"d":12e-1}`, `{"a":1,"b":1e2,"c":0,"d":1.20}`, ``},
		"a number and its text": {`{"a":1}`, `{"a":"1"}`, `/a 1→"1"`},
		"large numbers":         {`{"a":12345678901234567890}`, `{"a":12345678901234567891}`, `/a 12345678901234567890→12345678901234567891`},
		"a sign":                {`{"a":1}`, `{"a":-1}`, `/a 1→-1`},
		"an absurd exponent":    {`{"a":1e99999999999}`, `{"a":1e99999999998}`, `/a 1e99999999999→1e99999999998`},
		"escapes in a text":     {`{"a":"\u0041<"}`, `{"a":"A<"}`, ``},
		"signs of HTML stay":    {`{"a":"<"}`, `{"a":"&"}`, `/a "<"→"&"`},
		"names with signs":      {`{"a/b":1,"c~d":1,"":1}`, `{"a/b":2,"c~d":2,"":2}`, `/ 1→2 /a~1b 1→2 /c~0d 1→2`},
		"the last of two":       {`{"a":1,"a":2}`, `{"a":2}`, ``},
		"no objects":            {`[1]`, `{"a":1}`, ` [1]→{"a":1}`},
		"empty objects":         {`{"a":{}}`, `{"a":{"b":1}}`, `+/a/b 1`},
		"true and false":        {`{"a":true}`, `{"a":false}`, `/a true→false`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes, err := Diff(json.RawMessage(c.from), json.RawMessage(c.to))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range changes {
				switch c.Kind {
				case Added:
					got = append(got, "+"+c.Path+" "+string(c.To))
				case Removed:
					got = append(got, "-"+c.Path+" "+string(c.From))
				default:
					got = append(got, c.Path+" "+string(c.From)+"→"+string(c.To))
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsNoJSONHasNoDiff(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{`{`, `{}`}, {`{}`, ``}} {
		if got, err := Diff(json.RawMessage(c[0]), json.RawMessage(c[1])); err == nil {
			t.Errorf("%q: %v", c, got)
		}
	}
}

// apply makes the changes in v, which must fit.
func apply(t *testing.T, v any, changes []Change) any {
	t.Helper()
	for _, c := range changes {
		if c.Path == "" {
			v = must(t, c.To)
			continue
		}
		at := v
		parts := strings.Split(c.Path, "/")[1:]
		for i, p := range parts {
			parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
		}
		for _, p := range parts[:len(parts)-1] {
			at = at.(map[string]any)[p]
		}
		name, object := parts[len(parts)-1], at.(map[string]any)
		if _, there := object[name]; there == (c.Kind == Added) {
			t.Fatalf("%+v of %v", c, object)
		}
		if c.Kind != Added && !equal(object[name], must(t, c.From)) {
			t.Fatalf("%+v of %v", c, object)
		}
		if delete(object, name); c.Kind != Removed {
			object[name] = must(t, c.To)
		}
	}
	return v
}

func must(t *testing.T, text json.RawMessage) any {
	t.Helper()
	v, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func FuzzDiff(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":1}`, `{"b":{"c":[1,2.0,"x"]}}`}, {`{"a":{"b":1}}`, `{"a":{"b":1.0,"c":null}}`}, {`{"a/b":{"~":[]}}`, `{"a/b":{"~":{}}}`}, {`[]`, `1e5`}, {`{"":{"":""}}`, `{"":{"":"\ud800"}}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, from, to string) {
		a, b := json.RawMessage(from), json.RawMessage(to)
		changes, err := Diff(a, b)
		if err != nil {
			return
		}
		// It leads from one to the other.
		if got := apply(t, must(t, a), changes); !equal(got, must(t, b)) {
			t.Fatalf("%s and %+v are %v, not %s", from, changes, got, to)
		}
		// Backwards it is the same, the other way round.
		back, err := Diff(b, a)
		if err != nil || len(back) != len(changes) {
			t.Fatalf("%+v, back %+v, %v", changes, back, err)
		}
		for i, c := range changes {
			mirror := Change{Path: c.Path, Kind: map[Kind]Kind{Added: Removed, Removed: Added, Changed: Changed}[c.Kind], From: c.To, To: c.From}
			if diff := cmp.Diff(mirror, back[i]); diff != "" {
				t.Fatal(diff)
			}
		}
		// A value does not differ from itself, and no path is told of twice.
		if same, err := Diff(a, a); err != nil || len(same) != 0 {
			t.Fatalf("%s differs from itself: %+v, %v", from, same, err)
		}
		var paths []string
		for _, c := range changes {
			paths = append(paths, c.Path)
		}
		slices.Sort(paths)
		if len(slices.Compact(paths)) != len(changes) {
			t.Fatalf("a path is told of twice: %+v", changes)
		}
		if text, err := json.Marshal(changes); err != nil || !json.Valid(text) {
			t.Fatalf("%s, %v", text, err)
		}
	})
}
