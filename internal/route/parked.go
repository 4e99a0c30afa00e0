package route

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"syncline"
	"syncline/internal/provider"
	"syncline/internal/store"
)

const defaultParkedExpiry = 7 * 24 * time.Hour

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

// reroute tries those parked deliveries of an integration again that may not
// stay parked, in the order of their receipt.
func (r *Router) reroute(ctx context.Context, k integrationKey) (err error) {
	p := r.passOf(k)
	p.began = r.Clock.Now()
	maps.DeleteFunc(p.covered, func(_ int64, updated time.Time) bool { return updated.Before(p.began.Add(-settled)) })
	var i *syncline.Integration
	var w *provider.Webhook
	err = r.Store.View(ctx, func(v store.Reader) error {
		found, err := v.Integration(k.env, k.id)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		i = &found
		p.read(sectionOf(i))
		w, _ = r.Webhook(i) // why there is none, is said when each delivery is decided
		return nil
	})
	if err != nil {
		return err
	}
	var moves []string
	if w == nil {
		p.scatter()
	} else {
		// All that can be are decided about at one moment: one that stays, though an
		// earlier one for the same connection moves, would be overtaken.
		if err := r.sort(ctx, k, i, p); err != nil {
			return err
		}
		err = r.Store.View(ctx, func(v store.Reader) error {
			moves, err = p.moves(v, k, w)
			return err
		})
		if err != nil {
			return err
		}
	}
	rest := p.take(moves)
	defer func() { p.unsorted = append(p.unsorted, rest...) }() // after a failure
	return r.eachSome(ctx, k, i, &rest, func(items []*item) error { return r.write(ctx, items) })
}

// sort finds the kinds of deliveries that have none yet.
func (r *Router) sort(ctx context.Context, k integrationKey, i *syncline.Integration, p *pass) error {
	rest := p.unsorted
	p.unsorted = nil
	defer func() { p.unsorted = append(p.unsorted, rest...) }() // after a failure
	return r.eachSome(ctx, k, i, &rest, func(items []*item) error {
		for _, it := range items {
			if it.reading != nil {
				p.add(it)
			} else {
				p.unsorted = append(p.unsorted, it.delivery.Position)
			}
		}
		return nil
	})
}

// eachSome reads deliveries, some at a time, and takes those that were done off
// the list.
func (r *Router) eachSome(ctx context.Context, k integrationKey, i *syncline.Integration, rest *[]int64, do func(items []*item) error) error {
	for size := originalsAtOnce; len(*rest) > 0; {
		n := min(size, len(*rest))
		items, bytes, err := r.readSome(ctx, k, i, (*rest)[:n])
		if err == nil && len(items) > 0 {
			err = do(items)
		}
		if err != nil {
			return err
		}
		*rest = (*rest)[n:]
		// Bodies are held in memory together: few while they are large.
		if size = min(2*size, batch); bytes > 8<<20 {
			size = originalsAtOnce
		}
	}
	return nil
}

func (r *Router) readSome(ctx context.Context, k integrationKey, i *syncline.Integration, positions []int64) (items []*item, bytes int, err error) {
	raw, err := r.fetch(ctx, map[int64][]int64{k.env: positions})
	if err != nil {
		return nil, 0, err
	}
	for _, p := range positions {
		if d := raw[p]; d != nil { // else it was purged, and expires
			items = append(items, &item{rerouted: true, delivery: d})
			bytes += len(d.Body)
		}
	}
	r.readAll(items, map[integrationKey]*syncline.Integration{k: i})
	return items, bytes, nil
}

// eachParked calls each for the parked deliveries of all integrations, also of
// deleted ones, environment by environment and in the order of receipt, until
// it returns false for that environment.
func eachParked(v store.Reader, each func(s *syncline.DeliveryState) bool) error {
	environments, err := v.Environments()
	if err != nil {
		return err
	}
	for _, e := range environments {
		if err := eachParkedOf(v, e.ID, each); err != nil {
			return err
		}
	}
	return nil
}

// parkedPage is how many states are read together.
const parkedPage = 2000

// eachParkedOf is eachParked for one environment. The store lists the newest
// first, so a page in the order of receipt is the end of that list.
func eachParkedOf(v store.Reader, env int64, each func(s *syncline.DeliveryState) bool) error {
	f := store.DeliveryFilter{Status: syncline.DeliveryParked}
	left, err := v.CountDeliveries(env, f)
	if err != nil {
		return err
	}
	for left > 0 {
		n := min(left, parkedPage)
		left -= n
		f.Page = store.Page{Limit: n, Offset: left}
		states, err := v.Deliveries(env, f)
		if err != nil {
			return err
		}
		for i := range slices.Backward(states) {
			if !each(&states[i]) {
				return nil
			}
		}
	}
	return nil
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
		return eachParked(v, func(s *syncline.DeliveryState) bool {
			if now.Sub(s.ReceivedAt) < wait {
				return false // and so are those after it
			}
			if now.Sub(s.UpdatedAt) >= wait {
				old = append(old, *s)
			}
			return true
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
	gone := map[integrationKey]map[int64]bool{}
	for i := range old {
		k := integrationKey{old[i].EnvironmentID, old[i].IntegrationID}
		if gone[k] == nil {
			gone[k] = map[int64]bool{}
		}
		gone[k][old[i].Position] = true
	}
	for k, positions := range gone {
		r.passOf(k).drop(positions)
	}
	return nil
}
