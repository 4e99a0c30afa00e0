package route

import (
	"context"
	"errors"
	"fmt"

	"syncline"
	"syncline/internal/crash"
	"syncline/internal/inbox"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// item is one thing to route: a delivery from the inbox, a note that one was
// delivered again, or a parked delivery that is tried again.
type item struct {
	entry    inbox.Entry        // of the inbox; zero for a parked delivery
	delivery *syncline.Delivery // of a note: the original; nil when it is gone or not needed
	rerouted bool               // a parked delivery
	webhook  *provider.Webhook
	section  string // names webhook
	reading  *provider.Reading
	// unreadable says why there is no reading.
	unreadable string
	failed     bool // its effects could not be written
	parked     bool // it was, by the newest commit, and was not before or was taken out of the pass
}

// originalsAtOnce bounds how many originals of redeliveries are held in memory
// together; each may have the largest body.
const originalsAtOnce = 16

// routeBatch routes the entries that come next and returns how many there
// were. What they became and the new position commit together, so that each is
// routed exactly once; the commit need not wait for the disk, since the inbox
// can be read again.
func (r *Router) routeBatch(ctx context.Context) (int, error) {
	entries, err := r.Inbox.Read(ctx, r.position, batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	items, err := r.prepare(ctx, entries)
	if err != nil {
		return 0, err
	}
	return len(items), r.write(ctx, items)
}

// write commits items, each as it can be. An item whose effects cannot be
// written is found by writing one at a time, and ends dead: it must not hold up
// what comes after it.
func (r *Router) write(ctx context.Context, items []*item) error {
	err := r.commit(ctx, items)
	for {
		var first *parkedFirst
		if !errors.As(err, &first) {
			break
		}
		if err := r.reroute(ctx, first.key); err != nil {
			return err
		}
		r.passOf(first.key).covered[first.connection] = first.updated
		err = r.commit(ctx, items)
	}
	if err == nil || ctx.Err() != nil || syncline.CodeOf(err) == syncline.CodeUnavailable {
		return err
	}
	if len(items) > 1 {
		for _, it := range items {
			if err := r.write(ctx, []*item{it}); err != nil {
				return err
			}
		}
		return nil
	}
	it := items[0]
	r.Log.Error("a delivery cannot be routed", "position", it.entry.Position, "err", err)
	it.reading, it.unreadable, it.failed = nil, "its events cannot be written: "+err.Error(), true
	return r.commit(ctx, items)
}

// errElsewhere says that another router, in another process, has routed: what is
// remembered here of parked deliveries is old.
var errElsewhere = syncline.Errorf(syncline.CodeUnavailable, "another process routes deliveries too")

// commit writes what items become and, for those of the inbox, the new position.
// That is read first, which locks it: routers take turns.
func (r *Router) commit(ctx context.Context, items []*item) error {
	events, position := 0, int64(0)
	err := r.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		if position, err = tx.RouterPosition(); err != nil {
			return err
		}
		if position != r.position {
			return errElsewhere
		}
		w := r.newWork(tx)
		moved := false
		for _, it := range items {
			it.parked = false
			if it.entry.Position != 0 {
				if it.entry.Position <= position {
					continue // an earlier part of the batch
				}
				position, moved = it.entry.Position, true
			}
			if err := w.take(it); err != nil {
				return err
			}
		}
		events = w.events
		if !moved {
			return nil
		}
		return tx.SetRouterPosition(position)
	})
	if err != nil {
		return err
	}
	r.position = position
	for _, it := range items {
		if it.parked {
			r.passOf(integrationKey{it.delivery.EnvironmentID, it.delivery.IntegrationID}).add(it)
		}
	}
	crash.Point(crash.AfterRoute)
	if events > 0 && r.Wake != nil {
		r.Wake()
	}
	return nil
}

// prepare does everything that needs no transaction: it reads the integrations
// in one snapshot, fetches the originals of redeliveries and parses. It may cut
// the batch short.
func (r *Router) prepare(ctx context.Context, entries []inbox.Entry) ([]*item, error) {
	items := make([]*item, 0, len(entries))
	again := map[int64][]int64{}
	integrations := map[integrationKey]*syncline.Integration{}
	err := r.Store.View(ctx, func(v store.Reader) error {
		needed := 0
		for _, e := range entries {
			it := &item{entry: e, delivery: e.Delivery}
			if e.Delivery == nil {
				drive, err := drivenAgain(v, e)
				if err != nil {
					return err
				}
				if drive {
					if needed++; needed > originalsAtOnce {
						return nil
					}
					again[e.EnvironmentID] = append(again[e.EnvironmentID], e.Redelivered)
				}
			} else if err := integrationOf(v, e.Delivery, integrations); err != nil {
				return err
			}
			items = append(items, it)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(again) > 0 {
		originals, err := r.fetch(ctx, again)
		if err != nil {
			return nil, err
		}
		err = r.Store.View(ctx, func(v store.Reader) error {
			for _, it := range items {
				if d := originals[it.entry.Redelivered]; it.delivery == nil && d != nil {
					it.delivery = d
					if err := integrationOf(v, d, integrations); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	r.readAll(items, integrations)
	return items, nil
}

// drivenAgain reports whether a redelivery may do more than be counted. An
// original of the same batch has no state yet, so it may.
func drivenAgain(v store.Reader, e inbox.Entry) (bool, error) {
	state, err := v.DeliveryState(e.EnvironmentID, e.Redelivered)
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		return true, nil
	case err != nil:
		return false, err
	}
	return state.Status != syncline.DeliveryProcessed && state.Status != syncline.DeliveryRouted, nil
}

// integrationOf reads a delivery's integration, once; one that is gone is nil.
func integrationOf(v store.Reader, d *syncline.Delivery, into map[integrationKey]*syncline.Integration) error {
	k := integrationKey{d.EnvironmentID, d.IntegrationID}
	if _, known := into[k]; known {
		return nil
	}
	i, err := v.Integration(k.env, k.id)
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		into[k] = nil
	case err != nil:
		return err
	default:
		into[k] = &i
	}
	return nil
}

// fetch reads raw deliveries by environment and position.
func (r *Router) fetch(ctx context.Context, positions map[int64][]int64) (map[int64]*syncline.Delivery, error) {
	all := map[int64]*syncline.Delivery{}
	for env, list := range positions {
		found, err := r.Inbox.Get(ctx, env, list)
		if err != nil {
			return nil, err
		}
		for p, d := range found {
			all[p] = d
		}
	}
	return all, nil
}

// readAll parses the deliveries of items.
func (r *Router) readAll(items []*item, integrations map[integrationKey]*syncline.Integration) {
	type section struct {
		webhook *provider.Webhook
		name    string
		problem string
	}
	sections := map[integrationKey]section{}
	for _, it := range items {
		d := it.delivery
		if d == nil {
			continue
		}
		k := integrationKey{d.EnvironmentID, d.IntegrationID}
		s, known := sections[k]
		if !known {
			var err error
			if i := integrations[k]; i == nil {
				s.problem = "its integration was deleted"
			} else if s.webhook, err = r.Webhook(i); err != nil {
				s.problem = err.Error()
			} else if s.webhook == nil {
				s.problem = "nothing is known of the webhooks of the provider " + i.Provider
			} else {
				s.name = sectionOf(i)
			}
			sections[k] = s
		}
		if it.webhook, it.section, it.unreadable = s.webhook, s.name, s.problem; it.unreadable != "" {
			continue
		}
		var err error
		if it.reading, err = read(s.webhook, d); err != nil {
			// It could be read when it was stored: the catalogue or the
			// integration's overrides changed since.
			it.unreadable = "it cannot be read: " + err.Error()
		}
	}
}

// read keeps a panic over one delivery from stopping all others.
func read(w *provider.Webhook, d *syncline.Delivery) (reading *provider.Reading, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading it failed: %v", p)
		}
	}()
	return w.Read(d)
}
