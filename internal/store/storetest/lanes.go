package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (w *world) claim(owner string, now, until time.Time, limit int) (lanes []syncline.Lane) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		lanes, err = tx.ClaimLanes(owner, now, until, limit)
		return err
	})
	return lanes
}

func laneIDs(lanes []syncline.Lane) (ids []int64) {
	for _, l := range lanes {
		ids = append(ids, l.ID)
	}
	return ids
}

func (w *world) getLane(id int64) syncline.Lane {
	w.t.Helper()
	return read(w, func(r store.Reader) (syncline.Lane, error) { return r.Lane(w.env.ID, id) })
}

func (w *world) pending(lane int64, limit int) []syncline.Event {
	w.t.Helper()
	return read(w, func(r store.Reader) ([]syncline.Event, error) { return r.PendingEvents(w.env.ID, lane, limit) })
}

// variants makes n more instances and returns the ids of all n+1.
func (w *world) variants(n int) []int64 {
	w.t.Helper()
	ids := []int64{w.instance.ID}
	w.update(func(tx store.Tx) error {
		for i := range n {
			ids = append(ids, w.newInstance(tx, w.connection.ID, w.function.ID, fmt.Sprint("v", i)).ID)
		}
		return nil
	})
	return ids
}

var laneTests = []test{
	{"an event is read back with every field", func(t *testing.T, w *world) {
		e := &syncline.Event{EnvironmentID: w.env.ID, LaneID: w.instance.ID, Position: 12, Item: 3, Type: "issues.opened", OrderKey: "issue/7",
			DeliveryID: "d-1", ReceivedAt: seconds(1), Watermark: 99, Replay: 2, Status: syncline.EventPending, Attempts: 1, LastError: "before", UpdatedAt: seconds(2)}
		w.update(func(tx store.Tx) error { return tx.AppendEvents([]*syncline.Event{e}) })
		get := func(r store.Reader) (syncline.Event, error) { return r.Event(w.env.ID, e.ID) }
		same(t, "appended", read(w, get), *e)
		same(t, "pending", w.pending(w.instance.ID, 0), []syncline.Event{*e})
		e.Attempts, e.LastError, e.RunID, e.UpdatedAt = 2, "again", 5, seconds(3)
		w.update(func(tx store.Tx) error { return tx.UpdateEvent(e) })
		same(t, "updated", read(w, get), *e)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Event(w.env.ID, 99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.UpdateEvent(&syncline.Event{ID: 99, EnvironmentID: w.env.ID})
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.AppendEvents([]*syncline.Event{{EnvironmentID: w.env.ID, LaneID: 99}})
		})
	}},
	{"events keep their order within each lane", func(t *testing.T, w *world) {
		ids := w.variants(1)
		var want = map[int64][]int64{}
		for p := range int64(10) {
			w.update(func(tx store.Tx) error {
				for _, e := range w.deliver(tx, p+1, ids[0], ids[1], ids[0]) {
					want[e.LaneID] = append(want[e.LaneID], e.ID)
				}
				return nil
			})
		}
		for _, lane := range ids {
			var got []int64
			for _, e := range w.pending(lane, 0) {
				got = append(got, e.ID)
			}
			if !slices.IsSorted(got) || !slices.Equal(got, want[lane]) {
				t.Errorf("lane %d: %v, want %v", lane, got, want[lane])
			}
			if l := w.getLane(lane); l.Pending != len(got) {
				t.Errorf("lane says %d pending of %d", l.Pending, len(got))
			}
			if got := w.pending(lane, 3); len(got) != 3 || got[0].ID != want[lane][0] {
				t.Errorf("the first 3: %v", got)
			}
		}
		if n := read(w, store.Reader.Backlog); n != 30 {
			t.Errorf("backlog %d", n)
		}
		if events := read(w, func(r store.Reader) ([]syncline.Event, error) { return r.EventsOf(w.env.ID, 4) }); len(events) != 3 {
			t.Errorf("events of one delivery: %v", events)
		}
	}},
	{"the longest unserved lane is claimed first, and none twice", func(t *testing.T, w *world) {
		ids := w.variants(4)
		w.update(func(tx store.Tx) error {
			for i, id := range ids {
				w.deliver(tx, int64(i+1), id)
			}
			return nil
		})
		// Serve them so that the last served is the first id.
		for i, l := range w.claim("n", start, seconds(10), 10) {
			w.update(func(tx store.Tx) error {
				l.ServedAt = seconds(10 - i)
				return tx.ReleaseLane(&l)
			})
		}
		reverse := slices.Clone(ids)
		slices.Reverse(reverse)
		var got []int64
		for range ids {
			lanes := w.claim("n", seconds(20), seconds(30), 1)
			if len(lanes) != 1 {
				t.Fatalf("claimed %d", len(lanes))
			}
			got = append(got, lanes[0].ID)
		}
		same(t, "order", got, reverse)
		if lanes := w.claim("n", seconds(29), seconds(99), 10); len(lanes) != 0 {
			t.Errorf("held lanes were claimed: %v", lanes)
		}
		same(t, "after the lease ended, together", laneIDs(w.claim("n", seconds(30), seconds(40), 10)), reverse)
		if lanes := w.claim("n", seconds(99), seconds(100), 0); len(lanes) != 0 {
			t.Errorf("none asked for, %d claimed", len(lanes))
		}
	}},
	{"a busy lane does not starve the others", func(t *testing.T, w *world) {
		ids := w.variants(2)
		served := map[int64]int{}
		for turn := range 9 {
			w.update(func(tx store.Tx) error {
				w.deliver(tx, int64(turn+1), ids...)
				w.deliver(tx, int64(turn+100), ids[0], ids[0], ids[0])
				return nil
			})
			lane := w.claim("n", seconds(turn), seconds(99), 1)[0]
			served[lane.ID]++
			w.update(func(tx store.Tx) error {
				lane.ServedAt = seconds(turn)
				return tx.ReleaseLane(&lane)
			})
		}
		for _, id := range ids {
			if served[id] != 3 {
				t.Errorf("turns by lane: %v", served)
			}
		}
	}},
	{"a lane in backoff waits, and says since when and why", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error { w.deliver(tx, 1, w.instance.ID); return nil })
		l := w.claim("n", start, seconds(10), 1)[0]
		l.NotBefore, l.WaitingSince, l.Backoff, l.Reason, l.ServedAt = seconds(60), seconds(1), 3, "429 from the API", seconds(2)
		w.update(func(tx store.Tx) error { return tx.ReleaseLane(&l) })
		got := w.getLane(l.ID)
		l.Lease = syncline.Lease{Epoch: l.Lease.Epoch}
		same(t, "released", got, l)
		if lanes := w.claim("n", seconds(59), seconds(99), 1); len(lanes) != 0 {
			t.Errorf("claimed in backoff: %+v", lanes)
		}
		if lanes := w.claim("n", seconds(60), seconds(99), 1); len(lanes) != 1 {
			t.Error("not claimed when the backoff ended")
		}
	}},
	{"NextLane tells when the next lane can be claimed", func(t *testing.T, w *world) {
		next := func(now time.Time) time.Time {
			return read(w, func(r store.Reader) (time.Time, error) { return r.NextLane(now) })
		}
		ids := w.variants(1)
		if at := next(start); !at.IsZero() {
			t.Errorf("nothing pending: %v", at)
		}
		w.update(func(tx store.Tx) error { w.deliver(tx, 1, ids...); return nil })
		if at := next(seconds(1)); !at.Equal(seconds(1)) {
			t.Errorf("free lanes: %v, want now", at)
		}
		lanes := w.claim("n", start, seconds(30), 2)
		if at := next(seconds(1)); !at.Equal(seconds(30)) {
			t.Errorf("held lanes: %v, want the end of the lease", at)
		}
		lanes[0].NotBefore = seconds(20)
		w.update(func(tx store.Tx) error { return tx.ReleaseLane(&lanes[0]) })
		if at := next(seconds(1)); !at.Equal(seconds(20)) {
			t.Errorf("backoff: %v, want its end", at)
		}
	}},
	{"a lane lease is extended, fenced and released only by its holder", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error { w.deliver(tx, 1, w.instance.ID); return nil })
		a := w.claim("a", start, seconds(10), 1)[0]
		if a.Lease.Owner != "a" || !a.Lease.Until.Equal(seconds(10)) {
			t.Errorf("lease %+v", a.Lease)
		}
		w.update(func(tx store.Tx) error { return tx.ExtendLane(w.env.ID, a.ID, a.Lease.Epoch, seconds(20)) })
		if lanes := w.claim("b", seconds(15), seconds(30), 1); len(lanes) != 0 {
			t.Error("claimed while extended")
		}
		w.update(func(tx store.Tx) error { return tx.FenceLane(w.env.ID, a.ID, w.instance.Epoch, a.Lease.Epoch) })
		b := w.claim("b", seconds(20), seconds(30), 1)[0]
		if b.Lease.Epoch <= a.Lease.Epoch {
			t.Errorf("epoch %d after %d", b.Lease.Epoch, a.Lease.Epoch)
		}
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.FenceLane(w.env.ID, a.ID, w.instance.Epoch, a.Lease.Epoch) })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.ExtendLane(w.env.ID, a.ID, a.Lease.Epoch, seconds(99)) })
		a.Reason, a.ServedAt = "stale", seconds(1)
		w.update(func(tx store.Tx) error { return tx.ReleaseLane(&a) })
		same(t, "after a stale release", w.getLane(b.ID), b)
		w.update(func(tx store.Tx) error {
			w.instance.Epoch++
			return tx.UpdateInstance(&w.instance)
		})
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.FenceLane(w.env.ID, b.ID, w.instance.Epoch-1, b.Lease.Epoch) })
		w.update(func(tx store.Tx) error { return tx.FenceLane(w.env.ID, b.ID, w.instance.Epoch, b.Lease.Epoch) })
	}},
	{"of many workers each lane has one at a time, and each event is done once, in order", func(t *testing.T, w *world) {
		const workers, perLane = 6, 8
		ids := w.variants(3)
		w.update(func(tx store.Tx) error {
			for n := range perLane {
				w.deliver(tx, int64(n+1), ids...)
			}
			return nil
		})
		var mu sync.Mutex
		held, done := map[int64]bool{}, map[int64][]int64{}
		var wg sync.WaitGroup
		for n := range workers {
			wg.Go(func() {
				for {
					var lanes []syncline.Lane
					var events []syncline.Event
					var backlog int
					err := w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
						events = nil
						if lanes, err = tx.ClaimLanes(fmt.Sprint(n), start, seconds(60), 1); err != nil {
							return err
						}
						for _, l := range lanes {
							if events, err = tx.PendingEvents(l.EnvironmentID, l.ID, 1); err != nil {
								return err
							}
						}
						backlog, err = tx.Backlog()
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
					if backlog == 0 {
						return
					}
					for i := range lanes {
						l := &lanes[i]
						mu.Lock()
						if held[l.ID] {
							t.Errorf("lane %d is held twice", l.ID)
						}
						held[l.ID] = true
						mu.Unlock()
						for j := range events {
							events[j].Status = syncline.EventDone
						}
						mu.Lock()
						held[l.ID] = false // before the release, after which it may be claimed
						mu.Unlock()
						err := w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
							if err := tx.FenceLane(l.EnvironmentID, l.ID, 1, l.Lease.Epoch); err != nil {
								return err
							}
							for j := range events {
								if err := tx.UpdateEvent(&events[j]); err != nil {
									return err
								}
							}
							return tx.ReleaseLane(l)
						})
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						for _, e := range events {
							done[l.ID] = append(done[l.ID], e.ID)
						}
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			slices.Sort(done[id]) // a worker may note its event after the next was claimed
			if len(slices.Compact(done[id])) != perLane {
				t.Errorf("lane %d: %d of %d events done", id, len(done[id]), perLane)
			}
		}
		for n := range perLane {
			d := read(w, func(r store.Reader) (syncline.DeliveryState, error) { return r.DeliveryState(w.env.ID, int64(n+1)) })
			if d.Status != syncline.DeliveryProcessed || d.OpenEvents != 0 {
				t.Errorf("delivery %+v", d)
			}
		}
	}},
}
