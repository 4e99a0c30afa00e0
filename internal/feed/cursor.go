package feed

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"syncline"
)

// The first byte of a cursor. What follows are unsigned varints: the collection
// and the position; in one from within, also began.
const (
	cursorVersion       = 1
	cursorVersionWithin = 2
)

// maxCursor bounds how long a cursor may be; ours have at most 42 characters,
// Nango's about 100.
const maxCursor = 200

// cursor is a parsed cursor: a position of a collection, or, for one that was
// persisted from Nango, a time. The zero value is the beginning.
type cursor struct {
	collection, seq int64
	// began is up to where tombstones had been removed for good when its reader
	// began, if that is beyond seq: the reader never saw what they deleted, so it
	// misses nothing by going on from here. 0 otherwise.
	began int64
	at    time.Time
}

// Cursor is the cursor of position seq of a collection: reading goes on after
// it. It is opaque to callers, and safe in URLs.
func Cursor(collection, seq int64) string { return cursorWithin(collection, seq, 0) }

// cursorWithin is the cursor of a reader that began when tombstones up to began
// had been removed.
func cursorWithin(collection, seq, began int64) string {
	b := make([]byte, 0, 1+3*binary.MaxVarintLen64)
	version := byte(cursorVersion)
	if began > seq {
		version = cursorVersionWithin
	}
	b = append(b, version)
	b = binary.AppendUvarint(b, uint64(collection))
	b = binary.AppendUvarint(b, uint64(seq))
	if version == cursorVersionWithin {
		b = binary.AppendUvarint(b, uint64(began))
	}
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
	if err != nil || len(b) < 3 || b[0] != cursorVersion && b[0] != cursorVersionWithin {
		return cursor{}, false
	}
	var c cursor
	numbers := []*int64{&c.collection, &c.seq}
	if b[0] == cursorVersionWithin {
		numbers = append(numbers, &c.began)
	}
	rest := b[1:]
	for _, n := range numbers {
		v, size := binary.Uvarint(rest)
		if size <= 0 {
			return cursor{}, false
		}
		*n, rest = int64(v), rest[size:]
	}
	// One position has one cursor: padded varints and numbers out of range are
	// not what was given out.
	if len(rest) > 0 || c.collection <= 0 || c.seq < 0 || c.began < 0 || cursorWithin(c.collection, c.seq, c.began) != s {
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

// Position is where reading goes on after a cursor of a collection; for a
// cursor of Nango's the position is 0 and at is its time. A cursor of another
// collection is an error with code invalid_request.
func Position(text string, collection int64) (seq int64, at time.Time, err error) {
	c, err := parseCursor(text)
	if err != nil {
		return 0, time.Time{}, err
	}
	if c.collection != 0 && c.collection != collection {
		return 0, time.Time{}, syncline.Errorf(syncline.CodeInvalid, "the cursor is one of other records").WithField("cursor")
	}
	return c.seq, c.at, nil
}
