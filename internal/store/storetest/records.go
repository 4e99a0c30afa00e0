package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (w *world) getCollection(model string) syncline.Collection {
	w.t.Helper()
	return read(w, func(r store.Reader) (syncline.Collection, error) {
		return r.Collection(w.env.ID, w.connection.ID, model)
	})
}

func (w *world) byID(collection int64, ids ...string) map[string]*syncline.Record {
	w.t.Helper()
	return read(w, func(r store.Reader) (map[string]*syncline.Record, error) {
		return r.RecordsByID(w.env.ID, collection, ids)
	})
}

func (w *world) live(collection int64) int {
	w.t.Helper()
	return read(w, func(r store.Reader) (int, error) { return r.CountRecords(w.env.ID, collection) })
}

var recordTests = []test{
	{"a collection is made once and follows its newest record", func(t *testing.T, w *world) {
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.Collection(w.env.ID, w.connection.ID, "Issue")
			return err
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.LockCollection(w.env.ID, 99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.EnsureCollection(w.env.ID, 99, "Issue", start)
			return err
		})
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			if again := w.collection(tx, "Issue"); again != id {
				t.Errorf("made twice: %d, %d", id, again)
			}
			w.collection(tx, "Issue::eu")
			return nil
		})
		same(t, "empty", w.getCollection("Issue"), syncline.Collection{ID: id, EnvironmentID: w.env.ID, ConnectionID: w.connection.ID, Model: "Issue", CreatedAt: start})
		w.update(func(tx store.Tx) error {
			records = w.put(tx, id, seconds(1), syncline.ActionAdded, "a", "b")
			got, err := tx.LockCollection(w.env.ID, id)
			if got.LastSeq != records[1].Seq || !got.LastModifiedAt.Equal(seconds(1)) {
				t.Errorf("within the transaction: %+v", got)
			}
			return err
		})
		got := w.getCollection("Issue")
		if got.LastSeq != records[1].Seq || !got.LastModifiedAt.Equal(seconds(1)) || got.PurgedSeq != 0 {
			t.Errorf("after: %+v", got)
		}
		if all := read(w, func(r store.Reader) ([]syncline.Collection, error) { return r.Collections(w.env.ID, w.connection.ID) }); len(all) != 2 ||
			all[0].Model != "Issue" || all[1].Model != "Issue::eu" {
			t.Errorf("all: %+v", all)
		}
	}},
	{"a record is read back with every field, and replaced", func(t *testing.T, w *world) {
		var id int64
		r := &syncline.Record{ID: "42", Hash: []byte{0, 1, 255}, Payload: []byte(`{"id":"42","title":"é"}`), FirstSeenAt: start, LastModifiedAt: seconds(1),
			LastAction: syncline.ActionUpdated, Writer: syncline.Writer{Lineage: 1, LaneID: 2, EventID: 3, RunID: 4}, TouchedBy: 5,
			Version: "t2026", FieldVersions: []byte(`{"/a":"t2027"}`), PayloadKeyID: w.keyID("k1")}
		put := func() {
			w.update(func(tx store.Tx) (err error) {
				id = w.collection(tx, "Issue")
				r.CollectionID = id
				if r.Seq, err = tx.NextSeq(1); err != nil {
					return err
				}
				return tx.PutRecords(w.env.ID, id, []*syncline.Record{r})
			})
		}
		put()
		same(t, "put", w.byID(id, "42", "43"), map[string]*syncline.Record{"42": r})
		head := *r
		head.Payload = nil
		same(t, "head", read(w, func(rd store.Reader) (map[string]*syncline.Record, error) {
			return rd.RecordHeads(w.env.ID, id, []string{"42", "43"})
		}),
			map[string]*syncline.Record{"42": &head})
		r.Payload, r.Hash, r.DeletedAt, r.PrunedAt, r.LastModifiedAt = nil, nil, seconds(2), seconds(3), seconds(2)
		r.LastAction, r.Writer, r.TouchedBy = syncline.ActionDeleted, syncline.Writer{}, 0
		put()
		same(t, "replaced", w.byID(id, "42"), map[string]*syncline.Record{"42": r})
		if got := w.byID(id, "42")["42"]; got.Payload != nil || !got.Deleted() {
			t.Errorf("tombstone %+v", got)
		}
	}},
	{"many ids are read and touched at once", func(t *testing.T, w *world) {
		var ids []string
		for n := range 1_500 {
			ids = append(ids, fmt.Sprintf("id-%04d", n))
		}
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, ids...)
			return tx.TouchRecords(w.env.ID, id, 77, ids[:1_037])
		})
		for _, n := range []int{0, 1, 3, 5, 255, 257, 1_000, 1_500} {
			if got := w.byID(id, append(slices.Clone(ids[:n]), "absent", "absent too")...); len(got) != n {
				t.Errorf("%d of %d found", len(got), n)
			}
		}
		touched := 0
		for _, r := range w.byID(id, ids...) {
			if r.TouchedBy == 77 {
				touched++
			}
		}
		if touched != 1_037 {
			t.Errorf("%d touched", touched)
		}
	}},
	{"a page is in the order of positions, by every filter", func(t *testing.T, w *world) {
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			other := w.collection(tx, "Comment")
			for n, action := range []syncline.Action{syncline.ActionAdded, syncline.ActionUpdated, syncline.ActionDeleted, syncline.ActionAdded, syncline.ActionUpdated, syncline.ActionDeleted} {
				records = append(records, w.put(tx, id, seconds(n/2), action, fmt.Sprint(n))...)
				w.put(tx, other, seconds(n), syncline.ActionAdded, fmt.Sprint("other ", n))
			}
			return nil
		})
		a, u, d := syncline.ActionAdded, syncline.ActionUpdated, syncline.ActionDeleted
		for name, c := range map[string]struct {
			q    store.RecordQuery
			want string
		}{
			"all":                      {store.RecordQuery{}, "0 1 2 3 4 5"},
			"after":                    {store.RecordQuery{After: records[2].Seq}, "3 4 5"},
			"after all":                {store.RecordQuery{After: records[5].Seq}, ""},
			"limit":                    {store.RecordQuery{After: records[0].Seq, Limit: 2}, "1 2"},
			"added":                    {store.RecordQuery{Actions: []syncline.Action{a}}, "0 3"},
			"updated or deleted":       {store.RecordQuery{Actions: []syncline.Action{u, d}}, "1 2 4 5"},
			"limit after the filter":   {store.RecordQuery{Actions: []syncline.Action{d}, Limit: 2}, "2 5"},
			"modified later":           {store.RecordQuery{ModifiedAfter: start}, "2 3 4 5"},
			"modified just before":     {store.RecordQuery{ModifiedAfter: start.Add(-time.Microsecond)}, "0 1 2 3 4 5"},
			"modified later than all":  {store.RecordQuery{ModifiedAfter: seconds(2)}, ""},
			"modified later and after": {store.RecordQuery{ModifiedAfter: start, After: records[3].Seq}, "4 5"},
			"ids":                      {store.RecordQuery{IDs: []string{"5", "0", "9", "0"}}, "0 5"},
			"ids, none":                {store.RecordQuery{IDs: []string{}}, ""},
			"ids with all the rest":    {store.RecordQuery{IDs: []string{"0", "3", "4", "5"}, After: records[0].Seq, ModifiedAfter: start, Actions: []syncline.Action{a, d}, Limit: 1}, "3"},
		} {
			if got := strings.Join(scan(w, id, c.q), " "); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
		w.view(func(r store.Reader) error {
			n := 0
			err := r.ScanRecords(w.env.ID, id, store.RecordQuery{}, func(*syncline.Record) bool { n++; return n < 2 })
			if n != 2 {
				t.Errorf("read %d records after it was told to stop at 2", n)
			}
			return err
		})
		if n := w.live(id); n != 4 {
			t.Errorf("%d live, want 4", n)
		}
	}},
	{"a changed record moves to its new position", func(t *testing.T, w *world) {
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "a", "b", "c")
			w.put(tx, id, seconds(1), syncline.ActionUpdated, "a")
			w.put(tx, id, seconds(2), syncline.ActionDeleted, "b")
			return nil
		})
		same(t, "order", scan(w, id, store.RecordQuery{}), []string{"c", "a", "b"})
		if n := w.live(id); n != 2 {
			t.Errorf("%d live, want 2", n)
		}
	}},
	{"modified_after is found among many, with gaps and equal times", func(t *testing.T, w *world) {
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			for n := range 60 {
				if n%7 == 0 { // positions of other collections in between
					_, err := tx.NextSeq(100)
					w.ok(err)
				}
				records = append(records, w.put(tx, id, seconds(n/5*2), syncline.ActionAdded, fmt.Sprint(n))...)
			}
			return nil
		})
		for s := -1; s < 26; s++ {
			var want []string
			for _, r := range records {
				if r.LastModifiedAt.After(seconds(s)) {
					want = append(want, r.ID)
				}
			}
			same(t, fmt.Sprint("after second ", s), scan(w, id, store.RecordQuery{ModifiedAfter: seconds(s)}), want)
		}
	}},
	{"scans can be nested", func(t *testing.T, w *world) {
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "a", "b", "c")
			return nil
		})
		n := 0
		w.view(func(r store.Reader) error {
			return r.ScanRecords(w.env.ID, id, store.RecordQuery{}, func(*syncline.Record) bool {
				w.ok(r.ScanRecords(w.env.ID, id, store.RecordQuery{}, func(*syncline.Record) bool { n++; return true }))
				return true
			})
		})
		if n != 9 {
			t.Errorf("%d inner records, want 9", n)
		}
	}},
	{"positions grow over all collections, also after everything is deleted", func(t *testing.T, w *world) {
		var newest int64
		next := func(n int) {
			w.update(func(tx store.Tx) error {
				seq, err := tx.NextSeq(n)
				if seq <= newest {
					t.Errorf("position %d after %d", seq, newest)
				}
				newest = seq + int64(n) - 1
				return err
			})
		}
		next(1)
		next(1000)
		w.update(func(tx store.Tx) error {
			id := w.collection(tx, "Issue")
			newest = w.put(tx, id, start, syncline.ActionAdded, "a", "b")[1].Seq
			return nil
		})
		w.update(func(tx store.Tx) error { return tx.EmptyCollection(w.env.ID, w.collection(tx, "Issue")) })
		newest++ // emptying is a change of its own
		c := w.getCollection("Issue")
		if c.LastSeq != newest || c.PurgedSeq != newest || w.live(c.ID) != 0 || len(scan(w, c.ID, store.RecordQuery{})) != 0 {
			t.Errorf("emptied: %+v", c)
		}
		next(1)
		w.update(func(tx store.Tx) error { return tx.DeleteConnection(w.env.ID, w.connection.ID, start) })
		next(1)
		if p, err := w.s.Position(t.Context()); err != nil || p != newest {
			t.Errorf("Position %d, %v; want %d", p, err, newest)
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.EmptyCollection(w.env.ID, 99) })
	}},
	{"records out of order are refused", func(t *testing.T, w *world) {
		var id int64
		var at []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			at = w.put(tx, id, seconds(5), syncline.ActionAdded, "a", "b")
			_, err := tx.NextSeq(10)
			return err
		})
		rec := func(id string, seq int64, at time.Time) *syncline.Record {
			return &syncline.Record{ID: id, Seq: seq, LastModifiedAt: at, FirstSeenAt: at, LastAction: syncline.ActionAdded}
		}
		last := at[1].Seq
		for name, records := range map[string][]*syncline.Record{
			"a position that was used": {rec("c", last, seconds(6))},
			"descending positions":     {rec("c", last+2, seconds(6)), rec("d", last+1, seconds(6))},
			"an earlier time":          {rec("c", last+1, seconds(4))},
			"descending times":         {rec("c", last+1, seconds(7)), rec("d", last+2, seconds(6))},
		} {
			t.Run(name, func(t *testing.T) {
				w.fails(syncline.CodeInternal, func(tx store.Tx) error { return tx.PutRecords(w.env.ID, id, records) })
			})
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.PutRecords(w.env.ID, 99, []*syncline.Record{rec("c", last+1, seconds(6))})
		})
	}},
	{"a reader that keeps its cursor misses no change, whatever writers do", func(t *testing.T, w *world) {
		const writers, batches, keys = 4, 25, 12
		var ids [2]int64
		w.update(func(tx store.Tx) error {
			ids[0], ids[1] = w.collection(tx, "Issue"), w.collection(tx, "Comment")
			return nil
		})
		var mu sync.Mutex
		final := [2]map[string]int64{{}, {}} // the newest position of each record, as its writers know it
		var writing sync.WaitGroup
		for n := range writers {
			writing.Go(func() {
				for b := range batches {
					c := (n + b) % 2
					keys := []string{fmt.Sprint((n*7 + b) % keys), fmt.Sprint((n*5+b*3)%keys + keys)}
					var written []*syncline.Record
					fail := b%5 == 4 // some roll back: their positions must not be seen
					err := w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
						written = w.put(tx, ids[c], start, syncline.ActionUpdated, keys...)
						if fail {
							return syncline.Errorf(syncline.CodeInvalid, "rolled back")
						}
						return nil
					})
					if (err != nil) != fail {
						t.Error(err)
					}
					if fail {
						continue
					}
					mu.Lock()
					for _, r := range written {
						final[c][r.ID] = max(final[c][r.ID], r.Seq)
					}
					mu.Unlock()
				}
			})
		}
		done := make(chan struct{})
		go func() { writing.Wait(); close(done) }()
		var reading sync.WaitGroup
		for c := range ids {
			reading.Go(func() {
				cursor, seen := int64(0), map[string]int64{}
				for last := false; ; {
					before, err := w.s.Position(t.Context())
					w.ok(err)
					page, newest := 0, int64(0)
					err = w.s.View(t.Context(), func(r store.Reader) error {
						page = 0
						coll, err := r.Collection(w.env.ID, w.connection.ID, [2]string{"Issue", "Comment"}[c])
						if err != nil {
							return err
						}
						newest = coll.LastSeq
						return r.ScanRecords(w.env.ID, ids[c], store.RecordQuery{After: cursor, Limit: 5}, func(rec *syncline.Record) bool {
							if rec.Seq <= cursor || rec.Seq > newest {
								t.Errorf("position %d after %d in a snapshot up to %d", rec.Seq, cursor, newest)
							}
							cursor, seen[rec.ID] = rec.Seq, rec.Seq
							page++
							return true
						})
					})
					if err != nil {
						t.Error(err)
						return
					}
					if after, err := w.s.Position(t.Context()); err != nil || after < before {
						t.Errorf("Position went from %d to %d (%v)", before, after, err)
					}
					if page > 0 {
						continue
					}
					if last {
						break
					}
					select {
					case <-done:
						last = true
					default:
					}
				}
				mu.Lock()
				defer mu.Unlock()
				same(t, "what the reader saw", seen, final[c])
			})
		}
		reading.Wait()
	}},
}
