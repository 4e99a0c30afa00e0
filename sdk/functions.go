package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// Function is a [Sync], an [Action] or an [OnEvent].
type Function interface {
	define() (gofn.Function, error)
}

// Functions is what a binary has compiled in.
type Functions []Function

// Compile checks the functions and derives their schemas. It is called by
// package app; tests of your own may call it to find mistakes early.
func (fs Functions) Compile() ([]gofn.Function, error) {
	var out []gofn.Function
	var wrong []error
	for _, f := range fs {
		if f == nil {
			wrong = append(wrong, errors.New("a function is nil"))
			continue
		}
		g, err := f.define()
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		g.Describe = describe
		out = append(out, g)
	}
	if len(wrong) > 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%w", errors.Join(wrong...))
	}
	return out, nil
}

// definition collects what is wrong with a function while it is defined.
type definition struct {
	m     syncline.Manifest
	wrong []error
}

func (d *definition) bad(format string, args ...any) {
	d.wrong = append(d.wrong, fmt.Errorf("%s %q: %w", d.m.Type, d.m.Name, fmt.Errorf(format, args...)))
}

// schema notes the schema of what.
func (d *definition) schema(what string, derive func() (json.RawMessage, error)) json.RawMessage {
	s, err := derive()
	if err != nil {
		d.bad("%s: %w", what, err)
	}
	return s
}

// object notes the schema of what, which must be an object.
func (d *definition) object(what string, of Schema) json.RawMessage {
	if of == nil {
		return nil
	}
	raw := d.schema(what, of.schema)
	var s struct {
		Type any `json:"type"`
	}
	if raw != nil && json.Unmarshal(raw, &s) == nil && s.Type != nil && s.Type != "object" {
		d.bad("%s is of a type that is no JSON object: take a struct", what)
	}
	return raw
}

// every writes an interval as manifests have it; "" for 0.
func (d *definition) every(field string, v time.Duration) string {
	if v == 0 {
		return ""
	}
	if v < syncline.MinFrequency || v > syncline.MaxFrequency || v%time.Second != 0 {
		d.bad("%s is %s; it takes whole seconds, between 1 s and 366 days", field, v)
		return ""
	}
	return "every " + syncline.FormatRetention(v)
}

func (d *definition) done(handlers map[fn.Entry]gofn.Handler) (gofn.Function, error) {
	if d.m.Name == "" {
		d.bad("the Name is missing")
	}
	if d.m.Integration == "" {
		d.bad("the Integration is missing: the unique key of the integration that it belongs to")
	}
	return gofn.Function{Manifest: d.m, Handlers: handlers}, errors.Join(d.wrong...)
}

// Event is when an [OnEvent] function is called.
type Event string

// The events.
const (
	// PostConnectionCreation is after a connection was made.
	PostConnectionCreation Event = "post-connection-creation"
	// PreConnectionDeletion is before a connection is deleted; its credentials
	// still work.
	PreConnectionDeletion Event = "pre-connection-deletion"
	// ValidateConnection is before a connection is accepted: an error refuses it.
	ValidateConnection Event = "validate-connection"
)

// OnEvent is a function that is called when something happens to a connection.
type OnEvent struct {
	Name        string
	Integration string // unique key of the integration
	Description string
	Version     string // a label of yours
	Event       Event
	// Metadata declares the type of the connection's metadata; optional.
	Metadata Schema
	Exec     func(ctx context.Context, h *Handle) error
}

func (o OnEvent) define() (gofn.Function, error) {
	d := definition{m: syncline.Manifest{
		Type: syncline.FunctionOnEvent, Name: o.Name, Integration: o.Integration, Description: o.Description, Version: o.Version, Event: string(o.Event),
	}}
	switch o.Event {
	case PostConnectionCreation, PreConnectionDeletion, ValidateConnection:
	default:
		d.bad("the Event is %q; it takes sdk.PostConnectionCreation, sdk.PreConnectionDeletion or sdk.ValidateConnection", o.Event)
	}
	if o.Exec == nil {
		d.bad("Exec is missing")
	}
	d.m.Metadata = d.object("Metadata", o.Metadata)
	return d.done(map[fn.Entry]gofn.Handler{fn.EntryExec: func(ctx context.Context, s *gofn.Session) (any, error) {
		return nil, o.Exec(ctx, newHandle(s))
	}})
}
