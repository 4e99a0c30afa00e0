package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Options tunes a store. The zero value is good.
type Options struct {
	Logger *slog.Logger // default: nothing is logged
	Clock  clock.Clock  // stamps rows whose CreatedAt or UpdatedAt is zero; default: the system's
	// WriteConns and ReadConns bound the connections to the server, and so how
	// many Updates and Views run at the same time; the others wait. A few more
	// connections serve Position and Ping. Defaults: 16 and 8.
	WriteConns, ReadConns int

	tracer pgx.QueryTracer // sees every statement, in tests
}

// Store is a main store in one Postgres database.
type Store struct {
	opts     Options
	writers  *pgxpool.Pool // nil when the store is for reading only
	readers  *pgxpool.Pool
	asides   *pgxpool.Pool // Position, Ping: they must not wait behind long work
	position coalesced
	closed   atomic.Bool
	closing  sync.Once
}

var _ store.Store = (*Store)(nil)

// Open opens the store in the database that a connection string or URL names,
// and brings its schema up to date; its tables are those of the connection's
// first schema (search_path). Several processes may have it open. Errors:
// conflict when it was written by a newer version; unavailable when it cannot be
// reached; invalid_request when the connection string or the database is not fit.
//
// Statements are prepared once for each connection, so a pooler between must
// keep sessions or know prepared statements.
func Open(ctx context.Context, dsn string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, config.ConnConfig, migrations, opts.Logger); err != nil {
		return nil, err
	}
	s := &Store{opts: opts}
	if err := s.connect(ctx, config, true); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenReadOnly opens a store for reading: a replica of one that [Open] has open,
// such as a hot standby. It changes nothing there, its schema included, and
// Update always fails with code unavailable. What it shows may lag behind; then
// View does not include every Update that returned before.
//
// It connects when it is first read, so a replica that is down does not keep a
// server from starting. Until the replica has the schema that this version reads,
// its reads fail with code unavailable. Errors: invalid_request when the
// connection string cannot be read.
func OpenReadOnly(ctx context.Context, dsn string, opts Options) (*Store, error) {
	opts = opts.withDefaults()
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	config.AfterConnect = checkReadable
	s := &Store{opts: opts}
	if err := s.connect(ctx, config, false); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.WriteConns <= 0 {
		o.WriteConns = 16
	}
	if o.ReadConns <= 0 {
		o.ReadConns = 8
	}
	return o
}

// connect makes the pools.
func (s *Store) connect(ctx context.Context, config *pgxpool.Config, writes bool) (err error) {
	s.position.read = s.readPosition
	for _, p := range []struct {
		pool **pgxpool.Pool
		size int
		make bool
	}{{&s.writers, s.opts.WriteConns, writes}, {&s.readers, s.opts.ReadConns, true}, {&s.asides, 2, true}} {
		if !p.make {
			continue
		}
		c := config.Copy()
		c.MaxConns = int32(min(p.size, 10_000)) //nolint:gosec // bounded
		c.MinConns, c.MinIdleConns = 0, 0
		c.ConnConfig.Tracer = s.opts.tracer
		if *p.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
			return storageError(err)
		}
	}
	return nil
}

// parse reads a connection string. What it does not say comes from the usual
// environment variables (PGHOST and so on).
func parse(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the store's connection string cannot be read: %w", err) // without its password
	}
	c := config.ConnConfig
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "syncline"
	}
	c.RuntimeParams["client_encoding"] = "UTF8"
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	// When a context ends, the statement is cancelled on the server and its
	// connection stays usable; only when that takes too long it is given up.
	c.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: pg, DeadlineDelay: 3 * time.Second}
	}
	return config, nil
}

// Update runs fn in one atomic transaction, see [store.Store]. fn may run
// several times: when the server ends the transaction to break a deadlock, it
// runs again.
func (s *Store) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.writers == nil {
		return errReadOnly
	}
	pc, err := s.acquire(ctx, s.writers)
	if err != nil {
		return err
	}
	w := newWrite(ctx, s, pc, d, fn)
	go w.run()
	select {
	case <-w.done:
	case <-ctx.Done():
		// Nobody waits for its result any more, but it writes to its caller's
		// variables: it gets a moment, then its statements are cancelled.
		cut := time.AfterFunc(leftTime, w.cancel)
		<-w.done
		cut.Stop()
	}
	return w.err
}

// View runs fn on one consistent snapshot, see [store.Store].
func (s *Store) View(ctx context.Context, fn func(r store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	pc, err := s.acquire(ctx, s.readers)
	if err != nil {
		return err
	}
	c := &conn{pc: pc, ctx: ctx, begin: []string{"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}}
	r := &reader{c: c}
	defer func() { // also when fn panics
		r.c = nil
		c.rollback() // a snapshot has nothing to lose
		pc.Release()
	}()
	return fn(r)
}

// acquire takes a connection. An error that is ctx's own says that there was none.
func (s *Store) acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	if s.closed.Load() {
		return nil, errClosed
	}
	pc, err := pool.Acquire(ctx)
	switch {
	case err == nil && ctx.Err() == nil:
		return pc, nil
	case err == nil:
		pc.Release()
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case s.closed.Load():
		return nil, errClosed
	case errors.Is(err, context.DeadlineExceeded): // the time to connect, not ctx's
		return nil, syncline.Errorf(syncline.CodeUnavailable, "the store's database does not answer: %w", err)
	}
	return nil, storageError(err)
}

// Position is the newest committed position. Calls at the same time share one
// query.
func (s *Store) Position(ctx context.Context) (int64, error) {
	return s.position.get(ctx)
}

func (s *Store) readPosition(ctx context.Context) (position int64, err error) {
	pc, err := s.acquire(ctx, s.asides)
	if err != nil {
		return 0, err
	}
	defer pc.Release()
	if err := pc.QueryRow(ctx, `SELECT coalesce(max(value), 0) FROM positions`).Scan(&position); err != nil {
		return 0, storageError(err)
	}
	return position, nil
}

// Ping reads from the database, and reports unavailable after Close.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.readPosition(ctx)
	return err
}

// Close waits for transactions and snapshots that are running, and closes the
// connections. Later calls of Update and View fail with code unavailable. It may
// be called twice.
func (s *Store) Close() error {
	s.closed.Store(true)
	s.closing.Do(func() {
		for _, pool := range []*pgxpool.Pool{s.writers, s.readers, s.asides} {
			if pool != nil {
				pool.Close()
			}
		}
	})
	return nil
}

var errReadOnly = syncline.Errorf(syncline.CodeUnavailable, "nothing can be written here: the store was opened for reading only, as a replica").
	WithHint("write to the primary database")

var errClosed = syncline.Errorf(syncline.CodeUnavailable, "the store is closed")

// coalesced answers calls that come at the same time with one reading. A call
// is only answered with a reading that began after it.
type coalesced struct {
	read func(ctx context.Context) (int64, error)

	mu      sync.Mutex
	next    *reading // has not begun
	running bool
}

type reading struct {
	done  chan struct{} // closed when the rest is final
	value int64
	err   error
}

func (c *coalesced) get(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c.mu.Lock()
	if c.next == nil {
		c.next = &reading{done: make(chan struct{})}
	}
	r := c.next
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.value, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run reads until nobody waits.
func (c *coalesced) run() {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		if r == nil {
			c.running = false
		}
		c.mu.Unlock()
		if r == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), controlTime)
		r.value, r.err = c.read(ctx)
		cancel()
		if errors.Is(r.err, context.DeadlineExceeded) { // ours, not that of a caller
			r.err = syncline.Errorf(syncline.CodeUnavailable, "the store's database does not answer: %w", errors.New(fmt.Sprint(r.err)))
		}
		close(r.done)
	}
}
