package records_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store"
)

var (
	poll    = records.Guard{Strategy: syncline.StrategyOverride, Writer: syncline.Writer{Lineage: 1, RunID: 1}}
	webhook = records.Guard{Strategy: syncline.StrategyOverride, Writer: syncline.Writer{LaneID: 5, EventID: 50}}
	owner   = records.WindowOwner{InstanceID: 7, InstanceEpoch: 1, Lineage: 1, RunID: 1}
)

func (c *cache) start(o records.WindowOwner) (id int64) {
	c.t.Helper()
	c.update(func(tx store.Tx) (err error) {
		id, err = records.StartTracking(tx, c.target, o, c.now)
		return err
	})
	return id
}

func (c *cache) end(window int64, m records.MassDelete) (result syncline.ModelResult, held *syncline.DeleteWindow) {
	c.t.Helper()
	c.update(func(tx store.Tx) (err error) {
		result, held, err = records.EndTracking(tx, c.env, window, poll, m, c.now)
		return err
	})
	return result, held
}

// live lists the ids of live records, sorted.
func (c *cache) live() string {
	c.t.Helper()
	var ids []string
	err := c.store.View(c.t.Context(), func(r store.Reader) error {
		coll, err := r.Collection(c.env, c.target.ConnectionID, "M")
		if err != nil {
			return err
		}
		return r.ScanRecords(c.env, coll.ID, store.RecordQuery{}, func(rec *syncline.Record) bool {
			if !rec.Deleted() {
				ids = append(ids, rec.ID)
			}
			return true
		})
	})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.Sort(ids)
	return strings.Join(ids, " ")
}

func objects(ids string) (texts []string) {
	for id := range strings.FieldsSeq(ids) {
		texts = append(texts, `{"id":"`+id+`"}`)
	}
	return texts
}

func TestWhatAWindowDidNotSeeIsDeleted(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.apply(records.OpSave, poll, objects("unseen unchanged changed skipped updated by-webhook unchanged-by-webhook gone old")...)
	c.apply(records.OpDelete, poll, objects("old")...)
	guarded := records.Guard{Strategy: syncline.StrategyIgnoreIfModifiedAfter, Writer: syncline.Writer{Lineage: 2}}
	w := c.start(owner)
	c.apply(records.OpSave, poll, objects("unchanged new")...)
	c.apply(records.OpSave, poll, `{"id":"changed","v":2}`)
	if r := c.apply(records.OpSave, guarded, `{"id":"skipped","v":2}`); r.Contested != 1 {
		t.Fatalf("%+v", r)
	}
	c.apply(records.OpUpdate, poll, objects("updated")...)
	c.apply(records.OpSave, webhook, `{"id":"by-webhook","v":2}`)
	c.apply(records.OpSave, webhook, objects("unchanged-by-webhook made-by-webhook")...)
	c.apply(records.OpDelete, webhook, objects("gone")...)
	before := c.get("unseen")
	result, held := c.end(w, records.MassDelete{})
	if result.Deleted != 1 || held != nil {
		t.Errorf("%+v, %+v", result, held)
	}
	if got := c.live(); got != "by-webhook changed made-by-webhook new skipped unchanged unchanged-by-webhook updated" {
		t.Errorf("live: %s", got)
	}
	gone := c.get("unseen")
	if gone.LastAction != syncline.ActionDeleted || string(gone.Payload) != string(before.Payload) || gone.Seq <= before.Seq || gone.Writer.RunID != 1 {
		t.Errorf("tombstone %+v", gone)
	}
	if result, _ := c.end(w, records.MassDelete{}); result.Changed() {
		t.Errorf("ended twice: %+v", result)
	}
	if next := c.start(owner); next == w {
		t.Error("a closed window was opened again")
	}
}

func TestWhichWindowGoesOn(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]records.WindowOwner{
		"a run that resumes it":            owner,
		"a run that goes on midway":        {InstanceID: 7, InstanceEpoch: 1, Lineage: 9, Midway: true},
		"not a run that begins anew":       {InstanceID: 7, InstanceEpoch: 1, Lineage: 9},
		"not after a reset":                {InstanceID: 7, InstanceEpoch: 2, Lineage: 1, Midway: true},
		"not another sync's":               {InstanceID: 8, InstanceEpoch: 1, Lineage: 1, Midway: true},
		"a run that began once more at it": {InstanceID: 7, InstanceEpoch: 1, Lineage: 1, RunID: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCache(t)
			c.apply(records.OpSave, poll, objects("a b")...)
			w := c.start(owner)
			c.apply(records.OpSave, poll, objects("a")...)
			again := c.start(o)
			goesOn := !strings.HasPrefix(name, "not ")
			if (again == w) != goesOn {
				t.Errorf("window %d after %d", again, w)
			}
			if !goesOn { // what was seen under the old one says nothing
				if result, _ := c.end(w, records.MassDelete{}); result.Changed() {
					t.Errorf("the old window deleted %+v", result)
				}
			}
			c.apply(records.OpSave, poll, objects("b")...)
			c.end(again, records.MassDelete{})
			want := "b"
			if goesOn {
				want = "a b"
			}
			if got := c.live(); got != want {
				t.Errorf("live: %s, want %s", got, want)
			}
		})
	}
}

// A poll that begins once more in the middle of a listing does not see what
// came before; nor do those that resume it.
func TestAPartialListingDeletesNothing(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.apply(records.OpSave, poll, objects("a b c")...)
	partial := owner
	partial.Midway, partial.Partial = true, true
	w := c.start(partial)
	c.apply(records.OpSave, poll, objects("c")...)
	if again := c.start(owner); again != w {
		t.Errorf("window %d after %d", again, w)
	}
	if result, held := c.end(w, records.MassDelete{Percent: 1}); result.Changed() || held != nil || c.live() != "a b c" {
		t.Errorf("%+v, %+v; live: %s", result, held, c.live())
	}
	// And the first window of a collection, in which nothing stands.
	c = newCache(t)
	w = c.start(owner)
	c.apply(records.OpSave, webhook, objects("a")...)
	if result, _ := c.end(w, records.MassDelete{}); result.Changed() || c.live() != "a" {
		t.Errorf("%+v; live: %s", result, c.live())
	}
}

func TestManyAreDeletedInOrder(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	const n = 2503
	var texts []string
	for i := range n {
		texts = append(texts, fmt.Sprintf(`{"id":"%04d"}`, i))
	}
	c.apply(records.OpSave, poll, texts...)
	w := c.start(owner)
	c.apply(records.OpSave, poll, texts[7])
	if result, _ := c.end(w, records.MassDelete{}); result.Deleted != n-1 {
		t.Errorf("%+v", result)
	}
	if got := c.live(); got != "0007" {
		t.Errorf("live: %s", got)
	}
}

func TestTooManyDeletesAreHeld(t *testing.T) {
	t.Parallel()
	setUp := func(t *testing.T) (*cache, syncline.DeleteWindow) {
		t.Helper()
		c := newCache(t)
		c.apply(records.OpSave, poll, objects("a b c d")...)
		w := c.start(owner)
		c.apply(records.OpSave, poll, objects("a")...)
		result, held := c.end(w, records.MassDelete{Percent: 50, Records: 2})
		if result.Changed() || held == nil || held.Deletes != 3 || held.Live != 4 || held.State != syncline.WindowHeld || held.RunID != 1 {
			t.Fatalf("%+v, %+v", result, held)
		}
		if got := c.live(); got != "a b c d" {
			t.Fatalf("live: %s", got)
		}
		return c, *held
	}
	confirm := func(c *cache, id int64) (result syncline.ModelResult, err error) {
		err = c.store.Update(c.t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
			_, result, err = records.ConfirmWindow(tx, c.env, id, poll, c.now)
			return err
		})
		return result, err
	}
	conflict := func(t *testing.T, err error) {
		t.Helper()
		if syncline.CodeOf(err) != syncline.CodeConflict {
			t.Errorf("error %v", err)
		}
	}
	t.Run("and confirmed, less what was touched since", func(t *testing.T) {
		t.Parallel()
		c, held := setUp(t)
		c.apply(records.OpSave, webhook, objects("b")...) // unchanged
		if result, err := confirm(c, held.ID); err != nil || result.Deleted != 2 {
			t.Errorf("%+v, %v", result, err)
		}
		if got := c.live(); got != "a b" {
			t.Errorf("live: %s", got)
		}
		_, err := confirm(c, held.ID)
		conflict(t, err)
	})
	t.Run("and discarded", func(t *testing.T) {
		t.Parallel()
		c, held := setUp(t)
		discard := func() error {
			return c.store.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				_, err := records.DiscardWindow(tx, c.env, held.ID, c.now)
				return err
			})
		}
		if err := discard(); err != nil {
			t.Error(err)
		}
		conflict(t, discard())
		_, err := confirm(c, held.ID)
		conflict(t, err)
	})
	t.Run("until a later poll sees the records", func(t *testing.T) {
		t.Parallel()
		c, held := setUp(t)
		w := c.start(records.WindowOwner{InstanceID: 7, InstanceEpoch: 1, Lineage: 2})
		c.apply(records.OpSave, poll, objects("a b c")...)
		// While the later one runs, the held one may still be confirmed: it leaves what was seen.
		if result, err := confirm(c, held.ID); err != nil || result.Deleted != 1 {
			t.Errorf("%+v, %v", result, err)
		}
		if result, again := c.end(w, records.MassDelete{Percent: 50, Records: 2}); result.Changed() || again != nil {
			t.Errorf("%+v, %+v", result, again)
		}
		if got := c.live(); got != "a b c" {
			t.Errorf("live: %s", got)
		}
	})
	t.Run("and are given up for those of a later poll", func(t *testing.T) {
		t.Parallel()
		c, held := setUp(t)
		w := c.start(records.WindowOwner{InstanceID: 7, InstanceEpoch: 1, Lineage: 2})
		c.apply(records.OpSave, poll, objects("a b")...)
		if _, again := c.end(w, records.MassDelete{Percent: 40, Records: 1}); again == nil || again.Deletes != 2 {
			t.Errorf("%+v", again)
		}
		_, err := confirm(c, held.ID)
		conflict(t, err)
	})
	t.Run("until a reset", func(t *testing.T) {
		t.Parallel()
		c, held := setUp(t)
		c.update(func(tx store.Tx) error { return records.CloseWindows(tx, c.env, held.CollectionID, c.now) })
		_, err := confirm(c, held.ID)
		conflict(t, err)
	})
}

// A record that delete tracking deleted keeps its version: a late event that is
// older does not bring it back, one that is newer does.
func TestTrackedDeletesKeepVersions(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.apply(records.OpSave, newest, `{"id":"1","at":5}`)
	c.apply(records.OpUpdate, newest, `{"id":"1","at":8,"a":1}`)
	c.end(c.start(owner), records.MassDelete{})
	if r := c.apply(records.OpSave, newest, `{"id":"1","at":8}`); r.Older != 1 {
		t.Errorf("%+v", r)
	}
	if r := c.apply(records.OpSave, newest, `{"id":"1","at":9}`); r.Added != 1 {
		t.Errorf("%+v", r)
	}
}

func TestHistoryKeepsWhatWas(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	g := poll
	g.Rules.History = true
	c.apply(records.OpSave, poll, `{"id":"1","v":1}`) // before history was asked for
	first := c.get("1")
	hook := webhook
	hook.Rules.History = true
	c.apply(records.OpSave, hook, `{"id":"1","v":2}`)
	c.apply(records.OpSave, g, `{"id":"1","v":2}`) // no change
	c.apply(records.OpUpdate, g, `{"id":"1","v":3}`, `{"id":"1","v":4}`)
	c.apply(records.OpDelete, g, `{"id":"1"}`)
	var versions []syncline.Superseded
	err := c.store.View(t.Context(), func(r store.Reader) (err error) {
		versions, err = r.History(c.env, first.CollectionID, "1", 0, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, v := range versions {
		got = append(got, string(v.Payload)+" "+string(v.Writer.Cause()))
	}
	want := []string{`{"id":"1","v":4} poll`, `{"id":"1","v":2} webhook`, `{"id":"1","v":1} poll`}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if v := versions[1]; !v.At.Equal(versions[0].LastModifiedAt) {
		t.Errorf("it was superseded at %v, not when the next was made, %v", v.At, versions[0].LastModifiedAt)
	}
}
