package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
)

// heard keeps what a process was told.
type heard struct {
	mu      sync.Mutex
	signals []string
}

func (h *heard) add(signal string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.signals = append(h.signals, signal)
}

func (h *heard) count(signal string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.signals {
		if s == signal {
			n++
		}
	}
	return n
}

func join(t *testing.T, s *postgres.Store, owner string) (*postgres.Peers, *heard) {
	t.Helper()
	h := &heard{}
	p, err := s.Join(t.Context(), owner, h.add)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p, h
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in 20 seconds: not %s", what)
		}
	}
}

// terminate ends all connections to the database that are not of pools, as the
// loss of the network to one process would.
func terminate(t *testing.T, dsn, having string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var n int
	err = c.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND `+having).Scan(&n)
	if err != nil || n == 0 {
		t.Fatalf("%d connections were ended: %v", n, err)
	}
}

// leading has a role until its context ends, and notes how many have it.
type leading struct{ now, most, times atomic.Int32 }

func (l *leading) run(ctx context.Context) error {
	l.times.Add(1)
	if n := l.now.Add(1); n > l.most.Load() {
		l.most.Store(n)
	}
	<-ctx.Done()
	l.now.Add(-1)
	return ctx.Err()
}

func TestARoleHasOneHolderAndIsHandedOver(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	a, _ := join(t, open(t, dsn), "a")
	b, _ := join(t, open(t, dsn), "b")
	var roles leading
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	actx, stopA := context.WithCancel(ctx)
	wg.Go(func() { _ = a.Lead(actx, "router", roles.run) })
	eventually(t, "a leads", func() bool { return roles.now.Load() == 1 })
	wg.Go(func() { _ = b.Lead(ctx, "router", roles.run) })
	other := false
	if err := b.Try(ctx, "router", func(context.Context) error { other = true; return nil }); err != nil || other {
		t.Errorf("b has the role too: %v", err)
	}
	if err := b.Try(ctx, "another", func(context.Context) error { other = true; return nil }); err != nil || !other {
		t.Errorf("b cannot have another role: %v", err)
	}
	began := time.Now()
	stopA()
	eventually(t, "b leads", func() bool { return roles.times.Load() == 2 })
	t.Logf("handed over in %s", time.Since(began))
	if roles.most.Load() != 1 {
		t.Errorf("%d had the role at a time", roles.most.Load())
	}
}

func TestALostConnectionIsALostRole(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	a, _ := join(t, open(t, dsn), "a")
	b, _ := join(t, open(t, dsn), "b")
	var roles leading
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for _, p := range []*postgres.Peers{a, b} {
		wg.Go(func() { _ = p.Lead(ctx, "router", roles.run) })
	}
	eventually(t, "one leads", func() bool { return roles.now.Load() == 1 })
	for n := int32(1); n <= 3; n++ {
		// Those that hold advisory locks; the one that leads among them.
		terminate(t, dsn, `pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' GROUP BY pid HAVING count(*) > 1)`)
		began := time.Now()
		eventually(t, "one leads again", func() bool { return roles.times.Load() > n })
		t.Logf("taken over in %s", time.Since(began))
		eventually(t, "the other has stopped", func() bool { return roles.now.Load() == 1 })
	}
}

func TestAloneIsInTurn(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	var inside, most atomic.Int32
	var wg sync.WaitGroup
	for n := range 4 {
		p, _ := join(t, open(t, dsn), fmt.Sprint(n))
		wg.Go(func() {
			err := p.Alone(t.Context(), "start", func(context.Context) error {
				most.Store(max(most.Load(), inside.Add(1)))
				time.Sleep(20 * time.Millisecond)
				inside.Add(-1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d were alone", most.Load())
	}
}

func TestWhatIsSaidIsHeardByTheOthers(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	a, ofA := join(t, open(t, dsn), "a")
	_, ofB := join(t, open(t, dsn), "b")
	eventually(t, "b listens", func() bool { return ofA.count("") == 1 && ofB.count("") == 1 })
	began := time.Now()
	a.Notify("lanes")
	eventually(t, "b hears it", func() bool { return ofB.count("lanes") == 1 })
	t.Logf("heard in %s", time.Since(began))
	for n := range 1000 {
		a.Notify("polls")
		a.Notify(fmt.Sprint("changed ", n))
	}
	eventually(t, "b hears all", func() bool {
		return ofB.count("polls") >= 1 && ofB.count("changed 999") == 1 && ofB.count("changed 0") == 1
	})
	if n := ofB.count("polls"); n > 50 {
		t.Errorf("what was said 1000 times at once was heard %d times", n)
	}
	if ofA.count("lanes") != 0 {
		t.Error("a hears itself")
	}

	// After a pause, and after the loss of its connection, it hears again.
	time.Sleep(4 * time.Second)
	a.Notify("after a pause")
	eventually(t, "b hears after a pause", func() bool { return ofB.count("after a pause") == 1 })
	if ofB.count("") != 1 {
		t.Error("a pause is taken for a loss")
	}
	terminate(t, dsn, `query LIKE 'LISTEN%' OR query LIKE '-- ping%'`)
	eventually(t, "b listens again", func() bool { return ofB.count("") == 2 && ofA.count("") == 2 })
	a.Notify("after a loss")
	eventually(t, "b hears after a loss", func() bool { return ofB.count("after a loss") == 1 })
}

func TestTheLeasesOfAProcessThatIsGoneAreFreed(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 2)
	a, _ := join(t, w.stores[0], "a")
	b, _ := join(t, w.stores[1], "b")
	now := time.Now()
	claim := func(n int, owner string, instance int) {
		w.update(n, func(tx store.Tx) error {
			in := w.instances[instance]
			if _, ok, err := tx.ClaimPoll(w.env, in.ID, owner, now, now.Add(time.Hour)); err != nil || !ok {
				return fmt.Errorf("claimed %t: %w", ok, err)
			}
			err := tx.AppendEvents([]*syncline.Event{{EnvironmentID: w.env, LaneID: in.ID, Position: int64(instance) + 1, Status: syncline.EventPending}})
			if err != nil {
				return err
			}
			lanes, err := tx.ClaimLanes(owner, now, now.Add(time.Hour), 1)
			if err == nil && len(lanes) != 1 {
				err = fmt.Errorf("%d lanes", len(lanes))
			}
			return err
		})
	}
	claim(0, "a", 0)
	claim(1, "b", 1)
	owners := func() (list []string) {
		w.update(1, func(tx store.Tx) error {
			list = nil
			for _, in := range w.instances {
				i, err := tx.Instance(w.env, in.ID)
				if err != nil {
					return err
				}
				l, err := tx.Lane(w.env, in.ID)
				if err != nil {
					return err
				}
				list = append(list, i.PollLease.Owner, l.Lease.Owner)
			}
			return nil
		})
		return list
	}
	release := func() int64 {
		n, err := b.ReleaseLost(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := release(); n != 0 {
		t.Fatalf("%d leases of the living were freed", n)
	}
	a.Close()
	began := time.Now()
	if n := release(); n != 0 {
		t.Fatalf("%d leases were freed at once", n)
	}
	eventually(t, "freed", func() bool { return release() == 2 })
	if took := time.Since(began); took < 1900*time.Millisecond {
		t.Errorf("freed after %s", took)
	}
	if got := owners(); !slices.Equal(got, []string{"", "", "b", "b"}) {
		t.Errorf("the leases are those of %q", got)
	}
}
