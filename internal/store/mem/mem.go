// Package mem is a main store in memory, for tests and the simulation. It
// keeps nothing. Every table is a copy-on-write tree: a transaction works on a
// copy that takes the place of the current state when it commits, and a
// snapshot is the state as it was. Rows are never changed in place.
package mem

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Store is a main store in memory.
type Store struct {
	clock clock.Clock

	write  chan struct{} // holds one while a transaction runs
	closed atomic.Bool
	now    atomic.Pointer[state]
}

var _ store.Store = (*Store)(nil)

// New makes an empty store. A nil clock is the system's.
func New(c clock.Clock) *Store {
	if c == nil {
		c = clock.System
	}
	s := &Store{clock: c, write: make(chan struct{}, 1)}
	s.now.Store(newState())
	return s
}

// Update runs fn on a copy of the state, see [store.Store].
func (s *Store) Update(ctx context.Context, _ store.Durability, fn func(tx store.Tx) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	select {
	case s.write <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if ctx.Done() == nil {
		return s.run(fn)
	}
	done := make(chan error, 1)
	go func() {
		// A function may end its goroutine, as testing's FailNow does.
		err := error(syncline.Errorf(syncline.CodeInternal, "a write to the store ended its goroutine"))
		defer func() { done <- err }()
		err = s.run(fn)
	}()
	return <-done
}

// run runs fn while the caller holds the right to write, and gives it back.
func (s *Store) run(fn func(tx store.Tx) error) (err error) {
	defer func() { <-s.write }()
	if s.closed.Load() {
		return errClosed
	}
	t := &tx{reader: reader{state: s.now.Load().copy()}, clock: s.clock}
	finished := false
	defer func() {
		if p := recover(); p != nil {
			err = syncline.Errorf(syncline.CodeInternal, "a write to the store panicked: %v", p)
		}
		done := t.state
		t.state = nil
		if err == nil && finished {
			s.now.Store(done)
		}
	}()
	err = fn(t)
	finished = true
	return err
}

var errClosed = syncline.Errorf(syncline.CodeUnavailable, "the store is closed")

// View runs fn on the state as it is, see [store.Store].
func (s *Store) View(ctx context.Context, fn func(r store.Reader) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	r := &reader{s.now.Load(), ctx}
	defer func() { r.state = nil }()
	return fn(r)
}

// Position is the newest committed position.
func (s *Store) Position(context.Context) (int64, error) { return s.now.Load().seq, nil }

// Ping reports unavailable after Close.
func (s *Store) Ping(ctx context.Context) error { return s.check(ctx) }

// Close makes later calls fail with code unavailable.
func (s *Store) Close() error {
	s.write <- struct{}{} // what runs finishes
	defer func() { <-s.write }()
	s.closed.Store(true)
	return nil
}

func (s *Store) check(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// state is everything that is kept. Fields that are not tables are counters.
type state struct {
	seq, router int64
	ids         btree.Map[string, int64] // the newest id of each table

	environments  btree.Map[int64, syncline.Environment]
	keys          btree.Map[int64, syncline.APIKey]
	integrations  btree.Map[int64, row[syncline.Integration]]
	connections   btree.Map[int64, syncline.Connection]
	functions     btree.Map[int64, syncline.Function]
	versions      btree.Map[int64, version]
	bundles       btree.Map[string, []byte]
	instances     btree.Map[int64, syncline.SyncInstance]
	lanes         btree.Map[int64, row[syncline.Lane]]
	events        btree.Map[int64, syncline.Event]
	pending       *btree.BTreeG[pair] // (lane, event)
	byPosition    *btree.BTreeG[pair] // (position, event)
	deliveries    btree.Map[int64, syncline.DeliveryState]
	runs          btree.Map[int64, syncline.Run]
	running       btree.Map[int64, struct{}]
	logs          btree.Map[int64, log]
	collections   btree.Map[int64, syncline.Collection]
	records       *btree.BTreeG[*syncline.Record] // by collection and id
	recordsBySeq  *btree.BTreeG[*syncline.Record] // by collection and seq
	windows       btree.Map[int64, syncline.DeleteWindow]
	history       *btree.BTreeG[*syncline.Superseded] // by collection, id and seq
	notifications btree.Map[int64, syncline.Notification]
	variables     btree.Map[string, syncline.Variable] // by environment and name
	locks         btree.Map[string, syncline.Lock]     // by environment and key
	jobs          btree.Map[int64, syncline.Job]
	checkpoints   btree.Map[string, checkpoint] // by environment, connection and function
}

// row is a row that can be deleted softly and does not say so itself.
type row[T any] struct {
	v       T
	deleted bool
}

type version struct {
	env int64
	v   syncline.FunctionVersion
}

type log struct {
	env  int64
	line syncline.LogLine
}

type pair struct{ a, b int64 }

func tree[T any](less func(a, b T) bool) *btree.BTreeG[T] {
	return btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})
}

func newState() *state {
	pairs := func(a, b pair) bool { return a.a < b.a || a.a == b.a && a.b < b.b }
	return &state{
		pending: tree(pairs), byPosition: tree(pairs),
		records: tree(func(a, b *syncline.Record) bool {
			return a.CollectionID < b.CollectionID || a.CollectionID == b.CollectionID && a.ID < b.ID
		}),
		recordsBySeq: tree(func(a, b *syncline.Record) bool {
			return a.CollectionID < b.CollectionID || a.CollectionID == b.CollectionID && a.Seq < b.Seq
		}),
		history: tree(func(a, b *syncline.Superseded) bool {
			return cmp.Or(cmp.Compare(a.CollectionID, b.CollectionID), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Seq, b.Seq)) < 0
		}),
	}
}

// copy is a state that can be changed without s noticing.
func (s *state) copy() *state {
	return &state{
		seq: s.seq, router: s.router, ids: *s.ids.Copy(), environments: *s.environments.Copy(), keys: *s.keys.Copy(),
		integrations: *s.integrations.Copy(), connections: *s.connections.Copy(), functions: *s.functions.Copy(), versions: *s.versions.Copy(),
		bundles: *s.bundles.Copy(), instances: *s.instances.Copy(), lanes: *s.lanes.Copy(), events: *s.events.Copy(), pending: s.pending.Copy(),
		byPosition: s.byPosition.Copy(), deliveries: *s.deliveries.Copy(), runs: *s.runs.Copy(), running: *s.running.Copy(), logs: *s.logs.Copy(),
		collections: *s.collections.Copy(), records: s.records.Copy(), recordsBySeq: s.recordsBySeq.Copy(), windows: *s.windows.Copy(), history: s.history.Copy(),
		notifications: *s.notifications.Copy(), variables: *s.variables.Copy(), locks: *s.locks.Copy(), jobs: *s.jobs.Copy(), checkpoints: *s.checkpoints.Copy(),
	}
}

// reader reads one state. Its state is nil once its function has returned.
type reader struct {
	*state
	ctx context.Context // of the caller of View; nil in transactions
}

// tx changes a state of its own.
type tx struct {
	reader
	clock clock.Clock
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

// open fails when the transaction is over.
func (r *reader) open() error {
	if r.state == nil {
		return syncline.Errorf(syncline.CodeInternal, "the transaction or snapshot is over")
	}
	if r.ctx != nil {
		return r.ctx.Err()
	}
	return nil
}

func notFound(what string, key any) error {
	return syncline.Errorf(syncline.CodeNotFound, "%s %v does not exist", what, key)
}

func conflict(what string, key any) error {
	return syncline.Errorf(syncline.CodeConflict, "%s %v exists already", what, key)
}

func (t *tx) next(table string) int64 {
	id, _ := t.ids.Get(table)
	t.ids.Set(table, id+1)
	return id + 1
}

func (t *tx) stamp(at *time.Time) {
	if at.IsZero() {
		*at = t.clock.Now()
	}
}

// utc is a time as engines keep it: in UTC, in microseconds.
func utc(at time.Time) time.Time {
	if at.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(at.UnixMicro()).UTC()
}

// each lists the rows that keep accepts, in ascending key.
func each[K cmp.Ordered, V any](m *btree.Map[K, V], keep func(V) bool) []V {
	var list []V
	m.Scan(func(_ K, v V) bool {
		if keep(v) {
			list = append(list, v)
		}
		return true
	})
	return list
}

// newest lists the rows that keep accepts, in descending key, within a page.
func newest[V any](m *btree.Map[int64, V], p store.Page, keep func(V) bool) []V {
	var list []V
	skip, n := p.Offset, limit(p.Limit)
	m.Reverse(func(_ int64, v V) bool {
		if keep(v) {
			if skip--; skip < 0 {
				list = append(list, v)
			}
		}
		return len(list) < n
	})
	return list
}

func limit(n int) int {
	if n <= 0 {
		return 100
	}
	return min(n, 10_000)
}

func first[V any](list []V, what string, key any) (v V, err error) {
	if len(list) == 0 {
		return v, notFound(what, key)
	}
	return list[0], nil
}

func fenced(format string, args ...any) error {
	return syncline.Errorf(syncline.CodeFenced, "%s", fmt.Sprintf(format, args...))
}
