package dispatch

import (
	"context"
	"time"

	"syncline"
	"syncline/internal/store"
)

// reaper is who takes the leases of runs that died, in the transaction that ends
// the run and frees the lease.
const reaper = "reaper"

// Reap ends the runs that a process that died left running, whichever process
// that was: they are marked, announced, and polls are due again. It returns how
// many there were. A run lives while its process holds the lease for it; it may
// be called at any time, by several processes.
func (p *Polls) Reap(ctx context.Context) (reaped int, err error) {
	var dead []syncline.Run
	now := p.Clock.Now()
	err = p.Host.Store.View(ctx, func(r store.Reader) error {
		runs, err := r.RunningRuns(maxRunning)
		if err != nil {
			return err
		}
		for i := range runs {
			if runs[i].Kind == syncline.RunAction || runs[i].Kind == syncline.RunOnEvent {
				continue // their jobs tell whether they live
			}
			lives, err := p.lives(r, &runs[i], now)
			if err != nil {
				return err
			}
			if !lives {
				dead = append(dead, runs[i])
			}
		}
		return nil
	})
	for i := range dead {
		if err != nil {
			break
		}
		ended := false
		err = p.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) (err error) {
			ended, err = p.reap(tx, dead[i].EnvironmentID, dead[i].ID)
			return err
		})
		if ended && err == nil {
			reaped++
		}
	}
	if reaped > 0 {
		p.Log.Warn("runs of a process that died were ended; polls run again", "runs", reaped)
		p.Announced()
	}
	return reaped, err
}

// succeeded is for how long a run may go on after its successor began: it was
// told, or finds out that it can write nothing more.
const succeeded = 5 * time.Second

// maxRunning is how many running runs one look sees; the oldest first.
const maxRunning = 10_000

func held(l syncline.Lease, now time.Time) bool { return l.Owner != "" && l.Until.After(now) }

// lives reports whether some process holds the lease for a run.
func (p *Polls) lives(r store.Reader, run *syncline.Run, now time.Time) (bool, error) {
	i, err := r.Instance(run.EnvironmentID, run.InstanceID)
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		// Deleted since. A process that lives notices, and ends the run itself.
		return run.StartedAt.After(now.Add(-p.Lease)), nil
	case err != nil:
		return false, err
	case run.Kind == syncline.RunWebhook:
		lane, err := r.Lane(run.EnvironmentID, run.InstanceID)
		return held(lane.Lease, now), err
	case !held(i.PollLease, now):
		return false, nil
	case i.PollRunID == run.ID:
		return true, nil
	case i.PollRunID == 0:
		return true, nil // its end is being written, or that of its successor
	}
	// Another poll was begun. A process that lives notices that too.
	next, err := r.Run(run.EnvironmentID, i.PollRunID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return false, nil
	}
	return next.StartedAt.After(now.Add(-succeeded)), err
}

// reap ends a run that is dead still. A poll's lease is taken from whoever had
// it: should that be alive after all, it cannot commit any more.
func (p *Polls) reap(tx store.Tx, env, id int64) (ended bool, err error) {
	now := p.Clock.Now()
	run, err := tx.Run(env, id)
	if err != nil {
		return false, err
	}
	if run.Status != syncline.RunRunning {
		return false, nil
	}
	if lives, err := p.lives(tx, &run, now); lives || err != nil {
		return false, err
	}
	if _, err := tx.ReleaseLocks(env, run.UUID); err != nil {
		return false, err
	}
	fail(&run, syncline.RunReaped, syncline.Errorf(syncline.CodeWorkerLost, "the process ended while the function ran"), now)
	s, lost := loadSubject(tx, env, run.InstanceID)
	switch {
	case syncline.CodeOf(lost) == syncline.CodeNotFound: // deleted since
		return true, tx.UpdateRun(&run)
	case lost != nil:
		return false, lost
	case s.Instance.PollRunID != run.ID:
		return true, tx.UpdateRun(&run)
	}
	lease, ok, err := tx.ClaimPoll(env, run.InstanceID, reaper, now, now.Add(p.Lease))
	if err != nil || !ok {
		return false, err
	}
	if err := tx.UpdateRun(&run); err != nil {
		return false, err
	}
	// Read again: it could change until the lease was taken.
	i, err := tx.Instance(env, run.InstanceID)
	if err != nil {
		return false, err
	}
	i.PollRunID, i.LastPollRunID = 0, run.ID
	i.TriggerPending = true
	if err := tx.UpdateInstance(&i); err != nil {
		return false, err
	}
	if err := p.announceFailure(tx, s, &run, now); err != nil {
		return false, err
	}
	return true, tx.ReleasePoll(env, i.ID, lease.Epoch)
}
