package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/inbox/postgres"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func delivery(name string) *syncline.Delivery {
	return &syncline.Delivery{EnvironmentID: 1, IntegrationID: 2, DeliveryID: name, Method: "POST", Path: "/webhook/e/i", Body: []byte(name), ReceivedAt: start}
}

// Two processes get the same deliveries, and a third follows the log. The
// database's defaults are the least fit ones.
func TestAReaderPassesNoPositionAndADeliveryIsThereOnceWhoeverAppendsIt(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	execute(t, dsn, `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
		EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''repeatable read''', current_database());
	END $$`)
	const callers, each = 16, 40
	logs := []*postgres.Log{open(t, dsn, postgres.Options{}), open(t, dsn, postgres.Options{})}
	reader := open(t, dsn, postgres.Options{})

	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	receipts := map[string][]inbox.Receipt{}
	for _, l := range logs {
		for caller := range callers {
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("d-%d-%d", caller, i)
					r, err := l.Append(t.Context(), delivery(name), inbox.Key{ID: name})
					if err != nil {
						t.Error(err)
						return
					}
					if last, err := reader.Last(t.Context()); err != nil || last < r.Position {
						t.Errorf("another process has %d, %v for the newest after position %d", last, err, r.Position)
					}
					mu.Lock()
					receipts[name] = append(receipts[name], r)
					mu.Unlock()
				}
			})
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	originals, notes := map[string]int64{}, map[int64]int{}
	for after := int64(0); after < 2*callers*each; {
		appended := reader.Appended()
		entries, err := reader.Read(ctx, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Position != after+1 {
				t.Fatalf("position %d became visible before %d", e.Position, after+1)
			}
			after = e.Position
			if e.Delivery == nil {
				notes[e.Redelivered]++
				continue
			}
			if p, ok := originals[e.Delivery.DeliveryID]; ok {
				t.Errorf("%s is at %d and %d", e.Delivery.DeliveryID, p, e.Position)
			}
			originals[e.Delivery.DeliveryID] = e.Position
		}
		if len(entries) > 0 {
			continue
		}
		select {
		case <-appended:
		case <-ctx.Done():
			t.Fatalf("the reader was not woken beyond %d", after)
		}
	}
	wg.Wait()
	if len(originals) != callers*each {
		t.Errorf("%d deliveries; want %d", len(originals), callers*each)
	}
	for name, rs := range receipts {
		if len(rs) != 2 || rs[0].Duplicate == rs[1].Duplicate || rs[0].Position != originals[name] || rs[1].Position != originals[name] || notes[originals[name]] != 1 {
			t.Errorf("%s, which is at %d with %d notes, has the receipts %+v", name, originals[name], notes[originals[name]], rs)
		}
	}
	if c := logs[0].Commits() + logs[1].Commits(); c > callers*each {
		t.Errorf("%d commits for %d appends", c, 2*callers*each)
	}
}

func TestACommitWaitsForTheDiskWhateverTheDefaultIs(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	execute(t, dsn, `CREATE TABLE inbox_seen (durability text, isolation text);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO inbox_seen VALUES (current_setting('synchronous_commit'), current_setting('transaction_isolation'));
			RETURN NULL;
		END $$;
		CREATE TRIGGER see AFTER INSERT ON inbox_entries EXECUTE FUNCTION see();
		DO $$ BEGIN
			EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
			EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''serializable''', current_database());
		END $$`)
	if _, err := open(t, dsn, postgres.Options{}).Append(t.Context(), delivery("d"), inbox.Key{}); err != nil {
		t.Fatal(err)
	}
	c := connect(t, dsn)
	var durability, isolation string
	if err := c.QueryRow(t.Context(), `SELECT durability, isolation FROM inbox_seen`).Scan(&durability, &isolation); err != nil {
		t.Fatal(err)
	}
	if durability != "on" || isolation != "read committed" {
		t.Errorf("it committed with synchronous_commit=%s, %s", durability, isolation)
	}
}

// A process that stands still in the middle of an append, as one whose machine
// is suspended, holds up the others for as long as it takes the server to notice.
func TestAProcessThatVanishesInItsTransactionDoesNotHoldUpOthersForLong(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	c := connect(t, dsn)
	for _, s := range []string{`BEGIN`, `SET LOCAL idle_in_transaction_session_timeout = '500ms'`,
		`SELECT pg_advisory_xact_lock(1398361673, 'inbox_entries'::regclass::oid::integer)`} {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if _, err := open(t, dsn, postgres.Options{}).Append(t.Context(), delivery("d"), inbox.Key{}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %s; it was to wait for the lock", took)
	}
}

func TestSpaceThatAnotherProcessMakesIsFound(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	first, second := open(t, dsn, postgres.Options{MaxBytes: 300 << 10}), open(t, dsn, postgres.Options{MaxBytes: 300 << 10})
	large := func() *syncline.Delivery {
		return &syncline.Delivery{EnvironmentID: 1, Body: make([]byte, 200<<10), ReceivedAt: start}
	}
	if _, err := first.Append(t.Context(), large(), inbox.Key{}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Append(t.Context(), large(), inbox.Key{}); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Fatalf("the limit was not met: %v", err)
	}
	n, err := second.Purge(t.Context(), start.Add(time.Second), func([]int64) ([]int64, error) { return nil, nil })
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if _, err := first.Append(t.Context(), large(), inbox.Key{}); err != nil {
		t.Errorf("after the purge: %v", err)
	}
}

func TestSeveralMayPurgeWhileOthersAppend(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	logs := []*postgres.Log{open(t, dsn, postgres.Options{}), open(t, dsn, postgres.Options{})}
	var wg sync.WaitGroup
	const n = 1500
	for i := range n {
		wg.Go(func() {
			if _, err := logs[i%2].Append(t.Context(), delivery(fmt.Sprint(i)), inbox.Key{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var mu sync.Mutex
	removed := 0
	for _, l := range logs {
		wg.Go(func() {
			n, err := l.Purge(t.Context(), start.Add(time.Second), func([]int64) ([]int64, error) { return nil, nil })
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			removed += n
		})
		wg.Go(func() {
			d := delivery("late")
			d.ReceivedAt = start.Add(time.Hour)
			if _, err := l.Append(t.Context(), d, inbox.Key{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if removed != n {
		t.Errorf("%d were counted as removed; there were %d", removed, n)
	}
	var counted, sum int64
	if err := connect(t, dsn).QueryRow(t.Context(), `SELECT (SELECT max(total) FROM inbox_entries) - p.size, (SELECT sum(size)::bigint FROM inbox_entries)
		FROM inbox_purged p`).Scan(&counted, &sum); err != nil || counted != sum {
		t.Errorf("the log is said to have %d bytes; its entries have %d (%v)", counted, sum, err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// execute runs statements on a connection of its own.
func execute(t *testing.T, dsn, statements string) {
	t.Helper()
	if _, err := connect(t, dsn).Exec(t.Context(), statements); err != nil {
		t.Fatal(err)
	}
}
