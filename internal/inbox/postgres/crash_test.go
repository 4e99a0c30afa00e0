package postgres_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/inbox/postgres"
	"syncline/internal/store/postgres/pgtest"
)

// The server is stopped as by a crash: what was acknowledged is there, the inbox
// says that it is unavailable while it is, and works again without being opened
// again. This test is not parallel, so it has the server for itself.
func TestTheServerCrashesAndComesBack(t *testing.T) {
	l := open(t, database(t), postgres.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	stored := map[int64]string{}
	failures := 0
	count := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return len(stored), failures
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for n := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprint(n, "-", i)
				r, err := l.Append(t.Context(), delivery(name), inbox.Key{ID: name})
				mu.Lock()
				switch syncline.CodeOf(err) {
				case "":
					if r.Duplicate || stored[r.Position] != "" {
						t.Errorf("%s: %+v; position %d is that of %q", name, r, r.Position, stored[r.Position])
					}
					stored[r.Position] = name
				case syncline.CodeUnavailable:
					failures++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	until := func(what string, enough func(stored, failures int) bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !enough(count()); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	until("nothing is stored", func(stored, _ int) bool { return stored > 50 })
	pgtest.Restart(t)
	before, _ := count()
	until("it did not recover", func(stored, failures int) bool { return stored > before+50 })
	appended := l.Appended()
	select {
	case <-appended:
	case <-time.After(10 * time.Second):
		t.Error("nobody is woken after the crash")
	}
	cancel()
	wg.Wait()
	if _, failures := count(); failures == 0 {
		t.Error("nobody was told that it was unavailable")
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	there := map[int64]string{}
	for after := int64(0); ; {
		entries, err := l.Read(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		for _, e := range entries {
			there[e.Position] = e.Delivery.DeliveryID
			after = e.Position
		}
	}
	for p, name := range stored {
		if there[p] != name {
			t.Errorf("%s was acknowledged at %d, where there is %q", name, p, there[p])
		}
	}
}

// What was idle during the restart does not notice.
func TestARestartThatNobodyMetGoesUnnoticed(t *testing.T) {
	l := open(t, database(t), postgres.Options{})
	for i := range 2 {
		if _, err := l.Append(t.Context(), delivery(fmt.Sprint(i)), inbox.Key{}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			pgtest.Restart(t)
			time.Sleep(1100 * time.Millisecond) // a connection that was used just now is not tested before it is used again
		}
	}
	if last, err := l.Last(t.Context()); err != nil || last != 2 {
		t.Errorf("%d, %v", last, err)
	}
}
