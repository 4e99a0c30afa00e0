package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"syncline"
)

// body reads the request's JSON object into v, strictly: the content type must
// be JSON (or absent), the text valid UTF-8 and one JSON value, members known
// and of the right types. limit is in bytes.
func (c *call) body(limit int64, v any) error {
	if t := c.Header.Get("Content-Type"); t != "" {
		media, _, err := mime.ParseMediaType(t)
		if err != nil || media != "application/json" && !strings.HasSuffix(media, "+json") {
			e := syncline.Errorf(syncline.CodeInvalid, "the Content-Type is %q; this endpoint takes JSON", t).WithHint("send 'Content-Type: application/json'")
			return &problem{Status: http.StatusUnsupportedMediaType, Code: "invalid_content_type", Message: e.Error(), cause: e}
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, limit))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return err
		}
		return as(badBody, invalid("", "the request body ended early or could not be read: %w", err))
	}
	return as(badBody, decode(data, v))
}

func decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return invalid("", "the request body is empty; this endpoint takes a JSON object")
	}
	if !utf8.Valid(data) {
		return invalid("", "the request body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // large ids in metadata keep their digits
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return decodeError(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return invalid("", "the request body goes on after its JSON value")
	}
	return nil
}

// decodeError says in our words what encoding/json found.
func decodeError(err error) error {
	var e *syncline.Error
	if errors.As(err, &e) {
		return e // of a type that reads itself
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field == "" {
			return invalid("", "the request body is a JSON %s, not an object", wrong.Value)
		}
		return invalid(wrong.Field, "%s is a JSON %s; it must be %s", wrong.Field, wrong.Value, kind(wrong))
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return invalid("", "the request body is not valid JSON at byte %d: %s", syntax.Offset, syntax.Error())
	}
	if name, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		name, _ = strconv.Unquote(name)
		return invalid(name, "%q is not a known member of this request", name).WithHint("check its spelling")
	}
	return invalid("", "the request body is not valid JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// kind names a Go type as JSON has it.
func kind(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "string":
		return "a string"
	case "bool":
		return "a boolean"
	case "slice", "array":
		return "an array"
	case "map", "struct":
		return "an object"
	case "int", "int64", "float64":
		return "a number"
	}
	return "of another type"
}

// query are a request's query parameters.
type query struct{ url.Values }

// params returns the query parameters; one that is not among known is an
// error, so that a misspelt filter does not silently select everything. A
// name that ends in "[]" stands for "name[…]".
func (c *call) params(known ...string) (query, error) {
	values, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return query{}, as(badQuery, invalid("", "the query string cannot be read: %w", err))
	}
	for name := range values {
		base, _, deep := strings.Cut(name, "[")
		if !slices.Contains(known, name) && !(deep && slices.Contains(known, base+"[]")) {
			return query{}, as(badQuery, invalid(name, "%q is not a query parameter of this endpoint", name).WithHint("the parameters are %s", strings.Join(known, ", ")))
		}
		for _, v := range values[name] {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return query{}, as(badQuery, invalid(name, "the query parameter %s is not valid text", name))
			}
		}
	}
	return query{values}, nil
}

// required returns a parameter that must be there.
func (q query) required(name string) (string, error) {
	v := q.Get(name)
	if v == "" {
		return "", as(badQuery, invalid(name, "the query parameter %s is missing", name))
	}
	return v, nil
}

// integer reads a whole number between low and high; absent: def.
func (q query) integer(name string, def, low, high int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return def, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		return 0, as(badQuery, invalid(name, "%s is %q; it must be a whole number between %d and %d", name, v, low, high))
	}
	return n, nil
}

// boolean reads "true" or "false"; absent: false.
func (q query) boolean(name string) (bool, error) {
	switch v := q.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, as(badQuery, invalid(name, "%s is %q; it must be true or false", name, v))
	}
}

// list returns the values of a parameter that may be repeated or hold several
// values separated by commas. Repeated values are taken as they are; a single
// one is split, and stands for itself too when it holds a comma.
func (q query) list(name string) []string {
	values := append(slices.Clone(q.Values[name]), q.Values[name+"[]"]...)
	if len(values) != 1 || len(q.Values[name+"[]"]) == 1 || !strings.Contains(values[0], ",") {
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		if len(values) == 0 {
			return nil // "ids=" selects as if it were not there
		}
		return values
	}
	var list []string
	for v := range strings.SplitSeq(values[0], ",") {
		if v = strings.TrimSpace(v); v != "" {
			list = append(list, v)
		}
	}
	return append(list, values[0])
}

// words is [query.list] for values that never hold a comma.
func (q query) words(name string) []string {
	var list []string
	for _, v := range append(slices.Clone(q.Values[name]), q.Values[name+"[]"]...) {
		for word := range strings.SplitSeq(v, ",") {
			if word = strings.TrimSpace(word); word != "" {
				list = append(list, word)
			}
		}
	}
	return list
}

// instant reads an RFC 3339 time; absent: zero. A "+" of its offset that
// became a space is mended.
func (q query) instant(name string) (time.Time, error) {
	v := q.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02"} {
		if t, err := time.Parse(layout, strings.Replace(v, " ", "+", 1)); err == nil && t.Year() > 0 {
			return t.UTC().Truncate(time.Microsecond), nil
		}
	}
	return time.Time{}, as(badQuery, invalid(name, "%s is %q, which is not a time", name, v).WithHint("write it as 2026-05-31T11:46:13.390Z"))
}

// maxName is how long a name or id that callers choose may be, in characters.
const maxName = 255

// checkID checks an id that callers choose: 1 to 255 characters, without
// control characters or space at its ends.
func checkID(field, id string) error {
	switch {
	case id == "":
		return invalid(field, "%s is missing", field)
	case utf8.RuneCountInString(id) > maxName:
		return invalid(field, "%s is longer than %d characters", field, maxName)
	case strings.TrimSpace(id) != id || strings.ContainsFunc(id, unicode.IsControl):
		return invalid(field, "%s holds control characters, or space at its beginning or end", field)
	}
	return nil
}

// isoTime is how Nango writes times outside of records.
func isoTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// isoTimeOrNull is null for a zero time.
func isoTimeOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return new(isoTime(t))
}
