package storetest

import (
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

// purge calls fn and returns how many rows it handled.
func (w *world) purge(fn func(tx store.Tx) (int, error)) (n int) {
	w.t.Helper()
	w.update(func(tx store.Tx) (err error) {
		n, err = fn(tx)
		return err
	})
	return n
}

var housekeepingTests = []test{
	{"released leases can be claimed, with later epochs", func(t *testing.T, w *world) {
		var poll, again syncline.Lease
		w.update(func(tx store.Tx) (err error) {
			w.deliver(tx, 1, w.instance.ID)
			poll, _, err = tx.ClaimPoll(w.env.ID, w.instance.ID, "old", start, seconds(999))
			return err
		})
		lane := w.claim("old", start, seconds(999), 1)[0]
		w.update(func(tx store.Tx) error { return tx.ReleaseLeases() })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.ExtendPoll(w.env.ID, w.instance.ID, poll.Epoch, seconds(1)) })
		w.update(func(tx store.Tx) (err error) {
			var ok bool
			again, ok, err = tx.ClaimPoll(w.env.ID, w.instance.ID, "new", start, seconds(1))
			if !ok {
				t.Error("not claimed")
			}
			return err
		})
		if again.Epoch <= poll.Epoch {
			t.Errorf("epoch %d after %d", again.Epoch, poll.Epoch)
		}
		if lanes := w.claim("new", start, seconds(1), 1); len(lanes) != 1 || lanes[0].Lease.Epoch <= lane.Lease.Epoch {
			t.Errorf("lanes %+v after %+v", lanes, lane)
		}
	}},
	{"finished runs are purged with their logs, the rest stays", func(t *testing.T, w *world) {
		var runs []syncline.Run
		w.update(func(tx store.Tx) error {
			for _, finished := range []time.Time{seconds(1), seconds(2), seconds(10), {}} {
				r := w.newRun(tx, syncline.Run{Kind: syncline.RunPoll, Status: syncline.RunSuccess, FinishedAt: finished})
				w.ok(tx.AppendLogs(w.env.ID, r.ID, []syncline.LogLine{{At: start, Message: "x"}}))
				runs = append(runs, r)
			}
			return nil
		})
		purge := func(tx store.Tx) (int, error) { return tx.PurgeRuns(seconds(10), 1) }
		for i, want := range []int{1, 1, 0} {
			if n := w.purge(purge); n != want {
				t.Errorf("purge %d: %d, want %d", i, n, want)
			}
		}
		for i, r := range runs {
			logs := read(w, func(rd store.Reader) ([]syncline.LogLine, error) { return rd.Logs(w.env.ID, r.ID, 0, 0) })
			if gone := i < 2; gone != (len(logs) == 0) {
				t.Errorf("run %d has %d log lines", i, len(logs))
			}
		}
		if left := read(w, func(r store.Reader) ([]syncline.Run, error) { return r.Runs(w.env.ID, store.RunFilter{}) }); len(left) != 2 {
			t.Errorf("left: %+v", left)
		}
	}},
	{"ended notifications are purged, pending ones stay", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			for _, status := range []syncline.NotificationStatus{syncline.NotificationPending, syncline.NotificationDelivered, syncline.NotificationFailed} {
				for _, at := range []time.Time{start, seconds(10)} {
					w.ok(tx.CreateNotification(&syncline.Notification{EnvironmentID: w.env.ID, Status: status, CreatedAt: at}))
				}
			}
			return nil
		})
		if n := w.purge(func(tx store.Tx) (int, error) { return tx.PurgeNotifications(seconds(10), 0) }); n != 2 {
			t.Errorf("purged %d", n)
		}
		if left := read(w, func(r store.Reader) ([]syncline.Notification, error) {
			return r.Notifications(w.env.ID, store.NotificationFilter{})
		}); len(left) != 4 {
			t.Errorf("left: %+v", left)
		}
	}},
	{"ended deliveries are purged with their events, open ones stay", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			for p, status := range []syncline.DeliveryStatus{syncline.DeliveryRouted, syncline.DeliveryProcessed, syncline.DeliveryIgnored, syncline.DeliveryParked,
				syncline.DeliveryExpired, syncline.DeliveryDead} {
				position := int64(p + 1)
				events := w.deliver(tx, position, w.instance.ID)
				if status != syncline.DeliveryRouted && status != syncline.DeliveryParked {
					events[0].Status = syncline.EventDone
					w.ok(tx.UpdateEvent(events[0]))
				}
				w.ok(tx.PutDeliveryState(&syncline.DeliveryState{Position: position, EnvironmentID: w.env.ID, Status: status, ReceivedAt: seconds(p)}))
			}
			return nil
		})
		if n := w.purge(func(tx store.Tx) (int, error) { return tx.PurgeDeliveries(seconds(5), 0) }); n != 3 {
			t.Errorf("purged %d, want those at 2, 3 and 5", n)
		}
		same(t, "left", w.positions(store.DeliveryFilter{}), []int64{6, 4, 1})
		for p, want := range map[int64]int{1: 1, 2: 0, 3: 0, 4: 1, 5: 0, 6: 1} {
			if events := read(w, func(r store.Reader) ([]syncline.Event, error) { return r.EventsOf(w.env.ID, p) }); len(events) != want {
				t.Errorf("delivery %d has %d events, want %d", p, len(events), want)
			}
		}
	}},
}
