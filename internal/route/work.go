package route

import (
	"time"

	"syncline"
	"syncline/internal/provider"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// work is the routing of several deliveries in one transaction. What it reads
// of functions holds for the transaction.
type work struct {
	r            *Router
	tx           store.Tx
	now          time.Time
	integrations map[integrationKey]*integration
	events       int // how many were written
}

type integration struct {
	functions []syncline.Function
	// parked tells whether deliveries are parked: before this transaction, or by
	// it. Where others commit meanwhile, it may find a connection for a delivery
	// that it had not found for an earlier one.
	parked bool
}

func (r *Router) newWork(tx store.Tx) *work {
	return &work{r: r, tx: tx, now: r.Clock.Now(), integrations: map[integrationKey]*integration{}}
}

func (w *work) integration(k integrationKey) (*integration, error) {
	if i := w.integrations[k]; i != nil {
		return i, nil
	}
	functions, err := w.tx.Functions(k.env, k.id)
	if err != nil {
		return nil, err
	}
	parked, err := w.tx.Parked(k.env, k.id, 1)
	if err != nil {
		return nil, err
	}
	i := &integration{functions: functions, parked: len(parked) > 0}
	w.integrations[k] = i
	return i, nil
}

// take writes what one item becomes.
func (w *work) take(it *item) error {
	switch {
	case it.rerouted:
		d := it.delivery
		state, err := w.tx.DeliveryState(d.EnvironmentID, d.Position)
		if syncline.CodeOf(err) == syncline.CodeNotFound || err == nil && state.Status != syncline.DeliveryParked {
			return nil // it ended meanwhile
		}
		if err != nil {
			return err
		}
		// It is handled later than others of its time: guarded like a replay.
		return w.replay(it, &state)
	case it.entry.Delivery == nil:
		return w.redelivered(it)
	}
	d := it.delivery
	return w.decide(it, &syncline.DeliveryState{
		Position: d.Position, EnvironmentID: d.EnvironmentID, IntegrationID: d.IntegrationID, DeliveryID: d.DeliveryID, ReceivedAt: d.ReceivedAt,
	}, 0)
}

// replay decides once more about a delivery that came to nothing.
func (w *work) replay(it *item, state *syncline.DeliveryState) error {
	events, err := w.tx.EventsOf(state.EnvironmentID, state.Position)
	if err != nil {
		return err
	}
	n := 0
	for i := range events {
		n = max(n, events[i].Replay)
	}
	return w.decide(it, state, n+1)
}

// decide routes a delivery: it writes its events and its state. replay counts
// the earlier ways through.
func (w *work) decide(it *item, state *syncline.DeliveryState, replay int) error {
	d := it.delivery
	before := *state
	state.UpdatedAt = w.now
	if it.unreadable != "" {
		state.Status, state.Reason = syncline.DeliveryDead, it.unreadable
		return w.tx.PutDeliveryState(state)
	}
	i, err := w.integration(integrationKey{d.EnvironmentID, d.IntegrationID})
	if err != nil {
		return err
	}
	connections, err := match(w.tx, integrationKey{d.EnvironmentID, d.IntegrationID}, d.ConnectionID, it.webhook, it.reading.Matches)
	if err != nil {
		return err
	}
	decision := Decide(it.reading, d.ConnectionID, connections, i.functions)
	if decision.Status == syncline.DeliveryParked {
		it.parked = it.rerouted || before.Status != syncline.DeliveryParked
		if it.rerouted {
			return nil // as before, and since then
		}
		i.parked = true
	}
	if err := w.parkedGoFirst(it, i, decision); err != nil {
		return err
	}
	state.Type, state.Status, state.Reason = it.reading.Type, decision.Status, decision.Reason
	events := make([]*syncline.Event, 0, len(decision.Targets))
	for _, t := range decision.Targets {
		instance, err := schedule.Ensure(w.tx, t.Function, t.Connection.ID, syncline.BaseVariant, w.now)
		if err != nil {
			return err
		}
		events = append(events, &syncline.Event{
			EnvironmentID: d.EnvironmentID, LaneID: instance.ID, Position: d.Position, Type: it.reading.Type, OrderKey: it.reading.OrderKey,
			DeliveryID: d.DeliveryID, ReceivedAt: d.ReceivedAt, Watermark: d.Watermark, Replay: replay,
			Status: syncline.EventPending, UpdatedAt: w.now,
		})
	}
	state.Events = before.Events + len(events)
	state.OpenEvents = before.OpenEvents + len(events)
	if err := w.tx.PutDeliveryState(state); err != nil {
		return err
	}
	w.events += len(events)
	return w.tx.AppendEvents(events)
}

// match finds the connections that a delivery is for: the one that its URL
// names, or those that have a value that it carries. Values are tried in the
// catalogue's order; the first that any connection has decides.
func match(v store.Reader, k integrationKey, named string, webhook *provider.Webhook, values []provider.MatchValue) ([]syncline.Connection, error) {
	if named != "" {
		c, err := v.ConnectionByKey(k.env, k.id, named)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil, nil
		}
		return []syncline.Connection{c}, err
	}
	if webhook.MatchAll {
		return connectionsOf(v, k)
	}
	for _, m := range values {
		var found []syncline.Connection
		seen := map[int64]bool{}
		for _, property := range m.Properties {
			connections, err := v.ConnectionsMatching(k.env, k.id, syncline.MatchKey{Property: property, Value: m.Value})
			if err != nil {
				return nil, err
			}
			for _, c := range connections {
				if !seen[c.ID] {
					seen[c.ID] = true
					found = append(found, c)
				}
			}
		}
		if len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

func connectionsOf(v store.Reader, k integrationKey) ([]syncline.Connection, error) {
	var all []syncline.Connection
	const page = 1000
	for seen := 0; ; {
		c, err := v.Connections(k.env, store.ConnectionFilter{IntegrationID: k.id, Page: store.Page{Limit: page, Offset: seen}})
		if err != nil {
			return nil, err
		}
		seen += len(c)
		for i := range c {
			if c[i].DeletingAt.IsZero() {
				all = append(all, c[i])
			}
		}
		if len(c) < page {
			return all, nil
		}
	}
}

// redelivered counts a duplicate. A delivery that came to nothing is driven
// again: the sender still holds it to be undelivered.
func (w *work) redelivered(it *item) error {
	state, err := w.tx.DeliveryState(it.entry.EnvironmentID, it.entry.Redelivered)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil // purged since
	}
	if err != nil {
		return err
	}
	state.Duplicates++
	state.UpdatedAt = w.now
	if it.failed {
		return w.tx.PutDeliveryState(&state)
	}
	switch state.Status {
	case syncline.DeliveryDead:
		if state.DeadEvents > 0 {
			return w.revive(&state)
		}
		fallthrough
	case syncline.DeliveryIgnored, syncline.DeliveryParked, syncline.DeliveryExpired:
		if it.delivery != nil { // else the raw delivery was purged
			return w.replay(it, &state)
		}
	}
	return w.tx.PutDeliveryState(&state)
}

// revive puts a copy of each dead event of a delivery at the end of its lane.
func (w *work) revive(state *syncline.DeliveryState) error {
	events, err := w.tx.EventsOf(state.EnvironmentID, state.Position)
	if err != nil {
		return err
	}
	// The newest event of a lane tells how it stands; older ones were tried before.
	newest := map[int64]*syncline.Event{}
	for i := range events {
		newest[events[i].LaneID] = &events[i]
	}
	var again []*syncline.Event
	for i := range events {
		e := &events[i]
		if e.Status != syncline.EventDead || newest[e.LaneID] != e {
			continue
		}
		if _, err := w.tx.Instance(e.EnvironmentID, e.LaneID); err != nil {
			if syncline.CodeOf(err) == syncline.CodeNotFound {
				continue // its connection or sync was deleted
			}
			return err
		}
		again = append(again, &syncline.Event{
			EnvironmentID: e.EnvironmentID, LaneID: e.LaneID, Position: e.Position, Item: e.Item, Type: e.Type, OrderKey: e.OrderKey,
			DeliveryID: e.DeliveryID, ReceivedAt: e.ReceivedAt, Watermark: e.Watermark, Replay: e.Replay + 1,
			Status: syncline.EventPending, UpdatedAt: w.now,
		})
	}
	if len(again) > 0 {
		state.Status, state.Reason = syncline.DeliveryRouted, "delivered again after it had died"
		state.Events += len(again)
		state.OpenEvents += len(again)
		state.DeadEvents -= len(again)
	}
	if err := w.tx.PutDeliveryState(state); err != nil {
		return err
	}
	w.events += len(again)
	return w.tx.AppendEvents(again)
}
