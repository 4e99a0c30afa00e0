package sim

import (
	"context"
	"time"

	"syncline"
	"syncline/internal/inbox"
)

// Inbox is an inbox in memory. It keeps nothing, and it is for one goroutine.
type Inbox struct {
	entries []inbox.Entry
	keys    map[inboxKey]int64
}

type inboxKey struct {
	integration int64
	id, body    string
}

var _ inbox.Log = (*Inbox)(nil)

// NewInbox makes an empty inbox.
func NewInbox() *Inbox { return &Inbox{keys: map[inboxKey]int64{}} }

// Append takes a delivery, or notes that it came before.
func (x *Inbox) Append(_ context.Context, d *syncline.Delivery, key inbox.Key) (inbox.Receipt, error) {
	e := inbox.Entry{Position: int64(len(x.entries)) + 1, EnvironmentID: d.EnvironmentID, ReceivedAt: d.ReceivedAt}
	k := inboxKey{d.IntegrationID, key.ID, string(d.Body)}
	if first, ok := x.keys[k]; ok && key.ID != "" {
		e.Redelivered = first
		x.entries = append(x.entries, e)
		return inbox.Receipt{Position: first, Duplicate: true}, nil
	}
	d.Position = e.Position
	x.keys[k] = e.Position
	kept := *d
	e.Delivery = &kept
	x.entries = append(x.entries, e)
	return inbox.Receipt{Position: e.Position}, nil
}

// Read lists entries beyond after.
func (x *Inbox) Read(_ context.Context, after int64, limit int) ([]inbox.Entry, error) {
	list := x.entries[min(int(after), len(x.entries)):]
	return list[:min(limit, len(list))], nil
}

// Get reads deliveries.
func (x *Inbox) Get(_ context.Context, _ int64, positions []int64) (map[int64]*syncline.Delivery, error) {
	found := map[int64]*syncline.Delivery{}
	for _, p := range positions {
		if d := x.entries[p-1].Delivery; d != nil {
			found[p] = d
		}
	}
	return found, nil
}

// Sizes are the sizes of bodies.
func (x *Inbox) Sizes(_ context.Context, _ int64, positions []int64) (map[int64]int, error) {
	found := map[int64]int{}
	for _, p := range positions {
		if d := x.entries[p-1].Delivery; d != nil {
			found[p] = len(d.Body)
		}
	}
	return found, nil
}

// Last is the newest position.
func (x *Inbox) Last(context.Context) (int64, error) { return int64(len(x.entries)), nil }

// Appended is not waited for.
func (x *Inbox) Appended() <-chan struct{} { return nil }

// Purge removes nothing.
func (x *Inbox) Purge(context.Context, time.Time, func([]int64) ([]int64, error)) (int, error) {
	return 0, nil
}

// Ping does nothing.
func (x *Inbox) Ping(context.Context) error { return nil }

// Close does nothing.
func (x *Inbox) Close() error { return nil }
