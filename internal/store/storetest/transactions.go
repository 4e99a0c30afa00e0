package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var transactionTests = []test{
	{"rows that are read, changed and written back by many lose no change", func(t *testing.T, w *world) {
		const writers, rounds = 4, 15
		var all sync.WaitGroup
		add := func(change func(tx store.Tx) error) {
			for range rounds {
				// Contended, it may give up; who asked tries again.
				for {
					err := w.s.Update(t.Context(), store.Relaxed, change)
					if err == nil {
						break
					}
					if syncline.CodeOf(err) != syncline.CodeUnavailable {
						t.Error(err)
						return
					}
				}
			}
		}
		for range writers {
			all.Go(func() {
				add(func(tx store.Tx) error {
					i, err := tx.Instance(w.env.ID, w.instance.ID)
					if err != nil {
						return err
					}
					i.PollFailures++
					return tx.UpdateInstance(&i)
				})
			})
			all.Go(func() {
				add(func(tx store.Tx) error {
					c, err := tx.ConnectionByKey(w.env.ID, w.integration.ID, w.connection.ConnectionID)
					if err != nil {
						return err
					}
					n, _ := strconv.Atoi(c.Tags["n"])
					c.Tags = map[string]string{"n": strconv.Itoa(n + 1)}
					return tx.UpdateConnection(&c)
				})
			})
			all.Go(func() {
				add(func(tx store.Tx) error {
					e, err := tx.Environment(w.env.ID)
					if err != nil {
						return err
					}
					e.Retention.Deleted++
					return tx.UpdateEnvironment(&e)
				})
			})
		}
		all.Wait()
		w.view(func(r store.Reader) error {
			i, err := r.Instance(w.env.ID, w.instance.ID)
			w.ok(err)
			c, err := r.Connection(w.env.ID, w.connection.ID)
			w.ok(err)
			e, err := r.Environment(w.env.ID)
			const want = writers * rounds
			if i.PollFailures != want || c.Tags["n"] != strconv.Itoa(want) || e.Retention.Deleted != want {
				t.Errorf("instance %d, connection %s, environment %d; want %d", i.PollFailures, c.Tags["n"], e.Retention.Deleted, want)
			}
			return err
		})
	}},
	{"a row may be written back twice, and after other methods changed it", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			i, err := tx.Instance(w.env.ID, w.instance.ID)
			w.ok(err)
			_, _, err = tx.ClaimPoll(w.env.ID, i.ID, "me", start, seconds(9))
			w.ok(err)
			i.PollFailures = 1
			w.ok(tx.UpdateInstance(&i))
			i.PollFailures = 2
			w.ok(tx.UpdateInstance(&i))
			c, err := tx.Connection(w.env.ID, w.connection.ID)
			w.ok(err)
			w.ok(tx.UpdateConnection(&c))
			return tx.UpdateConnection(&c)
		})
		if i := w.getInstance(w.instance.ID); i.PollFailures != 2 {
			t.Errorf("%+v", i)
		}
	}},
	{"an error undoes all of a transaction's effects, and is returned unchanged", func(t *testing.T, w *world) {
		mine := errors.New("mine")
		before, _ := w.s.Position(t.Context())
		err := w.s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			id := w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "a", "b")
			w.newConnection(tx, "other")
			w.deliver(tx, 1, w.instance.ID)
			return mine
		})
		if err != mine {
			t.Errorf("error %v, want the closure's own", err)
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.Collection(w.env.ID, w.connection.ID, "Issue")
			return err
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.DeliveryState(w.env.ID, 1); return err })
		if n := read(w, store.Reader.Backlog); n != 0 {
			t.Errorf("backlog %d", n)
		}
		if after, _ := w.s.Position(t.Context()); after != before {
			t.Errorf("Position moved from %d to %d", before, after)
		}
	}},
	{"a failed write within a transaction leaves the rest of it usable", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			a := w.newConnection(tx, "a")
			err := tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: "a"})
			wantCode(t, err, syncline.CodeConflict)
			w.newConnection(tx, "b")
			_, err = tx.Connection(w.env.ID, a.ID)
			return err
		})
		same(t, "connections", w.connectionIDs(store.ConnectionFilter{}), []string{"b", "a", "customer-1"})
	}},
	{"a transaction reads its own writes", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			c := w.newConnection(tx, "mine")
			found, err := tx.ConnectionByKey(w.env.ID, w.integration.ID, "mine")
			w.ok(err)
			same(t, "connection", found.ID, c.ID)
			id := w.collection(tx, "Issue")
			w.put(tx, id, start, syncline.ActionAdded, "a")
			got, err := tx.RecordsByID(w.env.ID, id, []string{"a"})
			if len(got) != 1 {
				t.Errorf("records %v", got)
			}
			w.ok(err)
			n := 0
			err = tx.ScanRecords(w.env.ID, id, store.RecordQuery{}, func(*syncline.Record) bool { n++; return true })
			if n != 1 {
				t.Errorf("scanned %d", n)
			}
			return err
		})
	}},
	{"a snapshot does not see what commits after its first read", func(t *testing.T, w *world) {
		w.view(func(r store.Reader) error {
			before, err := r.CountConnections(w.env.ID, store.ConnectionFilter{})
			w.ok(err)
			w.update(func(tx store.Tx) error { w.newConnection(tx, "late"); return nil })
			after, err := r.CountConnections(w.env.ID, store.ConnectionFilter{})
			if before != after {
				t.Errorf("%d connections, then %d", before, after)
			}
			return err
		})
		if n := read(w, func(r store.Reader) (int, error) { return r.CountConnections(w.env.ID, store.ConnectionFilter{}) }); n != 2 {
			t.Errorf("%d connections in a new snapshot", n)
		}
	}},
	{"a snapshot includes every write that returned before it", func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				for i := range 10 {
					id := fmt.Sprintf("c-%d-%d", n, i)
					w.ok(w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
						w.newConnection(tx, id)
						return nil
					}))
					w.ok(w.s.View(t.Context(), func(r store.Reader) error {
						_, err := r.ConnectionByKey(w.env.ID, w.integration.ID, id)
						return err
					}))
				}
			})
		}
		wg.Wait()
	}},
	{"of callers at the same time each rolls back only itself", func(t *testing.T, w *world) {
		const callers = 40
		var wg sync.WaitGroup
		for n := range callers {
			wg.Go(func() {
				err := w.s.Update(t.Context(), store.Durability(n%2), func(tx store.Tx) error {
					w.newConnection(tx, fmt.Sprintf("c-%02d", n))
					switch n % 4 {
					case 1:
						return syncline.Errorf(syncline.CodeInvalid, "caller %d", n)
					case 2:
						panic(fmt.Sprint("caller ", n))
					}
					return nil
				})
				switch n % 4 {
				case 1:
					if err == nil || err.Error() != fmt.Sprint("caller ", n) {
						t.Errorf("caller %d got %v", n, err)
					}
				case 2:
					if syncline.CodeOf(err) != syncline.CodeInternal || !strings.Contains(err.Error(), fmt.Sprint("caller ", n)) {
						t.Errorf("caller %d got %v", n, err)
					}
				default:
					w.ok(err)
				}
			})
		}
		wg.Wait()
		var want []string
		for n := callers - 1; n >= 0; n-- {
			if n%4 == 0 || n%4 == 3 {
				want = append(want, fmt.Sprintf("c-%02d", n))
			}
		}
		got := w.connectionIDs(store.ConnectionFilter{Search: "c-"})
		if len(got) != len(want) {
			t.Errorf("%d connections, want %d: %v", len(got), len(want), got)
		}
	}},
	{"a closure that ends its goroutine fails, and the store goes on", func(t *testing.T, w *world) {
		err := w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
			w.newConnection(tx, "never")
			runtime.Goexit()
			return nil
		})
		wantCode(t, err, syncline.CodeInternal)
		w.update(func(tx store.Tx) error { w.newConnection(tx, "next"); return nil })
		same(t, "connections", w.connectionIDs(store.ConnectionFilter{}), []string{"next", "customer-1"})
	}},
	{"a panic in a snapshot reaches the caller and leaves the store usable", func(t *testing.T, w *world) {
		for range 50 { // more than there are readers
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				w.s.View(t.Context(), func(r store.Reader) error {
					_, err := r.Environments()
					w.ok(err)
					panic("in the snapshot")
				})
			}()
		}
		read(w, store.Reader.Environments)
	}},
	{"a caller that left before its turn has no effect", func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := w.s.Update(ctx, store.Relaxed, func(tx store.Tx) error { w.newConnection(tx, "never"); return nil })
		if err != context.Canceled {
			t.Errorf("Update: %v", err)
		}
		if err := w.s.View(ctx, func(store.Reader) error { t.Error("read"); return nil }); err != context.Canceled {
			t.Errorf("View: %v", err)
		}

		// One that waits behind another's write leaves: it never runs.
		running, release := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			w.ok(w.s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
				close(running)
				<-release
				w.newConnection(tx, "first")
				return nil
			}))
		})
		<-running
		ctx, cancel = context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			left <- w.s.Update(ctx, store.Relaxed, func(tx store.Tx) error { w.newConnection(tx, "never"); return nil })
		}()
		cancel()
		if err := <-left; err != context.Canceled {
			t.Errorf("left with %v", err)
		}
		close(release)
		wg.Wait()
		w.update(func(store.Tx) error { return nil })
		same(t, "connections", w.connectionIDs(store.ConnectionFilter{}), []string{"first", "customer-1"})
	}},
	{"a caller that leaves while its write runs learns how it ends", func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		written := 0 // the race detector sees whether the write outlives its Update
		w.ok(w.s.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			cancel()
			time.Sleep(10 * time.Millisecond) // time to leave, for an engine that lets callers
			w.newConnection(tx, "late")
			written++
			return nil
		}))
		if written != 1 {
			t.Errorf("it was told before the write ended: %d", written)
		}
		same(t, "connections", w.connectionIDs(store.ConnectionFilter{}), []string{"late", "customer-1"})

		ctx, cancel = context.WithCancel(t.Context())
		refused := errors.New("refused")
		err := w.s.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			cancel()
			w.newConnection(tx, "refused")
			return refused
		})
		if !errors.Is(err, refused) {
			t.Errorf("told %v", err)
		}
		same(t, "connections", w.connectionIDs(store.ConnectionFilter{}), []string{"late", "customer-1"})
	}},
	{"a reader or transaction that outlives its closure fails", func(t *testing.T, w *world) {
		var kept store.Reader
		var keptTx store.Tx
		w.view(func(r store.Reader) error { kept = r; return nil })
		w.update(func(tx store.Tx) error { keptTx = tx; return nil })
		_, err := kept.Environments()
		wantCode(t, err, syncline.CodeInternal)
		_, err = keptTx.Environment(1)
		wantCode(t, err, syncline.CodeInternal)
		wantCode(t, keptTx.SetRouterPosition(1), syncline.CodeInternal)
		_, err = keptTx.NextSeq(1)
		wantCode(t, err, syncline.CodeInternal)
	}},
	{"a reader stops when its caller leaves", func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		err := w.s.View(ctx, func(r store.Reader) error {
			_, err := r.Environments()
			w.ok(err)
			cancel()
			_, err = r.Environments()
			return err
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	}},
	{"after Close everything fails with unavailable, and Close can be called again", func(t *testing.T, w *world) {
		w.ok(w.s.Ping(t.Context()))
		w.ok(w.s.Close())
		wantCode(t, w.s.Update(t.Context(), store.Durable, func(store.Tx) error { return nil }), syncline.CodeUnavailable)
		wantCode(t, w.s.View(t.Context(), func(store.Reader) error { return nil }), syncline.CodeUnavailable)
		wantCode(t, w.s.Ping(t.Context()), syncline.CodeUnavailable)
		w.ok(w.s.Close())
	}},
}
