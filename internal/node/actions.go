package node

import (
	"context"
	"encoding/json"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/dispatch"
	"syncline/internal/store"
)

// actions lets the API run functions.
type actions struct{ a *dispatch.Actions }

var _ api.Actions = actions{}

func (x actions) Trigger(ctx context.Context, env, connectionID, functionID int64, input json.RawMessage) (output json.RawMessage, run string, err error) {
	return x.a.Trigger(ctx, dispatch.ActionCall{EnvironmentID: env, ConnectionID: connectionID, FunctionID: functionID, Input: input})
}

func (x actions) Enqueue(ctx context.Context, env, connectionID, functionID int64, input json.RawMessage, maxRetries int) (string, error) {
	j, err := x.a.Enqueue(ctx, dispatch.ActionCall{EnvironmentID: env, ConnectionID: connectionID, FunctionID: functionID, Input: input}, maxRetries)
	if err != nil {
		return "", err
	}
	return j.UUID, nil
}

func (x actions) Validate(ctx context.Context, i *syncline.Integration, c *syncline.Connection) (api.Validated, error) {
	v, err := x.a.Validate(ctx, i, c)
	if err != nil {
		return api.Validated{}, err
	}
	return api.Validated{Metadata: v.Metadata, Changed: v.Changed, Store: v.Store}, nil
}

func (x actions) Created(tx store.Tx, i *syncline.Integration, c *syncline.Connection) error {
	return x.a.Created(tx, i, c)
}

func (x actions) Delete(ctx context.Context, env, connectionID int64) ([]string, error) {
	return x.a.Delete(ctx, env, connectionID)
}
