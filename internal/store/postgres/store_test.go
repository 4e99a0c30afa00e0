package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres/pgtest"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openTest(t *testing.T, opts Options) *Store {
	t.Helper()
	dsn := pgtest.Database(t, "store", func(ctx context.Context, dsn string) error {
		s, err := Open(ctx, dsn, Options{})
		if err != nil {
			return err
		}
		return s.Close()
	})
	s, err := Open(t.Context(), dsn, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// sample makes a connection.
func sample(tx store.Tx) (c syncline.Connection, err error) {
	e := syncline.Environment{Name: "dev"}
	if err := tx.CreateEnvironment(&e); err != nil {
		return c, err
	}
	i := syncline.Integration{EnvironmentID: e.ID, UniqueKey: "github"}
	if err := tx.CreateIntegration(&i); err != nil {
		return c, err
	}
	c = syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "one"}
	return c, tx.CreateConnection(&c)
}

// The server is stopped as by a crash: what was durable is there, the store
// says that it is unavailable while it is, and works again without being opened
// again. This test is not parallel, so it has the server for itself.
func TestTheServerCrashesAndComesBack(t *testing.T) {
	s := openTest(t, Options{})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	written := map[string]bool{}
	var failures int
	for n := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprint(n, "-", i)
				err := s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
					return tx.CreateEnvironment(&syncline.Environment{Name: name})
				})
				mu.Lock()
				switch syncline.CodeOf(err) {
				case "":
					written[name] = true
				case syncline.CodeUnavailable:
					failures++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	time.Sleep(200 * time.Millisecond)
	pgtest.Restart(t)
	mu.Lock()
	before := len(written)
	mu.Unlock()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		mu.Lock()
		n := len(written)
		mu.Unlock()
		if n > before+20 {
			break
		}
	}
	cancel()
	wg.Wait()
	if len(written) <= before || failures == 0 {
		t.Errorf("%d writes, %d before the crash; %d failures", len(written), before, failures)
	}
	err := s.View(t.Context(), func(r store.Reader) error {
		list, err := r.Environments()
		there := map[string]bool{}
		for _, e := range list {
			there[e.Name] = true
		}
		for name := range written {
			if !there[name] {
				t.Errorf("%s was committed and is lost", name)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDurability(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{WriteConns: 1})
	for _, d := range []store.Durability{store.Durable, store.Relaxed, store.Durable} {
		var waits string
		err := s.Update(t.Context(), d, func(tx store.Tx) (err error) {
			r := tx.(interface {
				query(sql string, each func(r *row) error, args ...any) error
			})
			return r.query(`SELECT current_setting('synchronous_commit')`, func(r *row) error { waits = r.text(); return nil })
		})
		if err != nil || (waits == "off") != (d == store.Relaxed) {
			t.Errorf("durability %d: synchronous_commit=%s (%v)", d, waits, err)
		}
	}
}

func TestATransactionWhoseStatementFailedIsOver(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	fail := func(t *tx) error { return t.query(`SELECT 1 / 0`, nil) }
	for name, end := range map[string]func(err error) error{
		"the error is returned":  func(err error) error { return err },
		"the error is swallowed": func(error) error { return nil },
	} {
		var last error
		err := s.Update(t.Context(), store.Relaxed, func(tx1 store.Tx) error {
			if _, err := sample(tx1); err != nil {
				return err
			}
			err := fail(tx1.(*tx))
			_, last = tx1.Environments()
			return end(err)
		})
		if syncline.CodeOf(err) != syncline.CodeInternal || !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("%s: %v", name, err)
		}
		if last == nil {
			t.Errorf("%s: a statement ran after it", name)
		}
		err = s.View(t.Context(), func(r store.Reader) error {
			list, err := r.Environments()
			if len(list) > 0 {
				t.Errorf("%s: it was committed", name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestAfterAConflictTheTransactionGoesOn(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		c, err := sample(tx)
		if err != nil {
			return err
		}
		other := syncline.Connection{EnvironmentID: c.EnvironmentID, IntegrationID: c.IntegrationID, ConnectionID: "two"}
		if err := tx.CreateConnection(&other); err != nil {
			return err
		}
		other.ConnectionID = "one"
		for range 2 {
			if err := tx.UpdateConnection(&other); syncline.CodeOf(err) != syncline.CodeConflict {
				t.Errorf("renamed: %v", err)
			}
		}
		if err := tx.UpdateEnvironment(&syncline.Environment{ID: 99, Name: "x"}); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("no such environment: %v", err)
		}
		if _, err := tx.EnsureCollection(c.EnvironmentID, 99, "Issue", start); syncline.CodeOf(err) != syncline.CodeNotFound {
			t.Errorf("no such connection: %v", err)
		}
		other.ConnectionID = "three"
		return tx.UpdateConnection(&other)
	})
	if err != nil {
		t.Error(err)
	}
}

// Ids that no index could hold.
func TestLongIds(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	var noise strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&noise, "%x-", (n*7919+13)%1_000_003)
	}
	ids := []string{noise.String(), noise.String() + "\x00", noise.String()[1:], "short"}
	err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		c, err := sample(tx)
		if err != nil {
			return err
		}
		for _, id := range ids {
			other := syncline.Connection{EnvironmentID: c.EnvironmentID, IntegrationID: c.IntegrationID, ConnectionID: id,
				Metadata: map[string]any{id: id}, Tags: map[string]string{id: id}}
			if err := tx.CreateConnection(&other); err != nil {
				return err
			}
			found, err := tx.ConnectionByKey(c.EnvironmentID, c.IntegrationID, id)
			if err != nil || found.ID != other.ID || found.ConnectionID != id {
				t.Errorf("connection %d, want %d: %v", found.ID, other.ID, err)
			}
			for _, f := range []store.ConnectionFilter{{ConnectionID: id}, {Tags: map[string]string{id: id}}} {
				if n, err := tx.CountConnections(c.EnvironmentID, f); n != 1 || err != nil {
					t.Errorf("%d found by filter: %v", n, err)
				}
			}
			matching, err := tx.ConnectionsMatching(c.EnvironmentID, c.IntegrationID, syncline.MatchKey{Property: "metadata." + id, Value: id})
			if err != nil || len(matching) != 1 {
				t.Errorf("%d match: %v", len(matching), err)
			}
			if _, err := tx.EnsureCollection(c.EnvironmentID, c.ID, id, start); err != nil {
				return err
			}
		}
		collection, err := tx.EnsureCollection(c.EnvironmentID, c.ID, ids[0], start)
		if err != nil {
			return err
		}
		seq, err := tx.NextSeq(2 * len(ids))
		if err != nil {
			return err
		}
		var records []*syncline.Record
		for round := range 2 { // each twice in one call: the last one wins
			for i, id := range ids {
				records = append(records, &syncline.Record{ID: id, Seq: seq + int64(round*len(ids)+i), LastModifiedAt: start, Payload: fmt.Appendf(nil, "%d", round)})
			}
		}
		if err := tx.PutRecords(c.EnvironmentID, collection, records); err != nil {
			return err
		}
		if err := tx.TouchRecords(c.EnvironmentID, collection, 5, ids[:1]); err != nil {
			return err
		}
		found, err := tx.RecordsByID(c.EnvironmentID, collection, append(ids, "not there"))
		if err != nil || len(found) != len(ids) {
			t.Errorf("%d found: %v", len(found), err)
		}
		for i, id := range ids {
			if r := found[id]; r == nil || r.ID != id || string(r.Payload) != "1" || (r.TouchedBy == 5) != (i == 0) {
				t.Errorf("record %d: %+v", i, r)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A scan reads page after page; it gives each record once, also while its
// callback moves records to later positions.
func TestLongScans(t *testing.T) {
	t.Parallel()
	const total = 3000
	s := openTest(t, Options{})
	err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		c, err := sample(tx)
		if err != nil {
			return err
		}
		collection, err := tx.EnsureCollection(c.EnvironmentID, c.ID, "Issue", start)
		if err != nil {
			return err
		}
		put := func(n int, ids func(i int) string) error {
			seq, err := tx.NextSeq(n)
			if err != nil {
				return err
			}
			var records []*syncline.Record
			for i := range n {
				action := syncline.ActionAdded
				if i%10 == 0 {
					action = syncline.ActionUpdated
				}
				records = append(records, &syncline.Record{ID: ids(i), Seq: seq + int64(i), LastModifiedAt: start.Add(time.Duration(seq) * time.Second),
					LastAction: action, Payload: []byte(strings.Repeat("x", i%5000))})
			}
			return tx.PutRecords(c.EnvironmentID, collection, records)
		}
		if err := put(total, func(i int) string { return fmt.Sprint(i) }); err != nil {
			return err
		}
		for name, c2 := range map[string]struct {
			q    store.RecordQuery
			want int
		}{
			"all":        {store.RecordQuery{}, total},
			"limit":      {store.RecordQuery{Limit: 1500}, 1500},
			"page":       {store.RecordQuery{Limit: firstScanPage}, firstScanPage},
			"over":       {store.RecordQuery{Limit: total + 1}, total},
			"one action": {store.RecordQuery{Actions: []syncline.Action{syncline.ActionUpdated}}, total / 10},
			"no action":  {store.RecordQuery{Actions: []syncline.Action{syncline.ActionDeleted}}, 0},
		} {
			n, last := 0, int64(0)
			err := tx.ScanRecords(c.EnvironmentID, collection, c2.q, func(r *syncline.Record) bool {
				if r.Seq <= last {
					t.Errorf("%s: position %d after %d", name, r.Seq, last)
				}
				n, last = n+1, r.Seq
				return true
			})
			if err != nil || n != c2.want {
				t.Errorf("%s: %d records, want %d (%v)", name, n, c2.want, err)
			}
		}
		n := 0
		err = tx.ScanRecords(c.EnvironmentID, collection, store.RecordQuery{}, func(r *syncline.Record) bool {
			n++
			if err := put(1, func(int) string { return r.ID }); err != nil {
				t.Error(err)
				return false
			}
			return true
		})
		if n != total {
			t.Errorf("%d records while they moved, want %d", n, total)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Views that write, as many as there are connections to read.
func TestWritersDoNotWaitForReaders(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{WriteConns: 1, ReadConns: 2})
	var wg, inside sync.WaitGroup
	inside.Add(2)
	for n := range 2 {
		wg.Go(func() {
			err := s.View(t.Context(), func(r store.Reader) error {
				if _, err := r.Environments(); err != nil {
					return err
				}
				inside.Done()
				inside.Wait()
				if _, err := s.Position(t.Context()); err != nil {
					return err
				}
				return s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
					return tx.CreateEnvironment(&syncline.Environment{Name: fmt.Sprint(n)})
				})
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// Nobody is left to give a connection up: callers stop waiting in time.
	holding, release := make(chan struct{}), make(chan struct{})
	wg.Go(func() {
		if err := s.Update(t.Context(), store.Relaxed, func(store.Tx) error { close(holding); <-release; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-holding
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := s.Update(ctx, store.Relaxed, func(store.Tx) error { t.Error("it ran"); return nil })
	if !errors.Is(err, context.DeadlineExceeded) || syncline.CodeOf(err) == syncline.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	close(release)
	wg.Wait()
}

// The connection of a view whose caller left in the middle of a statement can
// be used again.
func TestAStatementIsCancelled(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{ReadConns: 1})
	pid := func() (n int64) {
		err := s.View(t.Context(), func(r store.Reader) (err error) {
			n, err = r.(*reader).number(`SELECT pg_backend_pid()::bigint`)
			return err
		})
		if err != nil {
			t.Error(err)
		}
		return n
	}
	before := pid()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := s.View(ctx, func(r store.Reader) error {
		_, err := r.(*reader).number(`SELECT 1::bigint FROM pg_sleep(30)`)
		if _, later := r.Environments(); !errors.Is(later, context.DeadlineExceeded) {
			t.Errorf("then %v", later)
		}
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if after := pid(); after != before {
		t.Errorf("connection %d was given up for %d", before, after)
	}
}

func TestPositionsAreReadTogether(t *testing.T) {
	t.Parallel()
	var reads int64
	begun, release := make(chan struct{}, 10), make(chan struct{})
	c := coalesced{read: func(context.Context) (int64, error) {
		begun <- struct{}{}
		<-release
		reads++
		return reads, nil
	}}
	var wg sync.WaitGroup
	get := func(want int64) {
		wg.Go(func() {
			if n, err := c.get(t.Context()); n != want || err != nil {
				t.Errorf("reading %d (%v), want %d", n, err, want)
			}
		})
	}
	get(1)
	<-begun
	for range 5 {
		get(2) // it began after the first reading
	}
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		if _, err := c.get(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("left with %v", err)
		}
	})
	for { // until all wait
		c.mu.Lock()
		waiting := c.next != nil
		c.mu.Unlock()
		if waiting {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond)
	cancel()
	close(release)
	wg.Wait()
	if reads != 2 {
		t.Errorf("%d readings", reads)
	}
}

// A router that counts a redelivery must not undo that the delivery was ended
// meanwhile.
func TestADeliveryThatEndsWhileADuplicateIsCountedKeepsBoth(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	env := syncline.Environment{Name: "dev"}
	put := func(d syncline.DeliveryState) func(tx store.Tx) error {
		return func(tx store.Tx) error { return tx.PutDeliveryState(&d) }
	}
	update := func(fn func(tx store.Tx) error) {
		if err := s.Update(t.Context(), store.Durable, fn); err != nil {
			t.Error(err)
		}
	}
	update(func(tx store.Tx) error { return tx.CreateEnvironment(&env) })
	integration := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github", Provider: "github"}
	update(func(tx store.Tx) error { return tx.CreateIntegration(&integration) })
	update(put(syncline.DeliveryState{EnvironmentID: env.ID, Position: 1, IntegrationID: integration.ID, Status: syncline.DeliveryRouted, Events: 1, OpenEvents: 1}))
	change := func(fn func(d *syncline.DeliveryState)) func(tx store.Tx) error {
		return func(tx store.Tx) error {
			d, err := tx.DeliveryState(env.ID, 1)
			if err != nil {
				return err
			}
			fn(&d)
			return tx.PutDeliveryState(&d)
		}
	}
	var other sync.WaitGroup
	update(func(tx store.Tx) error {
		return change(func(d *syncline.DeliveryState) {
			d.Duplicates++
			other.Go(func() {
				update(change(func(d *syncline.DeliveryState) { d.Status, d.OpenEvents = syncline.DeliveryProcessed, 0 }))
			})
			time.Sleep(50 * time.Millisecond) // time for the other to overtake, were it not held
		})(tx)
	})
	other.Wait()
	err := s.View(t.Context(), func(r store.Reader) error {
		d, err := r.DeliveryState(env.ID, 1)
		if d.Duplicates != 1 || d.Status != syncline.DeliveryProcessed || d.OpenEvents != 0 {
			t.Errorf("the delivery is %+v", d)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
