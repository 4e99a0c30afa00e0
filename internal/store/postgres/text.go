package postgres

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// Postgres keeps UTF-8 without NUL in a text. Ids and names come from users and
// their APIs and must come back as they are, so what does not fit is escaped:
// U+0001 begins an escape, and what follows says what stood there. Texts without
// such bytes, nearly all, are kept as they are; valid ones keep their order.
const (
	escape        = '\x01'
	escapedNUL    = '0'
	escapedEscape = '1'
	escapedByte   = 'x' // two hexadecimal digits follow: a byte that is not UTF-8
)

// plain reports whether s is kept as it is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] <= escape {
			return false
		}
	}
	return utf8.ValidString(s)
}

// encodeText returns what is stored for s.
func encodeText(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == 0:
			b.WriteString(string(escape) + string(escapedNUL))
		case r == escape:
			b.WriteString(string(escape) + string(escapedEscape))
		case r == utf8.RuneError && n == 1:
			b.WriteString(string(escape) + string(escapedByte) + hex.EncodeToString([]byte{s[0]}))
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

// decodeText undoes encodeText. An escape that it would not have made stays.
func decodeText(s string) string {
	if strings.IndexByte(s, escape) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != escape || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		switch s[i+1] {
		case escapedNUL:
			b.WriteByte(0)
			i++
		case escapedEscape:
			b.WriteByte(escape)
			i++
		case escapedByte:
			var octet [1]byte
			if i+4 > len(s) {
				b.WriteByte(s[i])
			} else if _, err := hex.Decode(octet[:], []byte(s[i+2:i+4])); err != nil {
				b.WriteByte(s[i])
			} else {
				b.WriteByte(octet[0])
				i += 3
			}
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// longestKey bounds what is kept in keys as it is: an entry of an index has less
// than a third of a page.
const longestKey = 500

// key is a text as a <name>_key column has it: stored as it is.
type key string

// keyOf returns the key of an id: the id as it is stored, or a hash of a long
// one, marked with an escape that no id has.
func keyOf(id string) key {
	if s := encodeText(id); len(s) <= longestKey {
		return key(s)
	}
	sum := sha256.Sum256([]byte(id))
	return key(string(escape) + "h" + hex.EncodeToString(sum[:]))
}

func isHash(k string) bool { return strings.HasPrefix(k, string(escape)+"h") }
