package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/dispatch"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/schedule"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/sqlite"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// world is a store with one environment, integration and sync, the dispatcher under test,
// and stand-ins for the engine, the inbox and the external API.
type world struct {
	t     *testing.T
	store store.Store
	clock *clock.Fake
	lanes *dispatch.Lanes
	polls *dispatch.Polls
	ctl   *schedule.Control

	env         syncline.Environment
	integration syncline.Integration
	function    syncline.Function
	instances   []syncline.SyncInstance // one per connection

	mu         sync.Mutex
	exec       func(ctx context.Context, h fn.Host) error
	onWebhook  func(ctx context.Context, h fn.Host, payload json.RawMessage) error
	upstream   func(args fn.HTTPArgs) (*fn.HTTPResult, error)
	upstreamOf func(c *syncline.Connection)
	limits     fn.Limits // of the newest call
	bodies     map[int64]json.RawMessage
	told       []told
	position   int64
	most       int // deliveries that were read at once
}

type told struct {
	kind   syncline.RunKind
	status syncline.RunStatus
	model  string
	result *syncline.ModelResult
}

func newWorld(t *testing.T, connections int) *world {
	t.Helper()
	return newWorldOn(t, connections, openSQLite)
}

func openSQLite(t *testing.T) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
	must(t, err)
	return s
}

func openPostgres(t *testing.T) store.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), pgtest.Empty(t), postgres.Options{})
	must(t, err)
	return s
}

// onEachStore runs a test on both of the stores that servers run on.
func onEachStore(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	for name, open := range map[string]func(*testing.T) store.Store{"sqlite": openSQLite, "postgres": openPostgres} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newWorldOn(t, 1, open))
		})
	}
}

func newWorldOn(t *testing.T, connections int, open func(*testing.T) store.Store) *world {
	t.Helper()
	w := &world{
		t: t, clock: clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), bodies: map[int64]json.RawMessage{},
		upstream: func(fn.HTTPArgs) (*fn.HTTPResult, error) { return &fn.HTTPResult{Status: 200}, nil },
	}
	log := slog.New(slog.DiscardHandler)
	s := open(t)
	t.Cleanup(func() { s.Close() })
	w.store = s
	now := w.clock.Now()
	must(t, s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
		w.env = syncline.Environment{UUID: syncline.NewUUID(), Name: "dev", CreatedAt: now}
		if err := tx.CreateEnvironment(&w.env); err != nil {
			return err
		}
		w.integration = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "github", Provider: "github", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateIntegration(&w.integration); err != nil {
			return err
		}
		if err := tx.PutBundle(w.env.ID, "hash", []byte("bundle")); err != nil {
			return err
		}
		w.function = syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Type: syncline.FunctionSync, Name: "issues", Enabled: true, CreatedAt: now}
		v := syncline.FunctionVersion{BundleHash: "hash", DeployedAt: now, Manifest: syncline.Manifest{
			Type: syncline.FunctionSync, Name: "issues", Integration: "github", Frequency: "every hour", HasOnWebhook: true,
			WebhookSubscriptions: []string{"*"}, Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{}`)},
		}}
		if err := tx.DeployFunction(&w.function, &v); err != nil {
			return err
		}
		for i := range connections {
			c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: fmt.Sprint("c", i), CreatedAt: now, UpdatedAt: now}
			if err := tx.CreateConnection(&c); err != nil {
				return err
			}
			in, err := schedule.Ensure(tx, &w.function, c.ID, syncline.BaseVariant, now)
			if err != nil {
				return err
			}
			w.instances = append(w.instances, in)
		}
		return nil
	}))
	engine := &dispatch.Engine{
		Host: &host.Deps{
			Store: s, Clock: w.clock, Upstream: w, Connections: w, MaxLogLines: 100,
			ConnectionsChanged: func(int64, int64) {},
		},
		Runner: w, Clock: w.clock, Log: log, Announcer: w, Announced: func() {},
		Paginate: func(string) json.RawMessage { return nil },
	}
	w.lanes = &dispatch.Lanes{
		Engine: engine, Deliveries: w, Payloads: w, Owner: "test", Max: 8, Wall: time.Minute,
		Retry: dispatch.RetryPolicy{Attempts: 5, MaxWait: 24 * time.Hour},
	}
	w.polls = &dispatch.Polls{Engine: engine, Wall: time.Minute, Lease: time.Minute}
	w.ctl = &schedule.Control{Store: s, Clock: w.clock, Wake: func() {}, Cancel: w.polls.Cancel}
	engine.Host.Syncs, engine.Host.Integrations, engine.Host.Fetcher = w.ctl, w, w
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Run is the engine: it calls the Go function that the test set.
func (w *world) Run(ctx context.Context, call fn.Call, h fn.Host) (json.RawMessage, error) {
	w.mu.Lock()
	exec, hook := w.exec, w.onWebhook
	w.limits = call.Limits
	w.mu.Unlock()
	if call.Entry == fn.EntryOnWebhook {
		return nil, hook(ctx, h, call.Input)
	}
	return nil, exec(ctx, h)
}

func (w *world) Do(_ context.Context, r host.UpstreamRequest) (*fn.HTTPResult, error) {
	if w.upstreamOf != nil {
		w.upstreamOf(r.Connection)
	}
	return w.upstream(r.Args)
}

func (w *world) Describe(_ context.Context, i *syncline.Integration, c *syncline.Connection, o host.DescribeOptions) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"key": i.UniqueKey, "id": c.ConnectionID, "metadata": c.Metadata, "refresh_token": o.RefreshToken})
}

func (w *world) Fetch(_ context.Context, args fn.FetchArgs) (*fn.HTTPResult, error) {
	return &fn.HTTPResult{Status: 200, Body: args.URL, Encoding: "base64"}, nil
}

func (w *world) DescribeIntegration(_ *syncline.Environment, i *syncline.Integration, include []string) (json.RawMessage, error) {
	return json.Marshal(map[string]any{"unique_key": i.UniqueKey, "include": include})
}

func (w *world) WebhookURL(*syncline.Environment, *syncline.Integration) (json.RawMessage, error) {
	return json.RawMessage(`"https://hooks.example"`), nil
}

func (w *world) OpenVariables(list []syncline.Variable) (json.RawMessage, error) {
	out := []map[string]string{}
	for _, v := range list {
		out = append(out, map[string]string{"name": v.Name, "value": string(v.Value.Data)})
	}
	return json.Marshal(out)
}

func (w *world) Get(_ context.Context, _ int64, positions []int64) (map[int64]*syncline.Delivery, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.most = max(w.most, len(positions))
	out := map[int64]*syncline.Delivery{}
	for _, p := range positions {
		if body, ok := w.bodies[p]; ok {
			out[p] = &syncline.Delivery{Position: p, Body: body}
		}
	}
	return out, nil
}

func (w *world) Sizes(_ context.Context, _ int64, positions []int64) (map[int64]int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[int64]int{}
	for _, p := range positions {
		out[p] = len(w.bodies[p])
	}
	return out, nil
}

func (w *world) Payload(_ *syncline.Integration, d *syncline.Delivery, e *syncline.Event) (json.RawMessage, *syncline.WebhookInfo, error) {
	return d.Body, &syncline.WebhookInfo{Type: e.Type}, nil
}

func (w *world) Announce(_ store.Tx, _ *host.Subject, run *syncline.Run, model string, result *syncline.ModelResult, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, told{run.Kind, run.Status, model, result})
	return nil
}

// deliver puts one event with a body at the end of an instance's lane.
func (w *world) deliver(instance int, body string) syncline.Event {
	w.t.Helper()
	position, err := w.store.Position(w.t.Context())
	must(w.t, err)
	w.mu.Lock()
	w.position++
	p := w.position
	w.bodies[p] = json.RawMessage(body)
	w.mu.Unlock()
	in := w.instances[instance]
	e := &syncline.Event{
		EnvironmentID: w.env.ID, LaneID: in.ID, Position: p, Type: "issues", ReceivedAt: w.clock.Now(), UpdatedAt: w.clock.Now(),
		Watermark: position, Status: syncline.EventPending,
	}
	must(w.t, w.store.Update(w.t.Context(), store.Durable, func(tx store.Tx) error {
		d := &syncline.DeliveryState{
			Position: p, EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Status: syncline.DeliveryRouted, Events: 1, OpenEvents: 1,
			ReceivedAt: w.clock.Now(), UpdatedAt: w.clock.Now(),
		}
		if err := tx.PutDeliveryState(d); err != nil {
			return err
		}
		return tx.AppendEvents([]*syncline.Event{e})
	}))
	w.lanes.Wake()
	return *e
}

// start runs the lanes until the test ends or stop is called.
func (w *world) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.lanes.Run(ctx, ctx); err != nil {
			w.t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	w.t.Cleanup(stop)
	return stop
}

// settled waits until no event is pending, moving the clock so that backoffs pass.
func (w *world) settled() {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		var n int
		must(w.t, w.store.View(w.t.Context(), func(r store.Reader) (err error) {
			n, err = r.Backlog()
			return err
		}))
		if n == 0 {
			return
		}
		w.clock.Advance(100 * time.Millisecond)
		time.Sleep(time.Millisecond) // let the dispatcher's goroutines run
	}
	w.t.Fatal("events are still pending")
}

func (w *world) event(id int64) syncline.Event {
	w.t.Helper()
	var e syncline.Event
	must(w.t, w.store.View(w.t.Context(), func(r store.Reader) (err error) {
		e, err = r.Event(w.env.ID, id)
		return err
	}))
	return e
}

func (w *world) instance(n int) syncline.SyncInstance {
	w.t.Helper()
	var i syncline.SyncInstance
	must(w.t, w.store.View(w.t.Context(), func(r store.Reader) (err error) {
		i, err = r.Instance(w.env.ID, w.instances[n].ID)
		return err
	}))
	return i
}

// cache is an instance's live records by id.
func (w *world) cache(n int) map[string]string {
	w.t.Helper()
	out := map[string]string{}
	must(w.t, w.store.View(w.t.Context(), func(r store.Reader) error {
		c, err := r.Collection(w.env.ID, w.instances[n].ConnectionID, "Issue")
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		return r.ScanRecords(w.env.ID, c.ID, store.RecordQuery{Limit: 10_000}, func(rec *syncline.Record) bool {
			if !rec.Deleted() {
				out[rec.ID] = string(rec.Payload)
			}
			return true
		})
	}))
	return out
}

// poll claims and runs one poll of an instance, as the ticker does.
func (w *world) poll(ctx context.Context, n int) {
	w.t.Helper()
	in := w.instances[n]
	var lease syncline.Lease
	var ok bool
	must(w.t, w.store.Update(w.t.Context(), store.Relaxed, func(tx store.Tx) (err error) {
		now := w.clock.Now()
		lease, ok, err = tx.ClaimPoll(w.env.ID, in.ID, "test", now, now.Add(time.Minute))
		return err
	}))
	if !ok {
		w.t.Fatal("the poll is claimed already")
	}
	w.polls.Poll(ctx, schedule.Claim{Instance: w.instance(n), Lease: lease})
}

func (w *world) lastRun(n int) syncline.Run {
	w.t.Helper()
	var runs []syncline.Run
	must(w.t, w.store.View(w.t.Context(), func(r store.Reader) (err error) {
		runs, err = r.Runs(w.env.ID, store.RunFilter{InstanceID: w.instances[n].ID, Kind: syncline.RunPoll})
		return err
	}))
	if len(runs) == 0 {
		w.t.Fatal("no run was stored")
	}
	return runs[0]
}

func save(ctx context.Context, h fn.Host, records ...string) error {
	return call(ctx, h, fn.MethodBatchSave, records...)
}

func call(ctx context.Context, h fn.Host, method string, records ...string) error {
	raws := make([]json.RawMessage, len(records))
	for i, r := range records {
		raws[i] = json.RawMessage(r)
	}
	args, err := json.Marshal(fn.BatchArgs{Model: "Issue", Records: raws})
	if err != nil {
		return err
	}
	_, err = h.Call(ctx, method, args)
	return err
}

func fetch(ctx context.Context, h fn.Host) error {
	_, err := h.Call(ctx, fn.MethodHTTP, json.RawMessage(`{"method":"GET","endpoint":"/"}`))
	return err
}

func ignoreIfModified(ctx context.Context, h fn.Host) error {
	_, err := h.Call(ctx, fn.MethodSetMergingStrategy, json.RawMessage(`{"model":"Issue","strategy":"ignore_if_modified_after"}`))
	return err
}
