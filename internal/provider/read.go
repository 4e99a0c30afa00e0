package provider

import (
	"encoding/json"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"syncline"
)

// MaxDepth is how deeply a webhook's JSON may be nested. No function could
// read what is deeper.
const MaxDepth = 1000

// Reading is what a delivery says, by the catalogue.
type Reading struct {
	Type       string // "" when the provider has no types
	DeliveryID string // the provider's id of the delivery; "" when it has none
	OrderKey   string // the object that it is about; "" when unknown
	Matches    []MatchValue
	Payload    json.RawMessage // what the handler gets
}

// MatchValue is one way in which the delivery names its account.
type MatchValue struct {
	Properties []string // of a connection, any of which may hold Value
	Value      string
}

// Read reads a delivery. The body must be JSON in valid UTF-8, or a form that
// holds it; otherwise the error has code invalid_request. It is asked after
// [Webhook.Verify].
func (w *Webhook) Read(d *syncline.Delivery) (*Reading, error) {
	payload, err := w.payload(d)
	if err != nil {
		return nil, err
	}
	r := &Reading{Payload: payload}
	r.Type, _ = first(d, payload, w.Type)
	r.DeliveryID, _ = first(d, payload, w.DeliveryID)
	var key []string
	for _, s := range w.OrderKey {
		if v, ok := s.value(d, payload); ok {
			key = append(key, v)
		}
	}
	r.OrderKey = strings.Join(key, "#")
	for _, m := range w.Match {
		if v, ok := m.From.value(d, payload); ok && v != "" {
			r.Matches = append(r.Matches, MatchValue{m.Property, v})
		}
	}
	return r, nil
}

func first(d *syncline.Delivery, payload []byte, sources []Source) (string, bool) {
	for _, s := range sources {
		if v, ok := s.value(d, payload); ok && v != "" {
			return v, true
		}
	}
	return "", false
}

// value is the text at a source; ok is false when nothing is there, or
// something that is not a string, a number or a boolean.
func (s Source) value(d *syncline.Delivery, payload []byte) (text string, ok bool) {
	kind, path, _ := strings.Cut(string(s), ":")
	switch kind {
	case "header":
		v := d.Header(path)
		return v, v != ""
	case "query":
		u, err := url.Parse(d.Path)
		if err != nil {
			return "", false
		}
		q := u.Query()
		return q.Get(path), q.Has(path)
	case "body":
		switch v := gjson.GetBytes(payload, path); v.Type {
		case gjson.String:
			return v.Str, true
		case gjson.Number, gjson.True, gjson.False:
			return v.Raw, true
		}
	}
	return "", false
}

func (w *Webhook) payload(d *syncline.Delivery) (json.RawMessage, error) {
	body := d.Body
	if kind, field, _ := strings.Cut(w.Payload, ":"); kind == "json_or_form" {
		media, _, _ := mime.ParseMediaType(d.Header("Content-Type"))
		if media == "application/x-www-form-urlencoded" {
			form, err := url.ParseQuery(string(body))
			if err != nil {
				return nil, unreadable("the form cannot be read: %w", err)
			}
			if !form.Has(field) {
				return nil, unreadable("the form has no field %q", field)
			}
			body = []byte(form.Get(field))
		}
	}
	switch {
	case len(strings.TrimSpace(string(body))) == 0:
		return nil, unreadable("the body is empty")
	case !utf8.Valid(body):
		return nil, unreadable("the body is not valid UTF-8")
	case depth(body) > MaxDepth:
		return nil, unreadable("the body is nested more than %d levels deep", MaxDepth)
	case !json.Valid(body):
		return nil, unreadable("the body is not JSON")
	}
	return body, nil
}

func unreadable(format string, args ...any) error {
	return syncline.Errorf(syncline.CodeInvalid, format, args...)
}

// depth is how deeply brackets outside of strings nest.
func depth(text []byte) int {
	deepest, now := 0, 0
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}
