package postgres_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
	"syncline/internal/inbox/inboxtest"
	"syncline/internal/inbox/postgres"
	"syncline/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	inboxtest.Run(t, func(t *testing.T) inboxtest.Open {
		dsn := database(t)
		return func(t *testing.T) inbox.Log { return open(t, dsn, postgres.Options{}) }
	})
}

// database returns the URL of a database with the inbox's tables in it.
func database(tb testing.TB) string {
	tb.Helper()
	return pgtest.Database(tb, "inbox", func(ctx context.Context, dsn string) error {
		l, err := postgres.Open(ctx, dsn, postgres.Options{})
		if err != nil {
			return err
		}
		return l.Close()
	})
}

// open opens the inbox in a database until the test ends.
func open(tb testing.TB, dsn string, o postgres.Options) *postgres.Log {
	tb.Helper()
	l, err := postgres.Open(tb.Context(), dsn, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func TestTheLimitRefusesAndIsNamed(t *testing.T) {
	t.Parallel()
	l := open(t, database(t), postgres.Options{MaxBytes: 200 << 10})
	var err error
	stored := int64(0)
	for err == nil && stored < 100 {
		if _, err = l.Append(t.Context(), &syncline.Delivery{EnvironmentID: 1, Body: make([]byte, 50<<10)}, inbox.Key{}); err == nil {
			stored++
		}
	}
	if syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), "--inbox-max-bytes") {
		t.Errorf("after %d: %v; want unavailable, naming --inbox-max-bytes", stored, err)
	}
	if last, _ := l.Last(t.Context()); last != stored || stored != 3 {
		t.Errorf("%d entries; %d were acknowledged", last, stored)
	}
	if err := l.Ping(t.Context()); err != nil {
		t.Errorf("a full inbox can still be read: %v", err)
	}
}

func TestADeliveryWithoutATimeIsStamped(t *testing.T) {
	t.Parallel()
	l := open(t, database(t), postgres.Options{Clock: clock.NewFake(start)})
	if _, err := l.Append(t.Context(), &syncline.Delivery{EnvironmentID: 1}, inbox.Key{}); err != nil {
		t.Fatal(err)
	}
	found, err := l.Read(t.Context(), 0, 1)
	if err != nil || len(found) != 1 || !found[0].ReceivedAt.Equal(start) {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestTextsAreBytesOfAnyKindAndAnyLength(t *testing.T) {
	t.Parallel()
	l := open(t, database(t), postgres.Options{})
	odd := "\x00\x01\xff\\ü'" + strings.Repeat("long", 5000)
	d := &syncline.Delivery{EnvironmentID: 1, IntegrationID: -2, ConnectionID: "c" + odd, DeliveryID: "d" + odd, Method: "m" + odd, Path: "p" + odd,
		Headers: []syncline.Header{{Name: "A", Value: "\x00\x01\\u0000"}}, Body: []byte(odd), ReceivedAt: start}
	r, err := l.Append(t.Context(), d, inbox.Key{ID: odd})
	if err != nil {
		t.Fatal(err)
	}
	found, err := l.Get(t.Context(), 1, []int64{r.Position})
	if diff := cmp.Diff(d, found[r.Position]); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if again, err := l.Append(t.Context(), d, inbox.Key{ID: odd}); err != nil || !again.Duplicate {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestAPageOfHugeDeliveriesIsCutShortButNeverEmpty(t *testing.T) {
	t.Parallel()
	l := open(t, database(t), postgres.Options{})
	for range 4 {
		if _, err := l.Append(t.Context(), &syncline.Delivery{EnvironmentID: 1, Body: make([]byte, 25<<20)}, inbox.Key{}); err != nil {
			t.Fatal(err)
		}
	}
	for after, want := range map[int64]int{0: 3, 1: 3, 3: 1, 4: 0} {
		if found, err := l.Read(t.Context(), after, 100); err != nil || len(found) != want {
			t.Errorf("beyond %d: %d entries, %v; want %d", after, len(found), err, want)
		}
	}
}
