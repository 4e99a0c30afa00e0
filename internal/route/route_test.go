package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/provider"
	"syncline/internal/store"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/sqlite"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a router over real stores, which a test drives step by step.
type world struct {
	t      *testing.T
	store  store.Store
	inbox  *inboxsqlite.Log
	clock  *clock.Fake
	router *Router
	woken  int
	env    syncline.Environment
	github syncline.Integration
	sent   int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, func() store.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func newWorldOn(t *testing.T, open func() store.Store) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFake(start), store: open()}
	t.Cleanup(func() { w.store.Close() })
	var err error
	if w.inbox, err = inboxsqlite.Open(t.Context(), filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.inbox.Close() })
	w.env = syncline.Environment{UUID: syncline.NewUUID(), Name: "dev"}
	w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&w.env) })
	w.github = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "github", Provider: "github"}
	w.update(func(tx store.Tx) error { return tx.CreateIntegration(&w.github) })
	w.restart()
	return w
}

// restart is a new process over the same data.
func (w *world) restart() {
	w.t.Helper()
	w.router = &Router{
		Store: w.store, Inbox: w.inbox, Clock: w.clock, Log: slog.New(slog.DiscardHandler),
		Webhook: provider.Builtin().WebhookOf, Wake: func() { w.woken++ }, ParkedExpiry: 7 * 24 * time.Hour,
	}
	w.router.once.Do(w.router.init)
	if err := w.router.start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// settle routes all that there is.
func (w *world) settle() {
	w.t.Helper()
	for {
		n, err := w.router.step(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

func (w *world) update(fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), store.Durable, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(fn func(r store.Reader) error) {
	w.t.Helper()
	if err := w.store.View(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// connect makes a connection to a repository, without a word to the router.
func (w *world) connect(id, repository string) syncline.Connection {
	w.t.Helper()
	now := w.clock.Now()
	c := syncline.Connection{
		EnvironmentID: w.env.ID, IntegrationID: w.github.ID, ConnectionID: id, CreatedAt: now, UpdatedAt: now,
		ConnectionConfig: map[string]any{"repository": repository},
	}
	w.update(func(tx store.Tx) error { return tx.CreateConnection(&c) })
	return c
}

func (w *world) deploy(name string, subscriptions ...string) syncline.Function {
	w.t.Helper()
	f := syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.github.ID, Type: syncline.FunctionSync, Name: name}
	v := syncline.FunctionVersion{Manifest: syncline.Manifest{
		Type: syncline.FunctionSync, Name: name, Integration: "github", WebhookSubscriptions: subscriptions, HasOnWebhook: true,
	}, BundleHash: "b"}
	w.update(func(tx store.Tx) error { return tx.DeployFunction(&f, &v) })
	return f
}

func (w *world) changed() { w.router.Changed(w.env.ID, w.github.ID) }

// delivery is GitHub's next delivery about an issue of a repository.
func (w *world) delivery(repository string) *syncline.Delivery {
	w.sent++
	return &syncline.Delivery{
		EnvironmentID: w.env.ID, IntegrationID: w.github.ID, DeliveryID: fmt.Sprintf("d-%d", w.sent), Method: "POST", Path: "/webhook/e/github",
		Headers:    []syncline.Header{{Name: "X-GitHub-Event", Value: "issues"}, {Name: "X-GitHub-Delivery", Value: fmt.Sprintf("d-%d", w.sent)}},
		Body:       fmt.Appendf(nil, `{"repository":{"full_name":%q},"issue":{"number":%d}}`, repository, w.sent),
		ReceivedAt: w.clock.Now(), Watermark: int64(100 + w.sent),
	}
}

func (w *world) receive(d *syncline.Delivery) int64 {
	w.t.Helper()
	r, err := w.inbox.Append(w.t.Context(), d, inbox.Key{ID: d.DeliveryID})
	if err != nil {
		w.t.Fatal(err)
	}
	return r.Position
}

func (w *world) state(position int64) syncline.DeliveryState {
	w.t.Helper()
	var s syncline.DeliveryState
	w.view(func(r store.Reader) (err error) {
		s, err = r.DeliveryState(w.env.ID, position)
		return err
	})
	return s
}

func (w *world) events(position int64) (events []syncline.Event) {
	w.t.Helper()
	w.view(func(r store.Reader) (err error) {
		events, err = r.EventsOf(w.env.ID, position)
		return err
	})
	return events
}

// finish ends the newest event of a delivery.
func (w *world) finish(position int64, status syncline.EventStatus, reason string) {
	w.t.Helper()
	events := w.events(position)
	e := events[len(events)-1]
	e.Status, e.LastError = status, reason
	w.update(func(tx store.Tx) error { return tx.UpdateEvent(&e) })
}

func (w *world) wantStatus(position int64, status syncline.DeliveryStatus, reason string) syncline.DeliveryState {
	w.t.Helper()
	s := w.state(position)
	if s.Status != status || !strings.Contains(s.Reason, reason) {
		w.t.Errorf("delivery %d is %s (%s); want %s (%s)", position, s.Status, s.Reason, status, reason)
	}
	return s
}

func TestADeliveryBecomesEventsInTheLanesOfWhomItConcerns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	one, two := w.connect("customer-1", "o/r"), w.connect("customer-2", "o/r")
	w.connect("customer-3", "o/other")
	issues, all := w.deploy("issues", "issues"), w.deploy("all", "*")
	w.deploy("pulls", "pull_request")
	off := w.deploy("off", "issues")
	w.update(func(tx store.Tx) error { return tx.SetFunctionEnabled(w.env.ID, off.ID, false) })
	d := w.delivery("o/r")
	p := w.receive(d)
	w.settle()
	s := w.wantStatus(p, syncline.DeliveryRouted, "")
	if s.Events != 4 || s.OpenEvents != 4 || s.Type != "issues" || s.DeliveryID != d.DeliveryID || !s.ReceivedAt.Equal(d.ReceivedAt) {
		t.Errorf("%+v", s)
	}
	if w.woken != 1 {
		t.Errorf("the dispatcher was woken %d times", w.woken)
	}
	type lane struct{ connection, function int64 }
	var lanes []lane
	for _, e := range w.events(p) {
		if e.Type != "issues" || e.OrderKey != "o/r#1" || e.Watermark != 101 || e.Replay != 0 || e.Status != syncline.EventPending || e.DeliveryID != "d-1" {
			t.Errorf("%+v", e)
		}
		w.view(func(r store.Reader) error {
			i, err := r.Instance(w.env.ID, e.LaneID)
			lanes = append(lanes, lane{i.ConnectionID, i.FunctionID})
			return err
		})
	}
	want := []lane{{one.ID, all.ID}, {one.ID, issues.ID}, {two.ID, all.ID}, {two.ID, issues.ID}}
	if diff := cmp.Diff(want, lanes, cmp.AllowUnexported(lane{})); diff != "" {
		t.Errorf("lanes (-want +got):\n%s", diff)
	}
}

func TestWhatBecomesOfADelivery(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		before func(w *world, d *syncline.Delivery)
		status syncline.DeliveryStatus
		reason string
	}{
		{"without a sync it is ignored", func(*world, *syncline.Delivery) {}, syncline.DeliveryIgnored, "no deployed sync handles webhooks"},
		{"with a sync of another type it is ignored", func(w *world, _ *syncline.Delivery) { w.deploy("pulls", "pull_request") }, syncline.DeliveryIgnored, `no deployed sync subscribes to the type "issues"`},
		{"without a connection it is parked", func(w *world, _ *syncline.Delivery) { w.deploy("issues", "issues") }, syncline.DeliveryParked, `connection_config.repository = "o/r"`},
		{"naming a connection that is not there it is parked", func(w *world, d *syncline.Delivery) {
			w.deploy("issues", "issues")
			w.connect("customer-1", "o/r")
			d.ConnectionID = "nobody"
		}, syncline.DeliveryParked, `no connection "nobody"`},
		{"naming nobody it is parked", func(w *world, d *syncline.Delivery) {
			w.deploy("issues", "issues")
			w.connect("customer-1", "o/r")
			d.Body = []byte(`{}`)
		}, syncline.DeliveryParked, "nothing in the delivery says whose it is"},
		{"naming a connection in the URL it goes there", func(w *world, d *syncline.Delivery) {
			w.deploy("issues", "issues")
			w.connect("customer-1", "o/other")
			d.ConnectionID = "customer-1"
		}, syncline.DeliveryRouted, ""},
		{"what cannot be read is dead", func(w *world, d *syncline.Delivery) { d.Body = []byte("{") }, syncline.DeliveryDead, "cannot be read: the body is not JSON"},
		{"of a deleted integration it is dead", func(w *world, _ *syncline.Delivery) {
			w.update(func(tx store.Tx) error { return tx.DeleteIntegration(w.env.ID, w.github.ID, start) })
		}, syncline.DeliveryDead, "integration was deleted"},
		{"with overrides that are wrong it is dead", func(w *world, _ *syncline.Delivery) {
			w.github.Config.Webhook = []byte(`{"type":["nonsense"]}`)
			w.update(func(tx store.Tx) error { return tx.UpdateIntegration(&w.github) })
		}, syncline.DeliveryDead, "config.webhook.type[0]"},
		{"of a provider whose webhooks are not known it is dead", func(w *world, _ *syncline.Delivery) {
			w.router.Webhook = func(*syncline.Integration) (*provider.Webhook, error) { return nil, nil }
		}, syncline.DeliveryDead, "nothing is known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			d := w.delivery("o/r")
			tc.before(w, d)
			p := w.receive(d)
			w.settle()
			w.wantStatus(p, tc.status, tc.reason)
			if routed := tc.status == syncline.DeliveryRouted; routed != (len(w.events(p)) == 1) || routed != (w.woken == 1) {
				t.Errorf("%d events, woken %d times", len(w.events(p)), w.woken)
			}
			// Whatever it was, the next one is routed.
			next := w.receive(w.delivery("o/r"))
			w.settle()
			if w.state(next).Status == "" {
				t.Error("routing stopped")
			}
		})
	}
}

func TestAMatchThatFindsNobodyFallsThrough(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/r")
	d := w.delivery("o/r")
	d.Body = []byte(`{"installation":{"id":99},"repository":{"full_name":"o/r"}}`)
	p := w.receive(d)
	w.settle()
	w.wantStatus(p, syncline.DeliveryRouted, "")
	// The first that finds somebody decides.
	c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.github.ID, ConnectionID: "installed", ConnectionConfig: map[string]any{"installation_id": 99}}
	w.update(func(tx store.Tx) error { return tx.CreateConnection(&c) })
	d = w.delivery("o/r")
	d.Body = []byte(`{"installation":{"id":99},"repository":{"full_name":"o/r"}}`)
	p = w.receive(d)
	w.settle()
	events := w.events(p)
	if len(events) != 1 {
		t.Fatalf("%+v", events)
	}
	w.view(func(r store.Reader) error {
		i, err := r.Instance(w.env.ID, events[0].LaneID)
		if i.ConnectionID != c.ID {
			t.Errorf("it went to connection %d; want %d", i.ConnectionID, c.ID)
		}
		return err
	})
}

func TestMatchAllGoesToEveryConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.github.Config.Webhook = []byte(`{"match":null,"match_all":true}`)
	w.update(func(tx store.Tx) error { return tx.UpdateIntegration(&w.github) })
	w.deploy("issues", "issues")
	for i := range 5 {
		w.connect(fmt.Sprint("customer-", i), "o/other")
	}
	p := w.receive(w.delivery("o/r"))
	w.settle()
	if s := w.wantStatus(p, syncline.DeliveryRouted, ""); s.Events != 5 {
		t.Errorf("%d events; want 5", s.Events)
	}
}

func TestRoutingIsInOrderAndExactlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/r")
	const n = 2*batch + 17
	var positions []int64
	for range n {
		positions = append(positions, w.receive(w.delivery("o/r")))
	}
	for i := 0; ; i++ {
		w.restart() // after every batch
		got, err := w.router.routeBatch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got == 0 {
			break
		}
	}
	// A router that is behind, as after a commit that it did not hear of.
	w.router.position = positions[3]
	w.settle()
	last := int64(0)
	for _, p := range positions {
		events := w.events(p)
		if len(events) != 1 || events[0].ID <= last {
			t.Fatalf("delivery %d: %+v after event %d", p, events, last)
		}
		last = events[0].ID
	}
}

// failingStore fails updates, as often as it is told.
type failingStore struct {
	store.Store
	fail func(tx store.Tx) store.Tx
}

func (s *failingStore) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, d, func(tx store.Tx) error { return fn(s.fail(tx)) })
}

// poisoned cannot write the events of one delivery.
type poisoned struct {
	store.Tx
	position int64
	panics   bool
}

func (p poisoned) AppendEvents(events []*syncline.Event) error {
	for _, e := range events {
		if e.Position == p.position {
			if p.panics {
				panic("poison")
			}
			return syncline.Errorf(syncline.CodeInternal, "poison")
		}
	}
	return p.Tx.AppendEvents(events)
}

func TestWhatCannotBeWrittenEndsDeadAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	for _, panics := range []bool{false, true} {
		t.Run(fmt.Sprint("panics ", panics), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deploy("issues", "issues")
			w.connect("customer-1", "o/r")
			var positions []int64
			for range 5 {
				positions = append(positions, w.receive(w.delivery("o/r")))
			}
			w.router.Store = &failingStore{w.store, func(tx store.Tx) store.Tx { return poisoned{tx, positions[2], panics} }}
			w.settle()
			for i, p := range positions {
				if i == 2 {
					w.wantStatus(p, syncline.DeliveryDead, "cannot be written")
				} else {
					w.wantStatus(p, syncline.DeliveryRouted, "")
				}
			}
		})
	}
}

func TestAnUnavailableStoreLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/r")
	p := w.receive(w.delivery("o/r"))
	down := &unavailableStore{w.store}
	w.router.Store = down
	if _, err := w.router.step(t.Context()); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Fatalf("error = %v; want unavailable", err)
	}
	w.router.Store = w.store
	w.settle()
	w.wantStatus(p, syncline.DeliveryRouted, "")
}

type unavailableStore struct{ store.Store }

func (unavailableStore) Update(context.Context, store.Durability, func(tx store.Tx) error) error {
	return syncline.Errorf(syncline.CodeUnavailable, "the disk is full")
}

func TestAnInboxThatEndsBeforeTheStoreIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.update(func(tx store.Tx) error { return tx.SetRouterPosition(7) })
	if err := w.router.Run(t.Context()); syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "same backup") {
		t.Errorf("error = %v; want a conflict that says what to do", err)
	}
}

func TestRunRoutesAtOnceWhatIsAppended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/r")
	woken := make(chan struct{}, 10)
	w.router.Wake = func() { woken <- struct{}{} }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.router.Run(ctx) }()
	wait := func() {
		t.Helper()
		select {
		case <-woken:
		case <-time.After(30 * time.Second): // never, unless it is broken
			cancel()
			t.Fatalf("nobody was woken; the router ended with %v", <-done)
		}
	}
	for range 3 {
		p := w.receive(w.delivery("o/r"))
		wait() // the clock stands still: nothing but the append can be the reason
		w.wantStatus(p, syncline.DeliveryRouted, "")
	}
	p := w.receive(w.delivery("o/later"))
	q := w.receive(w.delivery("o/r"))
	wait()
	w.wantStatus(p, syncline.DeliveryParked, "")
	w.wantStatus(q, syncline.DeliveryRouted, "")
	w.connect("customer-2", "o/later")
	w.changed()
	wait()
	w.wantStatus(p, syncline.DeliveryRouted, "")
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
