package storetest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var notificationTests = []test{
	{"a notification is read back with every field, and updated", func(t *testing.T, w *world) {
		n := syncline.Notification{EnvironmentID: w.env.ID, ConnectionID: w.connection.ID, RunID: 3, Target: "primary", Type: "sync",
			Payload: json.RawMessage(`{"from":"nango", "x":"é"}`), Status: syncline.NotificationPending, NextAttemptAt: seconds(1), CreatedAt: start}
		w.update(func(tx store.Tx) error { return tx.CreateNotification(&n) })
		if n.ID == 0 || n.UUID == "" {
			t.Errorf("made %+v", n)
		}
		get := func(r store.Reader) (syncline.Notification, error) { return r.Notification(w.env.ID, n.ID) }
		same(t, "made", read(w, get), n)
		n.Status, n.Attempts, n.LastError, n.NextAttemptAt, n.DeliveredAt = syncline.NotificationDelivered, 4, "503", time.Time{}, seconds(9)
		w.update(func(tx store.Tx) error { return tx.UpdateNotification(&n) })
		same(t, "updated", read(w, get), n)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Notification(w.env.ID, 99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.UpdateNotification(&syncline.Notification{ID: 99, EnvironmentID: w.env.ID})
		})
	}},
	{"the due ones are listed oldest first, and the next one is known", func(t *testing.T, w *world) {
		next := func() time.Time { return read(w, store.Reader.NextNotification) }
		due := func(at time.Time, limit int) (targets []string) {
			for _, n := range read(w, func(r store.Reader) ([]syncline.Notification, error) { return r.DueNotifications(at, limit) }) {
				targets = append(targets, n.Target)
			}
			return targets
		}
		if at := next(); !at.IsZero() {
			t.Errorf("none pending: %v", at)
		}
		w.update(func(tx store.Tx) error {
			for n, status := range []syncline.NotificationStatus{syncline.NotificationPending, syncline.NotificationPending, syncline.NotificationDelivered,
				syncline.NotificationPending, syncline.NotificationFailed, syncline.NotificationPending} {
				w.ok(tx.CreateNotification(&syncline.Notification{EnvironmentID: w.env.ID, RunID: int64(n % 2), Target: fmt.Sprint(n), Status: status,
					NextAttemptAt: seconds(10 - n), CreatedAt: start}))
			}
			return nil
		})
		if at := next(); !at.Equal(seconds(5)) {
			t.Errorf("next %v", at)
		}
		same(t, "before all", due(seconds(4), 0), []string(nil))
		same(t, "the first two", due(seconds(7), 0), []string{"5", "3"})
		same(t, "limited", due(seconds(99), 3), []string{"5", "3", "1"})
		targets := func(f store.NotificationFilter) (targets []string) {
			for _, n := range read(w, func(r store.Reader) ([]syncline.Notification, error) { return r.Notifications(w.env.ID, f) }) {
				targets = append(targets, n.Target)
			}
			return targets
		}
		same(t, "list", targets(store.NotificationFilter{}), []string{"5", "4", "3", "2", "1", "0"})
		same(t, "by status", targets(store.NotificationFilter{Status: syncline.NotificationPending}), []string{"5", "3", "1", "0"})
		same(t, "by run", targets(store.NotificationFilter{RunID: 1, Page: store.Page{Limit: 2}}), []string{"5", "3"})
	}},
	{"a pending one without a time is due at once", func(t *testing.T, w *world) {
		n := syncline.Notification{EnvironmentID: w.env.ID, CreatedAt: start}
		w.update(func(tx store.Tx) error { return tx.CreateNotification(&n) })
		if got := read(w, func(r store.Reader) ([]syncline.Notification, error) { return r.DueNotifications(start, 0) }); len(got) != 1 {
			t.Errorf("due %+v", got)
		}
	}},
}
