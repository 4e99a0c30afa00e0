package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"syncline"
	"syncline/internal/store"
)

func openTest(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{ReadConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// together makes n writes wait behind one that runs, and lets them go at once.
func together(t *testing.T, s *Store, n int, write func(n int) (store.Durability, func(tx store.Tx) error)) []error {
	t.Helper()
	running, release := make(chan struct{}), make(chan struct{})
	errs := make([]error, n)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Update(t.Context(), store.Relaxed, func(store.Tx) error { close(running); <-release; return nil })
		if err != nil {
			t.Error(err)
		}
	})
	<-running
	for i := range n {
		wg.Go(func() {
			d, fn := write(i)
			errs[i] = s.Update(t.Context(), d, fn)
		})
	}
	for len(s.writer.queue) < n {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	return errs
}

func TestWritesThatWaitTogetherCommitTogether(t *testing.T) {
	t.Parallel()
	const callers = 50
	for name, c := range map[string]struct {
		durability func(n int) store.Durability
		durable    bool
	}{
		"relaxed":             {func(int) store.Durability { return store.Relaxed }, false},
		"durable":             {func(int) store.Durability { return store.Durable }, true},
		"one durable of many": {func(n int) store.Durability { return store.Durability(min(n, 1)) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := openTest(t)
			before := s.Stats()
			errs := together(t, s, callers, func(n int) (store.Durability, func(tx store.Tx) error) {
				return c.durability(n), func(tx store.Tx) error { return tx.SetRouterPosition(int64(n)) }
			})
			if err := errors.Join(errs...); err != nil {
				t.Error(err)
			}
			after := s.Stats()
			// That of the first write, then one of all, or a few when the machine is slow.
			if commits := after.Commits - before.Commits; commits > callers/5 {
				t.Errorf("%d commits for %d writes", commits, callers)
			}
			if durable := after.DurableCommits > before.DurableCommits; durable != c.durable {
				t.Errorf("durable %v, want %v", durable, c.durable)
			}
			if n := after.Updates - before.Updates; n != callers+1 {
				t.Errorf("%d closures ran", n)
			}
		})
	}
}

func TestSynchronousIsFullForDurableCommitsOnly(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	for _, d := range []store.Durability{store.Durable, store.Relaxed, store.Relaxed, store.Durable} {
		var level int64
		err := s.Update(t.Context(), d, func(t store.Tx) error {
			_, err := t.(*tx).c.get("PRAGMA synchronous", func(r *row) error { level = r.int64(); return nil })
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[store.Durability]int64{store.Durable: 2, store.Relaxed: 1}[d]; level != want {
			t.Errorf("durability %d ran with synchronous=%d, want %d", d, level, want)
		}
	}
}

func TestAFullDiskIsUnavailableForItsBatchAndNothingOfItIsKept(t *testing.T) {
	t.Parallel()
	s := openTest(t)
	var pages int64
	err := s.Update(t.Context(), store.Relaxed, func(t store.Tx) error {
		_, err := t.(*tx).c.get("PRAGMA page_count", func(r *row) error { pages = r.int64(); return nil })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	setLimit := func(pages int64) {
		err := s.Update(t.Context(), store.Relaxed, func(t store.Tx) error {
			return t.(*tx).c.script(fmt.Sprintf("PRAGMA max_page_count=%d", pages))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	setLimit(pages + 2)
	before := s.position.Load()
	write := func(tx store.Tx) error {
		if _, err := tx.NextSeq(5); err != nil {
			return err
		}
		return tx.PutDeliveryState(&syncline.DeliveryState{EnvironmentID: 1, Position: 1})
	}
	errs := together(t, s, 6, func(n int) (store.Durability, func(tx store.Tx) error) {
		if n != 3 {
			return store.Durable, write
		}
		return store.Durable, func(tx store.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			// Swallowed: the store must notice all the same.
			tx.PutBundle(1, "large", make([]byte, 1<<20))
			err := tx.CreateEnvironment(&syncline.Environment{Name: string(make([]byte, 1<<20))})
			if syncline.CodeOf(err) != syncline.CodeUnavailable {
				t.Errorf("the write got %v", err)
			}
			return nil
		}
	})
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
			if syncline.CodeOf(err) != syncline.CodeUnavailable {
				t.Errorf("error %v", err)
			}
		}
	}
	if failed == 0 {
		t.Error("nobody was told")
	}
	setLimit(1 << 30)
	if err := s.Update(t.Context(), store.Durable, write); err != nil {
		t.Errorf("after the disk had space again: %v", err)
	}
	// Those that were told of success before the failure took 5 positions each.
	if p := s.position.Load(); p != before+int64(6-failed+1)*5 {
		t.Errorf("position %d after %d of 6 writes failed, from %d", p, failed, before)
	}
	err = s.View(t.Context(), func(r store.Reader) error {
		stored, err := readCounter(r.(*reader).c, counterSeq)
		if stored != s.position.Load() {
			t.Errorf("stored position %d, Position %d", stored, s.position.Load())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestCloseFinishesWhatWasHandedIn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	running, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		s.Update(t.Context(), store.Relaxed, func(store.Tx) error { close(running); <-release; return nil })
	})
	<-running
	const callers = 20
	errs := make([]error, callers)
	for i := range callers {
		wg.Go(func() {
			errs[i] = s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
				return tx.PutDeliveryState(&syncline.DeliveryState{EnvironmentID: 1, Position: int64(i + 1)})
			})
		})
	}
	for len(s.writer.queue) < callers {
		runtime.Gosched()
	}
	wg.Go(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for !s.writer.isClosed() {
		runtime.Gosched()
	}
	close(release)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
	again, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	err = again.View(t.Context(), func(r store.Reader) error {
		n, err := r.CountDeliveries(1, store.DeliveryFilter{})
		if n != callers {
			t.Errorf("%d of %d writes are there", n, callers)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
