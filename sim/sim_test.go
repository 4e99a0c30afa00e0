package sim_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"

	"syncline/internal/inbox"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/sqlite"
	"syncline/sim"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // stories make much garbage and keep little
	pgtest.Main(m)
}

// setting is a number from the environment; otherwise is what it is without.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// stores is where stories are told.
type stores func(t *testing.T) (store.Store, inbox.Log)

func inMemory(*testing.T) (store.Store, inbox.Log) { return mem.New(nil), nil }

func onSQLite(t *testing.T) (store.Store, inbox.Log) {
	t.Helper()
	dir := t.TempDir()
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "syncline.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	l, err := inboxsqlite.Open(t.Context(), filepath.Join(dir, "inbox.db"), inboxsqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return s, l
}

func onPostgres(t *testing.T) (store.Store, inbox.Log) {
	t.Helper()
	dsn := pgtest.Database(t, "sim", func(ctx context.Context, dsn string) error {
		s, err := postgres.Open(ctx, dsn, postgres.Options{}) // the migrations, once
		if err != nil {
			return err
		}
		return s.Close()
	})
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, nil
}

// report tells of a story that failed, in as few words as do.
func report(t *testing.T, err error) {
	t.Helper()
	var f *sim.Failure
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	f.Options.Inbox = nil
	small := sim.Shrink(context.Background(), func() store.Store { return mem.New(nil) }, f, time.Minute)
	t.Fatalf("%v\n\nIts %d actions, shrunk to %d:\n%s\nTell it again: SYNCLINE_SIM_STORY=%q SYNCLINE_SIM_SEED=%d go test -count=1 -v -run Replay ./sim",
		f, len(f.Actions), len(small.Actions), sim.Words(context.Background(), mem.New(nil), small.Options, small.Actions), f.Options.Name, f.Options.Seed)
}

// tell tells the stories of some seeds from the first on, each of as many actions, and sums what
// they counted. With demand, each mechanism must have been exercised.
func tell(t *testing.T, open stores, first, seeds, actions int, demand bool) {
	t.Helper()
	var mu sync.Mutex
	var total sim.Counts
	t.Run("story", func(t *testing.T) {
		for _, o := range sim.Stories() {
			t.Run(o.Name, func(t *testing.T) {
				t.Parallel()
				var sum sim.Counts
				for seed := range seeds {
					o := o
					o.Seed, o.Actions = uint64(first+seed), actions
					var s store.Store
					s, o.Inbox = open(t)
					c, err := sim.Run(context.Background(), s, o)
					if err != nil {
						report(t, err)
					}
					sum.Add(&c)
				}
				t.Log(&sum)
				for _, c := range o.Demands() {
					if demand && seeds >= 20 && sum[c] == 0 {
						t.Errorf("no %s: the stories are too short, or do not do what they are told for", c)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				total.Add(&sum)
			})
		}
	})
	t.Logf("together: %s", &total)
	for c, n := range total {
		// Rarely is not enough where many stories are told.
		if least := max(1, total[sim.Steps]/50_000); demand && n < least {
			t.Errorf("%d %s; it should be %d at least", n, sim.Count(c), least)
		}
	}
}

const actions = 4000 // of a story

// SYNCLINE_SIM_SEEDS asks for more stories than a test run tells (make sim).
func TestNeitherSideUndoesTheOtherAndNoReaderMissesAChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		tell(t, inMemory, 1, 1, actions/4, false)
		return
	}
	seeds := setting("SYNCLINE_SIM_SEEDS", 6)
	tell(t, inMemory, 1, seeds, actions, seeds >= 6)
}

// SYNCLINE_SIM_STORES asks for more actions than a test run takes.
func TestNeitherDoesOnSQLite(t *testing.T) {
	t.Parallel()
	n := setting("SYNCLINE_SIM_STORES", 200)
	if testing.Short() {
		n = 50
	}
	tell(t, onSQLite, 1001, 1, n, false)
}

func TestNeitherDoesOnPostgres(t *testing.T) {
	t.Parallel()
	n := setting("SYNCLINE_SIM_STORES", 100)
	if testing.Short() {
		n = 30
	}
	tell(t, onPostgres, 2001, 1, n, false)
}

// SYNCLINE_SIM_STORY and SYNCLINE_SIM_SEED name a story to tell in words.
func TestReplay(t *testing.T) {
	t.Parallel()
	name, named := os.LookupEnv("SYNCLINE_SIM_STORY")
	if !named {
		t.Skip("SYNCLINE_SIM_STORY and SYNCLINE_SIM_SEED name a story to tell in words")
	}
	o, ok := sim.Story(name)
	if !ok {
		t.Fatalf("there is no story %q", name)
	}
	o.Seed = uint64(setting("SYNCLINE_SIM_SEED", 1))
	t.Logf("\n%s", sim.Words(context.Background(), mem.New(nil), o, sim.Actions(o)))
	if _, err := sim.Run(context.Background(), mem.New(nil), o); err != nil {
		report(t, err)
	}
}

func TestTheSameSeedIsTheSameStory(t *testing.T) {
	t.Parallel()
	for _, o := range sim.Stories() {
		o.Seed, o.Actions = 7, 600
		var words [2]bytes.Buffer
		for i := range words {
			if _, _, err := sim.Tell(context.Background(), mem.New(nil), o, sim.Actions(o), &words[i]); err != nil {
				t.Fatal(err)
			}
		}
		if words[0].String() != words[1].String() {
			t.Errorf("%s: told twice, it is not the same", o.Name)
		}
		if words[0].Len() == 0 {
			t.Errorf("%s: nothing was told", o.Name)
		}
	}
}

// What the product is known to get wrong is told of, in as few words as do. A
// gap that no story finds any more is closed: take it out, and let the stories
// go there.
func TestGaps(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it tells of what is known")
	}
	for check, o := range sim.Gaps() {
		t.Run(o.Name, func(t *testing.T) {
			t.Parallel()
			known, more := o.Seed, setting("SYNCLINE_SIM_SEEDS", 0)
			for i := range more + 1 {
				o.Seed = known + uint64(i)
				_, err := sim.Run(context.Background(), mem.New(nil), o)
				var f *sim.Failure
				if !errors.As(err, &f) || f.Violation.Check != check {
					continue
				}
				small := sim.Shrink(context.Background(), func() store.Store { return mem.New(nil) }, f, 5*time.Second)
				t.Logf("seed %d: %s\n%s", o.Seed, f.Violation, sim.Words(context.Background(), mem.New(nil), small.Options, small.Actions))
				return
			}
			t.Logf("seed %d and %d more found nothing; it is closed when SYNCLINE_SIM_SEEDS=300 more find nothing", known, more)
		})
	}
}
