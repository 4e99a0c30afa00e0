package route

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
	inboxpostgres "syncline/internal/inbox/postgres"
	"syncline/internal/provider"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
)

// TestTwoRoutersAtOnceRouteEverythingOnce has two processes route the same
// inbox, which a role of the store should keep them from, while deliveries come
// in through both and connections that parked ones wait for are made.
func TestTwoRoutersAtOnceRouteEverythingOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	var stores [2]*postgres.Store
	var inboxes [2]*inboxpostgres.Log
	for i := range stores {
		var err error
		if stores[i], err = postgres.Open(t.Context(), dsn, postgres.Options{}); err != nil {
			t.Fatal(err)
		}
		defer stores[i].Close()
		if inboxes[i], err = inboxpostgres.Open(t.Context(), dsn, inboxpostgres.Options{}); err != nil {
			t.Fatal(err)
		}
		defer inboxes[i].Close()
	}
	env := syncline.Environment{Name: "dev"}
	github := syncline.Integration{UniqueKey: "github", Provider: "github"}
	update := func(fn func(tx store.Tx) error) {
		t.Helper()
		if err := stores[0].Update(t.Context(), store.Durable, fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx store.Tx) error {
		env.ID, github.ID = 0, 0
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		github.EnvironmentID = env.ID
		if err := tx.CreateIntegration(&github); err != nil {
			return err
		}
		f := syncline.Function{EnvironmentID: env.ID, IntegrationID: github.ID, Type: syncline.FunctionSync, Name: "issues"}
		return tx.DeployFunction(&f, &syncline.FunctionVersion{Manifest: syncline.Manifest{HasOnWebhook: true, WebhookSubscriptions: []string{"issues"}}})
	})
	const repositories, each = 6, 60
	connect := func(n int) {
		update(func(tx store.Tx) error {
			now := time.Now()
			return tx.CreateConnection(&syncline.Connection{
				EnvironmentID: env.ID, IntegrationID: github.ID, ConnectionID: fmt.Sprint("customer-", n), CreatedAt: now, UpdatedAt: now,
				ConnectionConfig: map[string]any{"repository": fmt.Sprint("o/", n)},
			})
		})
	}

	ctx, stop := context.WithCancel(t.Context())
	var routing sync.WaitGroup
	defer routing.Wait()
	defer stop()
	routers := [2]*Router{}
	for i := range routers {
		routers[i] = &Router{
			Store: stores[i], Inbox: inboxes[i], Clock: clock.System, Log: slog.New(slog.DiscardHandler), Webhook: provider.Builtin().WebhookOf,
		}
		routing.Go(func() {
			if err := routers[i].Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	var mu sync.Mutex
	order := map[int][]int64{} // positions of a repository, in the order of receipt
	var senders sync.WaitGroup
	for n := range repositories {
		senders.Go(func() {
			for k := range each {
				if k == each/2 && n%2 == 1 || k == 0 && n%2 == 0 {
					connect(n) // the earlier ones are parked
					routers[n/2%2].Changed(env.ID, github.ID)
				}
				d := &syncline.Delivery{
					EnvironmentID: env.ID, IntegrationID: github.ID, DeliveryID: fmt.Sprint(n, "-", k), Method: "POST",
					Headers: []syncline.Header{{Name: "X-GitHub-Event", Value: "issues"}, {Name: "X-GitHub-Delivery", Value: fmt.Sprint(n, "-", k)}},
					Body:    fmt.Appendf(nil, `{"action":"edited","issue":{"id":%d},"repository":{"full_name":"o/%d"}}`, k, n),
				}
				if _, err := inboxes[(n+k)%2].Append(ctx, d, inbox.Key{ID: d.DeliveryID}); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order[n] = append(order[n], d.Position)
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	last, err := inboxes[0].Last(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var position int64
		var parked int
		err := stores[1].View(t.Context(), func(r store.Reader) (err error) {
			if position, err = r.RouterPosition(); err != nil {
				return err
			}
			parked, err = r.CountDeliveries(env.ID, store.DeliveryFilter{Status: syncline.DeliveryParked})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if position == last && parked == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("routed up to %d of %d, %d parked", position, last, parked)
		}
	}
	err = stores[0].View(t.Context(), func(r store.Reader) error {
		for n, positions := range order {
			newest := int64(0)
			for _, p := range positions {
				events, err := r.EventsOf(env.ID, p)
				if err != nil {
					return err
				}
				if len(events) != 1 {
					t.Fatalf("repository %d: delivery %d became %d events", n, p, len(events))
				}
				if events[0].ID <= newest {
					t.Errorf("repository %d: delivery %d was overtaken", n, p)
				}
				newest = events[0].ID
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// meanwhile calls fn after a transaction has noted what became of a delivery.
type meanwhile struct {
	store.Tx
	fn func()
}

func (m *meanwhile) PutDeliveryState(d *syncline.DeliveryState) error {
	err := m.Tx.PutDeliveryState(d)
	if fn := m.fn; err == nil && fn != nil {
		m.fn = nil
		fn()
	}
	return err
}

// TestAConnectionThatComesInTheMiddleOfABatchOvertakesNothing makes a connection
// while the transaction that routes runs: after it found none for a delivery,
// before it looks for that of the next.
func TestAConnectionThatComesInTheMiddleOfABatchOvertakesNothing(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, func() store.Store {
		s, err := postgres.Open(t.Context(), pgtest.Empty(t), postgres.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	w.deploy("issues", "issues")
	first, second := w.receive(w.delivery("o/r")), w.receive(w.delivery("o/r"))
	connect := func() { w.connect("customer-1", "o/r") }
	w.router.Store = &failingStore{w.store, func(tx store.Tx) store.Tx {
		fn := connect
		connect = nil
		return &meanwhile{tx, fn}
	}}
	w.settle()
	w.changed()
	w.settle()
	a, b := w.events(first), w.events(second)
	if len(a) != 1 || len(b) != 1 || a[0].ID >= b[0].ID {
		t.Errorf("the events are %+v and %+v", a, b)
	}
}
