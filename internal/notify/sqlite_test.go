package notify_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/notify"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

// The loop on the store that it runs on: written in a commit, sent in order,
// noted, failed, resent, and still there after a restart.
func TestTheOutboxOnSQLite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "syncline.db")
	open := func() *sqlite.Store {
		st, err := sqlite.Open(t.Context(), path, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := open()
	sealer, err := secret.New(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	var got []string
	status := http.StatusInternalServerError
	arrived := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if !notify.Verify("signing", b, r.Header.Get(notify.HeaderHMAC)) {
			t.Error("a signature does not verify")
		}
		if status == http.StatusOK {
			got = append(got, string(b))
		}
		w.WriteHeader(status)
		arrived <- struct{}{}
	}))
	t.Cleanup(srv.Close)

	env := &syncline.Environment{UUID: syncline.NewUUID(), Name: "dev", WebhookURL: srv.URL}
	err = st.Update(t.Context(), store.Durable, func(tx store.Tx) error {
		if err := tx.CreateEnvironment(env); err != nil {
			return err
		}
		if env.SigningKey, err = sealer.Seal(env.ID, secret.PurposeSigningKey, []byte("signing")); err != nil {
			return err
		}
		return tx.UpdateEnvironment(env)
	})
	if err != nil {
		t.Fatal(err)
	}
	clk := clock.NewFake(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	owe := func(st *sqlite.Store, n int) (ids []int64) {
		for i := range n {
			err := st.Update(t.Context(), store.Durable, func(tx store.Tx) error {
				for _, row := range notify.Rows(env, 1, 0, "sync", fmt.Appendf(nil, `{"n":%d}`, i), clk.Now()) {
					if err := tx.CreateNotification(row); err != nil {
						return err
					}
					ids = append(ids, row.ID)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return ids
	}
	sender := func(st *sqlite.Store) *notify.Sender {
		return notify.New(notify.Config{Store: st, Secrets: sealer, Policy: openPolicy, Clock: clk, Rand: func() float64 { return 0.5 }})
	}
	row := func(st *sqlite.Store, id int64) (n syncline.Notification) {
		if err := st.View(t.Context(), func(r store.Reader) (err error) { n, err = r.Notification(env.ID, id); return err }); err != nil {
			t.Fatal(err)
		}
		return n
	}

	// The app is down: one attempt, then the process "dies".
	ids := owe(st, 1)
	if err := sender(st).Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-arrived
	if n := row(st, ids[0]); n.Attempts != 1 || n.LastError == "" || !n.NextAttemptAt.Equal(clk.Now().Add(5*time.Second)) {
		t.Fatalf("after a failed attempt: %+v", n)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	// A new process, and the app is back.
	st = open()
	defer func() { _ = st.Close() }()
	mu.Lock()
	status = http.StatusOK
	mu.Unlock()
	s := sender(st)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	clk.Advance(5 * time.Second)
	s.Wake()
	<-arrived
	ids = append(ids, owe(st, 60)...)
	s.Wake()
	for range 60 {
		<-arrived
	}
	if err := s.Resend(t.Context(), env.ID, ids[3]); err != nil {
		t.Fatal(err)
	}
	<-arrived
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if n := row(st, id); n.Status != syncline.NotificationDelivered || n.DeliveredAt.IsZero() {
			t.Errorf("notification %d: %+v", id, n)
		}
	}
	want := []string{`{"n":0}`}
	for i := range 60 {
		want = append(want, fmt.Sprintf(`{"n":%d}`, i))
	}
	want = append(want, `{"n":2}`)
	if !slices.Equal(got, want) {
		t.Errorf("arrived: %v", got)
	}
}
