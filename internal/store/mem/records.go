package mem

import (
	"cmp"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (r *reader) Collection(env, connectionID int64, model string) (c syncline.Collection, err error) {
	if err := r.open(); err != nil {
		return c, err
	}
	return first(each(&r.collections, func(c syncline.Collection) bool {
		return c.EnvironmentID == env && c.ConnectionID == connectionID && c.Model == model
	}), "collection", model)
}

func (r *reader) Collections(env, connectionID int64) ([]syncline.Collection, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.collections, func(c syncline.Collection) bool { return c.EnvironmentID == env && c.ConnectionID == connectionID })
	slices.SortFunc(list, func(a, b syncline.Collection) int { return cmp.Compare(a.Model, b.Model) })
	return list, nil
}

func (r *reader) collection(env, id int64) (syncline.Collection, error) {
	if err := r.open(); err != nil {
		return syncline.Collection{}, err
	}
	c, ok := r.collections.Get(id)
	if !ok || c.EnvironmentID != env {
		return syncline.Collection{}, notFound("collection", id)
	}
	return c, nil
}

// records calls fn for a collection's records beyond after, in order of seq.
func (r *reader) scan(env, collectionID, after int64, fn func(*syncline.Record) bool) error {
	if _, err := r.collection(env, collectionID); err != nil {
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		return err
	}
	var err error
	r.recordsBySeq.Ascend(&syncline.Record{CollectionID: collectionID, Seq: after + 1}, func(rec *syncline.Record) bool {
		err = r.open()
		return err == nil && rec.CollectionID == collectionID && fn(rec)
	})
	return err
}

func (r *reader) RecordsByID(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found := make(map[string]*syncline.Record, len(ids))
	if _, err := r.collection(env, collectionID); err != nil {
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return found, nil
		}
		return nil, err
	}
	for _, id := range ids {
		if rec, ok := r.records.Get(&syncline.Record{CollectionID: collectionID, ID: id}); ok {
			fresh := *rec
			found[id] = &fresh
		}
	}
	return found, nil
}

func (r *reader) ScanRecords(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	n := 0
	return r.scan(env, collectionID, q.After, func(rec *syncline.Record) bool {
		if !q.ModifiedAfter.IsZero() && !rec.LastModifiedAt.After(q.ModifiedAfter) || len(q.Actions) > 0 && !slices.Contains(q.Actions, rec.LastAction) ||
			q.IDs != nil && !slices.Contains(q.IDs, rec.ID) {
			return true
		}
		n++
		fresh := *rec
		return fn(&fresh) && (q.Limit <= 0 || n < q.Limit)
	})
}

func (r *reader) CountRecords(env, collectionID int64) (int, error) {
	n := 0
	err := r.scan(env, collectionID, 0, func(rec *syncline.Record) bool {
		if !rec.Deleted() {
			n++
		}
		return true
	})
	return n, err
}

func (t *tx) EnsureCollection(env, connectionID int64, model string, now time.Time) (int64, error) {
	c, err := t.Collection(env, connectionID, model)
	if err == nil {
		return c.ID, nil
	}
	if err := t.open(); err != nil {
		return 0, err
	}
	known, ok := t.connections.Get(connectionID)
	if !ok || known.EnvironmentID != env {
		return 0, notFound("connection", connectionID)
	}
	t.stamp(&now)
	c = syncline.Collection{ID: t.next("collections"), EnvironmentID: env, ConnectionID: connectionID, Model: model, CreatedAt: now}
	t.collections.Set(c.ID, c)
	return c.ID, nil
}

// LockCollection only reads: one transaction runs at a time.
func (t *tx) LockCollection(env, collectionID int64) (syncline.Collection, error) {
	return t.collection(env, collectionID)
}

func (t *tx) NextSeq(n int) (int64, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	if n <= 0 {
		return 0, syncline.Errorf(syncline.CodeInternal, "NextSeq of %d positions", n)
	}
	first := t.seq + 1
	t.seq += int64(n)
	return first, nil
}

func (t *tx) PutRecords(env, collectionID int64, records []*syncline.Record) error {
	if len(records) == 0 {
		return nil
	}
	c, err := t.collection(env, collectionID)
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Seq <= c.LastSeq || r.LastModifiedAt.Before(c.LastModifiedAt) {
			return syncline.Errorf(syncline.CodeInternal, "records of collection %d must come in order, after position %d and not before %v; one is at %d, %v",
				collectionID, c.LastSeq, c.LastModifiedAt, r.Seq, r.LastModifiedAt)
		}
		c.LastSeq, c.LastModifiedAt = r.Seq, r.LastModifiedAt
	}
	t.collections.Set(collectionID, c)
	for _, r := range records {
		fresh := *r
		fresh.CollectionID = collectionID
		t.put(&fresh)
	}
	return nil
}

func (t *tx) put(r *syncline.Record) {
	if old, ok := t.records.Set(r); ok {
		t.recordsBySeq.Delete(old)
	}
	t.recordsBySeq.Set(r)
}

func (t *tx) TouchRecords(env, collectionID, window int64, ids []string) error {
	found, err := t.RecordsByID(env, collectionID, ids)
	for _, r := range found {
		r.TouchedBy = window
		t.put(r)
	}
	return err
}

func (t *tx) EmptyCollection(env, collectionID int64) error {
	c, err := t.collection(env, collectionID)
	if err != nil {
		return err
	}
	seq, err := t.NextSeq(1)
	if err != nil {
		return err
	}
	c.LastSeq, c.PurgedSeq = seq, seq
	t.collections.Set(collectionID, c)
	var all []*syncline.Record
	if err := t.scan(env, collectionID, 0, func(r *syncline.Record) bool {
		all = append(all, r)
		return true
	}); err != nil {
		return err
	}
	for _, r := range all {
		t.records.Delete(r)
		t.recordsBySeq.Delete(r)
	}
	return nil
}

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
