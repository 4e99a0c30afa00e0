// Package inbox is the contract of the durable log that deliveries enter before
// they are acknowledged. It is a store of its own, so that nothing that the main
// store does delays an acknowledgement. It knows nothing of routing, lanes or
// functions; engines are in its subpackages, and inboxtest is the suite that
// each must pass.
package inbox

import (
	"context"
	"time"

	"syncline"
)

// Key tells redeliveries from new deliveries: within one (environment,
// integration, endpoint), the same ID with the same body hash is the same
// delivery. An empty Key is never a duplicate.
type Key struct {
	ID string // the provider's delivery id, or a hash of the body where the catalogue opts in
	// Within is for how long the key counts; 0 is for as long as the delivery is kept.
	Within time.Duration
}

// Receipt is what an append came to.
type Receipt struct {
	// Position is that of the delivery; for a duplicate, that of the original.
	Position  int64
	Duplicate bool
}

// Entry is one entry of the log, in its order: a delivery, or the note that an
// earlier one was delivered again.
type Entry struct {
	Position int64
	Delivery *syncline.Delivery // nil for a redelivery
	// Redelivered is the position of the original; 0 for a delivery.
	Redelivered   int64
	EnvironmentID int64
	ReceivedAt    time.Time
}

// Log is an inbox. All methods are safe for concurrent use.
type Log interface {
	// Append makes d durable (committed and fsynced, many appends in one
	// commit) and sets d.Position. A duplicate by key leaves a redelivery entry
	// instead, as durable. When it cannot be stored the error has code
	// unavailable (disk, backlog, shutdown), and nothing was stored.
	Append(ctx context.Context, d *syncline.Delivery, key Key) (Receipt, error)
	// Read lists entries beyond after, in order.
	Read(ctx context.Context, after int64, limit int) ([]Entry, error)
	// Get reads deliveries by position; those purged are absent.
	Get(ctx context.Context, env int64, positions []int64) (map[int64]*syncline.Delivery, error)
	// Sizes are the sizes of deliveries' bodies in bytes, read without the
	// bodies; those purged are absent.
	Sizes(ctx context.Context, env int64, positions []int64) (map[int64]int, error)
	// Last is the position of the newest entry; 0 when there is none.
	Last(ctx context.Context) (int64, error)
	// Appended returns a channel that is closed at the next append after the call.
	Appended() <-chan struct{}
	// Purge removes deliveries received before t that keep reports as not
	// needed any more; it returns how many.
	Purge(ctx context.Context, before time.Time, keep func(positions []int64) (needed []int64, err error)) (int, error)
	Ping(ctx context.Context) error
	Close() error
}
