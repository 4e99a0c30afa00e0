package retention_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/clock"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/records"
	"syncline/internal/retention"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

const day = 24 * time.Hour

// cache is a store with one connection in each of two environments, and a
// sweeper of it.
type cache struct {
	*testing.T
	store       *counting
	clock       *clock.Fake
	sweeper     *retention.Sweeper
	environment [2]syncline.Environment
	connection  [2]syncline.Connection
}

// counting counts the writes of a store.
type counting struct {
	store.Store
	updates int
}

func (c *counting) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	c.updates++
	return c.Store.Update(ctx, d, fn)
}

func newCache(t *testing.T) *cache {
	t.Helper()
	fake := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{Clock: fake})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	box, err := inboxsqlite.Open(t.Context(), filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{Clock: fake})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { box.Close() })
	c := &cache{T: t, store: &counting{Store: s}, clock: fake}
	c.sweeper = &retention.Sweeper{Store: c.store, Inbox: box, Clock: fake, Log: slog.New(slog.DiscardHandler), Deliveries: 30 * day, Runs: 15 * day}
	c.update(func(tx store.Tx) error {
		for n, name := range []string{"dev", "prod"} {
			env := &c.environment[n]
			env.Name = name
			if err := tx.CreateEnvironment(env); err != nil {
				return err
			}
			i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github"}
			if err := tx.CreateIntegration(&i); err != nil {
				return err
			}
			c.connection[n] = syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c1"}
			if err := tx.CreateConnection(&c.connection[n]); err != nil {
				return err
			}
		}
		return nil
	})
	return c
}

func (c *cache) update(fn func(tx store.Tx) error) {
	c.Helper()
	if err := c.store.Update(c.Context(), store.Durable, fn); err != nil {
		c.Fatal(err)
	}
}

func (c *cache) write(env int, op records.Op, model string, raws ...string) {
	c.Helper()
	list := []json.RawMessage{}
	for _, r := range raws {
		list = append(list, json.RawMessage(r))
	}
	b, err := records.NewBatch(op, model, list)
	if err != nil {
		c.Fatal(err)
	}
	c.update(func(tx store.Tx) error {
		target := records.Target{EnvironmentID: c.environment[env].ID, ConnectionID: c.connection[env].ID, Model: model}
		_, err := records.Apply(tx, target, b, records.Guard{Strategy: syncline.StrategyOverride}, c.clock.Now())
		return err
	})
}

// sweep sweeps, and returns how many writes that took.
func (c *cache) sweep() int {
	c.Helper()
	before := c.store.updates
	if err := c.sweeper.Sweep(c.Context()); err != nil {
		c.Fatal(err)
	}
	return c.store.updates - before
}

func (c *cache) retain(env int, r syncline.Retention) {
	c.Helper()
	c.environment[env].Retention = r
	c.update(func(tx store.Tx) error { return tx.UpdateEnvironment(&c.environment[env]) })
}

// is compares what is in a collection: "id" or "id-" when it is pruned, and "x"
// before it when it is deleted.
func (c *cache) is(env int, model, want string) {
	c.Helper()
	got := []string{}
	err := c.store.View(c.Context(), func(r store.Reader) error {
		coll, err := r.Collection(c.environment[env].ID, c.connection[env].ID, model)
		if err != nil {
			return err
		}
		return r.ScanRecords(c.environment[env].ID, coll.ID, store.RecordQuery{}, func(rec *syncline.Record) bool {
			name := rec.ID
			if rec.Deleted() {
				name = "x" + name
			}
			if len(rec.Payload) == 0 && !rec.PrunedAt.IsZero() {
				name += "-"
			}
			got = append(got, name)
			return true
		})
	})
	if err != nil {
		c.Fatal(err)
	}
	if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
		c.Error(diff)
	}
}

func TestPayloadsOfRecordsThatDoNotChangeArePruned(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	c.write(0, records.OpSave, "Issue", `{"id":"1"}`, `{"id":"2"}`, `{"id":"3"}`)
	c.write(0, records.OpSave, "Issue::eu", `{"id":"1"}`)
	c.write(1, records.OpSave, "Issue", `{"id":"1"}`)
	c.clock.Advance(20 * day)
	c.write(0, records.OpSave, "Issue", `{"id":"2","n":1}`)
	c.write(0, records.OpDelete, "Issue", `{"id":"3"}`)
	c.clock.Advance(15 * day)
	c.sweep()
	c.is(0, "Issue", "1 2 x3") // it is off
	c.retain(0, syncline.Retention{Payloads: 30 * day})
	c.sweep()
	c.is(0, "Issue", "1- 2 x3")
	c.is(0, "Issue::eu", "1-")
	c.is(1, "Issue", "1")
	c.write(0, records.OpSave, "Issue", `{"id":"1"}`) // no change: what it has is known by its hash
	c.is(0, "Issue", "1- 2 x3")
	c.write(0, records.OpSave, "Issue", `{"id":"1","n":1}`)
	c.clock.Advance(16 * day)
	c.sweep()
	c.is(0, "Issue", "2- x3- 1")
	idle := c.sweep()
	c.clock.Advance(15 * day)
	if busy := c.sweep(); busy != idle+1 {
		t.Errorf("%d writes to prune once, %d without anything to prune", busy, idle)
	}
	c.is(0, "Issue", "2- x3- 1-")
	again := *c.sweeper // as after a new start
	c.sweeper = &retention.Sweeper{Store: again.Store, Inbox: again.Inbox, Clock: again.Clock, Log: again.Log, Deliveries: again.Deliveries, Runs: again.Runs}
	c.write(0, records.OpSave, "Issue", `{"id":"4"}`)
	c.clock.Advance(31 * day)
	c.sweep()
	c.is(0, "Issue", "2- x3- 1- 4-")
}

func TestDeletedRecordsGoForGood(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	var raws []string
	for i := range 1200 {
		raws = append(raws, fmt.Sprintf(`{"id":"%d"}`, i))
	}
	c.write(0, records.OpSave, "Issue", raws...)
	c.write(0, records.OpSave, "Other", `{"id":"1"}`, `{"id":"2"}`)
	c.write(1, records.OpSave, "Issue", `{"id":"1"}`)
	c.write(1, records.OpDelete, "Issue", `{"id":"1"}`)
	c.write(0, records.OpDelete, "Issue", raws[:1199]...)
	c.clock.Advance(10 * day)
	c.write(0, records.OpDelete, "Other", `{"id":"1"}`)
	c.retain(0, syncline.Retention{Deleted: 7 * day})
	c.sweep()
	c.is(0, "Issue", "1199")
	c.is(0, "Other", "2 x1")
	c.is(1, "Issue", "x1")
	err := c.store.View(t.Context(), func(r store.Reader) error {
		coll, err := r.Collection(c.environment[0].ID, c.connection[0].ID, "Issue")
		if coll.PurgedSeq != coll.LastSeq {
			t.Errorf("readers are not told: %+v", coll)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHistoryIsKeptAsLongAsADeployedFunctionSays(t *testing.T) {
	t.Parallel()
	c := newCache(t)
	env, k := c.environment[0].ID, c.connection[0]
	models := []string{"Kept", "Kept::eu", "Longer", "Dropped", "Odd"}
	ids := map[string]int64{}
	c.update(func(tx store.Tx) error {
		for _, m := range models {
			id, err := tx.EnsureCollection(env, k.ID, m, c.clock.Now())
			if err != nil {
				return err
			}
			ids[m] = id
			for age := range 4 { // superseded 0, 40, 80 and 120 days ago
				v := &syncline.Superseded{Record: syncline.Record{ID: "1", Seq: int64(100 - age), LastAction: syncline.ActionUpdated}, At: c.clock.Now().Add(-time.Duration(age) * 40 * day)}
				if err := tx.PutHistory(env, id, []*syncline.Superseded{v}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	deploy := func(name string, history map[string]string) (id int64) {
		c.update(func(tx store.Tx) error {
			if err := tx.PutBundle(env, "hash", []byte("x")); err != nil {
				return err
			}
			f := syncline.Function{EnvironmentID: env, IntegrationID: k.IntegrationID, Type: syncline.FunctionSync, Name: name}
			m := syncline.Manifest{Type: syncline.FunctionSync, Name: name, Integration: "github", Frequency: "every hour", History: history}
			err := tx.DeployFunction(&f, &syncline.FunctionVersion{Manifest: m, BundleHash: "hash"})
			id = f.ID
			return err
		})
		return id
	}
	left := func(want string) {
		t.Helper()
		var got []string
		err := c.store.View(t.Context(), func(r store.Reader) error {
			for _, m := range models {
				versions, err := r.History(env, ids[m], "1", 0, 10)
				if err != nil {
					return err
				}
				got = append(got, fmt.Sprint(len(versions)))
			}
			return nil
		})
		if diff := cmp.Diff(want, strings.Join(got, " ")); err != nil || diff != "" {
			t.Error(err, diff)
		}
	}
	left("4 4 4 4 4")
	short := deploy("short", map[string]string{"Kept": "60 days", "Longer": "60 days", "Odd": "for ever"})
	long := deploy("long", map[string]string{"Longer": "100 days"})
	c.sweep()
	left("2 2 3 0 4")
	c.update(func(tx store.Tx) error { return tx.DeleteFunction(env, long, c.clock.Now()) })
	c.sweep()
	left("2 2 2 0 4")
	deploy("short", map[string]string{"Longer": "60 days"})
	c.sweep()
	left("0 0 2 0 0")
	c.update(func(tx store.Tx) error { return tx.DeleteFunction(env, short, c.clock.Now()) })
	c.sweep()
	left("0 0 0 0 0")
}
