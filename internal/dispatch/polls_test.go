package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/dispatch"
	"syncline/internal/fn"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

var resetAll = schedule.TriggerOptions{Reset: true, EmptyCache: true}

var resetKeepingTheCache = schedule.TriggerOptions{Reset: true}

func TestAWebhookThatLandsDuringASlowPollIsNotClobbered(t *testing.T) {
	t.Parallel()
	for name, cached := range map[string]bool{"with the record in the cache": true, "with an empty cache": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 1)
			w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
				return save(ctx, h, string(payload))
			}
			w.start()
			if cached {
				w.deliver(0, `{"id":"1","v":"old"}`)
				w.settled()
			}
			w.exec = func(ctx context.Context, h fn.Host) error {
				if err := ignoreIfModified(ctx, h); err != nil {
					return err
				}
				if err := fetch(ctx, h); err != nil {
					return err
				}
				w.deliver(0, `{"id":"1","v":"fresh"}`)
				w.settled()
				// 1,500 records: the guard holds beyond the first thousand too.
				page := make([]string, 1500)
				for i := range page {
					page[i] = fmt.Sprintf(`{"id":"p%d"}`, i)
				}
				page[1400] = `{"id":"1","v":"stale"}`
				return save(ctx, h, page...)
			}
			w.poll(t.Context(), 0)
			run := w.lastRun(0)
			if got := w.cache(0)["1"]; got != `{"id":"1","v":"fresh"}` {
				t.Errorf("the cache has %s", got)
			}
			if m := run.Models["Issue"]; run.Status != syncline.RunSuccess || m.Skipped != 1 || m.Contested != 1 || m.Added != 1499 {
				t.Errorf("the run is %s with %+v, %s", run.Status, m, run.Error)
			}
		})
	}
}

func TestAWebhookDeletionDuringASlowPollIsNotUndone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		return call(ctx, h, fn.MethodBatchDelete, string(payload))
	}
	w.start()
	stale := func(during func()) func(ctx context.Context, h fn.Host) error {
		return func(ctx context.Context, h fn.Host) error {
			if err := ignoreIfModified(ctx, h); err != nil {
				return err
			}
			if err := fetch(ctx, h); err != nil {
				return err
			}
			during()
			return save(ctx, h, `{"id":"1"}`)
		}
	}
	w.exec = stale(func() {})
	w.poll(t.Context(), 0)
	w.exec = stale(func() { w.deliver(0, `{"id":"1"}`); w.settled() })
	w.poll(t.Context(), 0)
	if c := w.cache(0); len(c) != 0 {
		t.Errorf("the deleted record is back: %v", c)
	}
}

func TestAPollThatWasResetWhileItRanWritesNothingMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.exec = func(ctx context.Context, h fn.Host) error {
		if err := save(ctx, h, `{"id":"before"}`); err != nil {
			return err
		}
		if err := w.ctl.Trigger(t.Context(), w.env.ID, w.instances[0].ID, resetAll); err != nil {
			return err
		}
		return save(context.WithoutCancel(ctx), h, `{"id":"after"}`)
	}
	w.poll(t.Context(), 0)
	if c := w.cache(0); len(c) != 0 {
		t.Errorf("the cache has %v after emptyCache", c)
	}
	if run := w.lastRun(0); run.Status != syncline.RunCanceled || !strings.Contains(run.Error, "reset") {
		t.Errorf("the run is %s: %s", run.Status, run.Error)
	}
	if i := w.instance(0); !i.TriggerPending || i.PollLease.Owner != "" && i.PollLease.Until.After(w.clock.Now()) {
		t.Errorf("the next poll cannot start: %+v", i)
	}
}

// A reset is told of after its commit, when the poll that it asked for may run.
func TestWhatIsToldOfAResetEndsOnlyThePollBeforeIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.exec = func(ctx context.Context, _ fn.Host) error {
		must(t, w.ctl.Trigger(t.Context(), w.env.ID, w.instances[0].ID, resetAll))
		<-ctx.Done()
		return ctx.Err()
	}
	w.poll(t.Context(), 0)
	if run := w.lastRun(0); run.Status != syncline.RunCanceled {
		t.Errorf("the poll that was reset is %s", run.Status)
	}
	w.exec = func(ctx context.Context, h fn.Host) error {
		before := w.instance(0).PollLease.Until
		w.clock.Advance(time.Second)
		w.polls.Cancel(w.instances[0].ID)
		for w.instance(0).PollLease.Until.Equal(before) { // until it has looked
			runtime.Gosched()
		}
		return save(ctx, h, `{"id":"1"}`)
	}
	w.poll(t.Context(), 0)
	if run := w.lastRun(0); run.Status != syncline.RunSuccess || len(w.cache(0)) != 1 {
		t.Errorf("the poll that the reset asked for is %s: %s", run.Status, run.Error)
	}
}

func TestACheckpointNeverRunsAheadAndAFailedPollIsContinued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.exec = func(ctx context.Context, h fn.Host) error {
		if err := save(ctx, h, `{"id":"1"}`); err != nil {
			return err
		}
		if _, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"page":1}}`)); err != nil {
			return err
		}
		return &fn.ScriptError{Message: "upstream broke"}
	}
	w.poll(t.Context(), 0)
	first := w.lastRun(0)
	if first.Status != syncline.RunFailed || first.SyncType != syncline.SyncInitial {
		t.Fatalf("the first run is %s, %s", first.Status, first.SyncType)
	}
	var checkpoint string
	w.exec = func(ctx context.Context, h fn.Host) error {
		c, err := h.Call(ctx, fn.MethodGetCheckpoint, nil)
		checkpoint = string(c)
		return err
	}
	w.poll(t.Context(), 0)
	second := w.lastRun(0)
	if checkpoint != `{"page":1}` || second.Lineage != first.ID || second.SyncType != syncline.SyncInitial {
		t.Errorf("the second run got the checkpoint %s, lineage %d (first run %d), %s", checkpoint, second.Lineage, first.ID, second.SyncType)
	}
	w.poll(t.Context(), 0)
	if third := w.lastRun(0); third.Lineage != third.ID || third.SyncType != syncline.SyncIncremental {
		t.Errorf("the third run has lineage %d (own id %d), %s", third.Lineage, third.ID, third.SyncType)
	}
	if w.instance(0).LastSyncDate.IsZero() || w.instance(0).PollFailures != 0 {
		t.Error("the successful polls left no trace")
	}
}

func TestAStoppedServerRunsItsPollAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	w.exec = func(ctx context.Context, _ fn.Host) error {
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	w.poll(ctx, 0)
	if run := w.lastRun(0); run.Status != syncline.RunCanceled {
		t.Errorf("the run is %s", run.Status)
	}
	if i := w.instance(0); !i.TriggerPending || i.PollRunID != 0 {
		t.Errorf("the instance is %+v", i)
	}
}

func TestRunsOfADeadProcessAreReapedAnnouncedAndDueAgain(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		reap := func(want int) {
			t.Helper()
			another := &dispatch.Polls{Engine: w.polls.Engine, Lease: w.polls.Lease}
			if n, err := another.Reap(t.Context()); err != nil || n != want {
				t.Errorf("reaped %d, %v; want %d", n, err, want)
			}
		}
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := save(ctx, h, `{"id":"1"}`); err != nil {
				return err
			}
			reap(0) // it lives: its lease is held
			must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error { return tx.ReleaseLeases() }))
			reap(1)
			reap(0)
			run := w.lastRun(0)
			if run.Status != syncline.RunReaped || run.Models["Issue"].Added != 1 {
				t.Errorf("the run is %s with %+v", run.Status, run.Models)
			}
			if i := w.instance(0); !i.TriggerPending || i.PollRunID != 0 || i.LastPollRunID != run.ID || i.PollLease.Owner != "" {
				t.Errorf("the poll is not due again: %+v", i)
			}
			if len(w.told) != 1 || w.told[0].result != nil {
				t.Errorf("the app was told %+v", w.told)
			}
			// It was alive after all, and goes on. Nothing of that counts.
			if err := save(ctx, h, `{"id":"2"}`); syncline.CodeOf(err) != syncline.CodeFenced {
				t.Errorf("after it was taken for dead it could write: %v", err)
			}
			return nil
		}
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Status != syncline.RunReaped {
			t.Errorf("in the end the run is %s", run.Status)
		}
		if i := w.instance(0); !i.TriggerPending || len(w.told) != 1 {
			t.Errorf("in the end the instance is %+v, and the app was told %+v", i, w.told)
		}
	})
}

func TestARunThatWasSucceededIsReapedOnceItsProcessHadTime(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		ended := syncline.Run{
			UUID: syncline.NewUUID(), EnvironmentID: w.env.ID, ConnectionID: w.instance(0).ConnectionID, InstanceID: w.instance(0).ID,
			FunctionID: w.function.ID, Kind: syncline.RunPoll, Status: syncline.RunRunning, StartedAt: w.clock.Now().Add(-time.Hour),
		}
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error { return tx.CreateRun(&ended) }))
		status := func() (s syncline.RunStatus) {
			must(t, w.store.View(t.Context(), func(r store.Reader) error {
				run, err := r.Run(w.env.ID, ended.ID)
				s = run.Status
				return err
			}))
			return s
		}
		reap := func() {
			if _, err := w.polls.Reap(t.Context()); err != nil {
				t.Error(err)
			}
		}
		w.exec = func(context.Context, fn.Host) error {
			reap()
			if s := status(); s != syncline.RunRunning {
				t.Errorf("when its successor begins, it is %s", s)
			}
			successor := w.instance(0).PollRunID
			must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
				run, err := tx.Run(w.env.ID, successor)
				if err != nil {
					return err
				}
				run.StartedAt = run.StartedAt.Add(-2 * time.Minute)
				return tx.UpdateRun(&run)
			}))
			reap()
			if s := status(); s != syncline.RunReaped {
				t.Errorf("later, it is %s", s)
			}
			if w.instance(0).PollRunID != successor {
				t.Error("its successor was ended too")
			}
			return nil
		}
		w.poll(t.Context(), 0)
	})
}

func TestAnUndeclaredModelIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.exec = func(ctx context.Context, h fn.Host) error {
		_, err := h.Call(ctx, fn.MethodBatchSave, json.RawMessage(`{"model":"Ghost","records":[{"id":"1"}]}`))
		return err
	}
	w.poll(t.Context(), 0)
	run := w.lastRun(0)
	if want := `the sync issues does not declare a model "Ghost"`; run.Status != syncline.RunFailed || !strings.Contains(run.Error, want) {
		t.Errorf("the run is %s: %s", run.Status, run.Error)
	}
	var logs []syncline.LogLine
	must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
		logs, err = r.Logs(w.env.ID, run.ID, 0, 10)
		return err
	}))
	if len(logs) != 1 || logs[0].Level != syncline.LogError {
		t.Errorf("the log is %+v", logs)
	}
}
