package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// The events that on-event functions run on.
const (
	eventCreated  = "post-connection-creation"
	eventDeleting = "pre-connection-deletion"
	eventValidate = "validate-connection"
)

// createdRetries is how often a post-connection-creation function is tried
// again that fails, or whose process dies.
const createdRetries = 3

// onEvent lists the enabled functions of an integration for an event, by name.
func onEvent(r store.Reader, env, integrationID int64, event string) ([]syncline.Function, error) {
	functions, err := r.Functions(env, integrationID)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(functions, func(f syncline.Function) bool {
		return f.Type != syncline.FunctionOnEvent || !f.Enabled || f.Active.Manifest.Event != event
	}), nil
}

// Created makes the jobs of a connection that was made, in the transaction that
// makes it: they are not lost. Call [Actions.Wake] after the commit.
func (a *Actions) Created(tx store.Tx, i *syncline.Integration, c *syncline.Connection) error {
	functions, err := onEvent(tx, c.EnvironmentID, i.ID, eventCreated)
	if err != nil {
		return err
	}
	for _, f := range functions {
		s := &host.Subject{Environment: syncline.Environment{ID: c.EnvironmentID}, Integration: *i, Connection: *c, Function: f}
		j := newJob(s, syncline.RunOnEvent, nil, a.Clock.Now())
		j.MaxRetries = createdRetries
		if err := tx.CreateJob(j); err != nil {
			return err
		}
	}
	return nil
}

// Validation is what the validate-connection functions made of a connection.
type Validation struct {
	// Metadata is the connection's, as they left it; Changed says that they
	// changed it.
	Metadata map[string]any
	Changed  bool
	runs     []validated
}

type validated struct {
	run   *syncline.Run
	lines []syncline.LogLine
}

// Store writes the runs for the connection that they were of; 0 for one that
// was refused before it was made.
func (v *Validation) Store(tx store.Tx, connectionID int64) error {
	for _, r := range v.runs {
		run := *r.run
		run.ConnectionID = connectionID
		if err := tx.CreateRun(&run); err != nil {
			return err
		}
		if err := tx.AppendLogs(run.EnvironmentID, run.ID, r.lines); err != nil {
			return err
		}
	}
	return nil
}

// Validate runs the validate-connection functions over a connection that is not
// stored, or not with these credentials: nothing is left of one that is refused.
// The error is a [*syncline.Failure] when a function threw; its run is stored
// then. Otherwise v is to be stored with the connection.
func (a *Actions) Validate(ctx context.Context, i *syncline.Integration, c *syncline.Connection) (v *Validation, err error) {
	v = &Validation{Metadata: c.Metadata}
	var functions []syncline.Function
	var env syncline.Environment
	err = a.Host.Store.View(ctx, func(r store.Reader) (err error) {
		if env, err = r.Environment(c.EnvironmentID); err != nil {
			return err
		}
		functions, err = onEvent(r, c.EnvironmentID, i.ID, eventValidate)
		return err
	})
	if err != nil || len(functions) == 0 {
		return v, err
	}
	leave := a.enter()
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx) // with its caller: nothing is stored
	stop := context.AfterFunc(a.base, func() { cancel(context.Cause(a.base)) })
	defer stop()
	defer cancel(nil)
	staged := *c
	for _, f := range functions {
		s := &host.Subject{Environment: env, Integration: *i, Connection: staged, Function: f}
		failed := a.validate(ctx, s, v, &staged)
		if failed == nil {
			continue
		}
		err := a.Host.Store.Update(context.WithoutCancel(ctx), store.Durable, func(tx store.Tx) error { return v.Store(tx, c.ID) })
		if err != nil {
			a.Log.Error("cannot store the run of a validation", "err", err)
		}
		return nil, failed
	}
	return v, nil
}

// validate runs one function.
func (a *Actions) validate(ctx context.Context, s *host.Subject, v *Validation, staged *syncline.Connection) *syncline.Failure {
	run := newRun(s, syncline.RunOnEvent, a.Clock.Now())
	h := host.NewStaged(a.Host, s, run)
	call := a.newCall(s, run, fn.EntryExec)
	call.Limits = a.limits(s, a.EventWall, a.EventWall)
	var err error
	if a.runsHere(&s.Function.Active) {
		_, err = a.Runner.Run(ctx, call, h)
	} else {
		err = syncline.Errorf(syncline.CodeUnavailable, "%s", elsewhere(&s.Function))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cutOff(cause)
	}
	now := a.Clock.Now()
	lines := h.TakeLogs()
	if h.Locked() {
		if err := a.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, h.ReleaseLocks); err != nil {
			a.Log.Error("free the locks of a run", "err", err) // they end by themselves
		}
	}
	if left, changed := h.Staged(); changed {
		*staged = left
		v.Metadata, v.Changed = left.Metadata, true
	}
	if err == nil {
		run.Status, run.FinishedAt = syncline.RunSuccess, now
		v.runs = append(v.runs, validated{run, lines})
		return nil
	}
	f := failureOf(err)
	fail(run, syncline.RunFailed, err, now)
	run.ErrorCode, run.Error = f.Code, f.Message
	v.runs = append(v.runs, validated{run, append(lines, errorLine(err, now))})
	return f
}

// Delete deletes a connection: nothing is routed to it from now on, then the
// pre-connection-deletion functions run while its credentials live, then it is
// gone, also when they failed; problems says how. It goes on when ctx ends.
func (a *Actions) Delete(ctx context.Context, env, connectionID int64) (problems []string, err error) {
	ctx = context.WithoutCancel(ctx)
	var (
		functions []syncline.Function
		s         *host.Subject
	)
	now := a.Clock.Now()
	err = a.Host.Store.View(ctx, func(r store.Reader) error {
		c, err := r.Connection(env, connectionID)
		if err != nil {
			return err
		}
		if functions, err = onEvent(r, env, c.IntegrationID, eventDeleting); err != nil || len(functions) == 0 {
			return err
		}
		s, err = loadTarget(r, env, connectionID, functions[0].ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(functions) == 0 {
		return nil, a.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.DeleteConnection(env, connectionID, now) })
	}
	// One job goes through all of them: should this process die, the connection
	// is deleted where that is found.
	var job *syncline.Job
	for _, f := range functions {
		if !a.runsHere(&f.Active) {
			problems = append(problems, fmt.Sprintf("%s did not run: %s", f.Name, elsewhere(&f)))
			continue
		}
		own := *s
		own.Function = f
		at := &attempt{s: &own, job: job, kind: syncline.RunOnEvent, wall: a.EventWall, most: a.EventWall}
		first := job == nil
		at.began = func(tx store.Tx) error { return beginDeletion(tx, env, connectionID, first, now) }
		at.end = func(store.Tx, json.RawMessage, error, time.Time) error { return nil }
		_, err := a.attend(ctx, at)
		switch {
		case err != nil && at.run == nil && (first || fenced(err)):
			return problems, err
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s failed: %s", f.Name, err))
		}
		job = at.job
	}
	err = a.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		if job != nil {
			if err := tx.DeleteJob(env, job.ID, job.Lease.Epoch); err != nil && !fenced(err) && syncline.CodeOf(err) != syncline.CodeNotFound {
				return err
			}
		}
		return named(tx.DeleteConnection(env, connectionID, a.Clock.Now()), "the connection is gone already")
	})
	if job != nil && syncline.CodeOf(err) == syncline.CodeNotFound {
		err = nil // deleted where this run was taken for lost
	}
	return problems, err
}

// beginDeletion notes that the deletion began; first says that it begins now.
func beginDeletion(tx store.Tx, env, connectionID int64, first bool, now time.Time) error {
	c, err := tx.Connection(env, connectionID)
	if err != nil {
		return err
	}
	if first && !c.DeletingAt.IsZero() {
		return syncline.Errorf(syncline.CodeConflict, "the connection %q is being deleted since %s", c.ConnectionID, c.DeletingAt.Format(time.RFC3339)).
			WithHint("its pre-connection-deletion functions run; it is gone when they end")
	}
	if !c.DeletingAt.IsZero() {
		return nil
	}
	c.DeletingAt = now
	return tx.UpdateConnection(&c)
}

// endDeletion deletes the connection of a job when it is being deleted; it
// returns the integration of one that is gone now, 0 otherwise.
func endDeletion(tx store.Tx, j *syncline.Job, now time.Time) (int64, error) {
	if j.Kind != syncline.RunOnEvent {
		return 0, nil
	}
	c, err := tx.Connection(j.EnvironmentID, j.ConnectionID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return 0, nil
	}
	if err != nil || c.DeletingAt.IsZero() {
		return 0, err
	}
	return c.IntegrationID, tx.DeleteConnection(j.EnvironmentID, j.ConnectionID, now)
}
