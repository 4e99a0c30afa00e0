package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn/host"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// Functions in Go are compiled into processes. While processes of two builds
// run, work can be claimed by one that does not have the deployed version: it
// leaves it to another, without a run, a failure or an attempt spent.

// leftPoll is for how long nobody claims a poll that was left.
const leftPoll = time.Second

// leftLane is for how long nobody claims a lane that was left, by how long it
// has been: short while a deployment rolls, longer when nobody has the version.
func leftLane(waited time.Duration) time.Duration {
	switch {
	case waited < 10*time.Second:
		return 250 * time.Millisecond
	case waited < time.Minute:
		return 2 * time.Second
	}
	return 15 * time.Second
}

func (e *Engine) runsHere(v *syncline.FunctionVersion) bool { return e.Runs == nil || e.Runs(v) }

// elsewhere says what work waits for.
func elsewhere(f *syncline.Function) string {
	return fmt.Sprintf("version %d of the Go function %s is not compiled into the process that took the work", f.Active.Number, f.Name)
}

// leftWork remembers which versions' work was left, to say so when it lasts.
type leftWork struct {
	mu       sync.Mutex
	versions map[int64]*leftVersion
}

type leftVersion struct{ since, last, said time.Time }

const (
	// leftQuiet is for how long nothing is said: a deployment rolls.
	leftQuiet = 15 * time.Second
	// leftAgain is after how long it is said again, and leftOver after how long
	// without any the next is another story.
	leftAgain = 5 * time.Minute
	leftOver  = time.Minute
)

// note notes that work of a function was left.
func (l *leftWork) note(log *slog.Logger, s *syncline.Function, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.versions == nil {
		l.versions = map[int64]*leftVersion{}
	}
	v := l.versions[s.Active.ID]
	if v == nil || now.Sub(v.last) > leftOver {
		v = &leftVersion{since: now}
		l.versions[s.Active.ID] = v
	}
	v.last = now
	if now.Sub(v.since) >= leftQuiet && now.Sub(v.said) >= leftAgain {
		v.said = now
		log.Warn("work waits for a process of another build", "reason", elsewhere(s), "since", v.since)
	}
}

// leave gives a lane back for a process that has the function's version. It
// reports false once the lane has waited for the longest that it may: then its
// events end as others do.
func (l *Lanes) leave(ctx context.Context, lane *syncline.Lane, s *host.Subject) bool {
	now := l.Clock.Now()
	if lane.WaitingSince.IsZero() {
		lane.WaitingSince = now
	}
	waited := now.Sub(lane.WaitingSince)
	if waited >= l.Retry.MaxWait {
		return false
	}
	l.left.note(l.Log, &s.Function, now)
	lane.NotBefore = now.Add(leftLane(waited))
	lane.Reason = fmt.Sprintf("waiting since %s: %s", lane.WaitingSince.Format(time.RFC3339), elsewhere(&s.Function))
	l.release(ctx, lane)
	return true
}

// leave holds a poll back for a moment, for a process that has the function's
// version, and reports whether it did.
func (p *Polls) leave(ctx context.Context, c schedule.Claim) (left bool, err error) {
	if p.Runs == nil {
		return false, nil
	}
	env, id := c.Instance.EnvironmentID, c.Instance.ID
	var f syncline.Function
	err = p.Host.Store.View(ctx, func(r store.Reader) (err error) {
		f, err = r.Function(env, c.Instance.FunctionID)
		return err
	})
	if err != nil || p.runsHere(&f.Active) {
		return false, err
	}
	p.left.note(p.Log, &f, p.Clock.Now())
	until := p.Clock.Now().Add(leftPoll)
	return true, p.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, func(tx store.Tx) error {
		if err := tx.FencePoll(env, id, c.Instance.Epoch, c.Lease.Epoch); err != nil {
			return err
		}
		i, err := tx.Instance(env, id)
		if err != nil {
			return err
		}
		if i.State == syncline.InstanceStarted && i.NextDueAt.Before(until) {
			i.NextDueAt = until
			if err := tx.UpdateInstance(&i); err != nil {
				return err
			}
		}
		if !i.TriggerPending {
			return tx.ReleasePoll(env, id, c.Lease.Epoch)
		}
		// A poll that was asked for is due at any time: the lease holds it back.
		return tx.ExtendPoll(env, id, c.Lease.Epoch, until)
	})
}
