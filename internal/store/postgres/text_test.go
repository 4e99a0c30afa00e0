package postgres

import (
	"cmp"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// anyText draws strings that have what needs an escape, and what looks like one.
func anyText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x00", "\x01", "\x010", "\x01x00", "\x01h", "\xff", "\xed\xa0\x80", "x", "0", "é"}))).Draw(t, "parts")
		return strings.Join(parts, "")
	})
}

func TestTextsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anyText().Draw(t, "s")
		stored := encodeText(s)
		if !utf8.ValidString(stored) || strings.Contains(stored, "\x00") {
			t.Errorf("%q is stored as %q", s, stored)
		}
		if back := decodeText(stored); back != s {
			t.Errorf("%q came back as %q", s, back)
		}
		decodeText(s) // must not panic
	})
}

func TestTextsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyText().Filter(utf8.ValidString).Draw(t, "a"), anyText().Filter(utf8.ValidString).Draw(t, "b")
		if cmp.Compare(a, b) != cmp.Compare(encodeText(a), encodeText(b)) {
			t.Errorf("%q and %q change places", a, b)
		}
	})
}

func TestKeysAreShortAndTellIdsApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", longestKey)
	ids := []string{"", "a", "\x01", "\x01h", "\x00", long, long + "x", long[1:], strings.Repeat("x", longestKey), strings.Repeat("x", longestKey+1)}
	ids = append(ids, string(keyOf(long)), "sha256:"+string(keyOf(long))[2:]) // what a hash looks like
	seen := map[key]string{}
	for _, id := range ids {
		k := keyOf(id)
		if len(k) > longestKey || !utf8.ValidString(string(k)) {
			t.Errorf("key of %.20q: %.20q", id, k)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%.20q and %.20q have one key", id, other)
		}
		seen[k] = id
		if isHash(string(k)) != (len(encodeText(id)) > longestKey) {
			t.Errorf("%.20q: hash %v", id, isHash(string(k)))
		}
	}
}
