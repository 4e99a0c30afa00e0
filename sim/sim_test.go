package sim_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/sqlite"
	"syncline/sim"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

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

// tell tells the stories of some seeds on stores that open makes, and checks
// that each mechanism was exercised.
func tell(t *testing.T, open func(*testing.T) store.Store, seeds uint64, steps int) {
	t.Helper()
	for name, o := range stories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sum sim.Counts
			for seed := range seeds {
				o := o
				o.Seed, o.Steps, o.Objects = seed+1, steps, 8
				c, err := sim.Run(context.WithoutCancel(t.Context()), open(t), o)
				if err != nil {
					t.Fatal(err)
				}
				sum.Add(c)
			}
			t.Logf("%+v", sum)
			if testing.Short() {
				return // too few steps to demand that everything happens
			}
			exercised := map[string]int{"changes": sum.Changes, "polls": sum.Polls, "events": sum.Events, "reads": sum.Reads, "skips": sum.Skipped}
			if o.Crashes {
				exercised["crashes"] = sum.Crashes
			}
			if o.Resets {
				exercised["resets"], exercised["refused cursors"] = sum.Resets, sum.Refused
			}
			if o.LoseHooks {
				exercised["lost webhooks"], exercised["contested writes"] = sum.Lost, sum.Contested
			}
			for what, n := range exercised {
				if n == 0 {
					t.Errorf("no %s were exercised", what)
				}
			}
		})
	}
}

func inMemory(*testing.T) store.Store { return mem.New(nil) }

// SYNCLINE_SIM_SEEDS asks for more stories than a test run tells (make sim).
func TestNeitherSideUndoesTheOtherAndNoReaderMissesAChange(t *testing.T) {
	t.Parallel()
	seeds := uint64(25)
	if testing.Short() {
		seeds = 2
	}
	if n, err := strconv.ParseUint(os.Getenv("SYNCLINE_SIM_SEEDS"), 10, 64); err == nil {
		seeds = n
	}
	tell(t, inMemory, seeds, 1000)
}

func TestTheSameHoldsOnSQLite(t *testing.T) {
	t.Parallel()
	steps := 1000
	if testing.Short() {
		steps = 100
	}
	tell(t, openStore, 1, steps)
}

func TestTheSameHoldsOnPostgres(t *testing.T) {
	t.Parallel()
	steps := 400
	if testing.Short() {
		steps = 60
	}
	tell(t, func(t *testing.T) store.Store {
		t.Helper()
		s, err := postgres.Open(t.Context(), pgtest.Empty(t), postgres.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}, 1, steps)
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
				if _, err := sim.Run(context.WithoutCancel(t.Context()), c.fault(mem.New(nil)), o); err != nil {
					t.Logf("found with seed %d: %.200s", seed+1, fmt.Sprint(err))
					return
				}
			}
			t.Error("30 stories found nothing wrong")
		})
	}
}
