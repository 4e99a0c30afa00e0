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

func (r *reader) RecordHeads(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := r.RecordsByID(env, collectionID, ids)
	for _, rec := range found {
		rec.Payload = nil
	}
	return found, err
}

func (r *reader) ScanRecords(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	n := 0
	return r.scan(env, collectionID, q.After, func(rec *syncline.Record) bool {
		if q.Until > 0 && rec.Seq > q.Until {
			return false
		}
		if rec.LastAction == "" || q.UntouchedBy > 0 && (rec.Deleted() || rec.TouchedBy >= q.UntouchedBy) {
			return true
		}
		if !q.ModifiedAfter.IsZero() && !rec.LastModifiedAt.After(q.ModifiedAfter) || len(q.Actions) > 0 && !slices.Contains(q.Actions, rec.LastAction) ||
			q.IDs != nil && !slices.Contains(q.IDs, rec.ID) {
			return true
		}
		n++
		fresh := *rec
		return fn(&fresh) && (q.Limit <= 0 || n < q.Limit)
	})
}

func (r *reader) CountMatching(env, collectionID int64, q store.RecordQuery) (n int, err error) {
	err = r.ScanRecords(env, collectionID, q, func(*syncline.Record) bool { n++; return true })
	return n, err
}

func (r *reader) CollectionByID(env, id int64) (syncline.Collection, error) {
	return r.collection(env, id)
}

func (r *reader) AllCollections(env, after int64, n int) ([]syncline.Collection, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.collections, func(c syncline.Collection) bool { return c.EnvironmentID == env && c.ID > after })
	return list[:min(limit(n), len(list))], nil
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

func (t *tx) RestateRecords(env, collectionID int64, records []*syncline.Record) error {
	if _, err := t.collection(env, collectionID); err != nil {
		return err
	}
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
	c.LastSeq, c.PurgedSeq, c.WindowID, c.WindowSeq = seq, seq, 0, 0
	t.collections.Set(collectionID, c)
	for _, w := range each(&t.windows, func(w syncline.DeleteWindow) bool {
		return w.CollectionID == collectionID && w.State != syncline.WindowClosed
	}) {
		w.State, w.ClosedAt = syncline.WindowClosed, t.clock.Now()
		t.windows.Set(w.ID, w)
	}
	var versions []*syncline.Superseded
	t.scanHistory(collectionID, "", func(v *syncline.Superseded) bool {
		versions = append(versions, v)
		return true
	})
	for _, v := range versions {
		t.history.Delete(v)
	}
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
