package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"syncline"
	"syncline/internal/crash"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// ActionAnnouncer writes the notification that an asynchronous action owes the
// user's app, in the commit that ends it.
type ActionAnnouncer interface {
	AnnounceAction(tx store.Tx, j *syncline.Job, now time.Time) error
}

// Actions runs actions, for callers that wait and for those that do not, and
// on-event functions. Each run goes under the lease of a job: one whose process
// dies is found, and nothing of it can commit any more.
type Actions struct {
	*Engine
	Announcer ActionAnnouncer
	Owner     string // names this process in leases
	// Wall is the limit of one action, MostWall what settings may raise it to (0:
	// any), EventWall the limit of one on-event function.
	Wall, MostWall, EventWall time.Duration
	Lease                     time.Duration // extended while a run goes on
	// Max is how many jobs that nobody waits for this process runs at a time,
	// PerEnvironment how many of one environment all processes run.
	Max, PerEnvironment int

	once sync.Once
	wake chan struct{}
	base context.Context // of the runs that callers wait for
	halt context.CancelCauseFunc

	left leftWork

	mu       sync.Mutex
	attended int
	idle     chan struct{} // closed when attended is 0
}

var _ host.Actions = (*Actions)(nil)

// errStopped is why a run is ended when the server stops and cannot wait for it.
var errStopped = syncline.Errorf(syncline.CodeWorkerLost, "the server was stopped while the function ran")

// errTaken is why a run is ended whose lease is another's.
var errTaken = syncline.Errorf(syncline.CodeFenced, "the run's lease was lost: this process could not extend it in time")

func (a *Actions) init() {
	a.wake = make(chan struct{}, 1)
	a.base, a.halt = context.WithCancelCause(context.Background())
}

// ActionCall is a call of an action.
type ActionCall struct {
	EnvironmentID, ConnectionID, FunctionID int64
	Input                                   json.RawMessage // nil: none
	Parent                                  string          // UUID of the run that waits for it; "" for none
	Depth                                   int             // how many runs wait for it
}

// Trigger runs an action to its end and returns its output, and the UUID of its
// run (""; it did not begin). It goes on when ctx ends, unless another run waits
// for it: nobody could tell what it has done. An error is a [*syncline.Failure],
// or one of ours when the action could not be begun.
func (a *Actions) Trigger(ctx context.Context, c ActionCall) (output json.RawMessage, runUUID string, err error) {
	s, err := a.subject(ctx, c.EnvironmentID, c.ConnectionID, c.FunctionID)
	if err != nil {
		return nil, "", err
	}
	input, warning, err := s.CheckInput(c.Input)
	if err != nil {
		return nil, "", invalidInput(err)
	}
	if c.Parent == "" {
		ctx = context.WithoutCancel(ctx)
	}
	at := &attempt{s: s, kind: syncline.RunAction, input: input, warning: warning, parent: c.Parent, depth: c.Depth, wall: a.Wall, most: a.MostWall}
	output, err = a.attend(ctx, at)
	if at.run != nil {
		runUUID = at.run.UUID
	}
	return output, runUUID, err
}

func invalidInput(err error) error {
	return &syncline.Failure{Type: syncline.FailureInput, Code: syncline.CodeInvalid, Message: err.Error()}
}

// TriggerNested runs an action that a function triggers.
func (a *Actions) TriggerNested(ctx context.Context, n host.Nested) (json.RawMessage, error) {
	c := ActionCall{EnvironmentID: n.EnvironmentID, Input: n.Input, Parent: n.Parent, Depth: n.Depth}
	err := a.Host.Store.View(ctx, func(r store.Reader) error {
		i, err := r.IntegrationByKey(n.EnvironmentID, n.ProviderConfigKey)
		if err != nil {
			return named(err, "there is no integration %q in this environment", n.ProviderConfigKey)
		}
		k, err := r.ConnectionByKey(n.EnvironmentID, i.ID, n.ConnectionID)
		if err != nil {
			return named(err, "the integration %q has no connection %q", n.ProviderConfigKey, n.ConnectionID)
		}
		f, err := r.FunctionByName(n.EnvironmentID, i.ID, syncline.FunctionAction, n.Name)
		if err != nil {
			return named(err, "no action %q is deployed for the integration %q", n.Name, n.ProviderConfigKey)
		}
		if !f.Enabled {
			return syncline.Errorf(syncline.CodeConflict, "the action %s of the integration %s is disabled", n.Name, n.ProviderConfigKey)
		}
		c.ConnectionID, c.FunctionID = k.ID, f.ID
		return nil
	})
	if err != nil {
		return nil, err
	}
	out, _, err := a.Trigger(ctx, c)
	return out, err
}

// named says of what is not found what it is, and leaves other errors.
func named(err error, format string, args ...any) error {
	if err != nil && syncline.CodeOf(err) == syncline.CodeNotFound {
		return syncline.Errorf(syncline.CodeNotFound, format, args...)
	}
	return err
}

// subject reads what a call is about. The deployed version is resolved here,
// when the run starts.
func (a *Actions) subject(ctx context.Context, env, connectionID, functionID int64) (s *host.Subject, err error) {
	err = a.Host.Store.View(ctx, func(r store.Reader) error {
		s, err = loadTarget(r, env, connectionID, functionID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if !a.runsHere(&s.Function.Active) {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "%s", elsewhere(&s.Function)).
			WithHint("try again: another process may have it; else run a process of the build that has the function")
	}
	return s, nil
}

func loadTarget(r store.Reader, env, connectionID, functionID int64) (*host.Subject, error) {
	var s host.Subject
	var err error
	if s.Environment, err = r.Environment(env); err != nil {
		return nil, err
	}
	if s.Connection, err = r.Connection(env, connectionID); err != nil {
		return nil, named(err, "the connection was deleted")
	}
	if s.Integration, err = r.Integration(env, s.Connection.IntegrationID); err != nil {
		return nil, err
	}
	s.Function, err = r.Function(env, functionID)
	return &s, named(err, "the function was deleted")
}

// attempt is one run of an action or an on-event function.
type attempt struct {
	s          *host.Subject
	job        *syncline.Job // one that is held goes on with this run; nil: a new one
	run        *syncline.Run
	kind       syncline.RunKind
	input      json.RawMessage
	warning    string // about the input
	parent     string
	depth      int
	wall, most time.Duration
	// began is called in the transaction that writes the run; end in the one that
	// writes its end, when job's lease is still held. They may run again.
	began func(tx store.Tx) error
	end   func(tx store.Tx, output json.RawMessage, err error, now time.Time) error
}

// attend runs a function whose caller waits. Its job is its lease, and gone when
// it ended.
func (a *Actions) attend(ctx context.Context, at *attempt) (json.RawMessage, error) {
	leave := a.enter()
	defer leave()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.base, func() { cancel(context.Cause(a.base)) })
	defer stop()
	defer cancel(nil)

	now := a.Clock.Now()
	goesOn := at.job != nil
	if !goesOn {
		at.job = newJob(at.s, at.kind, at.input, now)
		at.job.Attended, at.job.Status, at.job.Attempts = true, syncline.JobRunning, 1
		at.job.Lease = syncline.Lease{Owner: a.Owner, Until: now.Add(a.Lease)}
	}
	made := *at.job
	// The death of the machine, which loses it, is not told from that of the
	// caller's connection: what has run is unknown to it either way.
	err := a.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		*at.job = made
		if err := a.begin(tx, at, now); err != nil {
			return err
		}
		at.job.RunID = at.run.ID
		if goesOn {
			return tx.UpdateJob(at.job)
		}
		return tx.CreateJob(at.job)
	})
	if err != nil {
		*at.job, at.run = made, nil
		return nil, err
	}
	if at.end == nil {
		at.end = func(tx store.Tx, _ json.RawMessage, _ error, _ time.Time) error {
			return tx.DeleteJob(at.job.EnvironmentID, at.job.ID, at.job.Lease.Epoch)
		}
	}
	return a.execute(ctx, at)
}

// newJob is a pending job of a subject's function.
func newJob(s *host.Subject, kind syncline.RunKind, input json.RawMessage, now time.Time) *syncline.Job {
	return &syncline.Job{
		UUID: syncline.NewUUID(), EnvironmentID: s.Environment.ID, ConnectionID: s.Connection.ID, FunctionID: s.Function.ID, Kind: kind,
		ConnectionKey: s.Connection.ConnectionID, IntegrationKey: s.Integration.UniqueKey, Input: input, Status: syncline.JobPending,
		NotBefore: now, CreatedAt: now,
	}
}

// begin writes the run before it starts.
func (a *Actions) begin(tx store.Tx, at *attempt, now time.Time) error {
	at.run = newRun(at.s, at.kind, now)
	at.run.Parent, at.run.Attempt = at.parent, max(1, at.job.Attempts)
	if err := tx.CreateRun(at.run); err != nil {
		return err
	}
	if at.began != nil {
		return at.began(tx)
	}
	return nil
}

// enter counts a run that a caller waits for.
func (a *Actions) enter() (leave func()) {
	a.once.Do(a.init)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.attended == 0 {
		a.idle = make(chan struct{})
	}
	a.attended++
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.attended--; a.attended == 0 {
			close(a.idle)
		}
	}
}

// drained waits until no caller waits for a run.
func (a *Actions) drained() {
	for {
		a.mu.Lock()
		n, idle := a.attended, a.idle
		a.mu.Unlock()
		if n == 0 {
			return
		}
		<-idle
	}
}

// execute runs what was begun and writes its end. The error is a
// [*syncline.Failure].
func (a *Actions) execute(ctx context.Context, at *attempt) (json.RawMessage, error) {
	h := host.NewAction(a.Host, at.s, at.run, at.job, at.depth)
	if at.warning != "" {
		h.Warn(at.warning)
	}
	output, err := a.call(ctx, at, h)
	crash.Point(crash.AfterRun)
	if end := a.finish(ctx, at, h, output, err); end != nil {
		if !fenced(end) && syncline.CodeOf(end) != syncline.CodeNotFound {
			return nil, failureOf(syncline.Errorf(syncline.CodeWorkerLost, "the end of the run could not be stored: %w", end))
		}
		// It was given up as lost: that is what is stored. Its caller is told
		// what is known here.
		a.Log.Warn("a run ended after its lease was taken", "run", at.run.UUID, "function", at.s.Function.Name)
	}
	if err != nil {
		f := failureOf(err)
		if f.Type == syncline.FailureInternal {
			a.Log.Error("an action failed", "run", at.run.UUID, "function", at.s.Function.Name, "err", err)
		}
		return nil, f
	}
	return output, nil
}

// call calls the function while its lease is extended.
func (a *Actions) call(ctx context.Context, at *attempt, h *host.Action) (json.RawMessage, error) {
	runCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() { a.heartbeat(runCtx, done, at.job, cancel) })
	call := a.newCall(at.s, at.run, fn.EntryExec)
	call.Limits = a.limits(at.s, at.wall, at.most)
	call.Input = at.input
	call.Depth = at.depth
	call.WarmKey = warmKey(at.s)
	output, err := a.Runner.Run(runCtx, call, h)
	if cause := context.Cause(runCtx); err != nil && cause != nil {
		err = cutOff(cause)
	}
	close(done)
	beat.Wait()
	if err != nil || at.kind != syncline.RunAction {
		return output, err
	}
	warning, err := at.s.CheckOutput(output)
	if err != nil {
		return nil, &syncline.Failure{Type: syncline.FailureOutput, Code: syncline.CodeInvalid, Message: err.Error()}
	}
	if warning != "" {
		h.Warn(warning)
	}
	return output, nil
}

// cutOff is the error of a run that was ended from outside.
func cutOff(cause error) error {
	var own *syncline.Error
	if errors.As(cause, &own) {
		return cause
	}
	return syncline.Errorf(syncline.CodeWorkerLost, "the run that waited for it ended: %w", cause)
}

// heartbeat extends the lease while the run goes on; a lost one ends it.
func (a *Actions) heartbeat(ctx context.Context, done <-chan struct{}, j *syncline.Job, cancel context.CancelCauseFunc) {
	good := a.Clock.Now()
	for {
		select {
		case <-done:
			return
		case <-a.Clock.After(a.Lease / 3):
		}
		now := a.Clock.Now()
		err := a.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			return tx.ExtendJob(j.EnvironmentID, j.ID, j.Lease.Epoch, now.Add(a.Lease))
		})
		switch {
		case err == nil:
			good = now
		case ctx.Err() != nil:
			return
		case fenced(err) || syncline.CodeOf(err) == syncline.CodeNotFound || now.Sub(good) > a.Lease:
			cancel(errTaken)
			return
		}
	}
}

// finish commits the run's end.
func (a *Actions) finish(ctx context.Context, at *attempt, h *host.Action, output json.RawMessage, err error) error {
	now := a.Clock.Now()
	lines := h.TakeLogs()
	switch {
	case err == nil:
		at.run.Status, at.run.FinishedAt = syncline.RunSuccess, now
	case errors.Is(err, errStopped) || fenced(err):
		fail(at.run, syncline.RunCanceled, failureOf(err), now)
	default:
		fail(at.run, syncline.RunFailed, err, now)
	}
	if err != nil {
		at.run.ErrorCode, at.run.Error = failureOf(err).Code, failureOf(err).Message
		lines = append(lines, errorLine(err, now))
	}
	began := *at.run
	// The end is written also while shutting down.
	end := a.Host.Store.Update(context.WithoutCancel(ctx), store.Durable, func(tx store.Tx) error {
		*at.run = began
		if err := tx.FenceJob(at.job.EnvironmentID, at.job.ID, at.job.Lease.Epoch); err != nil {
			return err
		}
		if err := at.end(tx, output, err, now); err != nil {
			return err
		}
		if err := tx.UpdateRun(at.run); err != nil {
			return err
		}
		if h.Locked() {
			if err := h.ReleaseLocks(tx); err != nil {
				return err
			}
		}
		crash.Point(crash.BeforeCommit)
		if len(lines) == 0 {
			return nil
		}
		return tx.AppendLogs(at.run.EnvironmentID, at.run.ID, lines)
	})
	if end == nil {
		crash.Point(crash.AfterCommit)
		a.Announced()
	}
	return end
}

// Enqueue makes a job of an action that nobody waits for. When it returns the
// action will run, whatever becomes of this process.
func (a *Actions) Enqueue(ctx context.Context, c ActionCall, maxRetries int) (*syncline.Job, error) {
	var s *host.Subject
	err := a.Host.Store.View(ctx, func(r store.Reader) (err error) {
		s, err = loadTarget(r, c.EnvironmentID, c.ConnectionID, c.FunctionID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if _, _, err := s.CheckInput(c.Input); err != nil {
		return nil, invalidInput(err)
	}
	j := newJob(s, syncline.RunAction, c.Input, a.Clock.Now())
	j.MaxRetries = maxRetries
	made := *j
	err = a.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		*j = made
		return tx.CreateJob(j)
	})
	if err != nil {
		return nil, fmt.Errorf("store the action: %w", err)
	}
	return j, nil
}
