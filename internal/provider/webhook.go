package provider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"syncline"
)

// The signature schemes.
const (
	SchemeHMACSHA256 = "hmac-sha256"
	SchemeHMACSHA1   = "hmac-sha1"
	SchemeToken      = "token" // the header is the secret itself
	SchemeNone       = "none"  // nothing to verify; only where a user says so
)

// Check reports what is wrong with a webhook section.
func (w *Webhook) Check() error {
	for i, v := range w.Signatures {
		if !slices.Contains([]string{SchemeHMACSHA256, SchemeHMACSHA1, SchemeToken, SchemeNone}, v.Scheme) {
			return fmt.Errorf("webhook.verify[%d]: scheme %q is unknown", i, v.Scheme)
		}
		if v.Scheme != SchemeNone && v.Header == "" {
			return fmt.Errorf("webhook.verify[%d]: header is missing", i)
		}
		if strings.HasPrefix(v.Scheme, "hmac") && v.Encoding != "hex" && v.Encoding != "base64" {
			return fmt.Errorf("webhook.verify[%d]: encoding %q is neither hex nor base64", i, v.Encoding)
		}
		if (v.Timestamp == "") != (v.Tolerance == 0) {
			return fmt.Errorf("webhook.verify[%d]: timestamp and tolerance go together", i)
		}
	}
	for field, sources := range map[string][]Source{"type": w.Type, "delivery_id": w.DeliveryID, "order_key": w.OrderKey} {
		for _, s := range sources {
			if err := s.check(); err != nil {
				return fmt.Errorf("webhook.%s: %w", field, err)
			}
		}
	}
	for i, m := range w.Match {
		if err := m.From.check(); err != nil {
			return fmt.Errorf("webhook.match[%d]: %w", i, err)
		}
		if len(m.Property) == 0 {
			return fmt.Errorf("webhook.match[%d]: property is missing", i)
		}
		for _, p := range m.Property {
			kind, _, _ := strings.Cut(p, ".")
			if p != "connection_id" && !slices.Contains([]string{"connection_config", "metadata", "tags"}, kind) {
				return fmt.Errorf("webhook.match[%d]: property %q is not connection_id, connection_config.x, metadata.x or tags.x", i, p)
			}
		}
	}
	if kind, field, _ := strings.Cut(w.Payload, ":"); w.Payload != "" && w.Payload != "json" && (kind != "json_or_form" || field == "") {
		return fmt.Errorf("webhook.payload %q is neither json nor json_or_form:field", w.Payload)
	}
	return nil
}

func (s Source) check() error {
	kind, path, ok := strings.Cut(string(s), ":")
	if !ok || path == "" || !slices.Contains([]string{"header", "body", "query"}, kind) {
		return fmt.Errorf("%q is not header:name, body:path or query:name", s)
	}
	return nil
}

// Override returns the webhook section of an integration: the catalogue's (w,
// nil when it has none) with what override, JSON in the same format, replaces
// at the top level. The error has code invalid_request.
func (w *Webhook) Override(override json.RawMessage) (*Webhook, error) {
	merged := Webhook{}
	if w != nil {
		merged = *w
	}
	if len(override) == 0 {
		if w == nil {
			return nil, nil
		}
		return &merged, nil
	}
	// JSON is YAML, and the catalogue's decoder knows durations ("5m").
	if err := yaml.NewDecoder(bytes.NewReader(override), yaml.Strict()).Decode(&merged); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "config.webhook: %s", yaml.FormatError(err, false, false)).WithField("config.webhook")
	}
	if err := merged.Check(); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "config.%w", err).WithField("config.webhook")
	}
	return &merged, nil
}
