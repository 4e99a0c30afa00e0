// Package inboxtest is the suite that every inbox must pass: what package inbox
// promises, by topic. An engine's tests call Run with a function that opens it.
package inboxtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/inbox"
)

// Open opens the inbox of a test. A test that asks twice, having closed the
// first, gets what the first one wrote. It is closed when t ends.
type Open func(t *testing.T) inbox.Log

// Committer is an inbox that counts its commits; the suite then checks that
// appends share them.
type Committer interface{ Commits() int64 }

// test is one promise.
type test struct {
	name string
	run  func(t *testing.T, open Open)
}

// Run runs the suite. fresh returns, for each test, an Open over an empty
// inbox of its own.
func Run(t *testing.T, fresh func(t *testing.T) Open) {
	topics := []struct {
		name  string
		tests []test
	}{
		{"append", appendTests},
		{"dedupe", dedupeTests},
		{"read", readTests},
		{"purge", purgeTests},
	}
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range topic.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(t, fresh(t))
				})
			}
		})
	}
}

// start is when the tests take place.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// delivery is the nth of a test.
func delivery(n int) *syncline.Delivery {
	return &syncline.Delivery{
		EnvironmentID: 1, IntegrationID: 2, DeliveryID: fmt.Sprintf("d-%d", n), Method: "POST", Path: "/webhook/e/i?a=b",
		Headers:    []syncline.Header{{Name: "Host", Value: "example.com"}, {Name: "X-Number", Value: fmt.Sprint(n)}},
		Body:       fmt.Appendf(nil, `{"n":%d}`, n),
		ReceivedAt: start.Add(time.Duration(n) * time.Second), Watermark: int64(n) * 10,
	}
}

// id is a key that counts for as long as the delivery is kept.
func id(s string) inbox.Key { return inbox.Key{ID: s} }

func mustAppend(t *testing.T, l inbox.Log, d *syncline.Delivery, key inbox.Key) inbox.Receipt {
	t.Helper()
	r, err := l.Append(t.Context(), d, key)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	if r.Position <= 0 {
		t.Fatalf("Append: position %d", r.Position)
	}
	return r
}

func mustRead(t *testing.T, l inbox.Log, after int64, limit int) []inbox.Entry {
	t.Helper()
	entries, err := l.Read(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("Read: %v", err)
	}
	return entries
}

func mustGet(t *testing.T, l inbox.Log, env int64, positions ...int64) map[int64]*syncline.Delivery {
	t.Helper()
	found, err := l.Get(t.Context(), env, positions)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return found
}

func mustLast(t *testing.T, l inbox.Log) int64 {
	t.Helper()
	last, err := l.Last(t.Context())
	if err != nil {
		t.Fatalf("Last: %v", err)
	}
	return last
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantCode(t *testing.T, err error, code syncline.Code) {
	t.Helper()
	if syncline.CodeOf(err) != code {
		t.Errorf("error = %v; want code %s", err, code)
	}
}

// soon bounds how long a test waits for something that does happen.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
