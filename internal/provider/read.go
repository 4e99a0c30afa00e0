package provider

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"syncline"
)

// MaxDepth is how deeply a webhook's JSON may be nested. What is deeper, or is
// not JSON in valid UTF-8, is refused when it is received rather than stored:
// no function could ever read it.
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
	r.OrderKey = w.orderKey(d, payload)
	for _, m := range w.Match {
		if v, ok := m.From.value(d, payload); ok && v != "" {
			r.Matches = append(r.Matches, MatchValue{m.Property, strings.TrimSuffix(v, m.Without)})
		}
	}
	return r, nil
}

// orderKey joins the values of all sources. With one missing the object is not
// known: what is left could be the key of another.
func (w *Webhook) orderKey(d *syncline.Delivery, payload []byte) string {
	key := make([]string, len(w.OrderKey))
	for i, s := range w.OrderKey {
		v, ok := s.value(d, payload)
		if !ok || v == "" {
			return ""
		}
		key[i] = v
	}
	return strings.Join(key, "#")
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

// payload is the checked JSON of a delivery.
func (w *Webhook) payload(d *syncline.Delivery) (json.RawMessage, error) {
	text, err := w.Extract(d)
	switch {
	case err != nil:
		return nil, err
	case len(bytes.TrimSpace(text)) == 0:
		return nil, unreadable("the body is empty")
	case !utf8.Valid(text):
		return nil, unreadable("the body is not valid UTF-8")
	case depth(text) > MaxDepth:
		return nil, unreadable("the body is nested more than %d levels deep", MaxDepth)
	case !json.Valid(text):
		return nil, unreadable("the body is not JSON")
	}
	return text, nil
}

// Extract is the JSON of a delivery, unchecked: what its handler gets. It is
// for deliveries that [Webhook.Read] has read before.
func (w *Webhook) Extract(d *syncline.Delivery) (json.RawMessage, error) {
	kind, field, _ := strings.Cut(w.Payload, ":")
	if kind != "json_or_form" {
		return d.Body, nil
	}
	if media, _, _ := mime.ParseMediaType(d.Header("Content-Type")); media != "application/x-www-form-urlencoded" {
		return d.Body, nil
	}
	form, err := url.ParseQuery(string(d.Body))
	if err != nil {
		return nil, unreadable("the form cannot be read: %w", err)
	}
	if len(form[field]) != 1 {
		return nil, unreadable("the form has %d fields %q; there must be one", len(form[field]), field)
	}
	return json.RawMessage(form.Get(field)), nil
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
