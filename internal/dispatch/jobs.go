package dispatch

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// jobDelays are the waits before the first, second … retry of a job.
var jobDelays = []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute}

func jobDelay(attempts int) time.Duration {
	return jobDelays[min(max(attempts, 1), len(jobDelays))-1]
}

// Wake makes the dispatcher look for jobs at once.
func (a *Actions) Wake() {
	a.once.Do(a.init)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Run claims and runs jobs until ctx ends; then it waits for those that it
// began, and for the runs that callers wait for. work is the context that they
// run under: it may outlive ctx, so that they can finish.
func (a *Actions) Run(ctx, work context.Context) error {
	a.once.Do(a.init)
	stop := context.AfterFunc(work, func() { a.halt(errStopped) })
	defer stop()
	defer a.drained()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, a.Max)
	for {
		free := cap(slots) - len(slots)
		claimed, next, err := a.claim(ctx, free)
		if err != nil && ctx.Err() == nil {
			a.Log.Error("cannot claim jobs", "err", err)
		}
		for i := range claimed {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots; a.Wake() }()
				a.serve(a.base, &claimed[i])
			})
		}
		wait := idle
		if err == nil && len(slots) < cap(slots) && !next.IsZero() {
			wait = min(idle, max(next.Sub(a.Clock.Now()), 50*time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-a.Clock.After(wait):
		}
	}
}

func (a *Actions) claim(ctx context.Context, max int) (claimed []syncline.Job, next time.Time, err error) {
	if max == 0 {
		return nil, time.Time{}, nil
	}
	now := a.Clock.Now()
	// Look before writing: most wake-ups find nothing.
	err = a.Host.Store.View(ctx, func(r store.Reader) (err error) {
		next, err = r.NextJob(now, a.PerEnvironment)
		return err
	})
	if err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = a.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		claimed, err = tx.ClaimJobs(a.Owner, now, now.Add(a.Lease), a.PerEnvironment, max)
		return err
	})
	return claimed, next, err
}

// serve runs one attempt of a job that was claimed.
func (a *Actions) serve(ctx context.Context, j *syncline.Job) {
	if err := a.attemptJob(ctx, j); err != nil && !fenced(err) {
		a.Log.Error("cannot run a job", "job", j.UUID, "err", err)
		a.giveBack(ctx, j, a.Clock.Now().Add(jobDelay(1)))
	}
}

// giveBack frees a job that did not begin.
func (a *Actions) giveBack(ctx context.Context, j *syncline.Job, notBefore time.Time) {
	err := a.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, func(tx store.Tx) error {
		fresh, err := tx.Job(j.EnvironmentID, j.ID)
		if err != nil || fresh.Status != syncline.JobPending {
			return err
		}
		fresh.Lease.Epoch, fresh.NotBefore = j.Lease.Epoch, notBefore
		return tx.UpdateJob(&fresh)
	})
	if err != nil && !fenced(err) && syncline.CodeOf(err) != syncline.CodeNotFound {
		a.Log.Error("cannot give a job back", "job", j.UUID, "err", err)
	}
}

// attemptJob runs one attempt. An error says that it did not begin.
func (a *Actions) attemptJob(ctx context.Context, j *syncline.Job) error {
	var s *host.Subject
	err := a.Host.Store.View(ctx, func(r store.Reader) (err error) {
		s, err = loadTarget(r, j.EnvironmentID, j.ConnectionID, j.FunctionID)
		return err
	})
	if ctx.Err() != nil {
		a.giveBack(ctx, j, a.Clock.Now())
		return nil //nolint:nilerr // the server stops; the job waits
	}
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		return a.refuse(ctx, j, &syncline.Failure{Type: syncline.FailureNotFound, Code: syncline.CodeNotFound, Message: err.Error() + " before it could run"})
	case err != nil:
		return err
	case !s.Function.Enabled:
		return a.refuse(ctx, j, &syncline.Failure{Type: syncline.FailureDisabled, Code: syncline.CodeConflict, Message: "the function was disabled before it could run"})
	case !a.runsHere(&s.Function.Active):
		a.left.note(a.Log, &s.Function, a.Clock.Now())
		a.giveBack(ctx, j, a.Clock.Now().Add(leftPoll))
		return nil
	}
	at := &attempt{s: s, job: j, kind: j.Kind, input: j.Input, wall: a.Wall, most: a.MostWall}
	if j.Kind == syncline.RunOnEvent {
		at.wall, at.most = a.EventWall, a.EventWall
	} else if at.input, at.warning, err = s.CheckInput(j.Input); err != nil {
		return a.refuse(ctx, j, failureOf(invalidInput(err)))
	}
	claimed := *j
	now := a.Clock.Now()
	// Durable: what a machine that dies has begun is not begun again by itself.
	err = a.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		*j = claimed
		if err := tx.FenceJob(j.EnvironmentID, j.ID, j.Lease.Epoch); err != nil {
			return err
		}
		j.Status = syncline.JobRunning
		j.Attempts++
		if err := a.begin(tx, at, now); err != nil {
			return err
		}
		j.RunID = at.run.ID
		return tx.UpdateJob(j)
	})
	if err != nil {
		*j = claimed
		return err
	}
	at.end = func(tx store.Tx, output json.RawMessage, err error, now time.Time) error {
		ended := *j
		if err := a.settle(tx, &ended, at.run, output, err, now); err != nil {
			return err
		}
		return tx.UpdateJob(&ended)
	}
	_, _ = a.execute(ctx, at) // its end is in the job, whatever it is
	return nil
}

// settle decides what becomes of a job after an attempt: it is done, tried
// again, or failed; the user's app is told of the end.
func (a *Actions) settle(tx store.Tx, j *syncline.Job, run *syncline.Run, output json.RawMessage, err error, now time.Time) error {
	switch {
	case err == nil:
		j.Status, j.FinishedAt, j.Result = syncline.JobDone, now, output
		if len(output) == 0 {
			j.Result = json.RawMessage("null")
		}
	case j.Attempts <= j.MaxRetries && again(failureOf(err)):
		j.Status, j.NotBefore = syncline.JobPending, now.Add(jobDelay(j.Attempts))
		if run.Status == syncline.RunFailed {
			run.Status = syncline.RunRetrying
		}
		return nil
	default:
		j.Status, j.FinishedAt = syncline.JobFailed, now
		j.Result, err = json.Marshal(failureOf(err))
		if err != nil {
			return err
		}
	}
	if j.Kind != syncline.RunAction {
		return nil
	}
	return a.Announcer.AnnounceAction(tx, j, now)
}

// again reports whether another attempt could end otherwise.
func again(f *syncline.Failure) bool {
	switch f.Type {
	case syncline.FailureInput, syncline.FailureNotFound, syncline.FailureDisabled:
		return false
	}
	return true
}

// refuse ends a job that cannot run.
func (a *Actions) refuse(ctx context.Context, j *syncline.Job, f *syncline.Failure) error {
	now := a.Clock.Now()
	ended := *j
	err := a.Host.Store.Update(context.WithoutCancel(ctx), store.Durable, func(tx store.Tx) error {
		ended = *j
		if err := a.settle(tx, &ended, &syncline.Run{}, nil, f, now); err != nil {
			return err
		}
		return tx.UpdateJob(&ended)
	})
	if err == nil {
		a.Announced()
	}
	return err
}

// Reap ends the runs whose process died. What they have done is not known: an
// action that nobody waits for is run again only when its caller allowed
// retries. It may be called at any time, by several processes.
func (a *Actions) Reap(ctx context.Context) (reaped int, err error) {
	var lost []syncline.Job
	err = a.Host.Store.View(ctx, func(r store.Reader) (err error) {
		lost, err = r.LostJobs(a.Clock.Now(), maxRunning)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i := range lost {
		var gone int64 // the integration of a connection that is deleted now
		ended := false
		err := a.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) (err error) {
			ended, gone, err = a.reap(tx, lost[i].EnvironmentID, lost[i].ID)
			return err
		})
		if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
			return reaped, err
		}
		if ended {
			reaped++
		}
		if gone != 0 {
			a.Host.ConnectionsChanged(lost[i].EnvironmentID, gone)
		}
	}
	if reaped > 0 {
		a.Log.Warn("actions and on-event functions of a process that died were ended; what they have done is not known", "runs", reaped)
		a.Announced()
		a.Wake()
	}
	return reaped, nil
}

// reap ends the run of a job that is lost still, and settles the job.
func (a *Actions) reap(tx store.Tx, env, id int64) (ended bool, gone int64, err error) {
	now := a.Clock.Now()
	lease, ok, err := tx.TakeJob(env, id, reaper, now, now.Add(a.Lease))
	if err != nil || !ok {
		return false, 0, err
	}
	j, err := tx.Job(env, id)
	if err != nil {
		return false, 0, err
	}
	j.Lease = lease
	if j.Status != syncline.JobRunning {
		return false, 0, tx.UpdateJob(&j)
	}
	cause := syncline.Errorf(syncline.CodeWorkerLost, "the process ended while the function ran")
	run, err := tx.Run(env, j.RunID)
	switch {
	case err == nil && run.Status == syncline.RunRunning:
		fail(&run, syncline.RunReaped, failureOf(cause), now)
		run.ErrorCode = syncline.CodeWorkerLost
		if _, err := tx.ReleaseLocks(env, run.UUID); err != nil {
			return false, 0, err
		}
		if err := tx.UpdateRun(&run); err != nil {
			return false, 0, err
		}
	case err != nil && syncline.CodeOf(err) != syncline.CodeNotFound:
		return false, 0, err
	}
	if !j.Attended {
		if err := a.settle(tx, &j, &syncline.Run{}, nil, failureOf(cause), now); err != nil {
			return false, 0, err
		}
		return true, 0, tx.UpdateJob(&j)
	}
	if gone, err = endDeletion(tx, &j, now); err != nil {
		return false, 0, err
	}
	return true, gone, tx.DeleteJob(env, id, lease.Epoch)
}
