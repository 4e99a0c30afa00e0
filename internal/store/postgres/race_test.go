package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
)

// two is one database that two processes have open, with a connection, a
// function and some instances in it.
type two struct {
	t          *testing.T
	stores     [2]*postgres.Store
	env        int64
	connection syncline.Connection
	function   syncline.Function
	instances  []syncline.SyncInstance
}

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newTwo(t *testing.T, instances int) *two {
	t.Helper()
	dsn := database(t)
	w := &two{t: t, stores: [2]*postgres.Store{open(t, dsn), open(t, dsn)}}
	w.update(0, func(tx store.Tx) error {
		e := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&e); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: e.ID, UniqueKey: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		w.env, w.connection = e.ID, syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "one"}
		if err := tx.CreateConnection(&w.connection); err != nil {
			return err
		}
		w.function = syncline.Function{EnvironmentID: e.ID, IntegrationID: i.ID, Type: syncline.FunctionSync, Name: "issues"}
		if err := tx.DeployFunction(&w.function, &syncline.FunctionVersion{}); err != nil {
			return err
		}
		w.instances = nil
		for n := range instances {
			in := syncline.SyncInstance{EnvironmentID: e.ID, ConnectionID: w.connection.ID, FunctionID: w.function.ID, Variant: fmt.Sprint("v", n)}
			if _, err := tx.EnsureInstance(&in); err != nil {
				return err
			}
			w.instances = append(w.instances, in)
		}
		return nil
	})
	return w
}

func (w *two) update(n int, fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.stores[n%2].Update(w.t.Context(), store.Relaxed, fn); err != nil {
		w.t.Error(err)
	}
}

// together runs fn in n goroutines, of which every other one has the other store.
func (w *two) together(n int, fn func(n int, s *postgres.Store)) {
	var wg sync.WaitGroup
	for n := range n {
		wg.Go(func() { fn(n, w.stores[n%2]) })
	}
	wg.Wait()
}

func (w *two) collection(model string) (id int64) {
	w.t.Helper()
	w.update(0, func(tx store.Tx) (err error) {
		id, err = tx.EnsureCollection(w.env, w.connection.ID, model, start)
		return err
	})
	return id
}

func put(tx store.Tx, env, collection int64, ids ...string) ([]*syncline.Record, error) {
	c, err := tx.LockCollection(env, collection)
	if err != nil {
		return nil, err
	}
	seq, err := tx.NextSeq(len(ids))
	if err != nil {
		return nil, err
	}
	if seq <= c.LastSeq {
		return nil, fmt.Errorf("position %d after %d", seq, c.LastSeq)
	}
	var records []*syncline.Record
	for i, id := range ids {
		records = append(records, &syncline.Record{ID: id, Seq: seq + int64(i), LastModifiedAt: start, LastAction: syncline.ActionUpdated, Payload: []byte("{}")})
	}
	return records, tx.PutRecords(env, collection, records)
}

func TestPositionsAreTakenOnceAndInARow(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 0)
	var mu sync.Mutex
	var taken []int64
	w.together(8, func(n int, s *postgres.Store) {
		for i := range 50 {
			size := 1 + (n*50+i)%7
			var first int64
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
				first, err = tx.NextSeq(size)
				if i%5 == 4 && err == nil {
					return errors.New("rolled back: these are lost, not given to another")
				}
				return err
			})
			if (err != nil) != (i%5 == 4) {
				t.Error(err)
			}
			if p, err := s.Position(t.Context()); err != nil || i%5 != 4 && p < first+int64(size)-1 {
				t.Errorf("position %d after %d was committed (%v)", p, first+int64(size)-1, err)
			}
			mu.Lock()
			for k := range size {
				taken = append(taken, first+int64(k))
			}
			mu.Unlock()
		}
	})
	slices.Sort(taken)
	if n := len(taken); len(slices.Compact(taken)) != n {
		t.Error("a position was taken twice")
	}
}

func TestAReaderThatKeepsItsCursorMissesNothing(t *testing.T) {
	t.Parallel()
	const writers, batches, keys = 6, 60, 15
	w := newTwo(t, 0)
	collections := [2]int64{w.collection("Issue"), w.collection("Comment")}
	var mu sync.Mutex
	final := [2]map[string]int64{{}, {}}
	var running atomic.Int64
	running.Store(writers)
	var readers sync.WaitGroup
	for c, id := range collections {
		for n := range 2 {
			readers.Go(func() {
				cursor, seen := int64(0), map[string]int64{}
				for last := false; ; {
					ended := running.Load() == 0
					page := 0
					err := w.stores[n].View(t.Context(), func(r store.Reader) error {
						return r.ScanRecords(w.env, id, store.RecordQuery{After: cursor, Limit: 7}, func(rec *syncline.Record) bool {
							if rec.Seq <= cursor {
								t.Errorf("position %d after %d", rec.Seq, cursor)
							}
							cursor, seen[rec.ID] = rec.Seq, rec.Seq
							page++
							return true
						})
					})
					if err != nil {
						t.Error(err)
						return
					}
					if last && page == 0 {
						break
					}
					last = ended
				}
				mu.Lock()
				defer mu.Unlock()
				for key, seq := range final[c] {
					if seen[key] != seq {
						t.Errorf("collection %d, record %s: seen at %d, is at %d", c, key, seen[key], seq)
					}
				}
			})
		}
	}
	w.together(writers, func(n int, s *postgres.Store) {
		defer running.Add(-1)
		for b := range batches {
			c := (n + b) % 2
			ids := []string{fmt.Sprint((n*7 + b) % keys), fmt.Sprint((n*5+b*3)%keys + keys)}
			var written []*syncline.Record
			rollBack := b%6 == 5
			err := s.Update(t.Context(), store.Durability(b%2), func(tx store.Tx) (err error) {
				if written, err = put(tx, w.env, collections[c], ids...); err == nil && rollBack {
					err = errors.New("rolled back")
				}
				return err
			})
			if (err != nil) != rollBack {
				t.Error(err)
			}
			if rollBack {
				continue
			}
			mu.Lock()
			for _, r := range written {
				final[c][r.ID] = max(final[c][r.ID], r.Seq)
			}
			mu.Unlock()
		}
	})
	readers.Wait()
}

func TestOneOfManyEnsuresMakesIt(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 0)
	for round := range 10 {
		var made atomic.Int64
		var mu sync.Mutex
		ids := map[string]bool{}
		w.together(8, func(n int, s *postgres.Store) {
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				collection, err := tx.EnsureCollection(w.env, w.connection.ID, fmt.Sprint("model ", round), start)
				if err != nil {
					return err
				}
				in := syncline.SyncInstance{EnvironmentID: w.env, ConnectionID: w.connection.ID, FunctionID: w.function.ID, Variant: fmt.Sprint(round)}
				created, err := tx.EnsureInstance(&in)
				if created {
					made.Add(1)
				}
				mu.Lock()
				defer mu.Unlock()
				ids[fmt.Sprint(collection, " ", in.ID)] = true
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		if made.Load() != 1 || len(ids) != 1 {
			t.Errorf("round %d: made %d times: %v", round, made.Load(), ids)
		}
	}
}

func TestOneOfManyCreatesWins(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 0)
	var won atomic.Int64
	w.together(8, func(n int, s *postgres.Store) {
		for i := range 10 {
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				err := tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env, IntegrationID: w.connection.IntegrationID, ConnectionID: fmt.Sprint(i)})
				if syncline.CodeOf(err) == syncline.CodeConflict {
					// The transaction goes on, and sees the one that won.
					_, err = tx.ConnectionByKey(w.env, w.connection.IntegrationID, fmt.Sprint(i))
					return err
				}
				won.Add(1)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	if won.Load() != 10 {
		t.Errorf("10 connections were made %d times", won.Load())
	}
}

func TestALeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 1)
	in := w.instances[0]
	var holder atomic.Int64 // the newest lease epoch that was given
	var turns int           // guarded by the lease
	w.together(8, func(n int, s *postgres.Store) {
		for done := 0; done < 10; {
			var lease syncline.Lease
			var ok bool
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
				lease, ok, err = tx.ClaimPoll(w.env, in.ID, fmt.Sprint(n), start, start.Add(time.Hour))
				return err
			})
			if err != nil {
				t.Error(err)
				return
			}
			if !ok {
				continue
			}
			if before := holder.Swap(lease.Epoch); before >= lease.Epoch {
				t.Errorf("epoch %d after %d", lease.Epoch, before)
			}
			turns++
			done++
			err = s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				if err := tx.FencePoll(w.env, in.ID, in.Epoch, lease.Epoch); err != nil {
					return err
				}
				return tx.ReleasePoll(w.env, in.ID, lease.Epoch)
			})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	if turns != 80 {
		t.Errorf("%d turns of 80", turns)
	}
}

// A poll that was fenced off must not commit, however the two interleave.
func TestAFencedWriterCannotCommit(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 1)
	in := w.instances[0]
	collection := w.collection("Issue")
	for round := range 15 {
		var lease syncline.Lease
		w.update(round, func(tx store.Tx) (err error) {
			lease, _, err = tx.ClaimPoll(w.env, in.ID, "poll", start, start) // over at once
			return err
		})
		var committed, reset atomic.Int64 // positions
		w.together(2, func(n int, s *postgres.Store) {
			if n == 0 {
				var seq int64
				err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
					if err := tx.FencePoll(w.env, in.ID, in.Epoch, lease.Epoch); err != nil {
						return err
					}
					records, err := put(tx, w.env, collection, "a")
					if err == nil {
						seq = records[0].Seq
					}
					return err
				})
				switch syncline.CodeOf(err) {
				case "":
					committed.Store(seq)
				case syncline.CodeFenced:
				default:
					t.Error(err)
				}
				return
			}
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				moved := in
				moved.Epoch++
				if err := tx.UpdateInstance(&moved); err != nil {
					return err
				}
				seq, err := tx.NextSeq(1)
				reset.Store(seq)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
		in.Epoch++
		if committed.Load() > reset.Load() {
			t.Errorf("round %d: a poll committed at %d, after the reset at %d", round, committed.Load(), reset.Load())
		}
	}
}

func TestLanesOverTwoStores(t *testing.T) {
	t.Parallel()
	const perLane = 12
	w := newTwo(t, 5)
	var appending sync.WaitGroup
	appending.Go(func() {
		for n := range perLane {
			w.update(n, func(tx store.Tx) error {
				var events []*syncline.Event
				for _, in := range w.instances {
					events = append(events, &syncline.Event{EnvironmentID: w.env, LaneID: in.ID, Position: int64(n + 1)})
				}
				if err := tx.AppendEvents(events); err != nil {
					return err
				}
				return tx.PutDeliveryState(&syncline.DeliveryState{Position: int64(n + 1), EnvironmentID: w.env, Status: syncline.DeliveryRouted,
					Events: len(events), OpenEvents: len(events)})
			})
		}
	})
	var mu sync.Mutex
	held, done := map[int64]bool{}, map[int64][]int64{}
	var left atomic.Int64
	left.Store(perLane * 5)
	w.together(6, func(n int, s *postgres.Store) {
		for left.Load() > 0 {
			var lanes []syncline.Lane
			events := map[int64][]syncline.Event{}
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
				clear(events)
				if lanes, err = tx.ClaimLanes(fmt.Sprint(n), start, start.Add(time.Hour), 2); err != nil {
					return err
				}
				for _, l := range lanes {
					if events[l.ID], err = tx.PendingEvents(l.EnvironmentID, l.ID, 2); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range lanes {
				l := &lanes[i]
				mu.Lock()
				if held[l.ID] {
					t.Errorf("lane %d is held twice", l.ID)
				}
				held[l.ID] = true
				for _, e := range events[l.ID] {
					done[l.ID] = append(done[l.ID], e.ID)
				}
				held[l.ID] = false // before the release, after which it may be claimed
				mu.Unlock()
				err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
					if err := tx.FenceLane(l.EnvironmentID, l.ID, 1, l.Lease.Epoch); err != nil {
						return err
					}
					for _, e := range events[l.ID] {
						e.Status = syncline.EventDone
						if err := tx.UpdateEvent(&e); err != nil {
							return err
						}
					}
					return tx.ReleaseLane(l)
				})
				if err != nil {
					t.Error(err)
					return
				}
				left.Add(-int64(len(events[l.ID])))
			}
		}
	})
	appending.Wait()
	for _, in := range w.instances {
		if ids := done[in.ID]; len(ids) != perLane || !slices.IsSorted(ids) {
			t.Errorf("lane %d: events done %v", in.ID, ids)
		}
	}
	err := w.stores[0].View(t.Context(), func(r store.Reader) error {
		for n := range perLane {
			if d, err := r.DeliveryState(w.env, int64(n+1)); err != nil || d.Status != syncline.DeliveryProcessed || d.OpenEvents != 0 {
				t.Errorf("delivery %+v %v", d, err)
			}
		}
		n, err := r.Backlog()
		if n != 0 {
			t.Errorf("backlog %d", n)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Deletes race with what makes children; whoever wins, nothing live is left.
func TestNothingOutlivesItsParent(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 0)
	for round := range 15 {
		c := syncline.Connection{EnvironmentID: w.env, IntegrationID: w.connection.IntegrationID, ConnectionID: fmt.Sprint("round ", round)}
		w.update(round, func(tx store.Tx) error { return tx.CreateConnection(&c) })
		w.together(4, func(n int, s *postgres.Store) {
			err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				if n == 3 {
					return tx.DeleteConnection(w.env, c.ID, start)
				}
				in := syncline.SyncInstance{EnvironmentID: w.env, ConnectionID: c.ID, FunctionID: w.function.ID, Variant: fmt.Sprint(n)}
				if _, err := tx.EnsureInstance(&in); err != nil {
					return err
				}
				return tx.AppendEvents([]*syncline.Event{{EnvironmentID: w.env, LaneID: in.ID, Position: int64(round*10 + n)}})
			})
			if code := syncline.CodeOf(err); code != "" && (n == 3 || code != syncline.CodeNotFound) {
				t.Error(err)
			}
		})
		err := w.stores[0].View(t.Context(), func(r store.Reader) error {
			left, err := r.Instances(w.env, store.InstanceFilter{ConnectionID: c.ID})
			if err != nil || len(left) > 0 {
				t.Errorf("round %d: live instances of a deleted connection: %d %v", round, len(left), err)
			}
			n, err := r.Backlog()
			if n != 0 {
				t.Errorf("round %d: backlog %d", round, n)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestADeadlockIsRunAgain(t *testing.T) {
	t.Parallel()
	w := newTwo(t, 0)
	collections := [2]int64{w.collection("a"), w.collection("b")}
	var first sync.WaitGroup // both have their first lock
	first.Add(2)
	var attempts atomic.Int64
	w.together(2, func(n int, s *postgres.Store) {
		met := false
		err := s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			attempts.Add(1)
			if _, err := put(tx, w.env, collections[n], "x"); err != nil {
				return err
			}
			if !met { // on the first attempt only
				met = true
				first.Done()
				first.Wait()
			}
			_, err := put(tx, w.env, collections[1-n], "x")
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	if attempts.Load() < 3 {
		t.Errorf("%d attempts: there was no deadlock", attempts.Load())
	}
}
