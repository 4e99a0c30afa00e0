// Package retention removes what is older than the settings say: raw
// deliveries that ended, what became of them, runs with their logs, and
// notifications; and, as environments and functions say, payloads of records
// that do not change, deleted records, and history. It does not decide what has
// ended; the stores know.
package retention

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"syncline/internal/clock"
	"syncline/internal/inbox"
	"syncline/internal/store"
)

// Sweeper removes old rows, a little at a time.
type Sweeper struct {
	Store store.Store
	Inbox inbox.Log
	Clock clock.Clock
	Log   *slog.Logger
	// Deliveries is how long deliveries are kept after their receipt, once they
	// ended; Runs is how long runs and notifications are.
	Deliveries, Runs time.Duration
	// Jobs is how long the results of jobs are kept; 0: as long as runs.
	Jobs time.Duration
	// Every is how often it looks; default 10 minutes.
	Every time.Duration

	// pruned is, by collection, the position up to which no payloads are left.
	pruned map[int64]int64
}

// step is how many rows one transaction removes, so that others do not wait.
const step = 500

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	every := s.Every
	if every == 0 {
		every = 10 * time.Minute
	}
	for {
		if err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Error("cannot remove old rows", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.Clock.After(every):
		}
	}
}

// Sweep removes everything that is old now. It is for one caller at a time.
func (s *Sweeper) Sweep(ctx context.Context) error {
	now := s.Clock.Now()
	err := s.sweepDeliveries(ctx, now)
	if ctx.Err() != nil {
		return err
	}
	return errors.Join(err, s.sweepRecords(ctx, now))
}

func (s *Sweeper) sweepDeliveries(ctx context.Context, now time.Time) error {
	// The raw deliveries go first: a state without its delivery can still be
	// shown, a delivery without its state would look as if it were new.
	_, err := s.Inbox.Purge(ctx, now.Add(-s.Deliveries), func(positions []int64) (open []int64, err error) {
		err = s.Store.View(ctx, func(r store.Reader) error {
			open, err = r.OpenDeliveries(positions)
			return err
		})
		return open, err
	})
	if err != nil {
		return err
	}
	jobs := s.Jobs
	if jobs == 0 {
		jobs = s.Runs
	}
	for _, purge := range []func(tx store.Tx) (int, error){
		func(tx store.Tx) (int, error) { return tx.PurgeDeliveries(now.Add(-s.Deliveries), step) },
		func(tx store.Tx) (int, error) { return tx.PurgeRuns(now.Add(-s.Runs), step) },
		func(tx store.Tx) (int, error) { return tx.PurgeJobs(now.Add(-jobs), step) },
		func(tx store.Tx) (int, error) { return tx.PurgeNotifications(now.Add(-s.Runs), step) },
		func(tx store.Tx) (int, error) { return tx.PurgeLocks(now, step) },
	} {
		for n := 1; n > 0; {
			err := s.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
				n, err = purge(tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
