package storetest

import (
	"math/rand/v2"
	"testing"

	"syncline"
	"syncline/internal/store"
)

func (w *world) getDelivery(position int64) syncline.DeliveryState {
	w.t.Helper()
	return read(w, func(r store.Reader) (syncline.DeliveryState, error) { return r.DeliveryState(w.env.ID, position) })
}

func (w *world) positions(f store.DeliveryFilter) (positions []int64) {
	w.t.Helper()
	for _, d := range read(w, func(r store.Reader) ([]syncline.DeliveryState, error) { return r.Deliveries(w.env.ID, f) }) {
		positions = append(positions, d.Position)
	}
	return positions
}

var deliveryTests = []test{
	{"a state is written, replaced and read back with every field", func(t *testing.T, w *world) {
		d := syncline.DeliveryState{Position: 7, EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Status: syncline.DeliveryParked, Reason: "nobody",
			Type: "issues.opened", DeliveryID: "guid", Duplicates: 2, ReceivedAt: start, UpdatedAt: seconds(1)}
		w.update(func(tx store.Tx) error { return tx.PutDeliveryState(&d) })
		same(t, "put", w.getDelivery(7), d)
		d.Status, d.Reason, d.Events, d.OpenEvents, d.DeadEvents, d.UpdatedAt = syncline.DeliveryRouted, "", 3, 2, 1, seconds(2)
		w.update(func(tx store.Tx) error { return tx.PutDeliveryState(&d) })
		same(t, "replaced", w.getDelivery(7), d)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.DeliveryState(w.env.ID, 8); return err })
	}},
	{"deliveries are listed newest first by integration, status and position; parked ones in receipt order", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			for p := range int64(10) {
				d := syncline.DeliveryState{Position: p + 1, EnvironmentID: w.env.ID, IntegrationID: 1 + p%2, Status: syncline.DeliveryIgnored, ReceivedAt: start}
				if p%3 == 0 {
					d.Status = syncline.DeliveryParked // 1, 4, 7, 10
				}
				w.ok(tx.PutDeliveryState(&d))
			}
			return nil
		})
		for name, c := range map[string]struct {
			filter store.DeliveryFilter
			want   []int64
		}{
			"all":         {store.DeliveryFilter{}, []int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}},
			"integration": {store.DeliveryFilter{IntegrationID: 1}, []int64{9, 7, 5, 3, 1}},
			"status":      {store.DeliveryFilter{Status: syncline.DeliveryParked}, []int64{10, 7, 4, 1}},
			"both":        {store.DeliveryFilter{Status: syncline.DeliveryParked, IntegrationID: 2}, []int64{10, 4}},
			"after":       {store.DeliveryFilter{After: 7}, []int64{10, 9, 8}},
			"none":        {store.DeliveryFilter{Status: syncline.DeliveryDead}, nil},
			"page":        {store.DeliveryFilter{Page: store.Page{Limit: 2, Offset: 3}}, []int64{7, 6}},
		} {
			same(t, name, w.positions(c.filter), c.want)
			c.filter.Page = store.Page{}
			want := len(w.positions(c.filter))
			if n := read(w, func(r store.Reader) (int, error) { return r.CountDeliveries(w.env.ID, c.filter) }); n != want {
				t.Errorf("%s: count %d, want %d", name, n, want)
			}
		}
		parked := read(w, func(r store.Reader) ([]syncline.DeliveryState, error) { return r.Parked(w.env.ID, 2, 0) })
		if len(parked) != 2 || parked[0].Position != 4 || parked[1].Position != 10 {
			t.Errorf("parked %+v", parked)
		}
	}},
	{"counts and status follow the events", func(t *testing.T, w *world) {
		type step struct {
			event  int
			status syncline.EventStatus
			reason string
			want   syncline.DeliveryStatus
			open   int
			dead   int
			said   string // the delivery's reason
		}
		done, dead, dropped, pending := syncline.EventDone, syncline.EventDead, syncline.EventDropped, syncline.EventPending
		routed, processed, died := syncline.DeliveryRouted, syncline.DeliveryProcessed, syncline.DeliveryDead
		position := int64(0)
		for name, steps := range map[string][]step{
			"all done":                    {{0, done, "", routed, 2, 0, ""}, {1, done, "", routed, 1, 0, ""}, {2, done, "", processed, 0, 0, ""}},
			"the last one dies":           {{0, done, "", routed, 2, 0, ""}, {1, done, "", routed, 1, 0, ""}, {2, dead, "boom", died, 0, 1, "boom"}},
			"the first one dies":          {{0, dead, "boom", routed, 2, 1, "boom"}, {1, done, "", routed, 1, 1, "boom"}, {2, done, "", died, 0, 1, "boom"}},
			"some dropped, one done":      {{0, dropped, "gone", routed, 2, 0, ""}, {1, done, "", routed, 1, 0, ""}, {2, dropped, "gone", processed, 0, 0, ""}},
			"all dropped":                 {{0, dropped, "gone", routed, 2, 0, ""}, {1, dropped, "gone", routed, 1, 0, ""}, {2, dropped, "gone", processed, 0, 0, "gone"}},
			"an attempt that failed":      {{0, pending, "again", routed, 3, 0, ""}},
			"ended twice":                 {{0, done, "", routed, 2, 0, ""}, {0, done, "", routed, 2, 0, ""}},
			"a dead one driven again":     {{0, dead, "boom", routed, 2, 1, "boom"}, {0, pending, "", routed, 3, 0, ""}, {0, done, "", routed, 2, 0, ""}},
			"a dead delivery comes alive": {{0, done, "", routed, 2, 0, ""}, {1, done, "", routed, 1, 0, ""}, {2, dead, "boom", died, 0, 1, "boom"}, {2, pending, "", routed, 1, 0, ""}, {2, done, "", processed, 0, 0, ""}},
		} {
			t.Run(name, func(t *testing.T) {
				position += 1000
				var events []*syncline.Event
				w.update(func(tx store.Tx) error {
					events = w.deliver(tx, position, w.instance.ID, w.instance.ID, w.instance.ID)
					return nil
				})
				before := w.getLane(w.instance.ID).Pending - len(events)
				for n, s := range steps {
					e := *events[s.event]
					e.Status, e.LastError, e.UpdatedAt = s.status, s.reason, seconds(n+1)
					w.update(func(tx store.Tx) error { return tx.UpdateEvent(&e) })
					d := w.getDelivery(position)
					if d.Status != s.want || d.OpenEvents != s.open || d.DeadEvents != s.dead || d.Events != 3 || d.Reason != s.said {
						t.Errorf("step %d: %+v", n, d)
					}
					if l := w.getLane(w.instance.ID); l.Pending != before+s.open {
						t.Errorf("step %d: lane has %d pending, want %d", n, l.Pending-before, s.open)
					}
				}
			})
		}
	}},
	{"counts agree with the events after any sequence of changes", func(t *testing.T, w *world) {
		seed := rand.Uint64()
		rng := rand.New(rand.NewPCG(seed, 0))
		lanes := w.variants(3)
		var events []syncline.Event
		position := int64(0)
		deleted := map[int64]bool{}
		for range 150 {
			w.update(func(tx store.Tx) error {
				switch n := rng.IntN(20); {
				case n < 6 || len(events) == 0:
					position++
					var to []int64
					for range 1 + rng.IntN(3) {
						if l := lanes[rng.IntN(len(lanes))]; !deleted[l] {
							to = append(to, l)
						}
					}
					for _, e := range w.deliver(tx, position, to...) {
						events = append(events, *e)
					}
				case n == 19 && len(deleted) < len(lanes)-1:
					l := lanes[rng.IntN(len(lanes))]
					if !deleted[l] {
						w.ok(tx.DeleteInstance(w.env.ID, l, start))
						deleted[l] = true
					}
				default:
					e := events[rng.IntN(len(events))]
					if deleted[e.LaneID] {
						return nil
					}
					e.Status = []syncline.EventStatus{syncline.EventDone, syncline.EventDone, syncline.EventDead, syncline.EventDropped, syncline.EventPending}[rng.IntN(5)]
					w.ok(tx.UpdateEvent(&e))
				}
				return nil
			})
		}
		pending := map[int64]int{}
		for p := range position {
			d := w.getDelivery(p + 1)
			var open, dead int
			for _, e := range read(w, func(r store.Reader) ([]syncline.Event, error) { return r.EventsOf(w.env.ID, p+1) }) {
				switch e.Status {
				case syncline.EventPending:
					open++
					pending[e.LaneID]++
				case syncline.EventDead:
					dead++
				}
			}
			want := syncline.DeliveryProcessed
			switch {
			case open > 0 || d.Events == 0: // of an empty one nothing ever ended
				want = syncline.DeliveryRouted
			case dead > 0:
				want = syncline.DeliveryDead
			}
			if d.OpenEvents != open || d.DeadEvents != dead || d.Status != want {
				t.Errorf("seed %d: delivery %+v has %d open and %d dead events", seed, d, open, dead)
			}
		}
		total := 0
		for _, l := range lanes {
			if deleted[l] {
				if pending[l] != 0 {
					t.Errorf("seed %d: deleted lane %d has %d pending events", seed, l, pending[l])
				}
				continue
			}
			total += pending[l]
			if got := w.getLane(l).Pending; got != pending[l] {
				t.Errorf("seed %d: lane %d says %d pending, %d are", seed, l, got, pending[l])
			}
		}
		if n := read(w, store.Reader.Backlog); n != total {
			t.Errorf("seed %d: backlog %d, want %d", seed, n, total)
		}
	}},
	{"an event of a delivery without a state can end", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			e := &syncline.Event{EnvironmentID: w.env.ID, LaneID: w.instance.ID, Position: 5, Status: syncline.EventPending}
			w.ok(tx.AppendEvents([]*syncline.Event{e}))
			e.Status = syncline.EventDone
			return tx.UpdateEvent(e)
		})
		if n := read(w, store.Reader.Backlog); n != 0 {
			t.Errorf("backlog %d", n)
		}
	}},
	{"the router's position is kept, and tells the unrouted from the purged", func(t *testing.T, w *world) {
		if p := read(w, store.Reader.RouterPosition); p != 0 {
			t.Errorf("at first %d", p)
		}
		w.update(func(tx store.Tx) error {
			for p, status := range map[int64]syncline.DeliveryStatus{2: syncline.DeliveryRouted, 3: syncline.DeliveryProcessed, 4: syncline.DeliveryParked,
				5: syncline.DeliveryIgnored, 6: syncline.DeliveryDead, 7: syncline.DeliveryExpired} {
				w.ok(tx.PutDeliveryState(&syncline.DeliveryState{Position: p, EnvironmentID: w.env.ID, Status: status, ReceivedAt: start}))
			}
			return tx.SetRouterPosition(10)
		})
		if p := read(w, store.Reader.RouterPosition); p != 10 {
			t.Errorf("position %d", p)
		}
		open := read(w, func(r store.Reader) ([]int64, error) {
			return r.OpenDeliveries([]int64{1, 2, 3, 4, 5, 6, 7, 10, 11})
		})
		same(t, "open", open, []int64{2, 4, 11})
	}},
}
