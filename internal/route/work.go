package route

import (
	"time"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/provider"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// work is the routing of several deliveries in one transaction. What it reads
// of integrations and functions holds for the transaction.
type work struct {
	r            *Router
	tx           store.Tx
	now          time.Time
	integrations map[integrationKey]*integration
	events       int // how many were written
}

type integration struct {
	row       syncline.Integration
	webhook   *provider.Webhook
	functions []syncline.Function
	err       error // why its deliveries cannot be routed
}

func (r *Router) newWork(tx store.Tx) *work {
	return &work{r: r, tx: tx, now: r.Clock.Now(), integrations: map[integrationKey]*integration{}}
}

func (w *work) integration(env, id int64) (*integration, error) {
	key := integrationKey{env, id}
	if i := w.integrations[key]; i != nil {
		return i, nil
	}
	i := &integration{}
	var err error
	if i.row, err = w.tx.Integration(env, id); err != nil {
		if syncline.CodeOf(err) != syncline.CodeNotFound {
			return nil, err
		}
		i.err = err
	} else if i.webhook, err = w.r.Webhook(&i.row); err != nil {
		i.err = err
	} else if i.functions, err = w.tx.Functions(env, id); err != nil {
		return nil, err
	}
	w.integrations[key] = i
	return i, nil
}

// route decides about one delivery and writes its events and its state.
// replay counts the earlier ways through.
func (w *work) route(d *syncline.Delivery, replay int) error {
	state := &syncline.DeliveryState{
		Position: d.Position, EnvironmentID: d.EnvironmentID, IntegrationID: d.IntegrationID, DeliveryID: d.DeliveryID,
		ReceivedAt: d.ReceivedAt, UpdatedAt: w.now,
	}
	return w.decide(d, state, replay)
}

func (w *work) decide(d *syncline.Delivery, state *syncline.DeliveryState, replay int) error {
	i, err := w.integration(d.EnvironmentID, d.IntegrationID)
	if err != nil {
		return err
	}
	if i.err != nil {
		state.Status, state.Reason = syncline.DeliveryDead, i.err.Error()
		return w.tx.PutDeliveryState(state)
	}
	reading, err := i.webhook.Read(d)
	if err != nil {
		// It was read once, before it was stored; the catalogue or the
		// integration's overrides changed since.
		state.Status, state.Reason = syncline.DeliveryDead, "it cannot be read: "+err.Error()
		return w.tx.PutDeliveryState(state)
	}
	connections, err := w.match(i, d, reading)
	if err != nil {
		return err
	}
	decision := Decide(reading, d.ConnectionID, connections, i.functions)
	state.Type, state.Status, state.Reason = reading.Type, decision.Status, decision.Reason
	events := make([]*syncline.Event, 0, len(decision.Targets))
	for _, t := range decision.Targets {
		instance, err := schedule.Ensure(w.tx, t.Function, t.Connection.ID, syncline.BaseVariant, w.now)
		if err != nil {
			return err
		}
		events = append(events, &syncline.Event{
			EnvironmentID: d.EnvironmentID, LaneID: instance.ID, Position: d.Position, Type: reading.Type, OrderKey: reading.OrderKey,
			DeliveryID: d.DeliveryID, ReceivedAt: d.ReceivedAt, Watermark: d.Watermark, Replay: replay,
			Status: syncline.EventPending, UpdatedAt: w.now,
		})
	}
	state.Events += len(events)
	state.OpenEvents = len(events)
	if err := w.tx.PutDeliveryState(state); err != nil {
		return err
	}
	w.events += len(events)
	return w.tx.AppendEvents(events)
}

// match finds the connections that a delivery is for: the one that its URL
// names, or those that have a value that it carries. Values are tried in the
// catalogue's order; the first that any connection has decides.
func (w *work) match(i *integration, d *syncline.Delivery, r *provider.Reading) ([]syncline.Connection, error) {
	env, id := d.EnvironmentID, d.IntegrationID
	if d.ConnectionID != "" {
		c, err := w.tx.ConnectionByKey(env, id, d.ConnectionID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil, nil
		}
		return []syncline.Connection{c}, err
	}
	if i.webhook.MatchAll {
		return w.all(env, id)
	}
	for _, m := range r.Matches {
		var found []syncline.Connection
		seen := map[int64]bool{}
		for _, property := range m.Properties {
			connections, err := w.tx.ConnectionsMatching(env, id, syncline.MatchKey{Property: property, Value: m.Value})
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

func (w *work) all(env, id int64) ([]syncline.Connection, error) {
	var all []syncline.Connection
	const page = 1000
	for {
		c, err := w.tx.Connections(env, store.ConnectionFilter{IntegrationID: id, Page: store.Page{Limit: page, Offset: len(all)}})
		if err != nil {
			return nil, err
		}
		all = append(all, c...)
		if len(c) < page {
			return all, nil
		}
	}
}

// redelivered counts a duplicate. A delivery that came to nothing is driven
// again: the sender still holds it to be undelivered.
func (w *work) redelivered(e inbox.Entry, original *syncline.Delivery) error {
	state, err := w.tx.DeliveryState(e.EnvironmentID, e.Redelivered)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil // purged since
	}
	if err != nil {
		return err
	}
	state.Duplicates++
	state.UpdatedAt = w.now
	switch {
	case original == nil:
	case state.Status == syncline.DeliveryDead && state.Events > 0:
		return w.revive(&state)
	case state.Status == syncline.DeliveryDead || state.Status == syncline.DeliveryIgnored || state.Status == syncline.DeliveryParked:
		return w.decide(original, &state, state.Duplicates)
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
