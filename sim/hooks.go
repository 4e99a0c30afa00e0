package sim

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/store"
)

// hook is a webhook: what it says of one object, or of several.
type hook struct {
	id    int
	items []item
	lost  bool
	again bool // it will be delivered once more
}

// item is one record of a batch.
type item struct {
	snap
	op   op
	what int // of a part: the field that changed
	bare bool
}

type op int

const (
	opSave op = iota
	opUpdate
	opDelete
)

func (i item) String() string {
	switch i.op {
	case opUpdate:
		field := "a"
		if i.what == changedB {
			field = "b"
		}
		return fmt.Sprintf("%s %d: %s at version %d", modelNames[i.model], i.id, field, i.version)
	case opDelete:
		if i.bare {
			return fmt.Sprintf("%s %d deleted (at version %d, which it does not tell)", modelNames[i.model], i.id, i.version)
		}
		return fmt.Sprintf("%s %d deleted at version %d", modelNames[i.model], i.id, i.version)
	case opSave:
	}
	return i.snap.String()
}

func (h *hook) String() string {
	list := make([]string, len(h.items))
	for i, it := range h.items {
		list[i] = it.String()
	}
	return fmt.Sprintf("webhook %d (%s)", h.id, strings.Join(list, "; "))
}

// change makes a change, or several that one webhook tells of.
func (w *world) change(ctx context.Context) {
	h := &hook{id: len(w.hooks)}
	n := 1
	if w.choices.chance(w.o.Bulk) {
		n = 2
	}
	for range n {
		m, id := w.choices.pick(w.o.Models), w.choices.pick(w.o.Objects)
		if len(h.items) > 0 && h.items[0].model == m && h.items[0].id == id {
			continue
		}
		s, what := w.up.change(m, id, w.tick, w.choices.pick(20))
		w.counts[Changes]++
		it := item{snap: s, what: what, bare: w.choices.chance(w.o.Bare)}
		switch {
		case what == removed:
			it.op = opDelete
		case what != created && what != recreated && w.choices.chance(w.o.Partial):
			it.op = opUpdate
			w.counts[Partials]++
		}
		if what == recreated {
			w.counts[Recreations]++
		}
		w.tell("upstream: %s%s", s, map[int]string{created: ", created", recreated: ", created again"}[what])
		h.items = append(h.items, it)
	}
	w.hooks = append(w.hooks, h)
	if w.choices.chance(w.o.Lose) {
		h.lost = true
		w.counts[Lost]++
		w.tell("  its webhook is lost")
		for _, it := range h.items {
			for _, c := range w.colls {
				if c.model == it.model {
					c.seen[it.id].lost, c.seen[it.id].lostAt = it.version, w.tick
				}
			}
		}
		return
	}
	w.fly(h, 1)
	h.again = w.choices.chance(w.o.Twice)
	if w.choices.chance(w.o.Late) {
		w.counts[Late]++
		w.mail = append(w.mail, h)
		return
	}
	w.receive(ctx, h)
}

// fly counts what is under way for records.
func (w *world) fly(h *hook, by int) {
	for _, it := range h.items {
		for _, c := range w.colls {
			if c.model == it.model {
				c.seen[it.id].inFlight += by
			}
		}
	}
}

// deliverMail delivers a webhook that is on its way.
func (w *world) deliverMail(ctx context.Context) {
	if len(w.mail) == 0 {
		return
	}
	i := 0
	if n := len(w.mail); n > 1 && w.choices.chance(w.o.Reorder) {
		i = 1 + w.choices.pick(n-1)
		w.counts[Reordered]++
	}
	h := w.mail[i]
	w.mail = append(w.mail[:i:i], w.mail[i+1:]...)
	w.receive(ctx, h)
}

// receive appends a delivery to the inbox, as ingest does.
func (w *world) receive(ctx context.Context, h *hook) {
	position, err := w.store.Position(ctx)
	if err != nil {
		w.fail("error", "position: %v", err)
		return
	}
	id := strconv.Itoa(h.id)
	r, err := w.inbox.Append(ctx, &syncline.Delivery{
		EnvironmentID: w.subj.Environment.ID, IntegrationID: w.subj.Integration.ID, DeliveryID: id, Method: "POST", Path: "/", Body: []byte(id),
		ReceivedAt: w.clock.Now(), Watermark: position,
	}, inbox.Key{ID: id})
	if err != nil {
		w.fail("error", "inbox: %v", err)
		return
	}
	w.counts[Deliveries]++
	if r.Duplicate {
		w.counts[Duplicates]++
		w.tell("%s is received once more: a duplicate", h)
		return
	}
	w.received[r.Position] = h
	w.tell("%s is received (cache at %d)", h, position)
	if h.again {
		h.again = false
		w.mail = append(w.mail, h)
	}
}

// route turns deliveries into events, in one transaction with the position up
// to which that is done, as route.Router does.
func (w *world) route(ctx context.Context) bool {
	var after int64
	w.view(ctx, func(r store.Reader) (err error) {
		after, err = r.RouterPosition()
		return err
	})
	entries, err := w.inbox.Read(ctx, after, 1+w.choices.pick(4))
	if err != nil {
		w.fail("error", "inbox: %v", err)
	}
	if len(entries) == 0 {
		return false
	}
	err = w.store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		for i := range entries {
			if err := w.routeOne(tx, &entries[i]); err != nil {
				return err
			}
		}
		return tx.SetRouterPosition(entries[len(entries)-1].Position)
	})
	if err != nil && !unavailable(err) {
		w.fail("error", "route: %v", err)
	}
	return true
}

func (w *world) routeOne(tx store.Tx, entry *inbox.Entry) error {
	now := w.clock.Now()
	d := entry.Delivery
	if d == nil {
		return w.redelivered(tx, entry)
	}
	var events []*syncline.Event
	for _, in := range w.instances {
		events = append(events, &syncline.Event{
			EnvironmentID: d.EnvironmentID, LaneID: in.id, Position: d.Position, Type: "change", DeliveryID: d.DeliveryID,
			ReceivedAt: d.ReceivedAt, Watermark: d.Watermark, Status: syncline.EventPending, UpdatedAt: now,
		})
	}
	state := &syncline.DeliveryState{
		Position: d.Position, EnvironmentID: d.EnvironmentID, IntegrationID: d.IntegrationID, Status: syncline.DeliveryRouted, Type: "change",
		DeliveryID: d.DeliveryID, Events: len(events), OpenEvents: len(events), ReceivedAt: d.ReceivedAt, UpdatedAt: now,
	}
	if err := tx.PutDeliveryState(state); err != nil {
		return err
	}
	return tx.AppendEvents(events)
}

// redelivered counts a duplicate; what had died of the delivery is tried again,
// guarded like a replay.
func (w *world) redelivered(tx store.Tx, entry *inbox.Entry) error {
	now := w.clock.Now()
	state, err := tx.DeliveryState(entry.EnvironmentID, entry.Redelivered)
	if err != nil {
		return err
	}
	state.Duplicates++
	state.UpdatedAt = now
	if state.Status != syncline.DeliveryDead || state.DeadEvents == 0 {
		return tx.PutDeliveryState(&state)
	}
	events, err := tx.EventsOf(state.EnvironmentID, state.Position)
	if err != nil {
		return err
	}
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
		again = append(again, &syncline.Event{
			EnvironmentID: e.EnvironmentID, LaneID: e.LaneID, Position: e.Position, Type: e.Type, DeliveryID: e.DeliveryID,
			ReceivedAt: e.ReceivedAt, Watermark: e.Watermark, Replay: e.Replay + 1, Status: syncline.EventPending, UpdatedAt: now,
		})
	}
	state.Status = syncline.DeliveryRouted
	state.Events += len(again)
	state.OpenEvents += len(again)
	state.DeadEvents -= len(again)
	if err := tx.PutDeliveryState(&state); err != nil {
		return err
	}
	w.stage(func() {
		w.counts[Replayed] += len(again)
		w.tell("webhook %s is tried again: %d events", state.DeliveryID, len(again))
	})
	return tx.AppendEvents(again)
}

// Records of a batch, as the functions give them.

func (w *world) batch(m int, items []item) []byte {
	b := append(make([]byte, 0, 128*len(items)), `{"model":"`...)
	b = append(b, modelNames[m]...)
	b = append(b, `","records":[`...)
	for i, it := range items {
		if i > 0 {
			b = append(b, ',')
		}
		style := w.choices.pick(16)
		if style == 15 && it.op == opSave {
			// The last of one id counts: this one must never be seen.
			wrong := it.snap
			wrong.a = -1
			b = append(wrong.whole(b, 0), ',')
		}
		switch it.op {
		case opSave:
			b = it.whole(b, style)
		case opUpdate:
			b = it.part(b, it.what, style)
		case opDelete:
			b = it.key(b, it.bare, style)
		}
	}
	return append(b, "]}"...)
}

func strategyArgs(m int, o *Options) []byte {
	field := ""
	if o.keepNewest() {
		field = `,"field":"updated_at"`
	}
	return fmt.Appendf(nil, `{"model":%q,"strategy":%q%s}`, modelNames[m], o.Strategy, field)
}
