package mem

import (
	"cmp"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (r *reader) DeleteWindow(env, id int64) (syncline.DeleteWindow, error) {
	if err := r.open(); err != nil {
		return syncline.DeleteWindow{}, err
	}
	w, ok := r.windows.Get(id)
	if !ok || w.EnvironmentID != env {
		return syncline.DeleteWindow{}, notFound("delete-tracking window", id)
	}
	return w, nil
}

func (r *reader) HeldWindows(env int64, p store.Page) ([]syncline.DeleteWindow, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return newest(&r.windows, p, func(w syncline.DeleteWindow) bool { return w.EnvironmentID == env && w.State == syncline.WindowHeld }), nil
}

func (t *tx) OpenWindow(w *syncline.DeleteWindow) error {
	c, err := t.collection(w.EnvironmentID, w.CollectionID)
	if err != nil {
		return err
	}
	t.stamp(&w.StartedAt)
	if w.State == "" {
		w.State = syncline.WindowOpen
	}
	w.ID = t.next("windows")
	t.putWindow(w)
	c.WindowID, c.WindowSeq = w.ID, w.StartSeq
	t.collections.Set(c.ID, c)
	return nil
}

func (t *tx) putWindow(w *syncline.DeleteWindow) {
	fresh := *w
	fresh.StartedAt, fresh.HeldAt, fresh.ClosedAt = utc(w.StartedAt), utc(w.HeldAt), utc(w.ClosedAt)
	t.windows.Set(w.ID, fresh)
}

func (t *tx) UpdateWindow(w *syncline.DeleteWindow) error {
	old, err := t.DeleteWindow(w.EnvironmentID, w.ID)
	if err != nil {
		return err
	}
	old.Lineage, old.RunID, old.State, old.Deletes, old.Live = w.Lineage, w.RunID, w.State, w.Deletes, w.Live
	old.HeldAt, old.ClosedAt = w.HeldAt, w.ClosedAt
	t.putWindow(&old)
	if c, ok := t.collections.Get(w.CollectionID); ok && w.State == syncline.WindowClosed && c.WindowID == w.ID {
		c.WindowID, c.WindowSeq = 0, 0
		t.collections.Set(c.ID, c)
	}
	return nil
}

// scanHistory calls fn for the versions of a collection's records, from id on.
func (s *state) scanHistory(collectionID int64, id string, fn func(*syncline.Superseded) bool) {
	from := &syncline.Superseded{Record: syncline.Record{CollectionID: collectionID, ID: id}}
	s.history.Ascend(from, func(v *syncline.Superseded) bool { return v.CollectionID == collectionID && fn(v) })
}

func (r *reader) History(env, collectionID int64, id string, before int64, n int) ([]syncline.Superseded, error) {
	list := []syncline.Superseded{}
	if _, err := r.collection(env, collectionID); err != nil {
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return list, nil
		}
		return nil, err
	}
	r.scanHistory(collectionID, id, func(v *syncline.Superseded) bool {
		if v.ID == id && (before == 0 || v.Seq < before) {
			list = append(list, *v)
		}
		return v.ID == id
	})
	slices.Reverse(list)
	return list[:min(limit(n), len(list))], nil
}

func (r *reader) ScanAsOf(env, collectionID int64, at time.Time, afterID string, n int, fn func(*syncline.Record) bool) error {
	var list []*syncline.Record
	valid := func(rec *syncline.Record) bool {
		return rec.ID > afterID && !rec.LastModifiedAt.After(at) && !rec.Deleted()
	}
	err := r.scan(env, collectionID, 0, func(rec *syncline.Record) bool {
		if valid(rec) {
			fresh := *rec
			// As the history keeps it.
			fresh.TouchedBy, fresh.FieldVersions = 0, nil
			list = append(list, &fresh)
		}
		return true
	})
	if err != nil {
		return err
	}
	if _, err := r.collection(env, collectionID); err != nil {
		return nil //nolint:nilerr // another environment's, or none: nothing to read
	}
	r.scanHistory(collectionID, "", func(v *syncline.Superseded) bool {
		if valid(&v.Record) && v.At.After(at) {
			fresh := v.Record
			list = append(list, &fresh)
		}
		return true
	})
	slices.SortFunc(list, func(a, b *syncline.Record) int { return cmp.Compare(a.ID, b.ID) })
	if n > 0 {
		list = list[:min(n, len(list))]
	}
	for _, rec := range list {
		if !fn(rec) {
			break
		}
	}
	return nil
}

func (t *tx) PutHistory(env, collectionID int64, versions []*syncline.Superseded) error {
	if _, err := t.collection(env, collectionID); err != nil {
		return err
	}
	for _, v := range versions {
		fresh := *v
		fresh.CollectionID, fresh.At = collectionID, utc(v.At)
		fresh.TouchedBy, fresh.FieldVersions = 0, nil
		if _, ok := t.history.Get(&fresh); !ok {
			t.history.Set(&fresh)
		}
	}
	return nil
}

func (t *tx) PurgeHistory(env, collectionID int64, before time.Time, n int) (int, error) {
	if _, err := t.collection(env, collectionID); err != nil {
		return 0, err
	}
	var old []*syncline.Superseded
	t.scanHistory(collectionID, "", func(v *syncline.Superseded) bool {
		if v.At.Before(before) {
			old = append(old, v)
		}
		return true
	})
	slices.SortStableFunc(old, func(a, b *syncline.Superseded) int { return a.At.Compare(b.At) })
	old = old[:min(limit(n), len(old))]
	for _, v := range old {
		t.history.Delete(v)
	}
	return len(old), nil
}

func (r *reader) ForeignPayloads(env, collectionID int64, keyID string, after int64, n int) ([]*syncline.Record, error) {
	list := []*syncline.Record{}
	err := r.scan(env, collectionID, after, func(rec *syncline.Record) bool {
		if rec.PayloadKeyID != keyID && rec.Payload != nil {
			fresh := *rec
			list = append(list, &fresh)
		}
		return len(list) < limit(n)
	})
	return list, err
}

func (t *tx) PruneRecords(env, collectionID, after, until int64, before time.Time, n int, now time.Time) (count int, last int64, err error) {
	var list []*syncline.Record
	err = t.scan(env, collectionID, after, func(rec *syncline.Record) bool {
		if until > 0 && rec.Seq > until || !before.IsZero() && !rec.LastModifiedAt.Before(before) {
			return false
		}
		if rec.Payload != nil {
			list = append(list, rec)
		}
		return len(list) < limit(n)
	})
	for _, rec := range list {
		fresh := *rec
		fresh.Payload, fresh.PayloadKeyID, fresh.PrunedAt = nil, "", utc(now)
		t.put(&fresh)
		last = rec.Seq
	}
	return len(list), last, err
}

func (t *tx) PurgeDeleted(env, collectionID int64, before time.Time, n int) (int, error) {
	c, err := t.collection(env, collectionID)
	if err != nil {
		return 0, err
	}
	var list []*syncline.Record
	err = t.scan(env, collectionID, 0, func(rec *syncline.Record) bool {
		if rec.Deleted() && rec.DeletedAt.Before(before) {
			list = append(list, rec)
		}
		return len(list) < limit(n)
	})
	for _, rec := range list {
		t.records.Delete(rec)
		t.recordsBySeq.Delete(rec)
		c.PurgedSeq = max(c.PurgedSeq, rec.Seq)
	}
	t.collections.Set(c.ID, c)
	return len(list), err
}
