package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// outbox is an in-memory store of environments and notifications. Any other
// method of the store's contract is a nil call, and fails the test.
type outbox struct {
	store.Tx
	mu    sync.Mutex
	envs  map[int64]syncline.Environment
	rows  map[int64]syncline.Notification
	err   error // what writes fail with
	reads int
}

func newOutbox() *outbox {
	return &outbox{envs: map[int64]syncline.Environment{}, rows: map[int64]syncline.Notification{}}
}

func (o *outbox) Update(_ context.Context, _ store.Durability, fn func(store.Tx) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	return fn(o)
}

func (o *outbox) View(ctx context.Context, fn func(store.Reader) error) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reads++
	return errors.Join(ctx.Err(), fn(o))
}

func (o *outbox) Environment(id int64) (syncline.Environment, error) {
	e, ok := o.envs[id]
	if !ok {
		return e, syncline.Errorf(syncline.CodeNotFound, "no environment %d", id)
	}
	return e, nil
}

func (o *outbox) Notification(env, id int64) (syncline.Notification, error) {
	n, ok := o.rows[id]
	if !ok || n.EnvironmentID != env {
		return n, syncline.Errorf(syncline.CodeNotFound, "no notification %d", id)
	}
	return n, nil
}

func (o *outbox) DueNotifications(now time.Time, limit int) ([]syncline.Notification, error) {
	var due []syncline.Notification
	for _, n := range o.rows {
		if n.Status == syncline.NotificationPending && !n.NextAttemptAt.After(now) {
			due = append(due, n)
		}
	}
	slices.SortFunc(due, func(a, b syncline.Notification) int {
		return cmp.Or(a.NextAttemptAt.Compare(b.NextAttemptAt), cmp.Compare(a.ID, b.ID))
	})
	return due[:min(limit, len(due))], nil
}

func (o *outbox) NextNotification() (next time.Time, err error) {
	for _, n := range o.rows {
		if n.Status == syncline.NotificationPending && (next.IsZero() || n.NextAttemptAt.Before(next)) {
			next = n.NextAttemptAt
		}
	}
	return next, nil
}

func (o *outbox) CreateNotification(n *syncline.Notification) error {
	n.ID = int64(len(o.rows) + 1)
	o.rows[n.ID] = *n
	return nil
}

func (o *outbox) UpdateNotification(n *syncline.Notification) error {
	o.rows[n.ID] = *n
	return nil
}

func (o *outbox) get(id int64) syncline.Notification {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rows[id]
}

func (o *outbox) count(status syncline.NotificationStatus) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, row := range o.rows {
		if row.Status == status {
			n++
		}
	}
	return n
}

func (o *outbox) readCount() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reads
}

func (o *outbox) failWith(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// opener "opens" a sealed value by giving its data.
type opener struct{}

func (opener) Open(_ int64, purpose string, sealed syncline.Sealed) ([]byte, error) {
	if purpose != secret.PurposeSigningKey {
		return nil, errors.New("wrong purpose")
	}
	return sealed.Data, nil
}

const signingKey = "b1f4a2c6-signing-key"

// env adds an environment whose URL names it.
func (o *outbox) env(id int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.envs[id] = syncline.Environment{
		ID: id, Name: fmt.Sprintf("env%d", id), WebhookURL: fmt.Sprintf("https://app%d.example.com/hook?key=hush", id),
		SigningKey: syncline.Sealed{KeyID: "k", Data: []byte(signingKey)},
	}
}

// owe adds a notification that is due now, and returns its id.
func (o *outbox) owe(env, connection int64) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now().UTC().Truncate(time.Microsecond)
	n := &syncline.Notification{EnvironmentID: env, ConnectionID: connection, Target: Primary, Type: "sync", Status: syncline.NotificationPending, NextAttemptAt: now, CreatedAt: now}
	_ = o.CreateNotification(n)
	n.UUID = fmt.Sprintf("uuid-%d", n.ID)
	n.Payload = []byte(fmt.Sprintf(`{"n":%d}`, n.ID))
	o.rows[n.ID] = *n
	return n.ID
}

// app answers in place of the network.
type app func(r *http.Request) (status int, err error)

func (a app) RoundTrip(r *http.Request) (*http.Response, error) {
	status, err := a(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("answer")), Request: r}, nil
}

// start runs a sender against an app; the returned function ends it.
func start(t *testing.T, o *outbox, a app, c Config) (s *Sender, stop func()) {
	t.Helper()
	s = newSender(o, a, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	return s, func() { cancel(); <-done }
}

func newSender(o *outbox, a app, c Config) *Sender {
	c.Store, c.Secrets = o, opener{}
	if c.Rand == nil {
		c.Rand = func() float64 { return 0.5 } // no jitter
	}
	s := New(c)
	s.client.Transport = a
	return s
}
