package host

import (
	"context"
	"encoding/json"
	"errors"

	"syncline"
	"syncline/internal/fn"
)

// Actions runs the actions that functions trigger.
type Actions interface {
	// TriggerNested runs an action to its end and returns its output. An error
	// is a [*syncline.Failure] when the action failed; not_found when there is none.
	TriggerNested(ctx context.Context, n Nested) (json.RawMessage, error)
}

// Nested is an action that a function triggers.
type Nested struct {
	EnvironmentID     int64
	ProviderConfigKey string // of the connection
	ConnectionID      string // the user's id
	Name              string
	Input             json.RawMessage // nil: none
	Parent            string          // UUID of the run that waits for it
	Depth             int             // from 1
}

// triggerAction runs an action as a run of its own and waits for it. What it
// does takes place at once, also when a webhook run triggers it.
func (s *session) triggerAction(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var args struct {
		ProviderConfigKey string          `json:"provider_config_key"`
		ConnectionID      string          `json:"connection_id"`
		Name              string          `json:"name"`
		Input             json.RawMessage `json:"input"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	switch {
	case args.Name == "":
		return nil, syncline.Errorf(syncline.CodeInvalid, "triggerAction: the action has no name")
	case s.staged.Load() != nil:
		return nil, syncline.Errorf(syncline.CodeInvalid, "triggerAction: the connection is not there yet: validate-connection runs before it is accepted").
			WithHint("call the external API itself, or trigger the action in post-connection-creation")
	case s.deps.Actions == nil:
		return nil, notOffered(fn.MethodTriggerAction)
	case s.depth >= fn.MaxDepth:
		return nil, syncline.Errorf(syncline.CodeLimit, "triggerAction(%s): actions trigger each other more than %d deep", args.Name, fn.MaxDepth).
			WithHint("does an action trigger itself?")
	}
	n := Nested{
		EnvironmentID: s.subject.Environment.ID, ProviderConfigKey: args.ProviderConfigKey, ConnectionID: args.ConnectionID, Name: args.Name,
		Input: args.Input, Parent: s.run.UUID, Depth: s.depth + 1,
	}
	if n.ProviderConfigKey == "" {
		n.ProviderConfigKey = s.subject.Integration.UniqueKey
	}
	if n.ConnectionID == "" {
		n.ConnectionID = s.subject.Connection.ConnectionID
	}
	// For watermarks it is a request like any other: what it returns may be saved.
	position, err := s.deps.Store.Position(ctx)
	if err != nil {
		return nil, err
	}
	s.marks.begin(position)
	defer s.marks.end()
	out, err := s.deps.Actions.TriggerNested(ctx, n)
	var f *syncline.Failure
	if errors.As(err, &f) {
		return nil, &fn.HostError{Code: codeOfNested(f), Message: "the action " + args.Name + " failed: " + f.Message}
	}
	return out, err
}

// codeOfNested is the code of a failed action for the function that triggered
// it: when the world was at fault, it is for that one too.
func codeOfNested(f *syncline.Failure) syncline.Code {
	if u := f.Upstream; u != nil {
		if fn.Unavailable(&fn.ScriptError{Status: u.Status}) {
			return syncline.CodeUpstream
		}
		return syncline.CodeScript
	}
	return f.Code
}
