package dispatch_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/fn"
	"syncline/internal/fn/bundle"
	"syncline/internal/fn/quickjs"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// Each test below is a race, or a mistake, by which caches are known to lose
// updates or changes. They run a TypeScript function in its engine, on both
// stores.

// thePuppet is testdata/puppet, bundled with the packages of the example.
var thePuppet = sync.OnceValues(func() (*bundle.Project, error) {
	packages, err := filepath.Abs("../../examples/github-issues/node_modules")
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(packages); err != nil {
		return nil, fmt.Errorf("%w (make packages installs it)", err)
	}
	dir, err := os.MkdirTemp("", "puppet-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS("testdata/puppet")); err != nil {
		return nil, err
	}
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
		return nil, err
	}
	return bundle.Build(context.Background(), bundle.Options{Dir: dir})
})

// puppet makes the world run testdata/puppet: a function that does the steps
// that it is given.
func (w *world) puppet() {
	w.t.Helper()
	p, err := thePuppet()
	must(w.t, err)
	f := p.Functions[0]
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.PutBundle(w.env.ID, f.Hash, f.Source); err != nil {
			return err
		}
		for hash, source := range p.Libraries {
			if err := tx.PutBundle(w.env.ID, hash, source); err != nil {
				return err
			}
		}
		deployed, err := tx.Function(w.env.ID, w.function.ID)
		if err != nil {
			return err
		}
		v := syncline.FunctionVersion{BundleHash: f.Hash, DeployedAt: w.clock.Now(), Manifest: f.Manifest}
		v.Manifest.Name = deployed.Name
		return tx.DeployFunction(&deployed, &v)
	}))
	engine := quickjs.New(quickjs.Options{})
	w.t.Cleanup(engine.Close)
	w.polls.Runner = engine
}

// steps runs a poll that does them. A step {"call":"get","endpoint":"/hold"}
// runs during.
func (w *world) steps(n int, steps string, during func()) syncline.Run {
	w.t.Helper()
	w.upstream = func(args fn.HTTPArgs) (*fn.HTTPResult, error) {
		body := "{}"
		switch {
		case strings.HasPrefix(args.Endpoint, "/steps"):
			body = "[" + steps + "]"
		case args.Endpoint == "/hold":
			during()
		}
		return &fn.HTTPResult{Status: 200, Headers: map[string]string{"content-type": "application/json"}, Body: body}, nil
	}
	w.poll(w.t.Context(), n)
	run := w.lastRun(n)
	if run.Status != syncline.RunSuccess {
		w.t.Fatalf("the poll is %s: %s", run.Status, run.Error)
	}
	return run
}

// hook runs one webhook that does the steps, to its end.
func (w *world) hook(n int, steps string) {
	w.t.Helper()
	e := w.deliver(n, `{"steps":[`+steps+`]}`)
	w.settled()
	if e := w.event(e.ID); e.Status != syncline.EventDone {
		w.t.Errorf("the webhook's event is %s: %s", e.Status, e.LastError)
	}
}

const (
	ignore = `{"call":"setMergingStrategy","strategy":"ignore_if_modified_after"}`
	hold   = `{"call":"get","endpoint":"/hold"}`
)

func saving(records string) string { return `{"call":"batchSave","records":[` + records + `]}` }

// changes lists what a reader sees beyond a cursor as "id:ACTION payload".
func (w *world) changes(n int, cursor string, actions ...syncline.Action) (list []string, next string) {
	w.t.Helper()
	i := w.instances[n]
	page, err := feed.Read(w.t.Context(), w.store, feed.Query{
		EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: i.ConnectionID, Model: "Issue", Variant: i.Variant,
		Cursor: cursor, Limit: 1000, Actions: actions,
	})
	must(w.t, err)
	for _, c := range page.Changes {
		list = append(list, fmt.Sprintf("%s:%s %s", c.ID, c.LastAction, c.Payload))
		cursor = c.Cursor
	}
	return list, cursor
}

// onRealFunctions runs a test on each store, after its preparations and the
// lanes' start.
func onRealFunctions(t *testing.T, test func(t *testing.T, w *world), prepare ...func(w *world)) {
	t.Helper()
	onEachStore(t, func(t *testing.T, w *world) {
		w.puppet()
		for _, p := range prepare {
			p(w)
		}
		w.start()
		test(t, w)
	})
}

func TestRaceWhileTheCacheIsEmpty(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		run := w.steps(0, ignore+","+hold+","+saving(`{"id":"1","v":"stale"}`), func() { w.hook(0, saving(`{"id":"1","v":"fresh"}`)) })
		if got := w.cache(0)["1"]; got != `{"id":"1","v":"fresh"}` || run.Models["Issue"].Contested != 1 {
			t.Errorf("%s, %+v", got, run.Models)
		}
	})
}

// interposed calls back after a transaction that put at least a thousand
// records has committed: between two parts of one batch.
type interposed struct {
	store.Store
	between func()
}

func (s interposed) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	full := false
	err := s.Store.Update(ctx, d, func(tx store.Tx) error {
		c := &counting{Tx: tx}
		err := fn(c)
		full = c.put >= 1000
		return err
	})
	if err == nil && full {
		s.between()
	}
	return err
}

type counting struct {
	store.Tx
	put int
}

func (c *counting) PutRecords(env, collection int64, records []*syncline.Record) error {
	c.put += len(records)
	return c.Tx.PutRecords(env, collection, records)
}

func TestRaceBetweenTheFirstAndTheSecondThousandOfABatch(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		var page []string
		for n := range 2000 {
			page = append(page, fmt.Sprintf(`{"id":"%d","v":"stale"}`, n))
		}
		run := w.steps(0, ignore+`,{"call":"get","endpoint":"/"},`+saving(strings.Join(page, ",")), nil)
		all := w.cache(0)
		if all["1500"] != `{"id":"1500","v":"fresh"}` || all["3"] != `{"id":"3","v":"fresh"}` || run.Models["Issue"].Contested != 1 || run.Models["Issue"].Added != 1999 {
			t.Errorf("%s, %s, %+v", all["1500"], all["3"], run.Models)
		}
	}, func(w *world) {
		var once sync.Once
		w.polls.Host.Store = interposed{w.store, func() {
			once.Do(func() { w.hook(0, saving(`{"id":"1500","v":"fresh"},{"id":"3","v":"fresh"}`)) })
		}}
	})
}

func TestRaceInAVariant(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			f, err := tx.Function(w.env.ID, w.function.ID)
			if err != nil {
				return err
			}
			i, err := schedule.Ensure(tx, &f, w.instances[0].ConnectionID, "eu", w.clock.Now())
			w.instances = append(w.instances, i)
			return err
		}))
		const eu = 1
		w.steps(eu, saving(`{"id":"1","v":"old"}`), nil)
		run := w.steps(eu, ignore+","+hold+","+saving(`{"id":"1","v":"stale"}`), func() { w.hook(eu, saving(`{"id":"1","v":"fresh"}`)) })
		list, _ := w.changes(eu, "")
		if fmt.Sprint(list) != `[1:UPDATED {"id":"1","v":"fresh"}]` || run.Models["Issue"].Contested != 1 {
			t.Errorf("%s, %+v", list, run.Models)
		}
		if base := w.cache(0); len(base) != 0 {
			t.Errorf("the base variant has %v", base)
		}
	})
}

func TestAPartialUpdateIsToldOnceAndOnlyOnce(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		w.steps(0, saving(`{"id":"1","v":{"a":1,"b":1}}`), nil)
		_, cursor := w.changes(0, "")
		w.hook(0, `{"call":"batchUpdate","records":[{"id":"1","v":{"b":2}}]}`)
		list, cursor := w.changes(0, cursor)
		if fmt.Sprint(list) != `[1:UPDATED {"id":"1","v":{"a":1,"b":2}}]` {
			t.Errorf("after the update: %s", list)
		}
		// The poll brings the whole object, with other key order: nothing new.
		run := w.steps(0, saving(`{"v":{"b":2,"a":1},"id":"1"}`), nil)
		w.hook(0, `{"call":"batchUpdate","records":[{"id":"1","v":{"b":2}}]}`)
		if list, _ := w.changes(0, cursor); len(list) != 0 || run.Models["Issue"].Unchanged != 1 {
			t.Errorf("told again: %s, %+v", list, run.Models)
		}
		run = w.steps(0, `{"call":"batchUpdate","records":[{"id":"unknown","v":1}]}`, nil)
		if list, _ := w.changes(0, cursor); len(list) != 0 || run.Models["Issue"].Unknown != 1 || len(run.Warnings) != 1 {
			t.Errorf("an unknown id: %s, %+v, %q", list, run.Models, run.Warnings)
		}
	})
}

func TestADeletionKeepsThePayloadIsToldOnceAndFound(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		w.steps(0, saving(`{"id":"1","v":"last"},{"id":"2","v":"stays"}`), nil)
		_, cursor := w.changes(0, "")
		w.hook(0, `{"call":"batchDelete","records":[{"id":"1"},{"id":"never seen"}]}`)
		const want = `[1:DELETED {"id":"1","v":"last"}]`
		list, cursor := w.changes(0, cursor)
		if fmt.Sprint(list) != want {
			t.Errorf("after the deletion: %s", list)
		}
		if list, _ := w.changes(0, "", syncline.ActionDeleted); fmt.Sprint(list) != want {
			t.Errorf("a reader of deletions only: %s", list)
		}
		w.hook(0, `{"call":"batchDelete","records":[{"id":"1"}]}`)
		w.steps(0, `{"call":"batchDelete","records":[{"id":"1"}]}`, nil)
		if list, _ := w.changes(0, cursor); len(list) != 0 {
			t.Errorf("told again: %s", list)
		}
		// What comes back is told as added.
		w.hook(0, saving(`{"id":"1","v":"back"}`))
		if list, _ := w.changes(0, cursor); fmt.Sprint(list) != `[1:ADDED {"id":"1","v":"back"}]` {
			t.Errorf("after it came back: %s", list)
		}
	})
}

func TestDeleteTrackingLeavesWhatLives(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		w.steps(0, saving(`{"id":"listed","v":1},{"id":"gone","v":1},{"id":"unchanged","v":1},{"id":"changed","v":1},{"id":"contested","v":1}`), nil)
		_, cursor := w.changes(0, "")
		run := w.steps(0, strings.Join([]string{
			ignore, `{"call":"trackDeletesStart"}`, hold,
			saving(`{"id":"listed","v":1},{"id":"contested","v":"stale"}`), `{"call":"trackDeletesEnd"}`,
		}, ","), func() {
			w.hook(0, saving(`{"id":"unchanged","v":1},{"id":"changed","v":2},{"id":"new","v":1},{"id":"contested","v":2}`))
		})
		if run.Models["Issue"].Deleted != 1 || run.Models["Issue"].Contested != 1 {
			t.Errorf("%+v", run.Models)
		}
		list, _ := w.changes(0, cursor)
		if got, want := strings.Join(list, "\n"), `changed:UPDATED {"id":"changed","v":2}
new:ADDED {"id":"new","v":1}
contested:UPDATED {"id":"contested","v":2}
gone:DELETED {"id":"gone","v":1}`; got != want {
			t.Errorf("a reader sees\n%s\nwant\n%s", got, want)
		}
	})
}

// late keeps the transactions of a poll open until it is told to let go.
type late struct {
	store.Store
	began, let chan struct{}
}

func (s late) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, d, func(tx store.Tx) error {
		c := &counting{Tx: tx}
		if err := fn(c); err != nil || c.put == 0 {
			return err
		}
		s.began <- struct{}{}
		<-s.let
		return nil
	})
}

// A reader that goes on from its cursor sees what was committed late, however
// early it was stamped.
func TestAReaderSeesWhatIsCommittedLate(t *testing.T) {
	t.Parallel()
	onRealFunctions(t, func(t *testing.T, w *world) {
		slow := late{w.store, make(chan struct{}), make(chan struct{})}
		deps := *w.polls.Host
		deps.Store = slow
		engine := *w.polls.Engine
		engine.Host = &deps
		w.polls.Engine = &engine // polls are slow, webhooks are not
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.steps(0, saving(`{"id":"slow","v":1}`), nil)
		}()
		<-slow.began
		// On SQLite it waits for the writer, on Postgres its run for the collection.
		var e syncline.Event
		delivered := make(chan struct{})
		go func() {
			defer close(delivered)
			e = w.deliver(0, `{"steps":[`+saving(`{"id":"fast","v":1}`)+`]}`)
		}()
		seen := map[string]bool{}
		list, cursor := w.changes(0, "")
		for _, c := range list {
			seen[c] = true
		}
		close(slow.let)
		<-done
		<-delivered
		w.settled()
		if w.event(e.ID).Status != syncline.EventDone {
			t.Error("the webhook was not handled")
		}
		list, _ = w.changes(0, cursor)
		for _, c := range list {
			seen[c] = true
		}
		if !seen[`slow:ADDED {"id":"slow","v":1}`] || !seen[`fast:ADDED {"id":"fast","v":1}`] || len(seen) != 2 {
			t.Errorf("the reader saw %v", seen)
		}
	})
}
