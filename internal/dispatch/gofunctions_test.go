package dispatch_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
	"syncline/internal/schedule"
	"syncline/internal/store"
	"syncline/sdk"
)

// Issue is the record of the function in Go.
type Issue struct {
	ID    string `json:"id"`
	Title string `json:"title,omitempty"`
}

type goCursor struct {
	Page int `json:"page"`
}

var (
	goCheckpoint sdk.Checkpoint[goCursor]
	goMetadata   sdk.Metadata[map[string]string]
)

// golang makes the world's function one in Go, and the process one that has it.
func (w *world) golang(exec func(context.Context, *sdk.SyncHandle[Issue]) error, onWebhook func(context.Context, *sdk.SyncHandle[Issue], *sdk.Webhook) error) *gofn.Registry {
	w.t.Helper()
	if exec == nil {
		exec = func(context.Context, *sdk.SyncHandle[Issue]) error { return nil }
	}
	if onWebhook == nil {
		onWebhook = func(context.Context, *sdk.SyncHandle[Issue], *sdk.Webhook) error { return nil }
	}
	functions, err := sdk.Functions{sdk.Sync[Issue]{
		Name: "issues", Integration: "github", Every: time.Hour, WebhookSubscriptions: []string{"*"}, Checkpoint: goCheckpoint,
		Model: sdk.Model[Issue]{Merge: sdk.IgnoreIfModifiedAfter}, Exec: exec, OnWebhook: onWebhook,
	}}.Compile()
	must(w.t, err)
	registry, err := gofn.NewRegistry("build", functions)
	must(w.t, err)
	v := registry.Versions()[0]
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.PutBundle(w.env.ID, v.Hash, v.Bundle); err != nil {
			return err
		}
		f, err := tx.Function(w.env.ID, w.function.ID)
		if err != nil {
			return err
		}
		return tx.DeployFunction(&f, &syncline.FunctionVersion{Manifest: v.Manifest, BundleHash: v.Hash, DeployedAt: w.clock.Now()})
	}))
	w.polls.Runner = &gofn.Runner{Registry: registry, Next: w}
	w.polls.Runs = registry.Has
	return registry
}

func TestAWebhookInGoCommitsAllOrNothing(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		var tries atomic.Int32
		forgotten := make(chan error, 1)
		w.golang(nil, func(ctx context.Context, h *sdk.SyncHandle[Issue], hook *sdk.Webhook) error {
			var i Issue
			if err := hook.Decode(&i); err != nil {
				return err
			}
			n := tries.Add(1)
			must(t, h.BatchSave(ctx, i, Issue{ID: "also", Title: "by " + i.ID}))
			must(t, goCheckpoint.Save(ctx, h, goCursor{int(n)}))
			must(t, goMetadata.Set(ctx, h, map[string]string{"last": i.ID}))
			if found, err := h.GetRecordsByIDs(ctx, i.ID); err != nil || found[i.ID] != i {
				t.Errorf("the handler does not read its own write: %v, %v", found, err)
			}
			switch n {
			case 1:
				return errors.New("it broke")
			case 2:
				panic("it broke worse")
			case 3:
				go func() { // forgotten
					for w.event(1).Status != syncline.EventDone {
						time.Sleep(time.Millisecond)
					}
					forgotten <- h.BatchSave(context.Background(), Issue{ID: "late"})
				}()
			}
			return nil
		})
		e := w.deliver(0, `{"id":"1","title":"one"}`)
		w.start()
		w.settled()
		if e = w.event(e.ID); e.Status != syncline.EventDone || e.Attempts != 2 {
			t.Fatalf("the event is %s after %d failures: %s", e.Status, e.Attempts, e.LastError)
		}
		cache := w.cache(0)
		if len(cache) != 2 || cache["1"] != `{"id":"1","title":"one"}` || cache["also"] != `{"id":"also","title":"by 1"}` {
			t.Errorf("the cache has %v", cache)
		}
		if c := string(w.instance(0).WebhookCheckpoint); c != `{"page":3}` {
			t.Errorf("the checkpoint is %s", c)
		}
		if err := <-forgotten; syncline.CodeOf(err) != syncline.CodeFenced {
			t.Errorf("a goroutine that was forgotten was told %v", err)
		}
		var logs []syncline.Run
		must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
			logs, err = r.Runs(w.env.ID, store.RunFilter{Kind: syncline.RunWebhook})
			return err
		}))
		if len(logs) != 3 || logs[1].Error != "panic: it broke worse" || logs[1].ErrorCode != syncline.CodeScript {
			t.Errorf("the runs are %+v", logs)
		}
	})
}

func TestAPollInGoKeepsWhatItSavedAndGoesOnFromThere(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		broken := true
		w.golang(func(ctx context.Context, h *sdk.SyncHandle[Issue]) error {
			c, _, err := goCheckpoint.Get(ctx, h)
			must(t, err)
			for page := c.Page + 1; page <= 3; page++ {
				if _, err := h.Get(ctx, "/", nil); err != nil {
					return err
				}
				if page == 2 && broken {
					return errors.New("it broke")
				}
				must(t, h.BatchSave(ctx, Issue{ID: string(rune('0' + page))}))
				must(t, goCheckpoint.Save(ctx, h, goCursor{page}))
			}
			return goCheckpoint.Clear(ctx, h)
		}, nil)
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Status != syncline.RunFailed || run.Error != "it broke" || len(w.cache(0)) != 1 || string(w.instance(0).PollCheckpoint) != `{"page":1}` {
			t.Fatalf("the run is %s (%s), the cache %v, the checkpoint %s", run.Status, run.Error, w.cache(0), w.instance(0).PollCheckpoint)
		}
		broken = false
		w.poll(t.Context(), 0)
		if run := w.lastRun(0); run.Status != syncline.RunSuccess || run.Models["Issue"].Added != 2 || len(w.cache(0)) != 3 || w.instance(0).PollCheckpoint != nil {
			t.Errorf("the run is %s (%s) %+v, the checkpoint %s", run.Status, run.Error, run.Models, w.instance(0).PollCheckpoint)
		}
	})
}

func TestAWebhookInGoWaitsForTheWorldWithoutSpendingAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var calls atomic.Int32
	w.upstream = func(fn.HTTPArgs) (*fn.HTTPResult, error) {
		if calls.Add(1) < 10 {
			return &fn.HTTPResult{Status: 503}, nil
		}
		return &fn.HTTPResult{Status: 200, Body: `{"id":"1"}`}, nil
	}
	w.golang(nil, func(ctx context.Context, h *sdk.SyncHandle[Issue], _ *sdk.Webhook) error {
		i, err := sdk.Decode[Issue](h.Get(ctx, "/issue", nil))
		if err != nil {
			return err
		}
		return h.BatchSave(ctx, i)
	})
	e := w.deliver(0, `{}`)
	w.start()
	w.settled()
	if e = w.event(e.ID); e.Status != syncline.EventDone || e.Attempts != 0 || len(w.cache(0)) != 1 {
		t.Errorf("the event is %s after %d failures: %s", e.Status, e.Attempts, e.LastError)
	}
}

func TestWorkForAnotherBuildIsLeftToIt(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, w *world) {
		var has atomic.Bool
		w.golang(func(ctx context.Context, h *sdk.SyncHandle[Issue]) error {
			return h.BatchSave(ctx, Issue{ID: "polled"})
		},
			func(ctx context.Context, h *sdk.SyncHandle[Issue], hook *sdk.Webhook) error {
				return h.BatchSave(ctx, Issue{ID: "hooked"})
			})
		w.polls.Runs = func(*syncline.FunctionVersion) bool { return has.Load() }
		e := w.deliver(0, `{}`)
		w.start()
		reason := func() (l syncline.Lane) {
			must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
				l, err = r.Lane(w.env.ID, w.instances[0].ID)
				return err
			}))
			return l
		}
		for !strings.Contains(reason().Reason, "not compiled into the process") {
			time.Sleep(time.Millisecond)
		}
		w.clock.Advance(time.Hour)

		must(t, w.ctl.Start(t.Context(), w.env.ID, w.instances[0].ID))
		// A poll is put off, with and without a trigger.
		for _, triggered := range []bool{false, true} {
			if triggered {
				must(t, w.ctl.Trigger(t.Context(), w.env.ID, w.instances[0].ID, schedule.TriggerOptions{}))
			}
			w.poll(t.Context(), 0)
			i, now := w.instance(0), w.clock.Now()
			if i.NextDueAt.Sub(now) != time.Second || i.TriggerPending != triggered || i.PollFailures != 0 || i.PollLease.Owner != "" != triggered {
				t.Errorf("triggered %t: the poll is due in %s, pending %t, with the lease %+v", triggered, i.NextDueAt.Sub(now), i.TriggerPending, i.PollLease)
			}
			var due []syncline.SyncInstance
			must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
				due, err = r.DueInstances(now, 10)
				return err
			}))
			if len(due) != 0 {
				t.Errorf("triggered %t: the poll is due again at once", triggered)
			}
			w.clock.Advance(2 * time.Second)
		}
		var runs []syncline.Run
		must(t, w.store.View(t.Context(), func(r store.Reader) (err error) {
			runs, err = r.Runs(w.env.ID, store.RunFilter{})
			return err
		}))
		w.mu.Lock()
		told := len(w.told)
		w.mu.Unlock()
		if len(runs) != 0 || told != 0 {
			t.Errorf("what was left made %d runs and %d notifications", len(runs), told)
		}

		has.Store(true)
		w.settled()
		w.poll(t.Context(), 0)
		if e = w.event(e.ID); e.Status != syncline.EventDone || e.Attempts != 0 || len(w.cache(0)) != 2 {
			t.Errorf("the event is %s after %d failures, the cache has %v", e.Status, e.Attempts, w.cache(0))
		}
		if l := reason(); l.Reason != "" || !l.WaitingSince.IsZero() {
			t.Errorf("the lane still waits: %+v", l)
		}
	})
}

// lockedBuffer is written to by loggers.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestWorkThatNoProcessCanDoEndsVisibly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.golang(nil, nil)
	none, err := gofn.NewRegistry("another build", nil)
	must(t, err)
	w.polls.Runner, w.polls.Runs = &gofn.Runner{Registry: none}, none.Has
	var said lockedBuffer
	w.polls.Log = slog.New(slog.NewTextHandler(&said, nil))
	e := w.deliver(0, `{}`)
	w.start()
	for range 200 { // of the seconds in which a deployment may roll
		w.clock.Advance(time.Second)
		time.Sleep(time.Millisecond)
	}
	for range 30 {
		w.clock.Advance(time.Hour)
		time.Sleep(5 * time.Millisecond)
	}
	w.settled()
	if e = w.event(e.ID); e.Status != syncline.EventDead || !strings.Contains(e.LastError, "does not have the deployed version") {
		t.Errorf("the event is %s: %s", e.Status, e.LastError)
	}
	if !strings.Contains(said.String(), "version 2 of the Go function issues is not compiled into") {
		t.Errorf("nothing was said: %s", said.String())
	}
}
