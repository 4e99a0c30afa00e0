package sim_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"syncline/internal/store"
	"syncline/internal/store/sqlite"
	"syncline/sim"
)

func openStore(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// stories are the shapes of the simulation.
func stories() map[string]sim.Options {
	return map[string]sim.Options{
		"a page loop":                          {},
		"a page loop with lost webhooks":       {LoseHooks: true},
		"prefetching":                          {Prefetch: true},
		"prefetching with crashes":             {Prefetch: true, Crashes: true},
		"crashes and lost webhooks":            {Crashes: true, LoseHooks: true},
		"resets":                               {Resets: true},
		"resets, crashes and lost webhooks":    {Resets: true, Crashes: true, LoseHooks: true},
		"everything that can happen, together": {Prefetch: true, Resets: true, Crashes: true, LoseHooks: true},
	}
}

func TestNeitherSideUndoesTheOtherAndNoReaderMissesAChange(t *testing.T) {
	t.Parallel()
	seeds, steps := uint64(2), 1000
	if testing.Short() {
		seeds, steps = 1, 300
	}
	for name, o := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sum sim.Counts
			for seed := range seeds {
				o := o
				o.Seed, o.Steps, o.Objects = seed+1, steps, 8
				c, err := sim.Run(t.Context(), openStore(t), o)
				if err != nil {
					t.Fatal(err)
				}
				sum.Add(c)
			}
			t.Logf("%+v", sum)
			for what, n := range map[string]int{
				"changes": sum.Changes, "polls": sum.Polls, "events": sum.Events, "reads": sum.Reads, "skips": sum.Skipped,
			} {
				if n == 0 {
					t.Errorf("no %s were exercised", what)
				}
			}
		})
	}
}

// blind is a store whose position is always ahead: watermarks made of it guard
// nothing.
type blind struct{ store.Store }

func (b blind) Position(ctx context.Context) (int64, error) {
	p, err := b.Store.Position(ctx)
	return p + 1_000_000, err
}

// unfenced is a store that lets anyone commit.
type unfenced struct{ store.Store }

func (u unfenced) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return u.Store.Update(ctx, d, func(tx store.Tx) error { return fn(unfencedTx{tx}) })
}

type unfencedTx struct{ store.Tx }

func (unfencedTx) FencePoll(int64, int64, int64, int64) error { return nil }

// A simulation that finds nothing proves nothing: with a fault put in, it must
// find it.
func TestTheSimulationFindsFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(store.Store) store.Store
		o     sim.Options
	}{
		"no watermark": {func(s store.Store) store.Store { return blind{s} }, sim.Options{}},
		"no fencing":   {func(s store.Store) store.Store { return unfenced{s} }, sim.Options{Resets: true, Prefetch: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(30) {
				o := c.o
				o.Seed, o.Steps, o.Objects = seed+1, 600, 6
				if _, err := sim.Run(t.Context(), c.fault(openStore(t)), o); err != nil {
					t.Logf("found with seed %d: %.200s", seed+1, fmt.Sprint(err))
					return
				}
			}
			t.Error("30 stories found nothing wrong")
		})
	}
}
