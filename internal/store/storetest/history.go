package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var windowTests = []test{
	{"a window is opened, held, listed and closed", func(t *testing.T, w *world) {
		var id int64
		first := syncline.DeleteWindow{EnvironmentID: w.env.ID, InstanceID: w.instance.ID, InstanceEpoch: 3, Lineage: 4, StartSeq: 17, StartedAt: start}
		var second syncline.DeleteWindow
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			first.CollectionID = id
			return tx.OpenWindow(&first)
		})
		if c := w.getCollection("Issue"); c.WindowID != first.ID || c.WindowSeq != 17 || first.State != syncline.WindowOpen {
			t.Errorf("opened: %+v, %+v", c, first)
		}
		get := func(id int64) syncline.DeleteWindow {
			return read(w, func(r store.Reader) (syncline.DeleteWindow, error) { return r.DeleteWindow(w.env.ID, id) })
		}
		same(t, "opened", get(first.ID), first)
		first.State, first.RunID, first.Deletes, first.Live, first.HeldAt, first.Lineage = syncline.WindowHeld, 8, 90, 100, seconds(1), 5
		w.update(func(tx store.Tx) error { return tx.UpdateWindow(&first) })
		same(t, "held", get(first.ID), first)
		if c := w.getCollection("Issue"); c.WindowID != first.ID {
			t.Errorf("held: %+v", c)
		}
		w.update(func(tx store.Tx) error {
			second = syncline.DeleteWindow{EnvironmentID: w.env.ID, CollectionID: id, InstanceID: w.instance.ID, StartSeq: 20, StartedAt: start}
			return tx.OpenWindow(&second)
		})
		held := read(w, func(r store.Reader) ([]syncline.DeleteWindow, error) { return r.HeldWindows(w.env.ID, store.Page{}) })
		same(t, "held ones", held, []syncline.DeleteWindow{first})
		first.State, first.ClosedAt = syncline.WindowClosed, seconds(2)
		w.update(func(tx store.Tx) error { return tx.UpdateWindow(&first) })
		if c := w.getCollection("Issue"); c.WindowID != second.ID || c.WindowSeq != 20 {
			t.Errorf("closing an older window: %+v", c)
		}
		second.State, second.ClosedAt = syncline.WindowClosed, seconds(2)
		w.update(func(tx store.Tx) error { return tx.UpdateWindow(&second) })
		if c := w.getCollection("Issue"); c.WindowID != 0 || c.WindowSeq != 0 {
			t.Errorf("closed: %+v", c)
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.OpenWindow(&syncline.DeleteWindow{EnvironmentID: w.env.ID, CollectionID: 99})
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.DeleteWindow(w.env.ID, 99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.UpdateWindow(&syncline.DeleteWindow{ID: 99, EnvironmentID: w.env.ID, CollectionID: id})
		})
	}},
	{"emptying a collection closes its windows", func(t *testing.T, w *world) {
		window := syncline.DeleteWindow{EnvironmentID: w.env.ID, StartSeq: 1, StartedAt: start}
		w.update(func(tx store.Tx) error {
			window.CollectionID = w.collection(tx, "Issue")
			w.ok(tx.OpenWindow(&window))
			return tx.EmptyCollection(w.env.ID, window.CollectionID)
		})
		got := read(w, func(r store.Reader) (syncline.DeleteWindow, error) { return r.DeleteWindow(w.env.ID, window.ID) })
		if c := w.getCollection("Issue"); c.WindowID != 0 || got.State != syncline.WindowClosed || got.ClosedAt.IsZero() {
			t.Errorf("%+v, %+v", c, got)
		}
	}},
	{"what a window did not see is found", func(t *testing.T, w *world) {
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			records = w.put(tx, id, start, syncline.ActionAdded, "a", "b", "c", "d")
			w.put(tx, id, start, syncline.ActionDeleted, "gone")
			w.ok(tx.TouchRecords(w.env.ID, id, 7, []string{"b"}))
			w.ok(tx.TouchRecords(w.env.ID, id, 8, []string{"c"}))
			return tx.TouchRecords(w.env.ID, id, 6, []string{"d"})
		})
		for name, c := range map[string]struct {
			q    store.RecordQuery
			want string
		}{
			"of window 7":               {store.RecordQuery{UntouchedBy: 7}, "a d"},
			"of window 8":               {store.RecordQuery{UntouchedBy: 8}, "a b d"},
			"up to a position":          {store.RecordQuery{UntouchedBy: 8, Until: records[1].Seq}, "a b"},
			"all up to a position":      {store.RecordQuery{Until: records[2].Seq}, "a b c"},
			"between two":               {store.RecordQuery{After: records[0].Seq, Until: records[2].Seq}, "b c"},
			"by id":                     {store.RecordQuery{UntouchedBy: 7, IDs: []string{"a", "b", "c", "gone"}}, "a"},
			"by id, up to":              {store.RecordQuery{Until: records[0].Seq, IDs: []string{"a", "b"}}, "a"},
			"of window 8, first of all": {store.RecordQuery{UntouchedBy: 8, Limit: 1}, "a"},
		} {
			if got := strings.Join(scan(w, id, c.q), " "); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
			n := read(w, func(r store.Reader) (int, error) { return r.CountMatching(w.env.ID, id, c.q) })
			if n != len(strings.Fields(c.want)) {
				t.Errorf("%s: %d are counted, want %q", name, n, c.want)
			}
		}
	}},
	{"a marker is found by its id only", func(t *testing.T, w *world) {
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "a")
			seq, err := tx.NextSeq(1)
			w.ok(err)
			return tx.PutRecords(w.env.ID, id, []*syncline.Record{{ID: "m", Seq: seq, LastModifiedAt: start, DeletedAt: start, Version: "t1"}})
		})
		same(t, "scan", scan(w, id, store.RecordQuery{}), []string{"a"})
		same(t, "scan by id", scan(w, id, store.RecordQuery{IDs: []string{"a", "m"}}), []string{"a"})
		if m := w.byID(id, "m")["m"]; m == nil || m.Version != "t1" || !m.Deleted() {
			t.Errorf("marker %+v", m)
		}
		if n := w.live(id); n != 1 {
			t.Errorf("%d live", n)
		}
	}},
	{"a record is restated where it stands", func(t *testing.T, w *world) {
		var id int64
		var r syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			r = *w.put(tx, id, start, syncline.ActionAdded, "a", "b")[0]
			r.Version, r.FieldVersions, r.PayloadKeyID, r.Payload, r.TouchedBy = "n5", []byte(`{"/a":"n6"}`), w.keyID("key"), []byte("sealed"), 9
			return tx.RestateRecords(w.env.ID, id, []*syncline.Record{&r})
		})
		same(t, "restated", w.byID(id, "a")["a"], &r)
		same(t, "order", scan(w, id, store.RecordQuery{}), []string{"a", "b"})
	}},
}

// superseded is a superseded version of a record, valid until a time.
func (w *world) superseded(id string, seq int64, from, until time.Time, payload string) *syncline.Superseded {
	return &syncline.Superseded{At: until, Record: syncline.Record{ID: id, Seq: seq, Hash: []byte{1}, Payload: []byte(payload), FirstSeenAt: start,
		LastModifiedAt: from, LastAction: syncline.ActionUpdated, Writer: syncline.Writer{Lineage: 1, LaneID: 2, EventID: 3, RunID: 4}, Version: "n1", PayloadKeyID: w.keyID("k")}}
}

var historyTests = []test{
	{"versions are read newest first, by page", func(t *testing.T, w *world) {
		var id int64
		long := strings.Repeat("é", 700)
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			for _, of := range []string{"a", long, "b"} {
				w.ok(tx.PutHistory(w.env.ID, id, []*syncline.Superseded{
					w.superseded(of, 5, seconds(0), seconds(1), `{"n":1}`), w.superseded(of, 7, seconds(1), seconds(2), `{"n":2}`), w.superseded(of, 9, seconds(2), seconds(3), `{"n":3}`),
				}))
			}
			// Kept once.
			return tx.PutHistory(w.env.ID, id, []*syncline.Superseded{w.superseded("a", 7, seconds(1), seconds(2), `{"other":true}`)})
		})
		read := func(of string, before int64, limit int) []syncline.Superseded {
			return read(w, func(r store.Reader) ([]syncline.Superseded, error) { return r.History(w.env.ID, id, of, before, limit) })
		}
		for _, of := range []string{"a", long} {
			all := read(of, 0, 0)
			if len(all) != 3 || all[0].Seq != 9 || all[2].Seq != 5 {
				t.Fatalf("all: %+v", all)
			}
			want := w.superseded(of, 7, seconds(1), seconds(2), `{"n":2}`)
			want.CollectionID = id
			same(t, "one", all[1], *want)
			if page := read(of, 9, 1); len(page) != 1 || page[0].Seq != 7 {
				t.Errorf("page: %+v", page)
			}
		}
		if none := read("x", 0, 0); len(none) != 0 {
			t.Errorf("of another: %+v", none)
		}
	}},
	{"records as of a time", func(t *testing.T, w *world) {
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			put := func(at int, action syncline.Action, of string) {
				w.put(tx, id, seconds(at), action, of)
			}
			put(0, syncline.ActionAdded, "stays")
			put(4, syncline.ActionUpdated, "changed")
			put(4, syncline.ActionDeleted, "deleted")
			put(5, syncline.ActionAdded, "new")
			gone := w.superseded("changed", 2, seconds(2), seconds(3), `{}`)
			gone.DeletedAt = seconds(2)
			return tx.PutHistory(w.env.ID, id, []*syncline.Superseded{
				w.superseded("changed", 1, seconds(1), seconds(2), `{"v":1}`), gone, w.superseded("changed", 3, seconds(3), seconds(4), `{"v":3}`),
				w.superseded("deleted", 4, seconds(1), seconds(4), `{"v":1}`), w.superseded("purged", 4, seconds(1), seconds(2), `{"v":1}`),
			})
		})
		list := func(at time.Time, after string, limit int) string {
			return strings.Join(read(w, func(r store.Reader) (ids []string, err error) {
				err = r.ScanAsOf(w.env.ID, id, at, after, limit, func(rec *syncline.Record) bool {
					ids = append(ids, fmt.Sprintf("%s=%d", rec.ID, rec.LastModifiedAt.Sub(start)/time.Second))
					return true
				})
				return ids, err
			}), " ")
		}
		for at, want := range map[int]string{
			-1: "", 0: "stays=0", 1: "changed=1 deleted=1 purged=1 stays=0", 2: "deleted=1 stays=0", 3: "changed=3 deleted=1 stays=0",
			4: "changed=4 stays=0", 6: "changed=4 new=5 stays=0",
		} {
			if got := list(seconds(at), "", 0); got != want {
				t.Errorf("at %d: %q, want %q", at, got, want)
			}
		}
		if got := list(seconds(1), "changed", 2); got != "deleted=1 purged=1" {
			t.Errorf("a page: %q", got)
		}
	}},
	{"old versions are purged, and all with the collection", func(t *testing.T, w *world) {
		var id int64
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			return tx.PutHistory(w.env.ID, id, []*syncline.Superseded{
				w.superseded("a", 1, seconds(0), seconds(1), `{}`), w.superseded("a", 2, seconds(1), seconds(2), `{}`), w.superseded("b", 3, seconds(1), seconds(3), `{}`),
			})
		})
		purge := func(before, limit, want int) {
			t.Helper()
			w.update(func(tx store.Tx) error {
				n, err := tx.PurgeHistory(w.env.ID, id, seconds(before), limit)
				if n != want {
					t.Errorf("purged %d, want %d", n, want)
				}
				return err
			})
		}
		purge(1, 0, 0)
		purge(3, 1, 1)
		purge(3, 0, 1)
		left := func(of string) int {
			return len(read(w, func(r store.Reader) ([]syncline.Superseded, error) { return r.History(w.env.ID, id, of, 0, 0) }))
		}
		if left("a") != 0 || left("b") != 1 {
			t.Errorf("left: %d of a, %d of b", left("a"), left("b"))
		}
		w.update(func(tx store.Tx) error { return tx.EmptyCollection(w.env.ID, id) })
		if left("b") != 0 {
			t.Error("history is left of an emptied collection")
		}
	}},
	{"payloads are pruned, oldest first, where they stand", func(t *testing.T, w *world) {
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			for n := range 6 {
				records = append(records, w.put(tx, id, seconds(n), syncline.ActionAdded, fmt.Sprint(n))...)
			}
			return nil
		})
		prune := func(after, until int64, before time.Time, limit, want int, wantLast int64) {
			t.Helper()
			w.update(func(tx store.Tx) error {
				n, last, err := tx.PruneRecords(w.env.ID, id, after, until, before, limit, seconds(100))
				if n != want || n > 0 && last != wantLast {
					t.Errorf("pruned %d up to %d, want %d up to %d", n, last, want, wantLast)
				}
				return err
			})
		}
		prune(0, records[2].Seq, time.Time{}, 2, 2, records[1].Seq)
		prune(0, records[2].Seq, time.Time{}, 2, 1, records[2].Seq)
		prune(0, records[2].Seq, time.Time{}, 2, 0, 0)
		prune(0, 0, seconds(4), 0, 1, records[3].Seq)
		prune(records[4].Seq, 0, time.Time{}, 0, 1, records[5].Seq)
		prune(0, 0, seconds(0), 0, 0, 0)
		got := w.byID(id, "0", "4")
		if r := got["0"]; r.Payload != nil || !r.PrunedAt.Equal(seconds(100)) || r.Seq != records[0].Seq || len(r.Hash) == 0 {
			t.Errorf("pruned: %+v", r)
		}
		if r := got["4"]; r.Payload == nil || !r.PrunedAt.IsZero() {
			t.Errorf("not pruned: %+v", r)
		}
		same(t, "order", scan(w, id, store.RecordQuery{}), []string{"0", "1", "2", "3", "4", "5"})
	}},
	{"tombstones are removed for good, and readers can tell", func(t *testing.T, w *world) {
		var id int64
		var deleted []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "lives")
			for n := range 4 {
				deleted = append(deleted, w.put(tx, id, seconds(n), syncline.ActionDeleted, fmt.Sprint(n))...)
			}
			return nil
		})
		purge := func(before, limit, want int) {
			t.Helper()
			w.update(func(tx store.Tx) error {
				n, err := tx.PurgeDeleted(w.env.ID, id, seconds(before), limit)
				if n != want {
					t.Errorf("purged %d, want %d", n, want)
				}
				return err
			})
		}
		purge(0, 0, 0)
		purge(3, 2, 2)
		if c := w.getCollection("Issue"); c.PurgedSeq != deleted[1].Seq || c.LastSeq != deleted[3].Seq {
			t.Errorf("after two: %+v", c)
		}
		purge(3, 2, 1)
		same(t, "left", scan(w, id, store.RecordQuery{}), []string{"lives", "3"})
	}},
	{"payloads sealed otherwise are found", func(t *testing.T, w *world) {
		if w.sealsPayloads {
			t.Skip("its key ids are its own")
		}
		var id int64
		var records []*syncline.Record
		w.update(func(tx store.Tx) error {
			id = w.collection(tx, "Issue")
			records = w.put(tx, id, start, syncline.ActionAdded, "plain", "old", "new", "pruned")
			records[1].PayloadKeyID, records[2].PayloadKeyID, records[3].PayloadKeyID, records[3].Payload = "k1", "k2", "k1", nil
			return tx.RestateRecords(w.env.ID, id, records)
		})
		for key, want := range map[string]string{"k2": "plain old", "k1": "plain new", "": "old new"} {
			list := read(w, func(r store.Reader) ([]*syncline.Record, error) { return r.ForeignPayloads(w.env.ID, id, key, 0, 0) })
			var ids []string
			for _, r := range list {
				ids = append(ids, r.ID)
			}
			if got := strings.Join(ids, " "); got != want {
				t.Errorf("not %q: %q, want %q", key, got, want)
			}
		}
		list := read(w, func(r store.Reader) ([]*syncline.Record, error) {
			return r.ForeignPayloads(w.env.ID, id, "k3", records[0].Seq, 1)
		})
		if len(list) != 1 || list[0].ID != "old" || list[0].PayloadKeyID != "k1" {
			t.Errorf("a page: %+v", list)
		}
	}},
	{"all collections of an environment", func(t *testing.T, w *world) {
		var ids []int64
		w.update(func(tx store.Tx) error {
			for n := range 4 {
				ids = append(ids, w.collection(tx, fmt.Sprint("M", n)))
			}
			return nil
		})
		list := read(w, func(r store.Reader) ([]syncline.Collection, error) { return r.AllCollections(w.env.ID, ids[0], 2) })
		if len(list) != 2 || list[0].ID != ids[1] || list[1].ID != ids[2] {
			t.Errorf("page %+v of %v", list, ids)
		}
		one := read(w, func(r store.Reader) (syncline.Collection, error) { return r.CollectionByID(w.env.ID, ids[3]) })
		if one.Model != "M3" {
			t.Errorf("by id: %+v", one)
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.CollectionByID(w.env.ID+1, ids[3]); return err })
	}},
}
