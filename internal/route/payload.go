package route

import (
	"encoding/json"
	"strings"

	"syncline"
	"syncline/internal/provider"
)

// Payloads reads what an event hands to its handler.
type Payloads struct {
	Webhook func(i *syncline.Integration) (*provider.Webhook, error)
}

// secretHeaders are not shown to functions.
var secretHeaders = map[string]bool{"authorization": true, "cookie": true, "proxy-authorization": true}

// Payload is the parsed body of an event's delivery, and what the handler sees
// of the delivery besides.
func (p Payloads) Payload(i *syncline.Integration, d *syncline.Delivery, e *syncline.Event) (json.RawMessage, *syncline.WebhookInfo, error) {
	w, err := p.Webhook(i)
	if err != nil {
		return nil, nil, err
	}
	if w == nil {
		return nil, nil, syncline.Errorf(syncline.CodeInvalid, "nothing is known of the webhooks of the provider %s", i.Provider)
	}
	payload, err := w.Extract(d)
	if err != nil {
		return nil, nil, err
	}
	info := &syncline.WebhookInfo{Type: e.Type, DeliveryID: e.DeliveryID, ReceivedAt: e.ReceivedAt, Headers: map[string]string{}}
	for _, h := range d.Headers {
		name := strings.ToLower(h.Name)
		if secretHeaders[name] || w.IsSecret(name) {
			continue
		}
		if old, ok := info.Headers[name]; ok {
			info.Headers[name] = old + ", " + h.Value
		} else {
			info.Headers[name] = h.Value
		}
	}
	return payload, info, nil
}
