package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// Action is a function that your app calls, by POST /action/trigger: it gets an
// input, usually calls the external API, and returns an output. In and Out are
// types with json tags; use struct{} for none.
type Action[In, Out any] struct {
	Name        string
	Integration string // unique key of the integration
	Description string
	Version     string   // a label of yours
	Scopes      []string // that the connection's token needs; recorded
	// Metadata declares the type of the connection's metadata; optional.
	Metadata Schema
	Exec     func(ctx context.Context, h *Handle, in In) (Out, error)
}

func (a Action[In, Out]) define() (gofn.Function, error) {
	d := definition{m: syncline.Manifest{
		Type: syncline.FunctionAction, Name: a.Name, Integration: a.Integration, Description: a.Description, Version: a.Version, Scopes: a.Scopes,
	}}
	d.m.Input = d.schema("the input", schemaOf[In])
	d.m.Output = d.schema("the output", schemaOf[Out])
	d.m.Metadata = d.object("Metadata", a.Metadata)
	if a.Exec == nil {
		d.bad("Exec is missing")
	}
	return d.done(map[fn.Entry]gofn.Handler{fn.EntryExec: func(ctx context.Context, s *gofn.Session) (any, error) {
		var in In
		if raw := bytes.TrimSpace(s.Input); len(raw) > 0 {
			if err := json.Unmarshal(raw, &in); err != nil {
				return nil, &ActionError{Type: "invalid_input", Message: fmt.Sprintf("the input is not what %s takes: %v", a.Name, err)}
			}
		}
		return a.Exec(ctx, newHandle(s), in)
	}})
}

// Trigger runs the action on the connection of the run that h belongs to, and
// returns its output.
func (a Action[In, Out]) Trigger(ctx context.Context, h AnyHandle, in In) (out Out, err error) {
	err = h.handle().TriggerAction(ctx, ActionCall{Name: a.Name, Input: in}, &out)
	return out, err
}

// ActionError is an error for whoever called an action: they get what is in it.
// Any other error that an action returns is shown as a defect of the function.
type ActionError struct {
	Type    string // such as "not_found"; optional
	Message string
	Payload any // anything else, as JSON; optional
}

func (e *ActionError) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Type != "":
		return e.Type
	}
	return "ActionError"
}

// payload is what the caller gets.
func (e *ActionError) payload() json.RawMessage {
	out := map[string]any{}
	if e.Type != "" {
		out["type"] = e.Type
	}
	if e.Message != "" {
		out["message"] = e.Message
	}
	if e.Payload != nil {
		out["payload"] = e.Payload
	}
	b, err := json.Marshal(out)
	if err != nil {
		delete(out, "payload")
		b, _ = json.Marshal(out)
	}
	return b
}
