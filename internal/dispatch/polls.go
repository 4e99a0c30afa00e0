package dispatch

import (
	"context"
	"slices"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// Polls runs the polls that the schedule hands over.
type Polls struct {
	*Engine
	Wall  time.Duration // limit of one poll
	Lease time.Duration // extended while a poll runs
	// MostWall is what settings may raise Wall to; 0: any.
	MostWall time.Duration
	// Stuck is how many polls in a row that were cut at a limit may leave the
	// checkpoint where it was, before the instance counts as stalled; default 3.
	Stuck int

	previous previousDeletes

	left leftWork

	mu    sync.Mutex
	looks map[int64][]chan struct{} // by instance, one for each running poll
}

var _ schedule.Poller = (*Polls)(nil)

// Why a running poll is ended from outside.
var (
	errMoved = syncline.Errorf(syncline.CodeFenced, "the sync was reset, paused for good or taken over while it ran")
	errLease = syncline.Errorf(syncline.CodeFenced, "the poll's lease was lost: this process could not extend it in time")
)

// Cancel ends the running poll of an instance whose epoch moved, if there is one
// here. What has been claimed since goes on: a reset is told of after its commit,
// when the poll that it asks for may have begun.
func (p *Polls) Cancel(instanceID int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, look := range p.looks[instanceID] {
		select {
		case look <- struct{}{}:
		default: // it is about to look
		}
	}
}

// enter makes a running poll known; what look gives says that it is to look
// whether it still has its lease.
func (p *Polls) enter(id int64) (look chan struct{}, leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.looks == nil {
		p.looks = map[int64][]chan struct{}{}
	}
	look = make(chan struct{}, 1)
	p.looks[id] = append(p.looks[id], look)
	return look, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		rest := slices.DeleteFunc(p.looks[id], func(c chan struct{}) bool { return c == look })
		if p.looks[id] = rest; len(rest) == 0 {
			delete(p.looks, id)
		}
	}
}

// Poll runs one poll to its end. When ctx ends it is canceled and will run
// again at once where the instance is claimed next.
func (p *Polls) Poll(ctx context.Context, c schedule.Claim) {
	env, id := c.Instance.EnvironmentID, c.Instance.ID
	if err := p.poll(ctx, c); err != nil {
		p.Log.Error("poll", "instance", id, "err", err)
		// The lease must not keep the instance from its next poll.
		err := p.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, func(tx store.Tx) error {
			return tx.ReleasePoll(env, id, c.Lease.Epoch)
		})
		if err != nil {
			p.Log.Error("release poll", "instance", id, "err", err)
		}
	}
}

func (p *Polls) poll(ctx context.Context, c schedule.Claim) error {
	if left, err := p.leave(ctx, c); left || err != nil {
		return err
	}
	s, run, err := p.begin(ctx, c)
	if err != nil {
		return err
	}
	position, err := p.Host.Store.Position(ctx)
	if err != nil {
		return err
	}
	h := host.NewPoll(p.Host, s, c.Lease, run, position)

	runCtx, cancel := context.WithCancelCause(ctx)
	look, leave := p.enter(s.Instance.ID)
	done := make(chan struct{})
	var beat sync.WaitGroup
	beat.Go(func() { p.heartbeat(runCtx, done, look, c, cancel) })

	call := p.newCall(s, run, fn.EntryExec)
	call.Limits = p.limits(s, p.Wall, p.MostWall)
	call.Background = true
	previous, err := p.deletesPrevious(runCtx, &call)
	if err == nil && previous {
		err = h.TrackPrevious(runCtx)
	}
	if err == nil {
		_, err = p.Runner.Run(runCtx, call, h)
	}
	if cause := context.Cause(runCtx); err != nil && cause != nil {
		err = cause
	}
	close(done)
	beat.Wait()
	cancel(nil)
	leave()
	return p.finish(ctx, c, s, h, run, err)
}

// begin writes the run before it starts, so that one that dies is found.
func (p *Polls) begin(ctx context.Context, c schedule.Claim) (s *host.Subject, run *syncline.Run, err error) {
	err = p.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		env := c.Instance.EnvironmentID
		if s, err = loadSubject(tx, env, c.Instance.ID); err != nil {
			return err
		}
		run = newRun(s, syncline.RunPoll, p.Clock.Now())
		run.SyncType = syncline.SyncIncremental
		if s.Instance.LastSyncDate.IsZero() {
			run.SyncType = syncline.SyncInitial
		}
		run.Mode = mode(&s.Instance, &s.Function.Active.Manifest, run.StartedAt)
		if err := lineage(tx, &s.Instance, run); err != nil {
			return err
		}
		if err := tx.CreateRun(run); err != nil {
			return err
		}
		s.Instance.PollRunID = run.ID
		s.Instance.TriggerPending = false
		return tx.UpdateInstance(&s.Instance)
	})
	return s, run, err
}

// mode prepares the instance for the poll that begins: a full one forgets what
// earlier ones left, one that rewinds begins where a contested one did. A poll
// that goes on from the checkpoint of a full one that did not end is full too.
func mode(i *syncline.SyncInstance, m *syncline.Manifest, now time.Time) syncline.RunMode {
	r := &i.Reconcile
	switch {
	case r.Requested || !r.Full && reconcileDue(i, m, now):
		r.Full, r.Requested, r.Rewind, r.Before = true, false, nil, r.Contested
		i.PollCheckpoint = nil
		return syncline.ModeFull
	case r.Full:
		return syncline.ModeFull
	case r.Rewind != nil:
		i.PollCheckpoint, i.LastSyncDate = r.Rewind.Checkpoint, r.Rewind.LastSyncDate
		r.Rewind = nil
		return syncline.ModeRewind
	}
	return syncline.ModeNormal
}

// reconcileDue reports whether it is time to fetch everything once more. The
// first poll of an instance does so anyway.
func reconcileDue(i *syncline.SyncInstance, m *syncline.Manifest, now time.Time) bool {
	if m.Reconcile == "" || i.LastSyncDate.IsZero() {
		return false
	}
	every, err := syncline.ParseFrequency(m.Reconcile)
	if err != nil {
		return false // the bundler checked it
	}
	since := i.Reconcile.FullAt
	if since.IsZero() {
		since = i.CreatedAt
	}
	return !now.Before(since.Add(every))
}

// lineage gives the run that of the poll before, when it did not succeed and
// left a checkpoint from which the new one goes on; otherwise a new one begins.
// What goes on for a poll that rewound has not seen what is before the
// checkpoint either.
func lineage(r store.Reader, i *syncline.SyncInstance, run *syncline.Run) error {
	if i.PollCheckpoint == nil || i.LastPollRunID == 0 {
		return nil
	}
	last, err := r.Run(i.EnvironmentID, i.LastPollRunID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil
	}
	if err != nil || last.Status == syncline.RunSuccess {
		return err
	}
	run.Lineage = last.Lineage
	if last.Mode == syncline.ModeRewind && run.Mode == syncline.ModeNormal {
		run.Mode = syncline.ModeRewind
	}
	return nil
}

// heartbeat extends the lease while the poll runs; a lost one ends the poll. look
// says that it may be lost.
func (p *Polls) heartbeat(ctx context.Context, done, look <-chan struct{}, c schedule.Claim, cancel context.CancelCauseFunc) {
	good := p.Clock.Now()
	for {
		select {
		case <-done:
			return
		case <-look:
		case <-p.Clock.After(p.Lease / 3):
		}
		now := p.Clock.Now()
		err := p.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			return tx.ExtendPoll(c.Instance.EnvironmentID, c.Instance.ID, c.Lease.Epoch, now.Add(p.Lease))
		})
		switch {
		case err == nil:
			good = now
		case ctx.Err() != nil:
			return
		case fenced(err) || syncline.CodeOf(err) == syncline.CodeNotFound:
			cancel(errMoved)
			return
		case now.Sub(good) > p.Lease:
			cancel(errLease)
			return
		}
	}
}

// finish commits the run's end, plans the next poll and tells the app.
func (p *Polls) finish(ctx context.Context, c schedule.Claim, s *host.Subject, h *host.Poll, run *syncline.Run, err error) error {
	now := p.Clock.Now()
	lines := h.TakeLogs()
	shutdown := canceled(ctx, err)
	switch {
	case err == nil:
		run.Status, run.FinishedAt = syncline.RunSuccess, now
	case shutdown:
		fail(run, syncline.RunCanceled, syncline.Errorf(syncline.CodeUnavailable, "the server was stopped; the poll runs again when it is back"), now)
	case fenced(err):
		fail(run, syncline.RunCanceled, err, now)
	default:
		fail(run, syncline.RunFailed, err, now)
		lines = append(lines, errorLine(err, now))
	}
	// The end is written also while shutting down.
	ctx = context.WithoutCancel(ctx)
	var ended syncline.Run
	cause := err
	commit := func(tx store.Tx) error {
		ended = *run
		if err := h.Fence(tx); err != nil {
			return err
		}
		i, err := tx.Instance(s.Environment.ID, s.Instance.ID)
		if err != nil {
			return err
		}
		i.PollRunID, i.LastPollRunID = 0, run.ID
		stalled := i.Progress.Stalled()
		if run.Status == syncline.RunFailed {
			p.getOn(s, &i, &ended, cause, now)
		}
		switch ended.Status {
		case syncline.RunSuccess:
			if err := h.CommitDeletes(tx, &ended, now); err != nil {
				return err
			}
			if i.Reconcile.Full || i.LastSyncDate.IsZero() {
				// Everything was fetched: what was contested before was seen again.
				r := &i.Reconcile
				r.FullAt, r.Full, r.Contested, r.Before = run.StartedAt, false, max(0, r.Contested-r.Before), 0
			}
			begun, err := lineageStart(tx, run)
			if err != nil {
				return err
			}
			i.LastSyncDate, i.PollFailures, i.Progress = begun, 0, syncline.Progress{}
		case syncline.RunContinued:
			// A schedule that was paused meanwhile is paused for what remains, too.
			i.TriggerPending = i.TriggerPending || i.State == syncline.InstanceStarted || s.Instance.State == syncline.InstancePaused
		case syncline.RunFailed:
			i.PollFailures++
		case syncline.RunCanceled:
			i.TriggerPending = true
		}
		if i.State == syncline.InstanceStarted && run.Status != syncline.RunCanceled {
			if interval, err := schedule.Interval(&i, &s.Function.Active.Manifest); err == nil {
				i.NextDueAt = schedule.Next(i.ID, interval, now, i.PollFailures)
				if i.Progress.Stalled() {
					i.NextDueAt = schedule.Stalled(i.NextDueAt, interval, now, i.Progress.Stuck-p.stuck()+1)
				}
			}
		}
		if err := tx.UpdateInstance(&i); err != nil {
			return err
		}
		last := lines
		if ended.Status != run.Status || ended.Error != run.Error {
			last = append(last[:len(last):len(last)], progressLine(&ended, now))
		}
		if err := p.close(tx, &ended, last); err != nil {
			return err
		}
		if h.Locked() {
			if err := h.ReleaseLocks(tx); err != nil {
				return err
			}
		}
		// Of a stall the app is told once.
		if !stalled || ended.ErrorCode != syncline.CodeStalled {
			if err := p.announce(tx, s, &ended, now); err != nil {
				return err
			}
		}
		return tx.ReleasePoll(s.Environment.ID, i.ID, c.Lease.Epoch)
	}
	end := p.Host.Store.Update(ctx, store.Durable, commit)
	if end != nil && (fenced(end) || syncline.CodeOf(end) == syncline.CodeNotFound) {
		// The instance went on without this run: only the run's own end is left.
		if run.Status != syncline.RunCanceled {
			fail(run, syncline.RunCanceled, errMoved, now)
		}
		return p.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
			fresh, err := tx.Run(run.EnvironmentID, run.ID)
			if err != nil {
				return err
			}
			if fresh.Status == syncline.RunRunning { // else it was reaped
				if err := p.close(tx, run, lines); err != nil {
					return err
				}
			}
			if h.Locked() {
				if err := h.ReleaseLocks(tx); err != nil {
					return err
				}
			}
			err = tx.ReleasePoll(s.Environment.ID, s.Instance.ID, c.Lease.Epoch)
			if syncline.CodeOf(err) == syncline.CodeNotFound {
				return nil
			}
			return err
		})
	}
	if end == nil {
		*run = ended
		p.Announced()
	}
	return end
}

func (p *Polls) close(tx store.Tx, run *syncline.Run, lines []syncline.LogLine) error {
	if err := tx.UpdateRun(run); err != nil {
		return err
	}
	if len(lines) == 0 {
		return nil
	}
	return tx.AppendLogs(run.EnvironmentID, run.ID, lines)
}

// announce tells the app of what changed, of the end of the first sync, and of
// failures; a poll that found nothing new is not worth a webhook.
func (p *Polls) announce(tx store.Tx, s *host.Subject, run *syncline.Run, now time.Time) error {
	switch run.Status {
	case syncline.RunFailed:
		return p.announceFailure(tx, s, run, now)
	case syncline.RunSuccess, syncline.RunContinued:
	default:
		return nil
	}
	first := run.SyncType == syncline.SyncInitial && run.Status == syncline.RunSuccess
	for model := range s.Function.Active.Manifest.Models {
		result := run.Models[model]
		if !result.Changed() && !first {
			continue
		}
		if err := p.Announcer.Announce(tx, s, run, model, &result, now); err != nil {
			return err
		}
	}
	return nil
}
