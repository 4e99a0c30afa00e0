package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind is what became of a field.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Removed Kind = "removed"
	Changed Kind = "changed"
)

// Change is what became of one field.
type Change struct {
	Path string          `json:"path"` // a JSON pointer (RFC 6901)
	Kind Kind            `json:"change"`
	From json.RawMessage `json:"from,omitempty"` // absent when it was added
	To   json.RawMessage `json:"to,omitempty"`   // absent when it was removed
}

// Diff lists what changed from one payload to another, by path. Objects are
// walked; arrays and all other values are compared whole. The order of members
// is no difference, nor is how a number is written.
func Diff(from, to json.RawMessage) ([]Change, error) {
	a, err := parse(from)
	if err != nil {
		return nil, err
	}
	b, err := parse(to)
	if err != nil {
		return nil, err
	}
	d := differ{changes: []Change{}}
	if err := d.values("", a, b); err != nil {
		return nil, err
	}
	return d.changes, nil
}

// parse keeps numbers digit by digit.
func parse(text json.RawMessage) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("a payload is not JSON: %w", err)
	}
	return v, nil
}

type differ struct {
	changes []Change
}

func (d *differ) values(path string, from, to any) error {
	a, isObject := from.(map[string]any)
	b, stillIs := to.(map[string]any)
	if isObject && stillIs {
		return d.objects(path, a, b)
	}
	if equal(from, to) {
		return nil
	}
	return d.add(path, Changed, from, to)
}

func (d *differ) objects(path string, from, to map[string]any) error {
	names := make([]string, 0, max(len(from), len(to)))
	for name := range from {
		names = append(names, name)
	}
	for name := range to {
		if _, both := from[name]; !both {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		a, was := from[name]
		b, is := to[name]
		path := path + "/" + escape(name)
		var err error
		switch {
		case was && is:
			err = d.values(path, a, b)
		case is:
			err = d.add(path, Added, nil, b)
		default:
			err = d.add(path, Removed, a, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) add(path string, kind Kind, from, to any) (err error) {
	c := Change{Path: path, Kind: kind}
	if kind != Added {
		if c.From, err = marshal(from); err != nil {
			return err
		}
	}
	if kind != Removed {
		if c.To, err = marshal(to); err != nil {
			return err
		}
	}
	d.changes = append(d.changes, c)
	return nil
}

// escape writes a member's name as a part of a JSON pointer.
func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && sameNumber(string(a), string(b))
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for name, v := range a {
			if other, there := b[name]; !there || !equal(v, other) {
				return false
			}
		}
		return true
	}
	return a == b // a string, true, false, null
}

// sameNumber reports whether two JSON numbers have the same value, to the last
// digit: 1, 1.0 and 10e-1 do.
func sameNumber(a, b string) bool {
	return a == b || decimalOf(a) == decimalOf(b)
}

// decimal is a number as its digits, without zeros at either end, times a power
// of ten.
type decimal struct {
	negative bool
	digits   string
	exponent int64
	odd      string // a number whose exponent is beyond reason is only itself
}

func decimalOf(n string) decimal {
	var d decimal
	mantissa, negative := strings.CutPrefix(n, "-")
	if i := strings.IndexAny(mantissa, "eE"); i >= 0 {
		e, err := strconv.ParseInt(mantissa[i+1:], 10, 32)
		if err != nil {
			return decimal{odd: n}
		}
		mantissa, d.exponent = mantissa[:i], e
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exponent -= int64(len(fraction))
	d.digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(d.digits, "0")
	d.exponent += int64(len(d.digits) - len(trimmed))
	if d.digits = trimmed; trimmed == "" {
		return decimal{} // zero has no sign
	}
	d.negative = negative
	return d
}

// marshal encodes without the escapes that HTML needs.
func marshal(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(buf.Bytes()), nil
}
