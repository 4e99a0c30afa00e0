package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// create makes a connection as the API does.
func (a *acting) create(id string) (c syncline.Connection, err error) {
	c = syncline.Connection{EnvironmentID: a.env.ID, IntegrationID: a.integration.ID, ConnectionID: id, Metadata: map[string]any{"given": "yes"}}
	v, err := a.actions.Validate(a.t.Context(), &a.integration, &c)
	if err != nil {
		return c, err
	}
	if v.Changed {
		c.Metadata = v.Metadata
	}
	must(a.t, a.store.Update(a.t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.CreateConnection(&c); err != nil {
			return err
		}
		if err := v.Store(tx, c.ID); err != nil {
			return err
		}
		return a.actions.Created(tx, &a.integration, &c)
	}))
	a.actions.Wake()
	return c, nil
}

func (a *acting) connection(id int64) (c syncline.Connection, err error) {
	err = a.store.View(a.t.Context(), func(r store.Reader) (err error) {
		c, err = r.Connection(a.env.ID, id)
		return err
	})
	return c, err
}

func TestAConnectionIsValidatedBeforeItIsThere(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		refuse := true
		a.upstream = func(fn.HTTPArgs) (*fn.HTTPResult, error) { return &fn.HTTPResult{Status: 200, Body: `{}`}, nil }
		a.function("check", "validate-connection", nil, func(ctx context.Context, h fn.Host, _ fn.Call) (json.RawMessage, error) {
			if err := fetch(ctx, h); err != nil { // with the new credentials
				t.Error(err)
			}
			if m, err := h.Call(ctx, fn.MethodGetMetadata, nil); string(m) != `{"given":"yes"}` {
				t.Errorf("the metadata is %s, %v", m, err)
			}
			if _, err := h.Call(ctx, fn.MethodUpdateMetadata, json.RawMessage(`{"metadata":{"account":"7"}}`)); err != nil {
				t.Error(err)
			}
			if m, _ := h.Call(ctx, fn.MethodGetMetadata, nil); string(m) != `{"account":"7","given":"yes"}` {
				t.Errorf("the metadata is then %s", m)
			}
			if _, err := h.Call(ctx, fn.MethodSaveCheckpoint, json.RawMessage(`{"checkpoint":{}}`)); err == nil {
				t.Error("a checkpoint was saved for a connection that is not there")
			}
			if _, err := h.Call(ctx, fn.MethodTriggerAction, json.RawMessage(`{"name":"x"}`)); err == nil || !strings.Contains(err.Error(), "not there yet") {
				t.Errorf("triggerAction: %v", err)
			}
			if refuse {
				return nil, &fn.ScriptError{Name: "ActionError", Message: "wrong account", Payload: json.RawMessage(`{"message":"wrong account"}`)}
			}
			return nil, nil
		})
		_, err := a.create("acme")
		if f := failureIn(t, err); f.Type != syncline.FailureAction || f.Message != "wrong account" {
			t.Errorf("the failure is %+v", f)
		}
		must(t, a.store.View(t.Context(), func(r store.Reader) error {
			if _, err := r.ConnectionByKey(a.env.ID, a.integration.ID, "acme"); syncline.CodeOf(err) != syncline.CodeNotFound {
				t.Errorf("the refused connection is there: %v", err)
			}
			return nil
		}))
		if run := a.runs(syncline.RunOnEvent)[0]; run.Status != syncline.RunFailed || run.ConnectionID != 0 || run.Error != "wrong account" {
			t.Errorf("the run is %+v", run)
		}
		refuse = false
		c, err := a.create("acme")
		must(t, err)
		if stored, _ := a.connection(c.ID); stored.Metadata["account"] != "7" {
			t.Errorf("the metadata is %v", stored.Metadata)
		}
		if run := a.runs(syncline.RunOnEvent)[0]; run.Status != syncline.RunSuccess || run.ConnectionID != c.ID {
			t.Errorf("the run is %+v", run)
		}
	})
}

func TestWhatAConnectionsCreationOwesSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		tries := 0
		a.function("setup", "post-connection-creation", nil, func(ctx context.Context, h fn.Host, _ fn.Call) (json.RawMessage, error) {
			if tries++; tries == 1 {
				return nil, &fn.ScriptError{Message: "not yet"}
			}
			_, err := h.Call(ctx, fn.MethodUpdateMetadata, json.RawMessage(`{"metadata":{"hook":"h1"}}`))
			return nil, err
		})
		a.function("else", "pre-connection-deletion", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
			t.Error("a function of another event ran")
			return nil, nil
		})
		off := a.function("off", "post-connection-creation", nil, nil)
		must(t, a.store.Update(t.Context(), store.Durable, func(tx store.Tx) error { return tx.SetFunctionEnabled(a.env.ID, off, false) }))
		c, err := a.create("acme")
		must(t, err)
		// Nobody served jobs until now: this is the next process.
		a.serve(a.process("next"))
		a.until("the set-up is done", func() bool {
			stored, _ := a.connection(c.ID)
			return stored.Metadata["hook"] == "h1"
		})
		a.until("its run ended", func() bool { return a.runs(syncline.RunOnEvent)[0].Status == syncline.RunSuccess })
		runs := a.runs(syncline.RunOnEvent)
		if len(runs) != 2 || runs[0].Attempt != 2 || runs[1].Status != syncline.RunRetrying {
			t.Errorf("the runs are %+v", runs)
		}
		if len(a.ended) != 0 {
			t.Errorf("the app was told of an on-event function: %v", a.ended)
		}
	})
}

func TestAConnectionIsDeletedAfterItsFunctionsRanWithLiveCredentials(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		id := a.instances[0].ConnectionID
		ran := 0
		clean := func(ctx context.Context, h fn.Host, call fn.Call) (json.RawMessage, error) {
			ran++
			c, err := a.connection(id)
			must(t, err)
			if c.DeletingAt.IsZero() {
				t.Error("the deletion has not begun")
			}
			must(t, fetch(ctx, h))
			if _, err := a.actions.Delete(ctx, a.env.ID, id); syncline.CodeOf(err) != syncline.CodeConflict {
				t.Errorf("a second deletion: %v", err)
			}
			if call.Context.Function == "a-first" {
				return nil, &fn.ScriptError{Message: "already gone upstream"}
			}
			return nil, nil
		}
		a.function("a-first", "pre-connection-deletion", nil, clean)
		a.function("b-second", "pre-connection-deletion", nil, clean)
		problems, err := a.actions.Delete(t.Context(), a.env.ID, id)
		must(t, err)
		if len(problems) != 1 || !strings.Contains(problems[0], "a-first") || !strings.Contains(problems[0], "already gone") {
			t.Errorf("the problems are %v", problems)
		}
		if _, err := a.connection(id); ran != 2 || syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("%d functions ran; the connection: %v", ran, err)
		}
		runs := a.runs(syncline.RunOnEvent)
		if len(runs) != 2 || runs[0].Status != syncline.RunSuccess || runs[1].Status != syncline.RunFailed {
			t.Errorf("the runs are %+v", runs)
		}
		if _, err := a.actions.Delete(t.Context(), a.env.ID, id); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("once more: %v", err)
		}
		must(t, a.store.View(t.Context(), func(r store.Reader) error {
			lost, err := r.LostJobs(a.clock.Now().Add(time.Hour), 0)
			if len(lost) != 0 {
				t.Errorf("jobs are left: %v", lost)
			}
			return err
		}))
	})
}

func TestADeletionWhoseProcessDiesGoesOn(t *testing.T) {
	t.Parallel()
	onEachStoreActing(t, func(t *testing.T, a *acting) {
		id := a.instances[0].ConnectionID
		hang, started := make(chan struct{}), make(chan struct{})
		a.function("clean", "pre-connection-deletion", nil, func(context.Context, fn.Host, fn.Call) (json.RawMessage, error) {
			close(started)
			<-hang
			return nil, errors.New("too late")
		})
		done := make(chan error, 1)
		go func() {
			_, err := a.actions.Delete(t.Context(), a.env.ID, id)
			done <- err
		}()
		<-started
		must(t, a.store.Update(t.Context(), store.Durable, func(tx store.Tx) error { return tx.ReleaseLeases() }))
		if n, err := a.process("other").Reap(t.Context()); err != nil || n != 1 {
			t.Fatalf("%d were reaped, %v", n, err)
		}
		if _, err := a.connection(id); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("the connection: %v", err)
		}
		if run := a.runs(syncline.RunOnEvent)[0]; run.Status != syncline.RunReaped {
			t.Errorf("the run is %s", run.Status)
		}
		close(hang)
		if err := <-done; err != nil {
			t.Errorf("the first process: %v", err)
		}
	})
}

func TestOnEventFunctionsAreBoundedInTime(t *testing.T) {
	t.Parallel()
	a := newActing(newWorld(t, 1))
	a.actions.EventWall = time.Second
	a.function("check", "validate-connection", nil, func(_ context.Context, _ fn.Host, call fn.Call) (json.RawMessage, error) {
		if call.Limits.Wall != time.Second {
			t.Errorf("the limit is %s", call.Limits.Wall)
		}
		return nil, syncline.Errorf(syncline.CodeLimit, "the run took longer than 1s")
	})
	_, err := a.create("acme")
	if f := failureIn(t, err); f.Type != syncline.FailureLimit {
		t.Errorf("the failure is %+v", f)
	}
}
