package dispatch_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/dispatch"
	"syncline/internal/fn"
	"syncline/internal/records"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

func track(ctx context.Context, h fn.Host, method string) error {
	_, err := h.Call(ctx, method, json.RawMessage(`{"model":"Issue"}`))
	return err
}

// listing is a poll that tracks deletes around a listing of these ids.
func listing(ids string, during func() error) func(ctx context.Context, h fn.Host) error {
	return func(ctx context.Context, h fn.Host) error {
		if err := track(ctx, h, fn.MethodTrackDeletesStart); err != nil {
			return err
		}
		var records []string
		for id := range strings.FieldsSeq(ids) {
			records = append(records, `{"id":"`+id+`"}`)
		}
		if err := save(ctx, h, records...); err != nil {
			return err
		}
		if during != nil {
			if err := during(); err != nil {
				return err
			}
		}
		return track(ctx, h, fn.MethodTrackDeletesEnd)
	}
}

func (w *world) ids() string {
	w.t.Helper()
	return strings.Join(slices.Sorted(maps.Keys(w.cache(0))), " ")
}

func (w *world) wantRun(status syncline.RunStatus) syncline.Run {
	w.t.Helper()
	run := w.lastRun(0)
	if run.Status != status {
		w.t.Fatalf("the run is %s: %s", run.Status, run.Error)
	}
	return run
}

func TestTrackedDeletesCommitWithTheRunsSuccess(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
			return save(ctx, h, string(payload))
		}
		w.start()
		w.exec = listing("a b c d", nil)
		w.poll(t.Context(), 0)
		w.wantRun(syncline.RunSuccess)
		w.told = nil

		// Failing after the end of the window, and again halfway, deletes nothing.
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := listing("a", nil)(ctx, h); err != nil {
				return err
			}
			return &fn.ScriptError{Message: "upstream broke"}
		}
		w.poll(t.Context(), 0)
		w.wantRun(syncline.RunFailed)
		if got := w.ids(); got != "a b c d" {
			t.Fatalf("a failed poll left %s", got)
		}

		// b: saved unchanged by a webhook in between; c: saved by this poll.
		w.exec = listing("c new", func() error {
			w.deliver(0, `{"id":"b"}`)
			w.settled()
			return nil
		})
		w.poll(t.Context(), 0)
		run := w.wantRun(syncline.RunSuccess)
		if got := w.ids(); got != "b c new" || run.Models["Issue"].Deleted != 2 {
			t.Errorf("live: %s; the run: %+v", got, run.Models)
		}
		last := w.told[len(w.told)-1]
		if last.result == nil || last.result.Deleted != 2 || last.result.Added != 1 {
			t.Errorf("told %+v", last)
		}
	})
}

func TestAWindowSpansResumedPolls(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.exec = listing("a b c d e", nil)
		w.poll(t.Context(), 0)
		// Each poll starts the window, saves its page and a checkpoint, and fails;
		// the last one ends it.
		for n, id := range []string{"a", "b", "c"} {
			w.exec = func(ctx context.Context, h fn.Host) error {
				if err := track(ctx, h, fn.MethodTrackDeletesStart); err != nil {
					return err
				}
				if err := save(ctx, h, `{"id":"`+id+`"}`); err != nil {
					return err
				}
				if n == 2 {
					if _, err := h.Call(ctx, fn.MethodClearCheckpoint, nil); err != nil {
						return err
					}
					return track(ctx, h, fn.MethodTrackDeletesEnd)
				}
				if _, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"page":1}}`)); err != nil {
					return err
				}
				return &fn.ScriptError{Message: "upstream broke"}
			}
			w.poll(t.Context(), 0)
		}
		w.wantRun(syncline.RunSuccess)
		if got := w.ids(); got != "a b c" {
			t.Errorf("live: %s", got)
		}
	})
}

func TestAResetClosesTheWindow(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.exec = listing("a b", nil)
		w.poll(t.Context(), 0)
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := track(ctx, h, fn.MethodTrackDeletesStart); err != nil {
				return err
			}
			_, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"page":1}}`))
			if err != nil {
				return err
			}
			return &fn.ScriptError{Message: "upstream broke"}
		}
		w.poll(t.Context(), 0)
		must(t, w.ctl.Trigger(t.Context(), w.env.ID, w.instances[0].ID, resetKeepingTheCache))
		w.exec = func(ctx context.Context, h fn.Host) error { return track(ctx, h, fn.MethodTrackDeletesEnd) }
		w.poll(t.Context(), 0)
		run := w.wantRun(syncline.RunFailed)
		if run.ErrorCode != syncline.CodeInvalid || !strings.Contains(run.Error, "trackDeletesStart") || w.ids() != "a b" {
			t.Errorf("%s: %s; live: %s", run.ErrorCode, run.Error, w.ids())
		}
	})
}

func TestMassDeletesAreHeldUntilSomebodyDecides(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.polls.Host.MassDelete = records.MassDelete{Percent: 50, Records: 2}
		deletes := &dispatch.Deletes{Engine: w.polls.Engine}
		held := func() []syncline.DeleteWindow {
			var list []syncline.DeleteWindow
			must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
				list, err = r.HeldWindows(w.env.ID, store.Page{})
				return err
			}))
			return list
		}
		w.exec = listing("a b c d e", nil)
		w.poll(t.Context(), 0)
		w.exec = listing("", nil) // an upstream that answers with nothing
		w.poll(t.Context(), 0)
		run := w.wantRun(syncline.RunSuccess)
		list := held()
		if w.ids() != "a b c d e" || len(list) != 1 || list[0].Deletes != 5 || len(run.Warnings) != 1 || !strings.Contains(run.Warnings[0], "held") {
			t.Fatalf("live: %s; held %+v; warnings %q", w.ids(), list, run.Warnings)
		}
		must(t, deletes.Discard(t.Context(), w.env.ID, list[0].ID))
		if w.ids() != "a b c d e" || len(held()) != 0 {
			t.Errorf("discarded: %s, %+v", w.ids(), held())
		}
		w.exec = listing("a", nil)
		w.poll(t.Context(), 0)
		list = held()
		w.told = nil
		result, err := deletes.Confirm(t.Context(), w.env.ID, list[0].ID)
		if err != nil || result.Deleted != 4 || w.ids() != "a" || len(held()) != 0 {
			t.Errorf("confirmed: %+v, %v; live: %s", result, err, w.ids())
		}
		if len(w.told) != 1 || w.told[0].result.Deleted != 4 {
			t.Errorf("told %+v", w.told)
		}
		if _, err := deletes.Confirm(t.Context(), w.env.ID, list[0].ID); syncline.CodeOf(err) != syncline.CodeConflict {
			t.Errorf("confirmed twice: %v", err)
		}
	})
}

func TestReconcileFetchesEverythingAndKeepsTheCache(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.redeploy(func(m *syncline.Manifest) { m.Reconcile = "every week" })
		var checkpoint string
		var failing bool
		w.exec = func(ctx context.Context, h fn.Host) error {
			c, err := h.Call(ctx, fn.MethodGetCheckpoint, nil)
			if err != nil {
				return err
			}
			checkpoint = string(c)
			if err := save(ctx, h, `{"id":"1"}`); err != nil {
				return err
			}
			if _, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"since":1}}`)); err != nil {
				return err
			}
			if failing {
				return &fn.ScriptError{Message: "upstream broke"}
			}
			return nil
		}
		for n, step := range []struct {
			advance time.Duration
			fails   bool
			mode    syncline.RunMode
			want    string // the checkpoint that the poll gets
		}{
			{0, false, syncline.ModeNormal, ""}, // the first is full anyway
			{24 * time.Hour, false, syncline.ModeNormal, `{"since":1}`},
			{6 * 24 * time.Hour, true, syncline.ModeFull, ""},
			{time.Hour, false, syncline.ModeFull, `{"since":1}`}, // goes on from its own checkpoint
			{time.Hour, false, syncline.ModeNormal, `{"since":1}`},
			{6 * 24 * time.Hour, false, syncline.ModeNormal, `{"since":1}`},
			{2 * 24 * time.Hour, false, syncline.ModeFull, ""},
		} {
			w.clock.Advance(step.advance)
			failing = step.fails
			w.poll(t.Context(), 0)
			if run := w.lastRun(0); run.Mode != step.mode || checkpoint != step.want {
				t.Errorf("poll %d: mode %q with the checkpoint %s; want %q with %s", n+1, run.Mode, checkpoint, step.mode, step.want)
			}
			if got := w.ids(); got != "1" {
				t.Errorf("poll %d: live %s", n+1, got)
			}
		}
		// Asked for by hand.
		must(t, w.ctl.Trigger(t.Context(), w.env.ID, w.instances[0].ID, schedule.TriggerOptions{Reconcile: true}))
		for _, want := range []syncline.RunMode{syncline.ModeFull, syncline.ModeNormal} {
			w.poll(t.Context(), 0)
			if run := w.lastRun(0); run.Mode != want {
				t.Errorf("after a trigger: mode %q, want %q", run.Mode, want)
			}
		}
	})
}

func TestAContestedPollIsRewoundOnce(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.redeploy(func(m *syncline.Manifest) { m.RewindContested = true })
		w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
			return save(ctx, h, string(payload))
		}
		w.start()
		w.exec = func(ctx context.Context, h fn.Host) error {
			_, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"since":1}}`))
			return err
		}
		w.poll(t.Context(), 0)
		var checkpoints []string
		contest := func(since, version string) func(ctx context.Context, h fn.Host) error {
			return func(ctx context.Context, h fn.Host) error {
				c, err := h.Call(ctx, fn.MethodGetCheckpoint, nil)
				if err != nil {
					return err
				}
				checkpoints = append(checkpoints, string(c))
				if err := ignoreIfModified(ctx, h); err != nil {
					return err
				}
				if err := fetch(ctx, h); err != nil {
					return err
				}
				w.deliver(0, `{"id":"1","v":"webhook `+version+`"}`)
				w.settled()
				if err := save(ctx, h, `{"id":"1","v":"poll `+version+`"}`); err != nil {
					return err
				}
				_, err = h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{"since":`+since+`}}`))
				return err
			}
		}
		for n, want := range []struct {
			checkpoint string
			mode       syncline.RunMode
			contested  int
		}{
			{`{"since":1}`, syncline.ModeNormal, 1},
			{`{"since":1}`, syncline.ModeRewind, 2}, // contested again, which is counted only
			{`{"since":3}`, syncline.ModeNormal, 3},
			{`{"since":3}`, syncline.ModeRewind, 4},
		} {
			w.exec = contest(string(rune('2'+n)), string(rune('a'+n)))
			w.poll(t.Context(), 0)
			run, i := w.wantRun(syncline.RunSuccess), w.instance(0)
			if checkpoints[n] != want.checkpoint || run.Mode != want.mode || i.Reconcile.Contested != want.contested {
				t.Errorf("poll %d began at %s, mode %q, contested %d; want %+v", n+1, checkpoints[n], run.Mode, i.Reconcile.Contested, want)
			}
		}
		// A full poll sees everything again: nothing is contested any more.
		w.exec = func(ctx context.Context, h fn.Host) error { return save(ctx, h, `{"id":"1","v":"final"}`) }
		w.redeploy(func(m *syncline.Manifest) { m.Reconcile = "every day" })
		w.clock.Advance(25 * time.Hour)
		w.poll(t.Context(), 0)
		if i := w.instance(0); i.Reconcile.Contested != 0 || i.Reconcile.FullAt.IsZero() || w.cache(0)["1"] != `{"id":"1","v":"final"}` {
			t.Errorf("%+v, %s", i.Reconcile, w.cache(0)["1"])
		}
	})
}

// A poll that rewinds to the middle of a listing cannot tell what is missing
// before it; nor can the poll that goes on for one that died at once.
func TestWhatGoesOnForARewindingPollDeletesNothing(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.exec = listing("a b c", nil)
		w.poll(t.Context(), 0)
		must(t, w.store.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			i, err := tx.Instance(w.env.ID, w.instances[0].ID)
			if err != nil {
				return err
			}
			i.Reconcile.Rewind = &syncline.Rewind{Checkpoint: json.RawMessage(`{"after":"b"}`)}
			return tx.UpdateInstance(&i)
		}))
		w.exec = func(context.Context, fn.Host) error { return &fn.ScriptError{Message: "upstream broke"} }
		for range 2 {
			w.poll(t.Context(), 0)
			w.clock.Advance(time.Hour)
		}
		w.exec = listing("c", nil)
		w.poll(t.Context(), 0)
		if run := w.wantRun(syncline.RunSuccess); run.Mode != syncline.ModeRewind || w.ids() != "a b c" {
			t.Errorf("mode %q, live: %s", run.Mode, w.ids())
		}
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Mode != syncline.ModeNormal {
			t.Errorf("the next poll is %q", run.Mode)
		}
	})
}

// redeploy deploys the sync with a changed manifest.
func (w *world) redeploy(change func(*syncline.Manifest)) {
	w.t.Helper()
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		f, err := tx.Function(w.env.ID, w.function.ID)
		if err != nil {
			return err
		}
		v := syncline.FunctionVersion{BundleHash: "hash", DeployedAt: w.clock.Now(), Manifest: f.Active.Manifest}
		change(&v.Manifest)
		return tx.DeployFunction(&f, &v)
	}))
}

// The events of one lane know each other's writes, and a poll's own run after
// run does too, on either store.
func TestOwnWritesAreNotContested(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
			if err := ignoreIfModified(ctx, h); err != nil {
				return err
			}
			return save(ctx, h, string(payload))
		}
		for _, v := range []string{"1", "2", "3"} { // received before any of them ran
			w.deliver(0, `{"id":"1","v":`+v+`}`)
		}
		w.start()
		w.settled()
		if got := w.cache(0)["1"]; got != `{"id":"1","v":3}` {
			t.Errorf("after three events: %s", got)
		}
		w.exec = func(ctx context.Context, h fn.Host) error {
			if err := ignoreIfModified(ctx, h); err != nil {
				return err
			}
			for _, v := range []string{"4", "5", "6"} {
				if err := save(ctx, h, `{"id":"1","v":`+v+`}`, `{"id":"2","v":`+v+`}`); err != nil {
					return err
				}
			}
			return nil
		}
		w.poll(t.Context(), 0)
		if run := w.wantRun(syncline.RunSuccess); run.Models["Issue"].Contested != 0 || w.cache(0)["1"] != `{"id":"1","v":6}` {
			t.Errorf("%+v, %s", run.Models, w.cache(0)["1"])
		}
	})
}
