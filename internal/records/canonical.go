package records

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	c := newCanonicalizer(text)
	defer c.release()
	return c.text(make([]byte, 0, len(text)))
}

// Hash is the identity of a payload: the SHA-256 of its canonical form.
func Hash(payload []byte) ([]byte, error) {
	c := newCanonicalizer(payload)
	defer c.release()
	return c.hash()
}

// canonicalizer reads one text. Its memory is kept for the next one.
type canonicalizer struct {
	in      []byte
	pos     int
	id      []byte   // the value of the last top member "id"
	members []member // of the objects that are being read, the outer ones first
	places  []place  // of the object that is being sorted
	out     []byte   // what hash makes
	scratch []byte   // an object's members before they are sorted
}

var canonicalizers = sync.Pool{New: func() any { return new(canonicalizer) }}

func newCanonicalizer(text []byte) *canonicalizer {
	c := canonicalizers.Get().(*canonicalizer)
	c.in, c.pos, c.id = text, 0, nil
	return c
}

// maxKept bounds the memory that is kept between texts: records are rarely larger.
const maxKept = 1 << 20

func (c *canonicalizer) release() {
	c.in, c.id = nil, nil
	const sizeOfMember = 64 + 16 // with its place
	if cap(c.out)+cap(c.scratch)+cap(c.members)*sizeOfMember > maxKept {
		return
	}
	clear(c.members[:cap(c.members)]) // they refer to the text
	c.members = c.members[:0]
	canonicalizers.Put(c)
}

// text appends the canonical form.
func (c *canonicalizer) text(out []byte) ([]byte, error) {
	if !utf8.Valid(c.in) {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the record is not valid UTF-8")
	}
	out, err := c.value(out, 0)
	if err != nil {
		return nil, err
	}
	if c.space(); c.pos != len(c.in) {
		return nil, c.fail("unexpected text after the value")
	}
	return out, nil
}

func (c *canonicalizer) hash() ([]byte, error) {
	out, err := c.text(c.out[:0])
	if err != nil {
		return nil, err
	}
	c.out = out
	sum := sha256.Sum256(out)
	return sum[:], nil
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
		out, _, err := c.str(out)
		return out, err
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

// member is a member of an object that is being read.
type member struct {
	key        key
	start, end int // "key":value, canonical, in the output
}

// place is a member's place among those of its object, with the beginning of
// its key, which is mostly enough to sort by.
type place struct {
	prefix uint64
	index  int
}

// key is a member's name: ASCII as it stands in the text, or UTF-16.
type key struct {
	ascii []byte
	units []uint16 // when it is not plain ASCII
}

func (k key) size() int { return len(k.ascii) + len(k.units) }

func (k key) unit(i int) uint16 {
	if k.units != nil {
		return k.units[i]
	}
	return uint16(k.ascii[i])
}

// prefix is the first four units; shorter keys end with zeros.
func (k key) prefix() (p uint64) {
	for i := range min(4, k.size()) {
		p |= uint64(k.unit(i)) << (48 - 16*i)
	}
	return p
}

// compare orders by UTF-16 units.
func (k key) compare(other key) int {
	if k.units == nil && other.units == nil {
		return bytes.Compare(k.ascii, other.ascii)
	}
	for i := range min(k.size(), other.size()) {
		if c := cmp.Compare(k.unit(i), other.unit(i)); c != 0 {
			return c
		}
	}
	return cmp.Compare(k.size(), other.size())
}

func (k key) isID() bool {
	return k.size() == 2 && k.unit(0) == 'i' && k.unit(1) == 'd'
}

func (c *canonicalizer) object(out []byte, depth int) ([]byte, error) {
	c.pos++
	if c.space(); c.pos < len(c.in) && c.in[c.pos] == '}' {
		c.pos++
		return append(out, '{', '}'), nil
	}
	out = append(out, '{')
	base, outer := len(out), len(c.members)
	sorted := true
	for {
		if c.space(); c.pos >= len(c.in) || c.in[c.pos] != '"' {
			return nil, c.fail("expected a member name")
		}
		start, begin := len(out), c.pos+1
		var units []uint16
		var err error
		if out, units, err = c.str(out); err != nil {
			return nil, err
		}
		k := key{units: units}
		if units == nil {
			if k.ascii = c.in[begin : c.pos-1]; !isASCII(k.ascii) {
				k = key{units: utf16.Encode([]rune(string(k.ascii)))}
			}
		}
		if c.space(); c.pos >= len(c.in) || c.in[c.pos] != ':' {
			return nil, c.fail("expected ':'")
		}
		c.pos++
		out = append(out, ':')
		c.space()
		value := c.pos
		if out, err = c.value(out, depth+1); err != nil {
			return nil, err
		}
		if depth == 0 && k.isID() {
			c.id = c.in[value:c.pos]
		}
		if n := len(c.members); n > outer && c.members[n-1].key.compare(k) >= 0 {
			sorted = false
		}
		c.members = append(c.members, member{k, start, len(out)})
		more, err := c.next('}')
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		out = append(out, ',')
	}
	if !sorted {
		out = c.sort(out, base, c.members[outer:])
	}
	c.members = c.members[:outer]
	return append(out, '}'), nil
}

// sort puts the members of an object, which begin at base, in order.
func (c *canonicalizer) sort(out []byte, base int, members []member) []byte {
	c.places = c.places[:0]
	for i := range members {
		c.places = append(c.places, place{members[i].key.prefix(), i})
	}
	slices.SortFunc(c.places, func(a, b place) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		if c := members[a.index].key.compare(members[b.index].key); c != 0 {
			return c
		}
		return a.index - b.index
	})
	c.scratch = append(c.scratch[:0], out[base:]...)
	out = out[:base]
	for i, p := range c.places {
		m := &members[p.index]
		if i+1 < len(c.places) && p.prefix == c.places[i+1].prefix && m.key.compare(members[c.places[i+1].index].key) == 0 {
			continue // a later duplicate counts
		}
		if len(out) > base {
			out = append(out, ',')
		}
		out = append(out, c.scratch[m.start-base:m.end-base]...)
	}
	return out
}

func isASCII(s []byte) bool {
	for _, b := range s {
		if b >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// str reads a string and appends its canonical form. Without escapes, that is
// how it stands in the text; otherwise units is the string, never nil.
func (c *canonicalizer) str(out []byte) (_ []byte, units []uint16, err error) {
	start := c.pos
	for i := c.pos + 1; ; i++ {
		i += plainBytes(c.in[i:])
		if i >= len(c.in) {
			c.pos = len(c.in)
			return nil, nil, c.fail("a string without an end")
		}
		switch c.in[i] {
		case '"':
			c.pos = i + 1
			return append(out, c.in[start:c.pos]...), nil, nil
		case '\\':
			if units, err = c.escaped(); err != nil {
				return nil, nil, err
			}
			return appendString(out, units), units, nil
		default:
			c.pos = i
			return nil, nil, c.fail("a control character in a string")
		}
	}
}

// plainBytes is how many bytes of a string come before a quote, a backslash or
// a control character. It looks at eight at a time: a byte b has its highest
// bit set in (b-n)&^b when it is below n, or in a later one than such a byte.
func plainBytes(s []byte) int {
	const ones, highest = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(s); n += 8 {
		x := binary.LittleEndian.Uint64(s[n:])
		quote, backslash := x^'"'*ones, x^'\\'*ones
		if found := ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-' '*ones)&^x) & highest; found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for n < len(s) && s[n] >= ' ' && s[n] != '"' && s[n] != '\\' {
		n++
	}
	return n
}

// escaped reads a string as UTF-16, in which lone surrogates have a place.
func (c *canonicalizer) escaped() ([]uint16, error) {
	c.pos++
	s := []uint16{}
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
	if isShortNumber(text) {
		return append(out, text...), nil
	}
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

// isShortNumber reports whether a number is one that is printed as it stands: a
// decimal of at most 15 digits, which a double holds, that is 0 or at least 1
// away from it and has no zeros at its end.
func isShortNumber(text []byte) bool {
	if len(text) > 0 && text[0] == '-' {
		text = text[1:]
	} else if len(text) == 1 {
		return text[0] >= '0' && text[0] <= '9'
	}
	if len(text) == 0 || len(text) > 15 || text[0] < '1' {
		return false
	}
	point := -1
	for i, b := range text {
		switch {
		case b == '.' && point < 0:
			point = i
		case b < '0' || b > '9':
			return false
		}
	}
	last := text[len(text)-1]
	return point < 0 || last != '0' && last != '.'
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
