package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// Sync keeps the records of one external API fresh, for every connection of an
// integration: Exec polls, OnWebhook handles webhooks. T is the type of its
// records, a struct with json tags and an id.
type Sync[T any] struct {
	Name        string
	Integration string // unique key of the integration
	Description string
	Version     string // a label of yours
	// Every is the interval of polls, between 1 s and 366 days.
	Every time.Duration
	// ManualStart leaves the schedule off until POST /sync/start. Webhooks are
	// handled in any case.
	ManualStart bool
	// Model is the model of T; its zero value has the name of the type.
	Model Model[T]
	// Models are further models that the sync saves, through [Model.Of].
	Models []AnyModel
	// Checkpoint and Metadata declare what the sync's checkpoints and the
	// connection's metadata are: a [Checkpoint] and a [Metadata]. Optional.
	Checkpoint Schema
	Metadata   Schema
	// WebhookSubscriptions are the types of webhooks that go to OnWebhook, compared
	// exactly; "*" is all.
	WebhookSubscriptions []string
	Scopes               []string // that the connection's token needs; recorded
	// Reconcile is how often a poll fetches everything, with the cache kept: it gets
	// no checkpoint and no last sync date. 0 never does.
	Reconcile time.Duration
	// RewindContested makes the poll after one with contested records begin where
	// that one did before the first of them.
	RewindContested bool

	// Exec is one poll. What it saves is committed batch by batch.
	Exec func(ctx context.Context, h *SyncHandle[T]) error
	// OnWebhook handles one webhook. What it does is committed when it returns nil;
	// otherwise nothing of it remains. Optional.
	OnWebhook func(ctx context.Context, h *SyncHandle[T], w *Webhook) error
}

// SyncHandle is a [Handle] with the records of the sync's model.
type SyncHandle[T any] struct {
	*Handle
	*Records[T]
}

// Webhook is one webhook, as OnWebhook gets it.
type Webhook struct {
	Type       string      // such as "issues"
	Header     http.Header // less authorization, cookies and what carries the secret itself
	DeliveryID string      // the provider's id of the delivery; "" when it has none
	ReceivedAt time.Time
	Payload    json.RawMessage // the parsed body, or one item of a batch
}

// Decode decodes the payload into v.
func (w *Webhook) Decode(v any) error {
	if err := json.Unmarshal(w.Payload, v); err != nil {
		return fmt.Errorf("the webhook's payload is not what was expected: %w", err)
	}
	return nil
}

func (y Sync[T]) define() (gofn.Function, error) {
	d := definition{m: syncline.Manifest{
		Type: syncline.FunctionSync, Name: y.Name, Integration: y.Integration, Description: y.Description, Version: y.Version,
		AutoStart: !y.ManualStart, WebhookSubscriptions: y.WebhookSubscriptions, HasOnWebhook: y.OnWebhook != nil, Scopes: y.Scopes,
		RewindContested: y.RewindContested, Models: map[string]json.RawMessage{},
	}}
	d.m.Frequency = d.every("Every", y.Every)
	d.m.Reconcile = d.every("Reconcile", y.Reconcile)
	if y.Every == 0 {
		d.bad("Every is missing: how often it polls, such as 5 * time.Minute")
	}
	if y.Exec == nil {
		d.bad("Exec is missing")
	}
	if len(y.WebhookSubscriptions) > 0 && y.OnWebhook == nil {
		d.bad("it subscribes to webhooks but has no OnWebhook")
	}
	models := append([]AnyModel{y.Model}, y.Models...)
	for _, m := range models {
		d.model(m)
	}
	d.m.Checkpoint = d.object("Checkpoint", y.Checkpoint)
	d.m.Metadata = d.object("Metadata", y.Metadata)
	handlers := map[fn.Entry]gofn.Handler{fn.EntryExec: func(ctx context.Context, s *gofn.Session) (any, error) {
		h := y.newHandle(s)
		if err := begin(ctx, h.Handle, models, true); err != nil {
			return nil, err
		}
		if err := y.Exec(ctx, h); err != nil {
			return nil, err
		}
		return nil, endTracking(ctx, h.Handle, models)
	}}
	if y.OnWebhook != nil {
		handlers[fn.EntryOnWebhook] = func(ctx context.Context, s *gofn.Session) (any, error) {
			h := y.newHandle(s)
			if err := begin(ctx, h.Handle, models, false); err != nil {
				return nil, err
			}
			return nil, y.OnWebhook(ctx, h, newWebhook(s))
		}
	}
	return d.done(handlers)
}

func (y Sync[T]) newHandle(s *gofn.Session) *SyncHandle[T] {
	h := newHandle(s)
	return &SyncHandle[T]{h, y.Model.Of(h)}
}

func newWebhook(s *gofn.Session) *Webhook {
	w := &Webhook{Payload: s.Input, Header: http.Header{}}
	if info := s.Context.Webhook; info != nil {
		w.Type, w.DeliveryID, w.ReceivedAt = info.Type, info.DeliveryID, info.ReceivedAt
		for name, value := range info.Headers {
			w.Header.Set(name, value)
		}
	}
	return w
}

// model adds a model to the manifest.
func (d *definition) model(m AnyModel) {
	o := m.options()
	if o.name == "" {
		d.bad("a model has no name, and its type has none either: set Model.Name")
		return
	}
	if _, twice := d.m.Models[o.name]; twice {
		d.bad("the model %s is there twice", o.name)
	}
	d.m.Models[o.name] = d.schema("the model "+o.name, m.schema)
	if len(o.ignored) > 0 {
		if d.m.IgnoredFields == nil {
			d.m.IgnoredFields = map[string][]string{}
		}
		d.m.IgnoredFields[o.name] = o.ignored
	}
	if o.history > 0 {
		if o.history < syncline.MinRetention || o.history > syncline.MaxRetention || o.history%time.Second != 0 {
			d.bad("the model %s: History is %s; it takes whole seconds, between 1 h and 10 years", o.name, o.history)
			return
		}
		if d.m.History == nil {
			d.m.History = map[string]string{}
		}
		d.m.History[o.name] = syncline.FormatRetention(o.history)
	}
}

// begin does what the models declare, before the handler.
func begin(ctx context.Context, h *Handle, models []AnyModel, poll bool) error {
	for _, m := range models {
		o := m.options()
		if o.merge != (Strategy{}) {
			if err := setMergingStrategy(ctx, h, o.name, o.merge); err != nil {
				return err
			}
		}
		if poll && o.trackDeletes {
			if err := h.call(ctx, fn.MethodTrackDeletesStart, modelArgs{o.name}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func endTracking(ctx context.Context, h *Handle, models []AnyModel) error {
	for _, m := range models {
		if o := m.options(); o.trackDeletes {
			if err := h.call(ctx, fn.MethodTrackDeletesEnd, modelArgs{o.name}, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
