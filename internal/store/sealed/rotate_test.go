package sealed_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/sealed"
)

func rotator(s *sealed.Store) *sealed.Rotator {
	return &sealed.Rotator{Store: s, Clock: clock.System, Log: slog.New(slog.DiscardHandler), Pause: -1}
}

func (c *cache) pass(r *sealed.Rotator) sealed.Progress {
	c.Helper()
	p, err := r.Pass(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	return p
}

// keys counts the payloads that are stored under each key.
func (c *cache) keys() map[string]int {
	c.Helper()
	n := map[string]int{}
	for _, rec := range c.all(c.below) {
		if len(rec.Payload) > 0 {
			n[rec.PayloadKeyID]++
		}
	}
	return n
}

func TestPayloadsMoveToTheCurrentKeyAndBackToPlainText(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		const records = 450
		one, two := sealer(t, 1), sealer(t, 2, 1)
		var list []*syncline.Record
		for n := range records {
			list = append(list, record(fmt.Sprint(n), fmt.Sprint("text of ", n)))
		}
		pruned := record("pruned", "")
		pruned.Payload, pruned.PrunedAt = nil, start
		c.put(c.below, list[:150]...)
		c.put(sealed.New(c.below, one, true), list[150:]...)
		c.put(c.below, pruned)
		c.update(c.below, func(tx store.Tx) error { return tx.TouchRecords(c.env, c.coll, 7, []string{"0", "200"}) })
		want := c.all(sealed.New(c.below, one, true))
		position, err := c.below.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"": 150, one.KeyID(): 300}, c.keys()); diff != "" {
			t.Fatal(diff)
		}
		for _, step := range []struct {
			name  string
			key   *secret.Bound
			seal  bool
			keys  map[string]int
			moved int
		}{
			{"plain text is sealed", one, true, map[string]int{one.KeyID(): records}, 150},
			{"to another key", two, true, map[string]int{two.KeyID(): records}, records},
			{"back to the first", one, true, map[string]int{two.KeyID(): records}, 0}, // which does not have the second
			{"to plain text", two, false, map[string]int{"": records}, records},
			{"sealed again", two, true, map[string]int{two.KeyID(): records}, records},
		} {
			s := sealed.New(c.below, step.key, step.seal)
			r := rotator(s)
			p := c.pass(r)
			if wantLeft := records - step.keys[step.key.KeyID()]; p.Moved != step.moved || step.seal && p.Left != wantLeft {
				t.Errorf("%s: %+v", step.name, p)
			}
			if diff := cmp.Diff(step.keys, c.keys()); diff != "" {
				t.Errorf("%s: %s", step.name, diff)
			}
			if again := c.pass(r); again.Moved != 0 {
				t.Errorf("%s: again %+v", step.name, again)
			}
			if p.Left > 0 {
				continue
			}
			if diff := cmp.Diff(want, c.all(s)); diff != "" {
				t.Errorf("%s: the records changed: %s", step.name, diff)
			}
		}
		if now, err := c.below.Position(t.Context()); err != nil || now != position {
			t.Errorf("the store moved from %d to %d, %v", position, now, err)
		}
		c.update(c.below, func(tx store.Tx) error {
			coll, err := tx.LockCollection(c.env, c.coll)
			if coll.LastSeq != position {
				t.Errorf("readers are told of changes: %+v", coll)
			}
			return err
		})
		if diff := cmp.Diff(want, c.all(sealed.New(c.below, sealer(t, 2), true))); diff != "" {
			t.Errorf("without the old key: %s", diff)
		}
	})
}

func TestPayloadsThatDoNotOpenStayAndTheOthersMove(t *testing.T) {
	t.Parallel()
	c := newCache(t, engines["mem"])
	lost := sealer(t, 9)
	c.put(sealed.New(c.below, lost, true), record("1", "a"), record("2", "b"))
	c.put(c.below, record("3", "c"))
	var log bytes.Buffer
	key := sealer(t, 1)
	r := rotator(sealed.New(c.below, key, true))
	r.Log = slog.New(slog.NewTextHandler(&log, nil))
	if p := c.pass(r); p.Moved != 1 || p.Left != 2 {
		t.Errorf("%+v", p)
	}
	if n := strings.Count(log.String(), lost.KeyID()); n != 1 {
		t.Errorf("the key is named %d times: %s", n, &log)
	}
	if diff := cmp.Diff(map[string]int{lost.KeyID(): 2, key.KeyID(): 1}, c.keys()); diff != "" {
		t.Error(diff)
	}
}

// Writers change, restate, touch and delete records all the while that their
// payloads move from key to key.
func TestRotationUnderConcurrentWritersLosesNothing(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c *cache) {
		const writers, rounds, ids = 3, 60, 40
		one := sealer(t, 1)
		var list []*syncline.Record
		for n := range ids {
			list = append(list, record(fmt.Sprint(n), "first"))
		}
		c.put(c.below, list[:ids/2]...)
		c.put(sealed.New(c.below, one, true), list[ids/2:]...)

		s := sealed.New(c.below, sealer(t, 2, 1), true)
		type written struct {
			seq  int64
			text string
		}
		var mu sync.Mutex
		last := map[string]written{}
		for _, r := range list {
			last[r.ID] = written{r.Seq, string(r.Payload)}
		}
		ctx, stop := context.WithCancel(t.Context())
		var rotating, writing sync.WaitGroup
		rotating.Go(func() {
			for ctx.Err() == nil {
				if _, err := rotator(s).Pass(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
		for w := range writers {
			writing.Go(func() {
				for n := range rounds {
					id := fmt.Sprint((n*7 + w*13) % ids)
					r := record(id, fmt.Sprint("of ", w, " in ", n))
					err := s.Update(ctx, store.Relaxed, func(tx store.Tx) error {
						if _, err := tx.LockCollection(c.env, c.coll); err != nil {
							return err
						}
						if n%3 == 0 { // what it is told of stays, its payload does not
							found, err := tx.RecordsByID(c.env, c.coll, []string{id})
							if err != nil {
								return err
							}
							own := *found[id]
							own.Payload = r.Payload
							r = &own
							if err := tx.RestateRecords(c.env, c.coll, []*syncline.Record{r}); err != nil {
								return err
							}
						} else {
							if err := tx.TouchRecords(c.env, c.coll, int64(n), []string{id, "1"}); err != nil {
								return err
							}
							if err := put(tx, c.env, c.coll, r); err != nil {
								return err
							}
						}
						mu.Lock() // within the transaction: in the order of commits
						defer mu.Unlock()
						last[id] = written{r.Seq, string(r.Payload)}
						return nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		writing.Wait()
		stop()
		rotating.Wait()
		c.pass(rotator(s))

		fresh := sealer(t, 2)
		if diff := cmp.Diff(map[string]int{fresh.KeyID(): ids}, c.keys()); diff != "" {
			t.Error(diff)
		}
		got := map[string]written{}
		for _, r := range c.all(sealed.New(c.below, fresh, true)) {
			got[r.ID] = written{r.Seq, string(r.Payload)}
		}
		if diff := cmp.Diff(last, got, cmp.AllowUnexported(written{})); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheRotatorSleepsWhenThereIsNothingToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCache(t, func(t *testing.T) store.Store {
			s := mem.New(nil)
			t.Cleanup(func() { s.Close() })
			return s
		})
		var below = &counting{Store: c.below}
		var log bytes.Buffer
		s := sealed.New(below, sealer(t, 1), true)
		r := &sealed.Rotator{Store: s, Clock: clock.System, Log: slog.New(slog.NewTextHandler(&log, nil)), Every: time.Hour}
		var list []*syncline.Record
		for n := range 30 {
			list = append(list, record(fmt.Sprint(n), "x"))
		}
		c.put(c.below, list...)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(c.keys()) != 1 || below.updates.Load() != 2 || strings.Count(log.String(), "all payloads") != 1 {
			t.Errorf("%v, %d writes, %s", c.keys(), below.updates.Load(), &log)
		}
		asleep := below.views.Load()
		time.Sleep(58 * time.Minute)
		synctest.Wait()
		if below.views.Load() != asleep {
			t.Error("it reads though it has nothing to do")
		}
		c.put(c.below, record("another process's", "x"))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := c.keys()[""]; n != 0 {
			t.Errorf("%d are left", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// counting counts what a store is asked.
type counting struct {
	store.Store
	updates, views atomic.Int64
}

func (c *counting) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	c.updates.Add(1)
	return c.Store.Update(ctx, d, fn)
}

func (c *counting) View(ctx context.Context, fn func(r store.Reader) error) error {
	c.views.Add(1)
	return c.Store.View(ctx, fn)
}

func TestARotationEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c := newCache(t, engines["mem"])
	c.put(c.below, record("1", "x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := rotator(sealed.New(c.below, sealer(t, 1), true))
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}
