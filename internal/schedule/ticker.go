package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Claim is a due poll that this process has taken.
type Claim struct {
	Instance syncline.SyncInstance
	Lease    syncline.Lease
}

// Poller runs one poll to its end, whatever that is: it releases the lease and
// plans the next poll in the poll's last commit.
type Poller interface {
	Poll(ctx context.Context, c Claim)
}

// Ticker claims due polls and hands them to the poller.
type Ticker struct {
	Store  store.Store
	Clock  clock.Clock
	Log    *slog.Logger
	Poller Poller
	Owner  string        // names this process in leases
	Lease  time.Duration // how long a claim holds without a sign of life
	Max    int           // polls at a time

	once sync.Once
	wake chan struct{}
}

// idle is the longest that the ticker sleeps: other processes may have planned
// polls without waking this one.
const idle = 5 * time.Second

func (t *Ticker) init() { t.wake = make(chan struct{}, 1) }

// Wake makes the ticker look at once.
func (t *Ticker) Wake() {
	t.once.Do(t.init)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Run claims and hands over until ctx ends; then it waits for the polls that
// it handed over. polls is the context that they run under, which may outlive
// ctx so that they can finish.
func (t *Ticker) Run(ctx, polls context.Context) error {
	t.once.Do(t.init)
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, t.Max)
	for {
		free := cap(slots) - len(slots)
		claims, next, err := t.claim(ctx, free)
		if err != nil && ctx.Err() == nil {
			t.Log.Error("cannot claim due polls", "err", err)
		}
		for _, c := range claims {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots; t.Wake() }()
				t.Poller.Poll(polls, c)
			})
		}
		wait := idle
		if now := t.Clock.Now(); err == nil && len(slots) < cap(slots) && !next.IsZero() {
			wait = min(idle, max(next.Sub(now), 0))
			if len(claims) == 0 {
				wait = max(wait, 50*time.Millisecond) // due, but held by another process
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-t.Clock.After(wait):
		}
	}
}

func (t *Ticker) claim(ctx context.Context, max int) (claims []Claim, next time.Time, err error) {
	if max == 0 {
		return nil, time.Time{}, nil
	}
	now := t.Clock.Now()
	var due []syncline.SyncInstance
	err = t.Store.View(ctx, func(r store.Reader) (err error) {
		if due, err = r.DueInstances(now, max); err != nil || len(due) > 0 {
			return err
		}
		next, err = r.NextDue()
		return err
	})
	if err != nil || len(due) == 0 {
		return nil, next, err
	}
	err = t.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		claims = claims[:0]
		for _, i := range due {
			lease, ok, err := tx.ClaimPoll(i.EnvironmentID, i.ID, t.Owner, now, now.Add(t.Lease))
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			// Read again: it may have moved since it was listed.
			fresh, err := tx.Instance(i.EnvironmentID, i.ID)
			if err != nil {
				return err
			}
			due := fresh.TriggerPending || fresh.State == syncline.InstanceStarted && !fresh.NextDueAt.IsZero() && !fresh.NextDueAt.After(now)
			if !due {
				if err := tx.ReleasePoll(i.EnvironmentID, i.ID, lease.Epoch); err != nil {
					return err
				}
				continue
			}
			claims = append(claims, Claim{Instance: fresh, Lease: lease})
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return claims, now, nil
}
