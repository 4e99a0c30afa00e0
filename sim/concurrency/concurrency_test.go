// Package concurrency runs several processes that write and read the same
// collections on one Postgres for a minute, and checks that readers who keep
// their cursors end with exactly what the table holds.
package concurrency_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/records"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
)

const (
	processes = 2 // of writers, and as many of readers
	writers   = 8 // together
	readers   = 4 // together
	objects   = 300
)

var models = []string{"Issue", "Comment"}

// role is what a process of this test's own binary does.
const role = "SYNCLINE_TEST_ROLE"

func TestMain(m *testing.M) {
	if r := os.Getenv(role); r != "" {
		if err := play(context.Background(), r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	pgtest.Main(m)
}

// job is what a process is told on its standard input; when that ends it stops.
type job struct {
	DSN                  string
	Env, Integration     int64
	Connection, Instance int64
	First, Count         int // the actors of this process
}

// outcome is what it answers.
type outcome struct {
	Commits, Changes, Pages int
	Rebuilt                 []map[string]state // by reader and model, joined in order
}

// state is a record as a reader knows it.
type state struct {
	Seq     int64
	Deleted bool
	Payload string
}

func play(ctx context.Context, role string) error {
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var j job
	if err := json.Unmarshal(line, &j); err != nil {
		return err
	}
	s, err := postgres.Open(ctx, j.DSN, postgres.Options{WriteConns: j.Count + 1, ReadConns: j.Count + 1})
	if err != nil {
		return err
	}
	defer s.Close()
	var stopped atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stopped.Store(true)
	}()
	var (
		mu    sync.Mutex
		total outcome
		errs  []error
		all   sync.WaitGroup
	)
	total.Rebuilt = make([]map[string]state, 0)
	for n := range j.Count {
		all.Go(func() {
			var o outcome
			var err error
			if role == "writer" {
				o, err = write(ctx, s, &j, j.First+n, &stopped)
			} else {
				o, err = read(ctx, s, &j, j.First+n, &stopped)
			}
			mu.Lock()
			defer mu.Unlock()
			total.Commits, total.Changes, total.Pages = total.Commits+o.Commits, total.Changes+o.Changes, total.Pages+o.Pages
			total.Rebuilt = append(total.Rebuilt, o.Rebuilt...)
			errs = append(errs, err)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(total)
}

// errOnPurpose rolls a transaction back.
var errOnPurpose = errors.New("on purpose")

// write changes records in every way there is, in one collection or in both.
func write(ctx context.Context, s store.Store, j *job, n int, stopped *atomic.Bool) (o outcome, err error) {
	rnd := rand.New(rand.NewPCG(uint64(n), 1)) //nolint:gosec // reproducible on purpose
	g := records.Guard{Strategy: syncline.StrategyOverride, Writer: syncline.Writer{Lineage: int64(n + 1)}}
	batch := func(op records.Op, size int) *records.Batch {
		raws := make([]json.RawMessage, size)
		for i := range raws {
			raws[i] = json.RawMessage(fmt.Sprintf(`{"id":"%d","by":%d,"v":%d}`, rnd.IntN(objects), n, rnd.IntN(1000)))
		}
		b, batchErr := records.NewBatch(op, "M", raws)
		err = errors.Join(err, batchErr)
		return b
	}
	for !stopped.Load() {
		in := models // half of the time both
		if one := rnd.IntN(2 * len(models)); one < len(models) {
			in = models[one : one+1]
		}
		op := []records.Op{records.OpSave, records.OpSave, records.OpUpdate, records.OpDelete}[rnd.IntN(4)]
		b, track, fail := batch(op, 1+rnd.IntN(40)), n == 0 && rnd.IntN(20) == 0, rnd.IntN(20) == 0
		if err != nil {
			return o, err
		}
		changes := 0
		err = s.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			changes = 0
			now := time.Now()
			if err := records.LockAll(tx, j.Env, j.Connection, in, now); err != nil {
				return err
			}
			for _, model := range in {
				t := records.Target{EnvironmentID: j.Env, ConnectionID: j.Connection, Model: model}
				var window int64
				if track {
					var err error
					owner := records.WindowOwner{InstanceID: j.Instance, InstanceEpoch: 1, Lineage: rnd.Int64()}
					if window, err = records.StartTracking(tx, t, owner, now); err != nil {
						return err
					}
				}
				r, err := records.Apply(tx, t, b, g, now)
				if err != nil {
					return err
				}
				changes += r.Added + r.Updated + r.Deleted
				if track {
					r, _, err := records.EndTracking(tx, j.Env, window, g, records.MassDelete{}, now)
					if err != nil {
						return err
					}
					changes += r.Deleted
				}
			}
			if fail {
				return errOnPurpose
			}
			return nil
		})
		switch {
		case errors.Is(err, errOnPurpose):
			err = nil
		case err != nil:
			return o, fmt.Errorf("writer %d: %w", n, err)
		default:
			o.Commits++
			o.Changes += changes
		}
	}
	return o, nil
}

// read follows both collections by cursor, and stops when the writers have and
// nothing new comes.
func read(ctx context.Context, s store.Store, j *job, n int, stopped *atomic.Bool) (o outcome, err error) {
	rnd := rand.New(rand.NewPCG(uint64(n), 2)) //nolint:gosec // reproducible on purpose
	cursors := make([]string, len(models))
	newest := make([]int64, len(models))
	for range models {
		o.Rebuilt = append(o.Rebuilt, map[string]state{})
	}
	for {
		last, got := stopped.Load(), 0
		for m, model := range models {
			page, err := feed.Read(ctx, s, feed.Query{
				EnvironmentID: j.Env, IntegrationID: j.Integration, ConnectionID: j.Connection, Model: model, Cursor: cursors[m], Limit: 1 + rnd.IntN(200),
			})
			if err != nil {
				return o, fmt.Errorf("reader %d: %w", n, err)
			}
			o.Pages++
			got += len(page.Changes)
			for _, c := range page.Changes {
				if c.Seq <= newest[m] {
					return o, fmt.Errorf("reader %d: position %d after %d", n, c.Seq, newest[m])
				}
				cursors[m], newest[m] = c.Cursor, c.Seq
				o.Rebuilt[m][c.ID] = state{c.Seq, c.Deleted(), string(c.Payload)}
			}
		}
		if last && got == 0 {
			return o, nil
		}
		if got == 0 {
			time.Sleep(5 * time.Millisecond) // leave the machine to the writers
		}
	}
}

func duration(t *testing.T) time.Duration {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("SYNCLINE_CONCURRENCY_SECONDS")); err == nil {
		return time.Duration(n) * time.Second
	}
	if testing.Short() {
		return 3 * time.Second
	}
	return time.Minute
}

func TestReadersRebuildWhatManyProcessesWrite(t *testing.T) {
	dsn := pgtest.Empty(t)
	s, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	j := setUp(t, s, dsn)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(what string, first, count int) (stop func() outcome) {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = append(os.Environ(), role+"="+what)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		mine := j
		mine.First, mine.Count = first, count
		if err := json.NewEncoder(in).Encode(mine); err != nil {
			t.Fatal(err)
		}
		return func() (o outcome) {
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%s: %v\n%s", what, err, errs.String())
			}
			if err := json.Unmarshal([]byte(out.String()), &o); err != nil {
				t.Fatalf("%s answered %q: %v", what, out.String(), err)
			}
			return o
		}
	}
	var writing, reading []func() outcome
	for p := range processes {
		writing = append(writing, start("writer", p*writers/processes, writers/processes))
		reading = append(reading, start("reader", p*readers/processes, readers/processes))
	}
	began := time.Now()
	<-time.After(duration(t)) // the test's subject is what happens meanwhile
	var wrote, seen outcome
	for _, stop := range writing {
		o := stop()
		wrote.Commits, wrote.Changes = wrote.Commits+o.Commits, wrote.Changes+o.Changes
	}
	took := time.Since(began)
	for _, stop := range reading {
		o := stop()
		seen.Pages += o.Pages
		seen.Rebuilt = append(seen.Rebuilt, o.Rebuilt...)
	}
	if len(seen.Rebuilt) != readers*len(models) {
		t.Fatalf("%d reconstructions", len(seen.Rebuilt))
	}
	for m, model := range models {
		want := table(t, s, &j, model)
		for n := m; n < len(seen.Rebuilt); n += len(models) {
			if diff := cmp.Diff(want, seen.Rebuilt[n]); diff != "" {
				t.Errorf("%s, reconstruction %d (-table +reader):\n%s", model, n, diff)
			}
		}
	}
	if n := deadlocks(t, dsn); n != 0 {
		t.Errorf("the server broke %d deadlocks", n)
	}
	t.Logf("%d writers made %d commits with %d changes in %v (%.0f commits/s, %.0f changes/s); %d readers read %d pages",
		writers, wrote.Commits, wrote.Changes, took.Round(time.Second), float64(wrote.Commits)/took.Seconds(), float64(wrote.Changes)/took.Seconds(), readers, seen.Pages)
	if wrote.Commits < 100 || wrote.Changes < 1000 {
		t.Errorf("too little happened: %d commits, %d changes", wrote.Commits, wrote.Changes)
	}
}

func setUp(t *testing.T, s store.Store, dsn string) job {
	t.Helper()
	j := job{DSN: dsn}
	err := s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
		env := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c"}
		if err := tx.CreateConnection(&k); err != nil {
			return err
		}
		for _, model := range models {
			if _, err := tx.EnsureCollection(env.ID, k.ID, model, time.Now()); err != nil {
				return err
			}
		}
		j.Env, j.Integration, j.Connection, j.Instance = env.ID, i.ID, k.ID, 1
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// table is what the collection holds in the end.
func table(t *testing.T, s store.Store, j *job, model string) map[string]state {
	t.Helper()
	want := map[string]state{}
	err := s.View(t.Context(), func(r store.Reader) error {
		c, err := r.Collection(j.Env, j.Connection, model)
		if err != nil {
			return err
		}
		return r.ScanRecords(j.Env, c.ID, store.RecordQuery{}, func(rec *syncline.Record) bool {
			want[rec.ID] = state{rec.Seq, rec.Deleted(), string(rec.Payload)}
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// deadlocks is how many the server had to break in the database.
func deadlocks(t *testing.T, dsn string) (n int64) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.WithoutCancel(t.Context()))
	if err := c.QueryRow(t.Context(), `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
