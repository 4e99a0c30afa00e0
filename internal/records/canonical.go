package records

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"syncline"
)

// MaxDepth is how deeply a record may be nested.
const MaxDepth = 512

// Canonical returns the canonical form of a JSON text after RFC 8785: object
// members in the order of their UTF-16 keys, numbers as ECMAScript prints
// them, strings with the fewest escapes. It goes beyond the RFC where the RFC
// would lose a change or refuse a payload: an integer that a double cannot
// hold keeps its digits, a lone surrogate keeps its escape, and of duplicate
// members the last counts, as in JavaScript.
func Canonical(text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the record is not valid UTF-8")
	}
	c := canonicalizer{in: text}
	out, err := c.value(make([]byte, 0, len(text)), 0)
	if err != nil {
		return nil, err
	}
	if c.space(); c.pos != len(c.in) {
		return nil, c.fail("unexpected text after the value")
	}
	return out, nil
}

// Hash is the identity of a payload: the SHA-256 of its canonical form.
func Hash(payload []byte) ([]byte, error) {
	text, err := Canonical(payload)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

type canonicalizer struct {
	in  []byte
	pos int
}

func (c *canonicalizer) fail(what string) error {
	return syncline.Errorf(syncline.CodeInvalid, "the record is not valid JSON: %s at byte %d", what, c.pos)
}

func (c *canonicalizer) space() {
	for c.pos < len(c.in) {
		switch c.in[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

func (c *canonicalizer) value(out []byte, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the record is nested more than %d levels deep", MaxDepth)
	}
	c.space()
	if c.pos >= len(c.in) {
		return nil, c.fail("unexpected end")
	}
	switch b := c.in[c.pos]; {
	case b == '{':
		return c.object(out, depth)
	case b == '[':
		return c.array(out, depth)
	case b == '"':
		s, err := c.str()
		if err != nil {
			return nil, err
		}
		return appendString(out, s), nil
	case b == '-' || b >= '0' && b <= '9':
		return c.number(out)
	}
	for _, word := range []string{"true", "false", "null"} {
		if bytes.HasPrefix(c.in[c.pos:], []byte(word)) {
			c.pos += len(word)
			return append(out, word...), nil
		}
	}
	return nil, c.fail("unexpected character")
}

func (c *canonicalizer) array(out []byte, depth int) ([]byte, error) {
	c.pos++
	out = append(out, '[')
	if c.space(); c.pos < len(c.in) && c.in[c.pos] == ']' {
		c.pos++
		return append(out, ']'), nil
	}
	for {
		var err error
		if out, err = c.value(out, depth+1); err != nil {
			return nil, err
		}
		more, err := c.next(']')
		if err != nil {
			return nil, err
		}
		if !more {
			return append(out, ']'), nil
		}
		out = append(out, ',')
	}
}

// next passes a comma (more is true) or the closing bracket.
func (c *canonicalizer) next(closing byte) (more bool, err error) {
	c.space()
	if c.pos < len(c.in) {
		switch c.in[c.pos] {
		case ',':
			c.pos++
			return true, nil
		case closing:
			c.pos++
			return false, nil
		}
	}
	return false, c.fail("expected ',' or '" + string(closing) + "'")
}

type member struct {
	key   []uint16
	order int
	text  []byte // "key":value, canonical
}

func (c *canonicalizer) object(out []byte, depth int) ([]byte, error) {
	c.pos++
	if c.space(); c.pos < len(c.in) && c.in[c.pos] == '}' {
		c.pos++
		return append(out, '{', '}'), nil
	}
	var members []member
	var text []byte
	var ends []int
	for {
		if c.space(); c.pos >= len(c.in) || c.in[c.pos] != '"' {
			return nil, c.fail("expected a member name")
		}
		key, err := c.str()
		if err != nil {
			return nil, err
		}
		if c.space(); c.pos >= len(c.in) || c.in[c.pos] != ':' {
			return nil, c.fail("expected ':'")
		}
		c.pos++
		text = append(appendString(text, key), ':')
		if text, err = c.value(text, depth+1); err != nil {
			return nil, err
		}
		members = append(members, member{key: key, order: len(members)})
		ends = append(ends, len(text))
		more, err := c.next('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	start := 0
	for i, end := range ends {
		members[i].text = text[start:end]
		start = end
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(slices.Compare(a.key, b.key), a.order-b.order)
	})
	out = append(out, '{')
	first := true
	for i, m := range members {
		if i+1 < len(members) && slices.Equal(m.key, members[i+1].key) {
			continue // a later duplicate counts
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, m.text...)
	}
	return append(out, '}'), nil
}

// str reads a string as UTF-16, in which lone surrogates have a place.
func (c *canonicalizer) str() ([]uint16, error) {
	c.pos++
	var s []uint16
	for c.pos < len(c.in) {
		switch b := c.in[c.pos]; {
		case b == '"':
			c.pos++
			return s, nil
		case b < 0x20:
			return nil, c.fail("a control character in a string")
		case b == '\\':
			u, err := c.escape()
			if err != nil {
				return nil, err
			}
			s = append(s, u)
		case b < utf8.RuneSelf:
			s = append(s, uint16(b))
			c.pos++
		default:
			r, n := utf8.DecodeRune(c.in[c.pos:])
			s = utf16.AppendRune(s, r)
			c.pos += n
		}
	}
	return nil, c.fail("a string without an end")
}

func (c *canonicalizer) escape() (uint16, error) {
	if c.pos+1 >= len(c.in) {
		return 0, c.fail("a string without an end")
	}
	c.pos += 2
	switch b := c.in[c.pos-1]; b {
	case '"', '\\', '/':
		return uint16(b), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		if c.pos+4 <= len(c.in) {
			if u, err := strconv.ParseUint(string(c.in[c.pos:c.pos+4]), 16, 16); err == nil && c.in[c.pos] != '+' {
				c.pos += 4
				return uint16(u), nil
			}
		}
	}
	return 0, c.fail("a bad escape")
}

func appendString(out []byte, s []uint16) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(s); i++ {
		switch u := s[i]; {
		case u == '"' || u == '\\':
			out = append(out, '\\', byte(u))
		case u >= 0x20 && u < utf8.RuneSelf:
			out = append(out, byte(u))
		case u == '\b':
			out = append(out, '\\', 'b')
		case u == '\f':
			out = append(out, '\\', 'f')
		case u == '\n':
			out = append(out, '\\', 'n')
		case u == '\r':
			out = append(out, '\\', 'r')
		case u == '\t':
			out = append(out, '\\', 't')
		case u < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[u>>4], hex[u&15])
		case utf16.IsSurrogate(rune(u)):
			if i+1 < len(s) {
				if r := utf16.DecodeRune(rune(u), rune(s[i+1])); r != utf8.RuneError {
					out = utf8.AppendRune(out, r)
					i++
					continue
				}
			}
			out = append(out, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
		default:
			out = utf8.AppendRune(out, rune(u))
		}
	}
	return append(out, '"')
}

func (c *canonicalizer) number(out []byte) ([]byte, error) {
	start := c.pos
	for c.pos < len(c.in) && strings.IndexByte("+-.eE0123456789", c.in[c.pos]) >= 0 {
		c.pos++
	}
	text := c.in[start:c.pos]
	if !json.Valid(text) {
		c.pos = start
		return nil, c.fail("a bad number")
	}
	f, _ := strconv.ParseFloat(string(text), 64) // fails only beyond a double's range
	if math.IsInf(f, 0) {
		// The digits are all there is to compare.
		return append(out, text...), nil
	}
	printed := appendNumber(nil, f)
	if !bytes.ContainsAny(text, ".eE") && len(text) > 15 && !bytes.Equal(text, printed) {
		return append(out, text...), nil
	}
	return append(out, printed...), nil
}

// appendNumber prints f as ECMAScript's Number::toString does.
func appendNumber(out []byte, f float64) []byte {
	if f == 0 {
		return append(out, '0') // also for -0
	}
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(out, f, 'f', -1, 64)
	}
	out = strconv.AppendFloat(out, f, 'e', -1, 64)
	// strconv prints at least two digits of exponent: 1e-09 is 1e-9.
	if n := len(out); n >= 4 && out[n-4] == 'e' && out[n-2] == '0' {
		out[n-2] = out[n-1]
		out = out[:n-1]
	}
	return out
}
