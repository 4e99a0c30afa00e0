package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"syncline"
)

// The signature schemes.
const (
	SchemeHMACSHA256 = "hmac-sha256"
	SchemeHMACSHA1   = "hmac-sha1"
	SchemeToken      = "token" // the header is the secret itself
	SchemeNone       = "none"  // nothing to verify; only where a user says so
)

// maxDedupeBody bounds for how long equal bodies count as one delivery: an
// external API may well say the same thing twice and mean it.
const maxDedupeBody = time.Hour

// Check reports what is wrong with a webhook section. The error has code
// invalid_request and names the field.
func (w *Webhook) Check() error {
	for i := range w.Signatures {
		if err := w.Signatures[i].valid(len(w.Signatures)); err != nil {
			return within("verify["+strconv.Itoa(i)+"]", err)
		}
	}
	sources := []struct {
		field string
		list  []Source
	}{{"type", w.Type}, {"delivery_id", w.DeliveryID}, {"order_key", w.OrderKey}}
	for _, s := range sources {
		for i, source := range s.list {
			if err := source.check(); err != nil {
				return within(s.field+"["+strconv.Itoa(i)+"]", err)
			}
		}
	}
	for i := range w.Match {
		if err := w.Match[i].check(); err != nil {
			return within("match["+strconv.Itoa(i)+"]", err)
		}
	}
	if w.MatchAll && len(w.Match) > 0 {
		return wrong("match_all", "it leaves nothing to match: have either match_all or match")
	}
	if d := time.Duration(w.DedupeBody); d < 0 || d > maxDedupeBody {
		return wrong("dedupe_body", "%s is not between 0s and %s", d, maxDedupeBody)
	}
	if kind, field, _ := strings.Cut(w.Payload, ":"); w.Payload != "" && w.Payload != "json" && (kind != "json_or_form" || field == "") {
		return wrong("payload", "%q is neither json nor json_or_form:field", w.Payload)
	}
	if known := []string{"", "published vector", "cited document", "unverified"}; !slices.Contains(known, w.Confidence) {
		return wrong("confidence", "%q is not one of %s", w.Confidence, strings.Join(known[1:], ", "))
	}
	return nil
}

// valid checks one of n ways to sign.
func (v *Signature) valid(n int) error {
	switch v.Scheme {
	case SchemeNone:
		if *v != (Signature{Scheme: SchemeNone}) {
			return wrong("scheme", "none takes no other fields")
		}
		if n > 1 {
			return wrong("scheme", "none would make the other ways pointless: it stands alone")
		}
		return nil
	case SchemeToken:
		if v.Encoding != "" || v.Signed != "" || v.Timestamp != "" {
			return wrong("scheme", "token takes a header and a prefix, nothing else")
		}
	case SchemeHMACSHA256, SchemeHMACSHA1:
		if v.Encoding != "hex" && v.Encoding != "base64" {
			return wrong("encoding", "%q is neither hex nor base64", v.Encoding)
		}
	default:
		return wrong("scheme", "%q is not one of hmac-sha256, hmac-sha1, token, none", v.Scheme)
	}
	if !isHeaderName(v.Header) {
		return wrong("header", "%q is not the name of a header", v.Header)
	}
	switch v.Format {
	case "":
		if v.SignatureKey != "" {
			return wrong("signature_key", "it is for the format pairs")
		}
	case "pairs":
		if v.SignatureKey == "" || v.Prefix != "" {
			return wrong("signature_key", "the format pairs takes a signature_key, and no prefix")
		}
	default:
		return wrong("format", "%q is not pairs", v.Format)
	}
	if source, ok := v.bodyTimestamp(); ok {
		if err := source.check(); err != nil {
			return within("timestamp", err)
		}
	} else if v.Timestamp != "" && !isHeaderName(v.Timestamp) {
		return wrong("timestamp", "%q is not the name of a header", v.Timestamp)
	}
	if !slices.Contains([]string{"", "s", "ms", "iso8601"}, v.TimestampUnit) || v.TimestampUnit != "" && v.Timestamp == "" {
		return wrong("timestamp_unit", "it is s, ms or iso8601, and goes with timestamp")
	}
	if v.Tolerance < 0 || (v.Timestamp == "") != (v.Tolerance == 0) {
		return wrong("tolerance", "timestamp and tolerance go together")
	}
	return v.checkSigned()
}

// checkSigned checks the template of the signed content: it must hold the
// body, and the signing time when that is looked at; else anyone could change
// what is not signed.
func (v *Signature) checkSigned() error {
	_, within := v.bodyTimestamp() // what is in the body is signed with it
	if v.Signed == "" {
		if v.Timestamp != "" && !within {
			return wrong("signed", "it must hold {timestamp}, or the signing time could be made up")
		}
		return nil
	}
	for rest := v.Signed; ; {
		_, after, open := strings.Cut(rest, "{")
		if !open {
			break
		}
		name, tail, closed := strings.Cut(after, "}")
		kind, header, _ := strings.Cut(name, ":")
		switch {
		case !closed:
			return wrong("signed", "a { is not closed")
		case name == "raw_body", name == "method", name == "url", name == "timestamp" && v.Timestamp != "", kind == "header" && isHeaderName(header):
		case name == "timestamp":
			return wrong("signed", "{timestamp} needs the field timestamp")
		default:
			return wrong("signed", "{%s} is not one of {raw_body}, {timestamp}, {method}, {url}, {header:name}", name)
		}
		rest = tail
	}
	if !strings.Contains(v.Signed, "{raw_body}") {
		return wrong("signed", "it must hold {raw_body}")
	}
	if v.Timestamp != "" && !within && !strings.Contains(v.Signed, "{timestamp}") {
		return wrong("signed", "it must hold {timestamp}, or the signing time could be made up")
	}
	return nil
}

func (m *Match) check() error {
	if err := m.From.check(); err != nil {
		return within("from", err)
	}
	if len(m.Property) == 0 {
		return wrong("property", "it is missing")
	}
	for i, p := range m.Property {
		kind, name, _ := strings.Cut(p, ".")
		if p != "connection_id" && (name == "" || !slices.Contains([]string{"connection_config", "metadata", "tags"}, kind)) {
			return wrong("property["+strconv.Itoa(i)+"]", "%q is not connection_id, connection_config.x, metadata.x or tags.x", p)
		}
	}
	return nil
}

func (s Source) check() error {
	kind, path, _ := strings.Cut(string(s), ":")
	switch {
	case path == "":
	case kind == "header" && isHeaderName(path), kind == "query":
		return nil
	case kind == "body" && !strings.ContainsAny(path, "@!|#*?{}[]()\"'\\ "):
		return nil // a plain path, of gjson's language
	}
	return wrong("", "%q is not header:name, body:path.to.value or query:name", s)
}

func isHeaderName(s string) bool {
	return s != "" && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// wrong is an error about one field of a section.
func wrong(field, format string, args ...any) error {
	return syncline.Errorf(syncline.CodeInvalid, format, args...).WithField(field)
}

// within puts the name of the section before an error's field.
func within(section string, err error) error {
	var e *syncline.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	if e.Field == "" {
		return e.WithField(section)
	}
	return e.WithField(section + "." + e.Field)
}

// Override returns the webhook section of an integration: the catalogue's (w,
// nil when it has none) with what override, a JSON object in the same format,
// replaces. It replaces whole fields of the section; null takes one away. The
// error has code invalid_request and names the field. The result is not to be
// changed.
func (w *Webhook) Override(override json.RawMessage) (*Webhook, error) {
	if text := bytes.TrimSpace(override); len(text) == 0 || string(text) == "null" {
		return w, nil
	}
	fields := map[string]json.RawMessage{}
	if w != nil {
		base, err := json.Marshal(w)
		if err == nil {
			err = json.Unmarshal(base, &fields)
		}
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInternal, "copy the catalogue's webhook section: %w", err)
		}
	}
	var changed map[string]json.RawMessage
	if err := json.Unmarshal(override, &changed); err != nil {
		return nil, wrong("config.webhook", "config.webhook is not a JSON object: %w", err)
	}
	maps.Copy(fields, changed)
	merged, err := json.Marshal(fields)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "merge a webhook section: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(merged))
	d.DisallowUnknownFields()
	out := &Webhook{}
	if err := d.Decode(out); err != nil && !errors.Is(err, io.EOF) {
		return nil, wrong("config.webhook", "config.webhook does not have the form of the catalogue's webhook section: %w", err)
	}
	if err := out.Check(); err != nil {
		err = within("config.webhook", err)
		var e *syncline.Error
		if errors.As(err, &e) {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s: %s", e.Field, e.Message).WithField(e.Field)
		}
		return nil, err
	}
	return out, nil
}

// WebhookOf is the webhook section of an integration: the catalogue's with the
// integration's overrides; nil when nothing is known. The error is not_found
// when the provider is not in the catalogue, or that of [Webhook.Override].
func (c *Catalogue) WebhookOf(i *syncline.Integration) (*Webhook, error) {
	p, ok := c.Provider(i.Provider)
	if !ok {
		return nil, syncline.Errorf(syncline.CodeNotFound, "the provider %s of integration %s is not in the catalogue", i.Provider, i.UniqueKey)
	}
	return p.Webhook.Override(i.Config.Webhook)
}

// IsSecret reports whether a header carries the secret itself, so that it is
// not shown to functions.
func (w *Webhook) IsSecret(header string) bool {
	return slices.ContainsFunc(w.Signatures, func(v Signature) bool {
		return v.Scheme == SchemeToken && strings.EqualFold(v.Header, header)
	})
}
