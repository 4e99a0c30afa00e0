package feed_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/records"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

var epoch = time.Date(2026, 5, 31, 11, 46, 13, 390_123_000, time.UTC)

// fixture is a store with one connection and one deployed sync of the models
// Issue and Label.
type fixture struct {
	*testing.T
	store store.Store
	query feed.Query // names the collection of Issue
	now   time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return newFixtureOn(t, s)
}

func newFixtureOn(t *testing.T, s store.Store) *fixture {
	t.Helper()
	f := &fixture{T: t, store: s, now: epoch}
	f.update(func(tx store.Tx) error {
		env := syncline.Environment{UUID: syncline.NewUUID(), Name: "dev", CreatedAt: f.now}
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github", CreatedAt: f.now, UpdatedAt: f.now}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c1", CreatedAt: f.now, UpdatedAt: f.now}
		if err := tx.CreateConnection(&k); err != nil {
			return err
		}
		fn := syncline.Function{EnvironmentID: env.ID, IntegrationID: i.ID, Type: syncline.FunctionSync, Name: "issues", Enabled: true, CreatedAt: f.now}
		if err := tx.PutBundle(env.ID, "hash", []byte("x")); err != nil {
			return err
		}
		m := syncline.Manifest{Type: syncline.FunctionSync, Name: "issues", Integration: "github", Frequency: "every hour",
			Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{}`), "Label": json.RawMessage(`{}`)}}
		if err := tx.DeployFunction(&fn, &syncline.FunctionVersion{Manifest: m, BundleHash: "hash", DeployedAt: f.now}); err != nil {
			return err
		}
		f.query = feed.Query{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: k.ID, Model: "Issue"}
		return nil
	})
	return f
}

func (f *fixture) update(fn func(tx store.Tx) error) {
	f.Helper()
	if err := f.store.Update(context.Background(), store.Relaxed, fn); err != nil {
		f.Fatal(err)
	}
}

// write runs one batch on the collection of a model, a millisecond later than
// the one before.
func (f *fixture) write(op records.Op, model string, raws ...string) {
	f.Helper()
	f.now = f.now.Add(time.Millisecond)
	list := make([]json.RawMessage, len(raws))
	for i, r := range raws {
		list[i] = json.RawMessage(r)
	}
	b, err := records.NewBatch(op, model, list)
	if err != nil {
		f.Fatal(err)
	}
	f.update(func(tx store.Tx) error {
		_, err := records.Apply(tx, records.Target{EnvironmentID: f.query.EnvironmentID, ConnectionID: f.query.ConnectionID, Model: model}, b,
			records.Guard{Strategy: syncline.StrategyOverride}, f.now)
		return err
	})
}

func (f *fixture) collection(model string) (c syncline.Collection) {
	f.Helper()
	err := f.store.View(context.Background(), func(r store.Reader) (err error) {
		c, err = r.Collection(f.query.EnvironmentID, f.query.ConnectionID, model)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	return c
}

func (f *fixture) read(q feed.Query) feed.Page {
	f.Helper()
	p, err := feed.Read(context.Background(), f.store, q)
	if err != nil {
		f.Fatal(err)
	}
	return p
}

// seen lists a page as "id:action".
func seen(p feed.Page) []string {
	out := []string{}
	for _, c := range p.Changes {
		out = append(out, c.ID+":"+strings.ToLower(string(c.LastAction)))
	}
	return out
}

func nangoCursor(at time.Time) string {
	return base64.StdEncoding.EncodeToString([]byte(at.Format("2006-01-02T15:04:05.000000-07:00") + "||15ccc805-64d5-4940-a7e0-45fc704997a1"))
}

func TestPages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(records.OpSave, "Issue", `{"id":"1","n":1}`, `{"id":"2","n":1}`, `{"id":"3","n":1}`)
	f.write(records.OpSave, "Issue", `{"id":"2","n":2}`)
	f.write(records.OpDelete, "Issue", `{"id":"3"}`)
	f.write(records.OpSave, "Issue", `{"id":"4","n":1}`)
	coll := f.collection("Issue")
	all := f.read(f.query)
	cursorOf := func(id string) string {
		for _, c := range all.Changes {
			if c.ID == id {
				return c.Cursor
			}
		}
		t.Fatalf("no record %s", id)
		return ""
	}
	for name, c := range map[string]struct {
		change func(q *feed.Query)
		want   []string
		next   bool
	}{
		"everything comes in the order of the newest changes": {func(*feed.Query) {}, []string{"1:added", "2:updated", "3:deleted", "4:added"}, false},
		"a limit ends the page":                               {func(q *feed.Query) { q.Limit = 3 }, []string{"1:added", "2:updated", "3:deleted"}, true},
		"a page that is full and the last has no next":        {func(q *feed.Query) { q.Limit = 4 }, []string{"1:added", "2:updated", "3:deleted", "4:added"}, false},
		"a cursor goes on after its record":                   {func(q *feed.Query) { q.Cursor = cursorOf("2") }, []string{"3:deleted", "4:added"}, false},
		"the cursor of the newest record gives nothing":       {func(q *feed.Query) { q.Cursor = cursorOf("4") }, []string{}, false},
		"added":                 {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("added") }, []string{"1:added", "4:added"}, false},
		"updated":               {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("updated") }, []string{"2:updated"}, false},
		"deleted":               {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("deleted") }, []string{"3:deleted"}, false},
		"added and updated":     {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("added,updated") }, []string{"1:added", "2:updated", "4:added"}, false},
		"updated and deleted":   {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("UPDATED, deleted") }, []string{"2:updated", "3:deleted"}, false},
		"added and deleted":     {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("deleted,added") }, []string{"1:added", "3:deleted", "4:added"}, false},
		"all three":             {func(q *feed.Query) { q.Actions, _ = feed.ParseActions("added,updated,deleted") }, []string{"1:added", "2:updated", "3:deleted", "4:added"}, false},
		"a filter with a limit": {func(q *feed.Query) { q.Actions, q.Limit = []syncline.Action{"ADDED"}, 1 }, []string{"1:added"}, true},
		"ids":                   {func(q *feed.Query) { q.IDs = []string{"4", "2", "none"} }, []string{"2:updated", "4:added"}, false},
		"ids with a cursor":     {func(q *feed.Query) { q.IDs, q.Cursor = []string{"4", "2"}, cursorOf("3") }, []string{"4:added"}, false},
		"a time is inclusive":   {func(q *feed.Query) { q.ModifiedAfter = epoch.Add(2 * time.Millisecond) }, []string{"2:updated", "3:deleted", "4:added"}, false},
		"a time with a filter": {func(q *feed.Query) {
			q.ModifiedAfter, q.Actions = epoch.Add(3*time.Millisecond), []syncline.Action{"ADDED"}
		}, []string{"4:added"}, false},
		"a cursor of Nango": {func(q *feed.Query) { q.Cursor = nangoCursor(epoch.Add(3 * time.Millisecond)) }, []string{"3:deleted", "4:added"}, false},
		"one with another offset": {func(q *feed.Query) {
			q.Cursor = nangoCursor(epoch.Add(3 * time.Millisecond).In(time.FixedZone("", -5*3600)))
		}, []string{"3:deleted", "4:added"}, false},
		"one whose + became a space": {func(q *feed.Query) {
			q.Cursor = strings.ReplaceAll(nangoCursor(epoch.Add(3*time.Millisecond)), "+", " ")
		}, []string{"3:deleted", "4:added"}, false},
		"a budget ends the page early":                              {func(q *feed.Query) { q.Budget = 500 }, []string{"1:added", "2:updated"}, true},
		"one record is given whatever its size":                     {func(q *feed.Query) { q.Budget = 1 }, []string{"1:added"}, true},
		"a model that a sync declares is empty until it is written": {func(q *feed.Query) { q.Model = "Label" }, []string{}, false},
		"a variant has records of its own":                          {func(q *feed.Query) { q.Variant = "eu" }, []string{}, false},
		"the base variant is the model itself":                      {func(q *feed.Query) { q.Variant, q.Limit = "base", 1 }, []string{"1:added"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			q := f.query
			c.change(&q)
			p, err := feed.Read(t.Context(), f.store, q)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, seen(p)); diff != "" || (p.NextCursor != "") != c.next {
				t.Errorf("next cursor %q; difference of the page:\n%s", p.NextCursor, diff)
			}
			if n := len(p.Changes); p.NextCursor != "" && p.NextCursor != p.Changes[n-1].Cursor {
				t.Errorf("the next page does not begin after the last record of this one")
			}
		})
	}

	f.write(records.OpSave, "Label", `{"id":"l"}`)
	for name, c := range map[string]struct {
		change func(q *feed.Query)
		want   string
	}{
		"a model that nobody declares names those there are": {func(q *feed.Query) { q.Model = "Isue" }, "its models are Issue, Label"},
		"a cursor of another collection":                     {func(q *feed.Query) { q.Model, q.Cursor = "Label", feed.Cursor(coll.ID, coll.LastSeq) }, "does not belong"},
		"a cursor where nothing was ever written":            {func(q *feed.Query) { q.Variant, q.Cursor = "eu", feed.Cursor(coll.ID, coll.LastSeq) }, "does not belong"},
		"a cursor beyond the newest change":                  {func(q *feed.Query) { q.Cursor = feed.Cursor(coll.ID, coll.LastSeq+1) }, "restored from a backup"},
		"a cursor that is none":                              {func(q *feed.Query) { q.Cursor = "2026-05-31T11:46:13.390Z" }, "not one that this server made"},
		"a negative limit":                                   {func(q *feed.Query) { q.Limit = -1 }, "between 1 and 10000"},
		"a limit that is too large":                          {func(q *feed.Query) { q.Limit = 10_001 }, "between 1 and 10000"},
		"too many ids":                                       {func(q *feed.Query) { q.IDs = make([]string, 101) }, "the most is 100"},
	} {
		t.Run(name, func(t *testing.T) {
			q := f.query
			c.change(&q)
			_, err := feed.Read(t.Context(), f.store, q)
			if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v; want one with %q", err, c.want)
			}
		})
	}
}

func TestACursorOlderThanRemovedRecordsIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(records.OpSave, "Issue", `{"id":"1"}`)
	first := f.read(f.query).Changes[0].Cursor
	early := nangoCursor(f.now)
	f.write(records.OpSave, "Issue", `{"id":"2"}`)
	last := f.read(f.query).Changes[1].Cursor
	coll := f.collection("Issue")
	f.update(func(tx store.Tx) error {
		if _, err := tx.LockCollection(f.query.EnvironmentID, coll.ID); err != nil {
			return err
		}
		return tx.EmptyCollection(f.query.EnvironmentID, coll.ID)
	})
	refused := func(cursor string) {
		t.Helper()
		q := f.query
		q.Cursor = cursor
		if _, err := feed.Read(t.Context(), f.store, q); syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "without a cursor") {
			t.Errorf("error %v; want one that says to read without a cursor", err)
		}
	}
	reads := func(cursor string, want ...string) {
		t.Helper()
		q := f.query
		q.Cursor = cursor
		if diff := cmp.Diff(append([]string{}, want...), seen(f.read(q))); diff != "" {
			t.Error(diff)
		}
	}
	refused(first)
	refused(early)
	refused(last) // what it has is gone too
	reads("")
	f.write(records.OpSave, "Issue", `{"id":"3"}`)
	refused(first)
	refused(early)
	refused(nangoCursor(f.now)) // as old as the oldest that is left: something of that time may be gone
	refused(last)
	reads(nangoCursor(f.now.Add(time.Millisecond)))
}

// A reader that begins after tombstones were removed reads all that is left,
// page by page, though it lies before them; one that began earlier, or that is
// overtaken by another removal, is refused.
func TestAReaderBeginsAfterTombstonesWereRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for n := range 8 {
		f.write(records.OpSave, "Issue", fmt.Sprintf(`{"id":"%d"}`, n))
	}
	page := func(cursor string) (feed.Page, error) {
		q := f.query
		q.Cursor, q.Limit = cursor, 2
		return feed.Read(t.Context(), f.store, q)
	}
	read := func(cursor string) (ids []string, last string) {
		t.Helper()
		for {
			p, err := page(cursor)
			if err != nil {
				t.Fatalf("after %v: %v", ids, err)
			}
			for _, c := range p.Changes {
				ids, cursor = append(ids, c.ID), c.Cursor
			}
			if p.NextCursor == "" {
				return ids, cursor
			}
			if p.NextCursor != cursor {
				t.Errorf("the next cursor is %s, that of the last record %s", p.NextCursor, cursor)
			}
		}
	}
	refused := func(cursor string) {
		t.Helper()
		if _, err := page(cursor); syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "too old") {
			t.Errorf("error %v", err)
		}
	}
	remove := func(id string) {
		f.write(records.OpDelete, "Issue", `{"id":"`+id+`"}`)
		f.update(func(tx store.Tx) error {
			_, err := tx.PurgeDeleted(f.query.EnvironmentID, f.collection("Issue").ID, f.now.Add(time.Second), 0)
			return err
		})
	}
	early, _ := page("")
	remove("3")
	refused(early.NextCursor)
	ids, last := read("")
	if got := strings.Join(ids, " "); got != "0 1 2 4 5 6 7" {
		t.Errorf("read %s", got)
	}
	if ids, _ := read(last); len(ids) != 0 {
		t.Errorf("read again: %v", ids)
	}
	within, err := page("")
	if err != nil {
		t.Fatal(err)
	}
	f.write(records.OpSave, "Issue", `{"id":"1","v":2}`)
	if ids, _ := read(last); strings.Join(ids, " ") != "1" {
		t.Errorf("the reader missed the change: %v", ids)
	}
	if ids, _ := read(within.NextCursor); strings.Join(ids, " ") != "2 4 5 6 7 1" {
		t.Errorf("going on within: %v", ids)
	}
	remove("4")
	refused(within.NextCursor)
	refused(last)
}

func TestARecordIsItsPayloadWithMetadata(t *testing.T) {
	t.Parallel()
	at := time.Date(2023, 9, 18, 15, 20, 35, 941_305_000, time.UTC)
	base := syncline.Record{ID: "x", FirstSeenAt: at, LastModifiedAt: at.Add(time.Second), LastAction: syncline.ActionAdded}
	const meta = `"_nango_metadata":{"first_seen_at":"2023-09-18T15:20:35.941305+00:00","last_modified_at":"2023-09-18T15:20:36.941305+00:00","last_action":"ADDED","deleted_at":null,"pruned_at":null,"cursor":"c"}}`
	for name, c := range map[string]struct{ payload, want string }{
		"members come first":         {`{"id":"x","a":{"b":[1]}}`, `{"id":"x","a":{"b":[1]},` + meta},
		"space at the end is no bar": {"{\"id\":\"x\" \n} \n", `{"id":"x",` + meta},
		"an empty object":            {`{}`, `{` + meta},
		"a payload that is gone":     {``, `{"id":"x",` + meta},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := base
			rec.Payload = json.RawMessage(c.payload)
			got := feed.AppendChange(nil, &syncline.Change{Record: rec, Cursor: "c"})
			if string(got) != c.want || !json.Valid(got) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	deleted := base
	deleted.LastAction, deleted.DeletedAt, deleted.PrunedAt, deleted.Payload = syncline.ActionDeleted, at, at, json.RawMessage(`{"id":"x","secret":1}`)
	got := string(feed.AppendChange(nil, &syncline.Change{Record: deleted, Cursor: "c"}))
	if !strings.Contains(got, `"deleted_at":"2023-09-18T15:20:35.941305+00:00","pruned_at":"2023-09-18T15:20:35.941305+00:00"`) || strings.Contains(got, "secret") {
		t.Errorf("a pruned tombstone is %s", got)
	}
	page := feed.Page{Changes: []syncline.Change{{Record: base, Cursor: "c"}, {Record: base, Cursor: "d"}}, NextCursor: "d"}
	for _, p := range []feed.Page{page, {}} {
		var out struct {
			Records    []map[string]any `json:"records"`
			NextCursor *string          `json:"next_cursor"`
		}
		if err := json.Unmarshal(p.AppendJSON(nil), &out); err != nil || out.Records == nil || len(out.Records) != len(p.Changes) || (out.NextCursor == nil) != (p.NextCursor == "") {
			t.Errorf("page %s: %v", p.AppendJSON(nil), err)
		}
	}
}

func TestActions(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"add", "added,", ",", "added;updated", "*"} {
		if a, err := feed.ParseActions(bad); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("ParseActions(%q) = %v, %v", bad, a, err)
		}
	}
}

// What a reader that keeps its cursor has put together is what is in the
// cache, however it pages and whatever was written between its pages.
func TestAReaderReconstructsTheState(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		q := f.query
		q.Variant = fmt.Sprintf("v%d", round) // a collection of its own
		model := syncline.CollectionModel("Issue", q.Variant)
		f.write(records.OpSave, model, `{"id":"0","n":0}`)
		want, got := map[string]string{"0": `{"id":"0","n":0}`}, map[string]string{}
		page := func(limit, budget int) {
			q.Limit, q.Budget = limit, budget
			p := f.read(q)
			for _, c := range p.Changes {
				q.Cursor = c.Cursor
				if c.Deleted() {
					delete(got, c.ID)
				} else {
					got[c.ID] = string(c.Payload)
				}
			}
		}
		for step := range rapid.IntRange(1, 30).Draw(rt, "steps") {
			id := fmt.Sprint(rapid.IntRange(0, 5).Draw(rt, "id"))
			switch rapid.IntRange(0, 2).Draw(rt, "do") {
			case 0:
				payload := fmt.Sprintf(`{"id":%q,"n":%d}`, id, step)
				f.write(records.OpSave, model, payload)
				want[id] = payload
			case 1:
				f.write(records.OpDelete, model, fmt.Sprintf(`{"id":%q}`, id))
				delete(want, id)
			case 2:
				page(rapid.IntRange(1, 4).Draw(rt, "limit"), rapid.SampledFrom([]int{0, 300, 600}).Draw(rt, "budget"))
			}
		}
		for range 20 {
			page(3, 0)
		}
		if !maps.Equal(got, want) {
			rt.Fatalf("the reader has %v, the cache %v", got, want)
		}
	})
}

// Readers with every filter page while writers write; at the end each has
// seen the newest change of every record that its filter selects.
func TestReadersMissNothingWhileWritersWrite(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(records.OpSave, "Issue", `{"id":"0"}`)
	target := records.Target{EnvironmentID: f.query.EnvironmentID, ConnectionID: f.query.ConnectionID, Model: "Issue"}
	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 3 {
		random := rand.New(rand.NewPCG(1, uint64(w)))
		writers.Go(func() {
			for n := range 60 {
				op, raws := records.OpSave, []json.RawMessage{}
				if random.IntN(3) == 0 {
					op = records.OpDelete
				}
				for range 1 + random.IntN(3) {
					raws = append(raws, json.RawMessage(fmt.Sprintf(`{"id":"%d","v":"%d-%d"}`, random.IntN(20), w, n)))
				}
				b, err := records.NewBatch(op, "Issue", raws)
				if err != nil {
					t.Error(err)
					return
				}
				err = f.store.Update(context.Background(), store.Relaxed, func(tx store.Tx) error {
					_, err := records.Apply(tx, target, b, records.Guard{Strategy: syncline.StrategyOverride}, epoch)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	filters := []string{"", "added", "updated", "deleted", "added,updated", "added,deleted", "updated,deleted", "added,updated,deleted"}
	newest := make([]map[string]int64, len(filters))
	for i, filter := range filters {
		newest[i] = map[string]int64{}
		random := rand.New(rand.NewPCG(2, uint64(i)))
		readers.Go(func() {
			q := f.query
			q.Actions, _ = feed.ParseActions(filter)
			for last := false; ; {
				q.Limit = 1 + random.IntN(7)
				p, err := feed.Read(context.Background(), f.store, q)
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range p.Changes {
					newest[i][c.ID] = c.Seq
					q.Cursor = c.Cursor
				}
				if len(p.Changes) > 0 && p.NextCursor != "" && p.NextCursor != q.Cursor {
					t.Error("the next cursor skips")
				}
				if p.NextCursor != "" {
					continue
				}
				if last {
					return
				}
				select {
				case <-done:
					last = true // one more, for what was written before
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	final := f.read(f.query)
	for i, filter := range filters {
		actions, _ := feed.ParseActions(filter)
		for _, c := range final.Changes {
			if (len(actions) == 0 || slices.Contains(actions, c.LastAction)) && newest[i][c.ID] != c.Seq {
				t.Errorf("the reader with filter %q saw %s last at %d, not at %d", filter, c.ID, newest[i][c.ID], c.Seq)
			}
		}
	}
}

func TestPositionsOfOneCollectionHaveOneCursorEach(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write(records.OpSave, "Issue", `{"id":"1"}`)
	c := f.read(f.query).Changes[0].Cursor
	for _, bad := range []string{c + "=", c + "A", strings.ToLower(c), c[:len(c)-1], " " + c, strings.Repeat("A", 1000)} {
		if bad == c {
			continue
		}
		q := f.query
		q.Cursor = bad
		if _, err := feed.Read(t.Context(), f.store, q); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("cursor %q (from %q): error %v", bad, c, err)
		}
	}
}
