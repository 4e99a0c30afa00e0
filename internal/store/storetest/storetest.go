// Package storetest is the suite that every main store must pass: what package
// store promises, by topic. An engine's tests call Run with a function that
// opens an empty store.
package storetest

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"syncline"
	"syncline/internal/store"
)

// Open returns an empty store and arranges that it is closed when t ends.
type Open func(t *testing.T) store.Store

// Option says what is special about a store.
type Option func(*world)

// SealsPayloads is for a store that seals payloads itself: key ids are its own
// and not shown, and the suite writes none.
func SealsPayloads(w *world) { w.sealsPayloads = true }

// Run runs the suite. Each test has a store of its own, and they run in
// parallel.
func Run(t *testing.T, open Open, options ...Option) {
	topics := []struct {
		name  string
		tests []test
	}{
		{"environments", environmentTests},
		{"integrations", integrationTests},
		{"connections", connectionTests},
		{"functions", functionTests},
		{"instances", instanceTests},
		{"lanes", laneTests},
		{"deliveries", deliveryTests},
		{"runs", runTests},
		{"records", recordTests},
		{"windows", windowTests},
		{"history", historyTests},
		{"notifications", notificationTests},
		{"variables", variableTests},
		{"locks", lockTests},
		{"jobs", jobTests},
		{"checkpoints", checkpointTests},
		{"housekeeping", housekeepingTests},
		{"transactions", transactionTests},
		{"isolation", isolationTests},
		{"values", valueTests},
	}
	for _, topic := range topics {
		t.Run(topic.name, func(t *testing.T) {
			t.Parallel()
			for _, test := range topic.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, open(t))
					for _, o := range options {
						o(w)
					}
					test.run(t, w)
				})
			}
		})
	}
}

// test is one promise.
type test struct {
	name string
	run  func(t *testing.T, w *world)
}

// start is when the tests take place.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// world is a store with one of each thing, to stand on.
type world struct {
	t           *testing.T
	s           store.Store
	env         syncline.Environment
	integration syncline.Integration
	connection  syncline.Connection
	function    syncline.Function
	version     syncline.FunctionVersion
	instance    syncline.SyncInstance

	sealsPayloads bool
}

// keyID is the id of a key that a test writes, where it may.
func (w *world) keyID(id string) string {
	if w.sealsPayloads {
		return ""
	}
	return id
}

func newWorld(t *testing.T, s store.Store) *world {
	t.Helper()
	w := &world{t: t, s: s}
	w.update(func(tx store.Tx) error {
		w.populate(tx, "dev")
		return nil
	})
	return w
}

// populate fills w with new rows in an environment of that name.
func (w *world) populate(tx store.Tx, name string) {
	w.t.Helper()
	w.env = syncline.Environment{UUID: syncline.NewUUID(), Name: name, CreatedAt: start}
	w.ok(tx.CreateEnvironment(&w.env))
	w.integration = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "github", Provider: "github", CreatedAt: start, UpdatedAt: start}
	w.ok(tx.CreateIntegration(&w.integration))
	w.connection = w.newConnection(tx, "customer-1")
	w.function, w.version = w.newFunction(tx, "issues")
	w.instance = w.newInstance(tx, w.connection.ID, w.function.ID, "")
}

func (w *world) newConnection(tx store.Tx, id string) syncline.Connection {
	w.t.Helper()
	c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: id, CreatedAt: start, UpdatedAt: start}
	w.ok(tx.CreateConnection(&c))
	return c
}

func (w *world) newFunction(tx store.Tx, name string) (syncline.Function, syncline.FunctionVersion) {
	w.t.Helper()
	f := syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Type: syncline.FunctionSync, Name: name}
	v := syncline.FunctionVersion{Manifest: syncline.Manifest{Type: syncline.FunctionSync, Name: name, Integration: "github"}, BundleHash: "b1", DeployedAt: start}
	w.ok(tx.DeployFunction(&f, &v))
	return f, v
}

func (w *world) newInstance(tx store.Tx, connection, function int64, variant string) syncline.SyncInstance {
	w.t.Helper()
	i := syncline.SyncInstance{EnvironmentID: w.env.ID, ConnectionID: connection, FunctionID: function, Variant: variant, State: syncline.InstanceStarted, CreatedAt: start}
	created, err := tx.EnsureInstance(&i)
	w.ok(err)
	if !created {
		w.t.Errorf("the instance existed already: %+v", i)
	}
	return i
}

// ok fails the test on an error. It does not end the goroutine, which may be
// the store's own.
func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

func (w *world) update(fn func(tx store.Tx) error) {
	w.t.Helper()
	if err := w.s.Update(w.t.Context(), store.Relaxed, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(fn func(r store.Reader) error) {
	w.t.Helper()
	if err := w.s.View(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// fails runs one write in a transaction of its own and wants its error's code.
func (w *world) fails(code syncline.Code, fn func(tx store.Tx) error) {
	w.t.Helper()
	wantCode(w.t, w.s.Update(w.t.Context(), store.Relaxed, fn), code)
}

// read returns what fn reads from a snapshot.
func read[T any](w *world, fn func(r store.Reader) (T, error)) (v T) {
	w.t.Helper()
	w.view(func(r store.Reader) (err error) {
		v, err = fn(r)
		return err
	})
	return v
}

func wantCode(t *testing.T, err error, code syncline.Code) {
	t.Helper()
	if got := syncline.CodeOf(err); got != code {
		t.Errorf("code %q (%v), want %q", got, err, code)
	}
}

// same compares, taking empty and nil maps and slices as equal.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// lane appends n events of one delivery to the world's lane.
func (w *world) deliver(tx store.Tx, position int64, lanes ...int64) []*syncline.Event {
	w.t.Helper()
	var events []*syncline.Event
	for i, l := range lanes {
		events = append(events, &syncline.Event{EnvironmentID: w.env.ID, LaneID: l, Position: position, Item: i, Type: "issues", Status: syncline.EventPending,
			ReceivedAt: start, UpdatedAt: start})
	}
	w.ok(tx.AppendEvents(events))
	w.ok(tx.PutDeliveryState(&syncline.DeliveryState{Position: position, EnvironmentID: w.env.ID, IntegrationID: w.integration.ID,
		Status: syncline.DeliveryRouted, Type: "issues", Events: len(events), OpenEvents: len(events), ReceivedAt: start, UpdatedAt: start}))
	return events
}

func seconds(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

// put writes records with these ids at new positions of a collection.
func (w *world) put(tx store.Tx, collection int64, at time.Time, action syncline.Action, ids ...string) []*syncline.Record {
	w.t.Helper()
	_, err := tx.LockCollection(w.env.ID, collection)
	w.ok(err)
	seq, err := tx.NextSeq(len(ids))
	w.ok(err)
	var records []*syncline.Record
	for i, id := range ids {
		r := &syncline.Record{CollectionID: collection, ID: id, Seq: seq + int64(i), Hash: []byte("hash of " + id), Payload: []byte(`{"id":"` + id + `"}`),
			FirstSeenAt: at, LastModifiedAt: at, LastAction: action}
		if action == syncline.ActionDeleted {
			r.DeletedAt = at
		}
		records = append(records, r)
	}
	w.ok(tx.PutRecords(w.env.ID, collection, records))
	return records
}

func (w *world) collection(tx store.Tx, model string) int64 {
	w.t.Helper()
	id, err := tx.EnsureCollection(w.env.ID, w.connection.ID, model, start)
	w.ok(err)
	return id
}

// scan lists the ids of a page.
func scan(w *world, collection int64, q store.RecordQuery) []string {
	w.t.Helper()
	return read(w, func(r store.Reader) (ids []string, err error) {
		err = r.ScanRecords(w.env.ID, collection, q, func(rec *syncline.Record) bool {
			ids = append(ids, rec.ID)
			return true
		})
		return ids, err
	})
}
