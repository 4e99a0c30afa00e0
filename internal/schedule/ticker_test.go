package schedule_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/schedule"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with one sync, a ticker under test, and a poller that tells
// the test of each claim and ends the poll when the test says so.
type world struct {
	t        *testing.T
	store    store.Store
	clock    *clock.Fake
	ticker   *schedule.Ticker
	control  *schedule.Control
	env      syncline.Environment
	integ    syncline.Integration
	function syncline.Function
	claims   chan schedule.Claim
	release  chan struct{}
	canceled []int64
}

func newWorld(t *testing.T, autoStart bool) *world {
	t.Helper()
	w := &world{
		t: t, clock: clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		claims: make(chan schedule.Claim, 100), release: make(chan struct{}, 100),
	}
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
	w.ok(err)
	t.Cleanup(func() { s.Close() })
	w.store = s
	w.ticker = &schedule.Ticker{
		Store: s, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Poller: w, Owner: "test", Lease: time.Minute, Max: 10,
	}
	w.control = &schedule.Control{Store: s, Clock: w.clock, Wake: w.ticker.Wake, Cancel: func(id int64) { w.canceled = append(w.canceled, id) }}
	w.update(func(tx store.Tx) error {
		now := w.clock.Now()
		w.env = syncline.Environment{UUID: syncline.NewUUID(), Name: "dev", CreatedAt: now}
		if err := tx.CreateEnvironment(&w.env); err != nil {
			return err
		}
		w.integ = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "github", Provider: "github", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateIntegration(&w.integ); err != nil {
			return err
		}
		if err := tx.PutBundle(w.env.ID, "hash", []byte("bundle")); err != nil {
			return err
		}
		w.function = syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integ.ID, Type: syncline.FunctionSync, Name: "issues", Enabled: true, CreatedAt: now}
		return tx.DeployFunction(&w.function, &syncline.FunctionVersion{BundleHash: "hash", DeployedAt: now, Manifest: syncline.Manifest{
			Type: syncline.FunctionSync, Name: "issues", Integration: "github", Frequency: "every 10 minutes", AutoStart: autoStart,
			Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{}`)},
		}})
	})
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) update(fn func(tx store.Tx) error) {
	w.t.Helper()
	w.ok(w.store.Update(w.t.Context(), store.Durable, fn))
}

// connect makes a connection and its instances.
func (w *world) connect(id string) syncline.SyncInstance {
	w.t.Helper()
	c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integ.ID, ConnectionID: id, CreatedAt: w.clock.Now(), UpdatedAt: w.clock.Now()}
	var found []syncline.SyncInstance
	w.update(func(tx store.Tx) (err error) {
		if err := tx.CreateConnection(&c); err != nil {
			return err
		}
		if err := schedule.Provision(tx, w.env.ID, w.integ.ID, w.clock.Now()); err != nil {
			return err
		}
		found, err = tx.Instances(w.env.ID, store.InstanceFilter{ConnectionID: c.ID})
		return err
	})
	if len(found) != 1 {
		w.t.Fatalf("%d instances were made", len(found))
	}
	return found[0]
}

// Poll is the poller: it tells the test, waits for its word, and plans the
// next poll as a poll that succeeds does.
func (w *world) Poll(ctx context.Context, c schedule.Claim) {
	w.claims <- c
	select {
	case <-w.release:
	case <-ctx.Done():
		return
	}
	err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		i, err := tx.Instance(w.env.ID, c.Instance.ID)
		if err != nil {
			return err
		}
		interval, err := schedule.Interval(&i, &w.function.Active.Manifest)
		if err != nil {
			return err
		}
		if i.State == syncline.InstanceStarted {
			i.NextDueAt = schedule.Next(i.ID, interval, w.clock.Now(), 0)
		}
		if c.Instance.TriggerPending {
			i.TriggerPending = false
		}
		if err := tx.UpdateInstance(&i); err != nil {
			return err
		}
		return tx.ReleasePoll(w.env.ID, i.ID, c.Lease.Epoch)
	})
	if err != nil && ctx.Err() == nil {
		w.t.Error(err)
	}
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	var done sync.WaitGroup
	done.Go(func() {
		if err := w.ticker.Run(ctx, ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(func() { cancel(); done.Wait() })
}

// claimed waits for the next claim.
func (w *world) claimed() schedule.Claim {
	w.t.Helper()
	select {
	case c := <-w.claims:
		return c
	case <-time.After(10 * time.Second):
		w.t.Fatal("nothing was claimed")
		return schedule.Claim{}
	}
}

// claimedInTime waits for the next claim while the time goes on: a ticker that
// had looked, and did not wait yet when the clock was moved, wakes up later.
func (w *world) claimedInTime() schedule.Claim {
	w.t.Helper()
	for range 1000 {
		select {
		case c := <-w.claims:
			return c
		case <-time.After(10 * time.Millisecond):
			w.clock.Advance(100 * time.Millisecond)
		}
	}
	w.t.Fatal("nothing was claimed")
	return schedule.Claim{}
}

// none checks that nothing is claimed: the ticker is woken and has looked
// twice by the time it says so.
func (w *world) none() {
	w.t.Helper()
	for range 20 {
		w.ticker.Wake()
		time.Sleep(time.Millisecond)
	}
	if len(w.claims) > 0 {
		w.t.Fatalf("claimed: %+v", <-w.claims)
	}
}

// finished lets a poll end and waits until its instance is free.
func (w *world) finished(id int64) syncline.SyncInstance {
	w.t.Helper()
	w.release <- struct{}{}
	for {
		if i := w.instance(id); i.PollLease.Owner == "" {
			return i
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) instance(id int64) (i syncline.SyncInstance) {
	w.t.Helper()
	w.ok(w.store.View(w.t.Context(), func(r store.Reader) (err error) {
		i, err = r.Instance(w.env.ID, id)
		return err
	}))
	return i
}

func TestASyncWithAutoStartIsPolledAtOnceAndThenByItsFrequency(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	w.start()
	if c := w.claimed(); c.Instance.ID != in.ID || c.Lease.Epoch == 0 {
		t.Errorf("claimed %+v", c)
	}
	next := w.finished(in.ID).NextDueAt
	if wait := next.Sub(w.clock.Now()); wait <= 0 || wait > 10*time.Minute {
		t.Fatalf("the next poll is due after %s", wait)
	}
	w.none()
	w.clock.Advance(next.Sub(w.clock.Now()))
	w.claimedInTime()
	if again := w.finished(in.ID).NextDueAt; again.Sub(next) != 10*time.Minute {
		t.Errorf("then it is due after %s", again.Sub(next))
	}
}

func TestASyncWithoutAutoStartWaitsForTheCommand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	in := w.connect("a")
	w.start()
	w.none()
	w.ok(w.control.Start(t.Context(), w.env.ID, in.ID))
	w.claimed()
	w.finished(in.ID)
	w.ok(w.control.Pause(t.Context(), w.env.ID, in.ID))
	w.clock.Advance(24 * time.Hour)
	w.none()
}

func TestAPollDoesNotOverlapWithItselfAndATriggerDuringItRunsAfterwards(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	w.start()
	w.claimed()
	w.ok(w.control.Trigger(t.Context(), w.env.ID, in.ID, schedule.TriggerOptions{}))
	w.none()
	w.release <- struct{}{}
	w.claimed()
	w.finished(in.ID)
	w.none()
}

func TestTicksThatWereMissedRunOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	w.clock.Advance(7 * 24 * time.Hour) // the server was down
	w.start()
	w.claimed()
	if next := w.finished(in.ID).NextDueAt; !next.After(w.clock.Now()) {
		t.Errorf("due again at %s, it is %s", next, w.clock.Now())
	}
	w.none()
}

func TestALeaseThatEndedCanBeTakenOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	var first syncline.Lease
	w.update(func(tx store.Tx) (err error) {
		first, _, err = tx.ClaimPoll(w.env.ID, in.ID, "a process that died", w.clock.Now(), w.clock.Now().Add(time.Minute))
		return err
	})
	w.start()
	w.none()
	w.clock.Advance(2 * time.Minute)
	if c := w.claimedInTime(); c.Lease.Epoch <= first.Epoch {
		t.Errorf("the lease was taken over with epoch %d after %d", c.Lease.Epoch, first.Epoch)
	}
	err := w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
		return tx.FencePoll(w.env.ID, in.ID, in.Epoch, first.Epoch)
	})
	if syncline.CodeOf(err) != syncline.CodeFenced {
		t.Errorf("the first holder's commit got %v", err)
	}
}

func TestAResetForgetsAndCancels(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	in.PollCheckpoint, in.LastSyncDate = json.RawMessage(`{"a":1}`), w.clock.Now()
	w.update(func(tx store.Tx) error { return tx.UpdateInstance(&in) })
	if err := w.control.Trigger(t.Context(), w.env.ID, in.ID, schedule.TriggerOptions{EmptyCache: true}); syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Errorf("emptyCache without reset got %v", err)
	}
	w.ok(w.control.Trigger(t.Context(), w.env.ID, in.ID, schedule.TriggerOptions{Reset: true, EmptyCache: true}))
	got := w.instance(in.ID)
	if got.Epoch <= in.Epoch || got.PollCheckpoint != nil || !got.LastSyncDate.IsZero() || !got.TriggerPending {
		t.Errorf("after the reset: %+v", got)
	}
	if len(w.canceled) != 1 || w.canceled[0] != in.ID {
		t.Errorf("canceled were %v", w.canceled)
	}
}

func TestAnOverrideMovesTheNextPoll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	in := w.connect("a")
	w.start()
	w.claimed()
	w.finished(in.ID)
	if err := w.control.SetFrequency(t.Context(), w.env.ID, in.ID, "every now and then"); syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Errorf("a bad frequency got %v", err)
	}
	w.ok(w.control.SetFrequency(t.Context(), w.env.ID, in.ID, "every 1s"))
	if wait := w.instance(in.ID).NextDueAt.Sub(w.clock.Now()); wait <= 0 || wait > time.Second {
		t.Errorf("with the override it is due after %s", wait)
	}
	w.ok(w.control.SetFrequency(t.Context(), w.env.ID, in.ID, ""))
	if wait := w.instance(in.ID).NextDueAt.Sub(w.clock.Now()); wait > 10*time.Minute {
		t.Errorf("without it it is due after %s", wait)
	}
}

func TestProvisionMakesEachInstanceOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	first := w.connect("a")
	w.connect("b")
	if again := w.instance(first.ID); again.UUID != first.UUID {
		t.Error("the instance was made again")
	}
	var all []syncline.SyncInstance
	w.ok(w.store.View(t.Context(), func(r store.Reader) (err error) {
		all, err = r.Instances(w.env.ID, store.InstanceFilter{})
		return err
	}))
	if len(all) != 2 {
		t.Errorf("%d instances", len(all))
	}
}
