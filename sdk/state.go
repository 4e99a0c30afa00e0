package sdk

import (
	"context"
	"encoding/json"

	"syncline/internal/fn"
)

// Checkpoint is where the next run goes on: a value of type C, a struct with json
// tags. Declare one as a variable, name it in [Sync.Checkpoint], and use it in
// the handlers:
//
//	var cursor sdk.Checkpoint[struct {
//		Since time.Time `json:"since"`
//	}]
//
// Exec and OnWebhook have separate checkpoints. In Exec one is committed at once,
// after the batches before it, so that it never runs ahead of its records. In
// OnWebhook it is committed with the event.
type Checkpoint[C any] struct{}

func (Checkpoint[C]) schema() (json.RawMessage, error) { return schemaOf[C]() }

// Get returns the newest checkpoint, and whether there is one.
func (Checkpoint[C]) Get(ctx context.Context, h AnyHandle) (c C, found bool, err error) {
	var p *C
	if err := h.handle().call(ctx, fn.MethodGetCheckpoint, nil, &p); err != nil || p == nil {
		return c, false, err
	}
	return *p, true, nil
}

// Save replaces the checkpoint.
func (Checkpoint[C]) Save(ctx context.Context, h AnyHandle, c C) error {
	return h.handle().call(ctx, fn.MethodSaveCheckpoint, struct {
		Checkpoint C `json:"checkpoint"`
	}{c}, nil)
}

// Clear removes the checkpoint.
func (Checkpoint[C]) Clear(ctx context.Context, h AnyHandle) error {
	return h.handle().call(ctx, fn.MethodClearCheckpoint, nil, nil)
}

// Metadata is what your app says of a connection (POST /connections/metadata): a
// value of type M, a struct with json tags. Declare one as a variable, name it in
// the function, and use it in the handlers, like [Checkpoint].
type Metadata[M any] struct{}

func (Metadata[M]) schema() (json.RawMessage, error) { return schemaOf[M]() }

// Get returns the connection's metadata; the zero value of what is not set.
func (Metadata[M]) Get(ctx context.Context, h AnyHandle) (m M, err error) {
	err = h.handle().call(ctx, fn.MethodGetMetadata, nil, &m)
	return m, err
}

// Set replaces all of the connection's metadata.
func (Metadata[M]) Set(ctx context.Context, h AnyHandle, m M) error {
	return metadata(ctx, h, fn.MethodSetMetadata, m)
}

// Update replaces the members that patch has and keeps the others. patch is a
// struct or a map.
func (Metadata[M]) Update(ctx context.Context, h AnyHandle, patch any) error {
	return metadata(ctx, h, fn.MethodUpdateMetadata, patch)
}

func metadata(ctx context.Context, h AnyHandle, method string, m any) error {
	return h.handle().call(ctx, method, struct {
		Metadata any `json:"metadata"`
	}{m}, nil)
}
