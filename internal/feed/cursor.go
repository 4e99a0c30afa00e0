package feed

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"syncline"
)

// cursorVersion is the first byte of a cursor; what follows it are the
// collection and the position, as unsigned varints.
const cursorVersion = 1

// maxCursor bounds how long a cursor may be; ours have at most 28 characters,
// Nango's about 100.
const maxCursor = 200

// cursor is a parsed cursor: a position of a collection, or, for one that was
// persisted from Nango, a time. The zero value is the beginning.
type cursor struct {
	collection, seq int64
	at              time.Time
}

// Cursor is the cursor of position seq of a collection: reading goes on after
// it. It is opaque to callers, and safe in URLs.
func Cursor(collection, seq int64) string {
	b := make([]byte, 0, 1+2*binary.MaxVarintLen64)
	b = append(b, cursorVersion)
	b = binary.AppendUvarint(b, uint64(collection))
	b = binary.AppendUvarint(b, uint64(seq))
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor reads what [Cursor] wrote, exactly, and Nango's cursors.
func parseCursor(s string) (cursor, error) {
	if s == "" {
		return cursor{}, nil
	}
	if len(s) <= maxCursor {
		if c, ok := parseOwn(s); ok {
			return c, nil
		}
		if at, ok := parseNango(s); ok {
			return cursor{at: at}, nil
		}
	}
	return cursor{}, syncline.Errorf(syncline.CodeInvalid, "the cursor is not one that this server made").
		WithHint("pass back next_cursor, or _nango_metadata.cursor of the last record, unchanged; or none to start at the beginning").WithField("cursor")
}

func parseOwn(s string) (cursor, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) < 3 || b[0] != cursorVersion {
		return cursor{}, false
	}
	coll, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return cursor{}, false
	}
	seq, m := binary.Uvarint(b[1+n:])
	if m <= 0 || 1+n+m != len(b) {
		return cursor{}, false
	}
	c := cursor{collection: int64(coll), seq: int64(seq)}
	// One position has one cursor: padded varints and numbers out of range are
	// not what was given out.
	if c.collection <= 0 || c.seq < 0 || Cursor(c.collection, c.seq) != s {
		return cursor{}, false
	}
	return c, true
}

// parseNango reads the time of a cursor in Nango's format, the base64 of
// "<RFC 3339 time>||<id>". A "+" that became a space in a query is mended, and
// padding and alphabet do not matter, as in Nango.
func parseNango(s string) (time.Time, bool) {
	s = strings.NewReplacer(" ", "+", "-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return time.Time{}, false
	}
	stamp, id, ok := strings.Cut(string(b), "||")
	if !ok || id == "" || strings.ContainsFunc(id, notHexOrDash) {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil || at.IsZero() {
		return time.Time{}, false
	}
	return at.UTC().Truncate(time.Microsecond), true
}

func notHexOrDash(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'f' || r >= 'A' && r <= 'F' || r == '-')
}
