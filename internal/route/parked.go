package route

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

const defaultParkedExpiry = 7 * 24 * time.Hour

// A pass is one look at all parked deliveries of an integration.
type pass struct {
	began time.Time
	// covered holds connections as they were, by id, when a pass was made for
	// their sake.
	covered map[int64]time.Time
}

// settled is how long after its UpdatedAt a change is surely committed.
const settled = time.Minute

// parkedFirst stops a batch: a delivery would be routed to a connection for
// which parked, earlier ones may have waited.
type parkedFirst struct {
	key        integrationKey
	connection int64
	updated    time.Time
}

func (p *parkedFirst) Error() string { return "parked deliveries go first" }

// parkedGoFirst keeps the order of receipt: the signal that a connection
// changed may be on its way still when a delivery for it is routed.
func (w *work) parkedGoFirst(it *item, i *integration, decision Decision) error {
	if it.rerouted || it.entry.Delivery == nil {
		return nil // not new
	}
	k := integrationKey{it.delivery.EnvironmentID, it.delivery.IntegrationID}
	if !i.parked {
		return nil
	}
	p := w.r.passes[k]
	for _, t := range decision.Targets {
		c := t.Connection
		if p != nil && (c.UpdatedAt.Before(p.began.Add(-settled)) || p.covered[c.ID].Equal(c.UpdatedAt)) {
			continue
		}
		return &parkedFirst{k, c.ID, c.UpdatedAt}
	}
	return nil
}

// reroute tries the parked deliveries of an integration again, in the order
// of their receipt.
func (r *Router) reroute(ctx context.Context, k integrationKey) error {
	p := r.passes[k]
	if p == nil {
		p = &pass{covered: map[int64]time.Time{}}
		r.passes[k] = p
	}
	p.began = r.Clock.Now()
	maps.DeleteFunc(p.covered, func(_ int64, updated time.Time) bool { return updated.Before(p.began.Add(-settled)) })
	after, size := int64(0), originalsAtOnce
	for {
		var states []syncline.DeliveryState
		var i *syncline.Integration
		err := r.Store.View(ctx, func(v store.Reader) (err error) {
			if states, err = parkedAfter(v, k, after, batch); err != nil || len(states) == 0 {
				return err
			}
			found, err := v.Integration(k.env, k.id)
			if syncline.CodeOf(err) == syncline.CodeNotFound {
				return nil // deleted: they are dead
			}
			i = &found
			return err
		})
		if err != nil || len(states) == 0 {
			return err
		}
		for rest := states; len(rest) > 0; {
			n := min(size, len(rest))
			bytes, err := r.rerouteSome(ctx, k, i, rest[:n])
			if err != nil {
				return err
			}
			rest = rest[n:]
			// Bodies are held in memory together: few while they are large.
			if size = min(2*size, batch); bytes > 8<<20 {
				size = originalsAtOnce
			}
		}
		after = states[len(states)-1].Position
	}
}

func (r *Router) rerouteSome(ctx context.Context, k integrationKey, i *syncline.Integration, states []syncline.DeliveryState) (bytes int, err error) {
	positions := make([]int64, len(states))
	for n := range states {
		positions[n] = states[n].Position
	}
	raw, err := r.fetch(ctx, map[int64][]int64{k.env: positions})
	if err != nil {
		return 0, err
	}
	var items []*item
	for _, p := range positions {
		if d := raw[p]; d != nil { // else it was purged, and expires
			items = append(items, &item{rerouted: true, delivery: d})
			bytes += len(d.Body)
		}
	}
	if len(items) == 0 {
		return 0, nil
	}
	r.readAll(items, map[integrationKey]*syncline.Integration{k: i})
	return bytes, r.write(ctx, items)
}

// parkedAfter lists up to n parked deliveries of an integration beyond a
// position, in the order of receipt. The store lists the newest first, so this
// is the end of that list.
func parkedAfter(v store.Reader, k integrationKey, after int64, n int) ([]syncline.DeliveryState, error) {
	f := store.DeliveryFilter{IntegrationID: k.id, Status: syncline.DeliveryParked, After: after}
	count, err := v.CountDeliveries(k.env, f)
	if err != nil || count == 0 {
		return nil, err
	}
	f.Page = store.Page{Limit: n, Offset: max(0, count-n)}
	states, err := v.Deliveries(k.env, f)
	slices.Reverse(states)
	return states, err
}

// expire ends the parked deliveries that waited for too long since they were
// received or, if later, delivered again.
func (r *Router) expire(ctx context.Context, now time.Time) error {
	wait := r.ParkedExpiry
	if wait == 0 {
		wait = defaultParkedExpiry
	}
	var old []syncline.DeliveryState
	err := r.Store.View(ctx, func(v store.Reader) error {
		return eachIntegration(v, func(k integrationKey) error {
			for after := int64(0); ; {
				states, err := parkedAfter(v, k, after, batch)
				if err != nil {
					return err
				}
				for i := range states {
					after = states[i].Position
					if now.Sub(states[i].ReceivedAt) < wait {
						return nil // and so are those after it
					}
					if now.Sub(states[i].UpdatedAt) >= wait {
						old = append(old, states[i])
					}
				}
				if len(states) < batch {
					return nil
				}
			}
		})
	})
	if err != nil {
		return err
	}
	for part := range slices.Chunk(old, batch) {
		err := r.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			for _, s := range part {
				state, err := tx.DeliveryState(s.EnvironmentID, s.Position)
				if syncline.CodeOf(err) == syncline.CodeNotFound || err == nil && state.Status != syncline.DeliveryParked {
					continue
				}
				if err != nil {
					return err
				}
				state.Status, state.UpdatedAt = syncline.DeliveryExpired, now
				state.Reason = fmt.Sprintf("parked for %s: %s", wait, state.Reason)
				if err := tx.PutDeliveryState(&state); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
