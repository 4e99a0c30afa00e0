package records

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
	"time"

	"syncline"
)

// Versions are kept as text: "t" and a time in UTC of one fixed length, or "n"
// and a decimal number. "" is older than everything.

const timeVersion = "2006-01-02T15:04:05.000000000Z"

// versionTimes are the forms of times that APIs write, besides RFC 3339.
var versionTimes = []string{
	time.RFC3339Nano,
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04:05.999999999", // taken as UTC, as the next ones
	"2006-01-02 15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02",
	time.RFC1123,
	time.RFC1123Z,
}

// versionOf reads a record's version from its field; "" when it has none.
func versionOf(record []byte, field string) (string, error) {
	value := json.RawMessage(record)
	for name := range strings.SplitSeq(field, ".") {
		var members map[string]json.RawMessage
		if !isObject(value) {
			return "", nil
		}
		if err := json.Unmarshal(value, &members); err != nil {
			return "", syncline.Errorf(syncline.CodeInvalid, "is not valid JSON: %w", err)
		}
		value = bytes.TrimSpace(members[name])
	}
	if len(value) == 0 || bytes.Equal(value, []byte("null")) {
		return "", nil
	}
	v, ok := parseVersion(value)
	if !ok {
		return "", syncline.Errorf(syncline.CodeInvalid, "has a %s that is neither a time nor a number: %.60s", field, value).
			WithHint("keep_newest needs a field such as updated_at (ISO 8601), or a number that grows with each change")
	}
	return v, nil
}

func parseVersion(value json.RawMessage) (string, bool) {
	if value[0] != '"' {
		return numberVersion(string(value))
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return "", false
	}
	s = strings.TrimSpace(s)
	if v, ok := numberVersion(s); ok {
		return v, true
	}
	for _, layout := range versionTimes {
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 0 && t.Year() <= 9999 {
			return "t" + t.UTC().Format(timeVersion), true
		}
	}
	return "", false
}

// numberVersion accepts decimal numbers of a double's range, with all their digits.
func numberVersion(s string) (string, bool) {
	if s == "" || len(s) > 64 || s[0] != '-' && (s[0] < '0' || s[0] > '9') || strings.ContainsAny(s, "xXpP_") {
		return "", false
	}
	if _, err := strconv.ParseFloat(s, 64); err != nil {
		return "", false
	}
	return "n" + s, true
}

// CompareVersions is negative when a is older than b. Times and numbers cannot
// be compared.
func CompareVersions(a, b string) (int, error) {
	switch {
	case a == b:
		return 0, nil
	case a == "" || b == "":
		return cmp.Compare(len(a), len(b)), nil
	case a[0] != b[0]:
		return 0, syncline.Errorf(syncline.CodeInvalid, "keep_newest cannot compare %s with %s: one is a time, the other a number", a[1:], b[1:]).
			WithHint("compare the same field in every function that writes the model; after a change of the field, reset the sync with emptyCache")
	case a[0] == 't':
		return strings.Compare(a, b), nil
	}
	if x, err := strconv.ParseInt(a[1:], 10, 64); err == nil {
		if y, err := strconv.ParseInt(b[1:], 10, 64); err == nil {
			return cmp.Compare(x, y), nil
		}
	}
	x, okX := new(big.Rat).SetString(a[1:])
	y, okY := new(big.Rat).SetString(b[1:])
	if !okX || !okY {
		return 0, syncline.Errorf(syncline.CodeInternal, "a stored version is unreadable: %q, %q", a, b)
	}
	return x.Cmp(y), nil
}

// fieldVersions are the versions of fields that partial updates made newer than
// their record, by JSON pointer.
type fieldVersions map[string]string

func readFieldVersions(raw json.RawMessage) (fieldVersions, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	var f fieldVersions
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "the stored field versions are unreadable: %w", err)
	}
	return f, nil
}

func (f fieldVersions) text() json.RawMessage {
	if len(f) == 0 {
		return nil
	}
	text, _ := json.Marshal(f) // strings only: cannot fail
	return text
}

// newest is the newest of base and the versions that keep accepts.
func (f fieldVersions) newest(base string, keep func(pointer string) bool) (string, error) {
	for p, v := range f {
		if !keep(p) {
			continue
		}
		c, err := CompareVersions(v, base)
		if err != nil {
			return "", err
		}
		if c > 0 {
			base = v
		}
	}
	return base, nil
}

func everywhere(string) bool { return true }

// related reports whether one of two pointers is the other or leads to it.
func related(p, q string) bool {
	return p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/")
}
