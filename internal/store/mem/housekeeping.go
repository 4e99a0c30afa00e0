package mem

import (
	"time"

	"syncline"
)

func (t *tx) ReleaseLeases() error {
	if err := t.open(); err != nil {
		return err
	}
	for _, i := range each(&t.instances, func(i syncline.SyncInstance) bool { return i.PollLease.Owner != "" }) {
		i.PollLease.Owner, i.PollLease.Until = "", time.Time{}
		t.instances.Set(i.ID, i)
	}
	for _, l := range each(&t.lanes, func(l row[syncline.Lane]) bool { return l.v.Lease.Owner != "" }) {
		l.v.Lease.Owner, l.v.Lease.Until = "", time.Time{}
		t.lanes.Set(l.v.ID, l)
	}
	for _, j := range each(&t.jobs, func(j syncline.Job) bool { return j.Lease.Owner != "" }) {
		j.Lease.Owner, j.Lease.Until = "", time.Time{}
		t.jobs.Set(j.ID, j)
	}
	return nil
}

func (t *tx) PurgeRuns(before time.Time, n int) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	old := each(&t.runs, func(r syncline.Run) bool {
		return r.Status != syncline.RunRunning && !r.FinishedAt.IsZero() && r.FinishedAt.Before(before)
	})
	old = old[:min(limit(n), len(old))]
	for _, r := range old {
		t.runs.Delete(r.ID)
		for _, l := range each(&t.logs, func(l log) bool { return l.line.RunID == r.ID }) {
			t.logs.Delete(l.line.ID)
		}
	}
	return len(old), nil
}

func (t *tx) PurgeLocks(before time.Time, n int) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	old := each(&t.locks, func(l syncline.Lock) bool { return l.Until.Before(before) })
	old = old[:min(limit(n), len(old))]
	for _, l := range old {
		t.locks.Delete(named(l.EnvironmentID, l.Key))
	}
	return len(old), nil
}

func (t *tx) PurgeNotifications(before time.Time, n int) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	old := each(&t.notifications, func(n syncline.Notification) bool {
		return n.Status != syncline.NotificationPending && n.CreatedAt.Before(before)
	})
	old = old[:min(limit(n), len(old))]
	for _, n := range old {
		t.notifications.Delete(n.ID)
	}
	return len(old), nil
}

func (t *tx) PurgeDeliveries(before time.Time, n int) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	old := each(&t.deliveries, func(d syncline.DeliveryState) bool {
		switch d.Status {
		case syncline.DeliveryReceived, syncline.DeliveryRouted, syncline.DeliveryParked:
			return false
		default:
			return d.ReceivedAt.Before(before)
		}
	})
	old = old[:min(limit(n), len(old))]
	for _, d := range old {
		t.deliveries.Delete(d.Position)
		events, err := t.EventsOf(d.EnvironmentID, d.Position)
		if err != nil {
			return 0, err
		}
		for _, e := range events {
			t.events.Delete(e.ID)
			t.byPosition.Delete(pair{e.Position, e.ID})
		}
	}
	return len(old), nil
}
