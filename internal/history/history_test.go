package history_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/history"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/sqlite"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func minutes(n int) time.Time { return start.Add(time.Duration(n) * time.Minute) }

// cache is a store with a connection whose sync keeps the history of Issue.
type cache struct {
	*testing.T
	store store.Store
	of    history.Of
	coll  map[string]int64
}

func each(t *testing.T, run func(t *testing.T, c *cache)) {
	t.Helper()
	for name, open := range map[string]func(t *testing.T) (store.Store, error){
		"mem": func(*testing.T) (store.Store, error) { return mem.New(nil), nil },
		"sqlite": func(t *testing.T) (store.Store, error) {
			return sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := open(t)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			c := &cache{T: t, store: s, coll: map[string]int64{}}
			c.tx(func(tx store.Tx) error {
				env := syncline.Environment{Name: "dev"}
				if err := tx.CreateEnvironment(&env); err != nil {
					return err
				}
				i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github"}
				if err := tx.CreateIntegration(&i); err != nil {
					return err
				}
				k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c1"}
				if err := tx.CreateConnection(&k); err != nil {
					return err
				}
				c.of = history.Of{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: k.ID, Model: "Issue"}
				f := syncline.Function{EnvironmentID: env.ID, IntegrationID: i.ID, Type: syncline.FunctionSync, Name: "issues"}
				return tx.DeployFunction(&f, &syncline.FunctionVersion{BundleHash: "b", Manifest: syncline.Manifest{
					Type: syncline.FunctionSync, Name: "issues", Integration: "github", History: map[string]string{"Issue": "90 days"},
				}})
			})
			run(t, c)
		})
	}
}

func (c *cache) tx(fn func(tx store.Tx) error) {
	c.Helper()
	if err := c.store.Update(c.Context(), store.Durable, fn); err != nil {
		c.Fatal(err)
	}
}

// set writes a record's next version, and keeps the one before.
func (c *cache) set(model, id string, at time.Time, action syncline.Action, w syncline.Writer, payload string) {
	c.Helper()
	c.tx(func(tx store.Tx) error {
		coll, err := tx.EnsureCollection(c.of.EnvironmentID, c.of.ConnectionID, model, at)
		if err != nil {
			return err
		}
		c.coll[model] = coll
		if _, err := tx.LockCollection(c.of.EnvironmentID, coll); err != nil {
			return err
		}
		found, err := tx.RecordsByID(c.of.EnvironmentID, coll, []string{id})
		if err != nil {
			return err
		}
		r := &syncline.Record{ID: id, FirstSeenAt: at}
		if before := found[id]; before != nil {
			if err := tx.PutHistory(c.of.EnvironmentID, coll, []*syncline.Superseded{{Record: *before, At: at}}); err != nil {
				return err
			}
			*r = *before
			r.DeletedAt = time.Time{}
		}
		if r.Seq, err = tx.NextSeq(1); err != nil {
			return err
		}
		r.LastModifiedAt, r.LastAction, r.Writer, r.Hash = at, action, w, []byte(payload)
		if action == syncline.ActionDeleted {
			r.DeletedAt = at
		} else {
			r.Payload = json.RawMessage(payload)
		}
		return tx.PutRecords(c.of.EnvironmentID, coll, []*syncline.Record{r})
	})
}

func (c *cache) read(q history.Query) (page history.Page, err error) {
	if q.ConnectionID == 0 {
		q.Of = c.of
	}
	_ = c.store.View(c.Context(), func(r store.Reader) error {
		page, err = history.Read(r, q)
		return nil
	})
	return page, err
}

func (c *cache) must(q history.Query) history.Page {
	c.Helper()
	page, err := c.read(q)
	if err != nil {
		c.Fatal(err)
	}
	return page
}

func (c *cache) run() syncline.Run {
	c.Helper()
	run := syncline.Run{EnvironmentID: c.of.EnvironmentID, UUID: syncline.NewUUID(), Status: syncline.RunRunning, StartedAt: start}
	c.tx(func(tx store.Tx) error { return tx.CreateRun(&run) })
	return run
}

func TestVersionsOfARecordAreReadWithWhatChanged(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		run := c.run()
		c.set("Issue", "1", minutes(0), syncline.ActionAdded, syncline.Writer{Lineage: 1, RunID: run.ID}, `{"id":"1","title":"Crash","user":{"login":"ada","id":12345678901234567890}}`)
		c.set("Issue", "1", minutes(1), syncline.ActionUpdated, syncline.Writer{LaneID: 2, EventID: 3, RunID: 99}, `{"id":"1","title":"Crash at start","user":{"id":12345678901234567890},"labels":["bug"]}`)
		c.set("Issue", "1", minutes(2), syncline.ActionDeleted, syncline.Writer{Lineage: 1}, ``)
		c.set("Issue", "1", minutes(3), syncline.ActionAdded, syncline.Writer{RunID: run.ID}, `{"id":"1"}`)
		got, err := json.MarshalIndent(c.must(history.Query{ID: "1"}), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		full := `{"id": "1", "title": "Crash at start", "user": {"id": 12345678901234567890}, "labels": ["bug"]}`
		var want any
		var have any
		text := fmt.Sprintf(`{"id": "1", "model": "Issue", "variant": "base", "history": true, "next_cursor": null, "versions": [
			{"data": {"id": "1"}, "action": "ADDED", "modified_at": "2026-03-01T12:03:00.000000+00:00", "superseded_at": null, "pruned_at": null, "cause": "action", "run_id": %q, "diff": [
				{"path": "/labels", "change": "removed", "from": ["bug"]}, {"path": "/title", "change": "removed", "from": "Crash at start"}, {"path": "/user", "change": "removed", "from": {"id": 12345678901234567890}}]},
			{"data": %s, "action": "DELETED", "modified_at": "2026-03-01T12:02:00.000000+00:00", "superseded_at": "2026-03-01T12:03:00.000000+00:00", "pruned_at": null, "cause": "poll", "run_id": null, "diff": []},
			{"data": %s, "action": "UPDATED", "modified_at": "2026-03-01T12:01:00.000000+00:00", "superseded_at": "2026-03-01T12:02:00.000000+00:00", "pruned_at": null, "cause": "webhook", "run_id": null, "diff": [
				{"path": "/labels", "change": "added", "to": ["bug"]}, {"path": "/title", "change": "changed", "from": "Crash", "to": "Crash at start"}, {"path": "/user/login", "change": "removed", "from": "ada"}]},
			{"data": {"id": "1", "title": "Crash", "user": {"login": "ada", "id": 12345678901234567890}}, "action": "ADDED", "modified_at": "2026-03-01T12:00:00.000000+00:00", "superseded_at": "2026-03-01T12:01:00.000000+00:00",
				"pruned_at": null, "cause": "poll", "run_id": %q, "diff": null}]}`, run.UUID, full, full, run.UUID)
		decode := func(text string, into *any) {
			d := json.NewDecoder(strings.NewReader(text))
			d.UseNumber()
			if err := d.Decode(into); err != nil {
				t.Fatal(err, text)
			}
		}
		decode(text, &want)
		decode(string(got), &have)
		if diff := cmp.Diff(want, have); diff != "" {
			t.Error(diff)
		}
	})
}

func TestPagesOfVersionsJoinWhileTheRecordChanges(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		n := 0
		change := func() {
			c.set("Issue", "1", minutes(n), syncline.ActionUpdated, syncline.Writer{Lineage: 1}, fmt.Sprintf(`{"id":"1","n":%d}`, n))
			n++
		}
		for range 27 {
			change()
		}
		for _, limit := range []int{1, 7, 26, 27, 28, 100} {
			var seen []string
			top := n
			for cursor := ""; ; {
				page := c.must(history.Query{ID: "1", Cursor: cursor, Limit: limit})
				if len(page.Versions) == 0 || len(page.Versions) > limit {
					t.Fatalf("limit %d: a page of %d", limit, len(page.Versions))
				}
				for _, v := range page.Versions {
					seen = append(seen, string(v.Data))
					first := string(v.Data) == `{"id":"1","n":0}`
					if first != (v.Diff == nil) || !first && (len(v.Diff) != 1 || v.Diff[0].Path != "/n") {
						t.Errorf("limit %d: diff of %s: %+v", limit, v.Data, v.Diff)
					}
				}
				if page.NextCursor == nil {
					break
				}
				cursor = *page.NextCursor
				if limit == 7 {
					change() // it is newer than the pages to come
				}
			}
			var want []string
			for v := top - 1; v >= 0; v-- {
				want = append(want, fmt.Sprintf(`{"id":"1","n":%d}`, v))
			}
			if diff := cmp.Diff(want, seen); diff != "" {
				t.Errorf("limit %d: %s", limit, diff)
			}
		}
	})
}

func TestAPageOfLargeVersionsEndsEarly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		large := strings.Repeat("x", 3<<20)
		for n := range 6 {
			c.set("Issue", "1", minutes(n), syncline.ActionUpdated, syncline.Writer{}, fmt.Sprintf(`{"id":"1","n":%d,"text":%q}`, n, large))
		}
		total := 0
		for cursor := ""; ; {
			page := c.must(history.Query{ID: "1", Cursor: cursor})
			total += len(page.Versions)
			if page.NextCursor == nil {
				break
			}
			if len(page.Versions) != 3 {
				t.Fatalf("a page of %d", len(page.Versions))
			}
			if last := page.Versions[2]; len(last.Diff) != 1 {
				t.Errorf("the last one is compared: %+v", last.Diff)
			}
			cursor = *page.NextCursor
		}
		if total != 6 {
			t.Errorf("%d versions", total)
		}
	})
}

func TestAModelWithoutHistoryShowsTheRecordAsItIs(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		c.set("Other", "1", minutes(0), syncline.ActionAdded, syncline.Writer{}, `{"id":"1"}`)
		c.set("Other", "1", minutes(1), syncline.ActionUpdated, syncline.Writer{}, `{"id":"1","n":1}`)
		q := history.Query{Of: c.of, ID: "1", Limit: 1}
		q.Model = "Other"
		page := c.must(q)
		if page.History || len(page.Versions) != 1 || string(page.Versions[0].Data) != `{"id":"1","n":1}` || page.Versions[0].Diff != nil || page.NextCursor != nil {
			t.Errorf("%+v", page)
		}
		// Another integration's sync says nothing of this one.
		q = history.Query{Of: c.of, ID: "1"}
		q.IntegrationID++
		c.set("Issue", "1", minutes(2), syncline.ActionAdded, syncline.Writer{}, `{"id":"1"}`)
		if page := c.must(q); page.History {
			t.Errorf("%+v", page)
		}
	})
}

func TestVersionsOfVariantsPrunedAndPurgedRecords(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		c.set("Issue::eu", "1", minutes(0), syncline.ActionAdded, syncline.Writer{}, `{"id":"1"}`)
		c.set("Issue::eu", "1", minutes(1), syncline.ActionUpdated, syncline.Writer{}, `{"id":"1","n":1}`)
		q := history.Query{Of: c.of, ID: "1"}
		if _, err := c.read(q); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("of the base variant: %v", err)
		}
		q.Variant = "eu"
		if page := c.must(q); page.Variant != "eu" || !page.History || len(page.Versions) != 2 {
			t.Errorf("%+v", page)
		}
		c.tx(func(tx store.Tx) error {
			_, _, err := tx.PruneRecords(c.of.EnvironmentID, c.coll["Issue::eu"], 0, 0, time.Time{}, 0, minutes(2))
			return err
		})
		page := c.must(q)
		if v := page.Versions[0]; v.Data != nil || v.PrunedAt == nil || v.Diff != nil {
			t.Errorf("pruned: %+v", v)
		}
		c.set("Issue::eu", "1", minutes(3), syncline.ActionUpdated, syncline.Writer{}, `{"id":"1","n":2}`)
		if page := c.must(q); page.Versions[0].Diff != nil || len(page.Versions) != 3 {
			t.Errorf("after one that was pruned: %+v", page)
		}
		c.set("Issue::eu", "1", minutes(4), syncline.ActionDeleted, syncline.Writer{}, ``)
		c.tx(func(tx store.Tx) error {
			_, err := tx.PurgeDeleted(c.of.EnvironmentID, c.coll["Issue::eu"], minutes(9), 0)
			return err
		})
		if page := c.must(q); len(page.Versions) != 3 || page.Versions[0].SupersededAt == nil {
			t.Errorf("what was deleted for good: %+v", page)
		}
		// Markers are no records.
		c.tx(func(tx store.Tx) error {
			seq, err := tx.NextSeq(1)
			if err != nil {
				return err
			}
			return tx.PutRecords(c.of.EnvironmentID, c.coll["Issue::eu"], []*syncline.Record{{ID: "m", Seq: seq, LastModifiedAt: minutes(5), DeletedAt: minutes(5)}})
		})
		q.ID = "m"
		if _, err := c.read(q); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("a marker: %v", err)
		}
	})
}

func TestWhatIsNoCursorIsRefused(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		c.set("Issue", "1", minutes(0), syncline.ActionAdded, syncline.Writer{}, `{"id":"1"}`)
		c.set("Issue", "2", minutes(0), syncline.ActionAdded, syncline.Writer{}, `{"id":"2"}`)
		ofRecords := *c.asOf(history.AsOfQuery{Of: c.of, At: minutes(1), Limit: 1}).NextCursor
		for _, cursor := range []string{"x", "!!", "dg", "dgA", "dv________________w", ofRecords} {
			if _, err := c.read(history.Query{ID: "1", Cursor: cursor}); syncline.CodeOf(err) != syncline.CodeInvalid {
				t.Errorf("%q of versions: %v", cursor, err)
			}
		}
		for _, cursor := range []string{"x", "cg", "dgE", "cv8"} {
			err := c.store.View(t.Context(), func(r store.Reader) error {
				_, err := history.AsOf(r, history.AsOfQuery{Of: c.of, At: minutes(1), Cursor: cursor})
				return err
			})
			if syncline.CodeOf(err) != syncline.CodeInvalid {
				t.Errorf("%q of records: %v", cursor, err)
			}
		}
	})
}

func (c *cache) asOf(q history.AsOfQuery) (out history.Snapshot) {
	c.Helper()
	err := c.store.View(c.Context(), func(r store.Reader) (err error) {
		out, err = history.AsOf(r, q)
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func TestRecordsAsOfATime(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		run := c.run()
		c.set("Issue", "1", minutes(0), syncline.ActionAdded, syncline.Writer{Lineage: 1, RunID: run.ID}, `{"id":"1","n":1}`)
		c.set("Issue", "2", minutes(0), syncline.ActionAdded, syncline.Writer{LaneID: 1}, `{}`)
		c.set("Issue", "ü/3", minutes(1), syncline.ActionAdded, syncline.Writer{}, `{ "id": "ü/3" }`)
		c.set("Issue", "1", minutes(2), syncline.ActionUpdated, syncline.Writer{}, `{"id":"1","n":2}`)
		c.set("Issue", "2", minutes(3), syncline.ActionDeleted, syncline.Writer{}, ``)
		texts := func(at time.Time) string {
			var list []string
			for cursor := ""; ; {
				page := c.asOf(history.AsOfQuery{Of: c.of, At: at, Cursor: cursor, Limit: 1})
				for _, r := range page.Records {
					if !json.Valid(r) {
						t.Fatalf("not JSON: %s", r)
					}
					text, _, _ := strings.Cut(string(r), `"_nango_metadata"`)
					list = append(list, text)
				}
				if page.NextCursor == nil {
					break
				}
				cursor = *page.NextCursor
			}
			return strings.Join(list, " ")
		}
		for at, want := range map[time.Time]string{
			minutes(-1): ``,
			minutes(0):  `{"id":"1","n":1, {`,
			minutes(1):  `{"id":"1","n":1, { { "id": "ü/3",`,
			minutes(2):  `{"id":"1","n":2, { { "id": "ü/3",`,
			minutes(3):  `{"id":"1","n":2, { "id": "ü/3",`,
		} {
			if got := texts(at); got != want {
				t.Errorf("%v: %s, want %s", at, got, want)
			}
		}
		page := c.asOf(history.AsOfQuery{Of: c.of, At: minutes(1)})
		want := `{"id":"1","n":1,"_nango_metadata":{"first_seen_at":"2026-03-01T12:00:00.000000+00:00","last_modified_at":"2026-03-01T12:00:00.000000+00:00","last_action":"ADDED","deleted_at":null,"pruned_at":null,"cause":"poll","run_id":"` + run.UUID + `"}}`
		if len(page.Records) != 3 || string(page.Records[0]) != want || !page.History || page.At != "2026-03-01T12:01:00.000000+00:00" {
			t.Errorf("%+v: %s", page, page.Records[0])
		}
		c.tx(func(tx store.Tx) error {
			_, _, err := tx.PruneRecords(c.of.EnvironmentID, c.coll["Issue"], 0, 0, time.Time{}, 0, minutes(9))
			return err
		})
		page = c.asOf(history.AsOfQuery{Of: c.of, At: minutes(3)})
		if !strings.HasPrefix(string(page.Records[1]), `{"id":"ü/3","_nango_metadata"`) {
			t.Errorf("pruned: %s", page.Records[1])
		}
		other := c.of
		other.Model = "Other"
		if page := c.asOf(history.AsOfQuery{Of: other, At: minutes(1)}); page.History || len(page.Records) != 0 || page.NextCursor != nil {
			t.Errorf("of a model that is not there: %+v", page)
		}
	})
}

func TestAPageOfLargeRecordsEndsEarly(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		large := strings.Repeat("x", 3<<20)
		for n := range 5 {
			c.set("Issue", fmt.Sprint(n), minutes(0), syncline.ActionAdded, syncline.Writer{}, fmt.Sprintf(`{"id":"%d","text":%q}`, n, large))
		}
		page := c.asOf(history.AsOfQuery{Of: c.of, At: minutes(1)})
		if len(page.Records) != 3 || page.NextCursor == nil {
			t.Fatalf("a page of %d", len(page.Records))
		}
		if rest := c.asOf(history.AsOfQuery{Of: c.of, At: minutes(1), Cursor: *page.NextCursor}); len(rest.Records) != 2 || rest.NextCursor != nil {
			t.Errorf("then %d", len(rest.Records))
		}
	})
}
