package postgres

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
)

// Options tune an inbox. Zero fields take the default.
type Options struct {
	// MaxBytes is the size of the log, in bytes, beyond which Append refuses;
	// default 10 GiB. An entry counts for its body, its headers and the like, and
	// 512 bytes. Several processes may pass the limit together by what each has in
	// one commit (at most 32 MiB and a body). The tables' files are somewhat larger,
	// and shrink after a purge only as the server reuses them.
	MaxBytes int64
	// ReadConns bounds the connections for reading and purging, and so how many
	// of those calls run at the same time; the others wait. Default 8. Three
	// more connections serve Append, Last and Ping.
	ReadConns int
	Logger    *slog.Logger // default: nothing is logged
	Clock     clock.Clock  // stamps deliveries without ReceivedAt; default: the system's
}

// Log is an inbox in tables of a Postgres database.
type Log struct {
	o       Options
	writers *pgxpool.Pool // of the writer
	readers *pgxpool.Pool
	asides  *pgxpool.Pool // Last, Ping: they must not wait behind long work
	states  coalesced
	queued  atomic.Int64 // bytes of bodies that wait to be written
	commits atomic.Int64

	mu     sync.RWMutex // guards closed and sends to queue
	closed bool
	queue  chan *job
	exited chan struct{} // the writer has

	seenMu   sync.Mutex
	seen     state // the newest that is known here
	appended chan struct{}
	awaited  bool // somebody has appended

	stop    context.CancelFunc
	watched chan struct{} // watch has ended
}

var _ inbox.Log = (*Log)(nil)

// Open opens the inbox in the database that a connection string or URL names,
// and brings its tables up to date; they are in the connection's first schema
// (search_path), where the main store's may be too. Several processes may have it
// open. Errors: conflict when it was written by a newer version, or the database
// is another program's; unavailable when it cannot be reached; invalid_request
// when the connection string or the server is not fit.
//
// Statements are prepared once for each connection, so a pooler between must
// keep sessions or know prepared statements.
func Open(ctx context.Context, dsn string, o Options) (*Log, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 30
	}
	if o.ReadConns <= 0 {
		o.ReadConns = 8
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, config.ConnConfig, migrations, o.Logger); err != nil {
		return nil, err
	}
	l := &Log{o: o, queue: make(chan *job, 1024), exited: make(chan struct{}), appended: make(chan struct{}), watched: make(chan struct{})}
	for _, p := range []struct {
		pool **pgxpool.Pool
		size int
	}{{&l.writers, 1}, {&l.readers, o.ReadConns}, {&l.asides, 2}} {
		c := config.Copy()
		c.MaxConns = int32(min(p.size, 10_000)) //nolint:gosec // bounded
		c.MinConns, c.MinIdleConns = 0, 0
		if *p.pool, err = pgxpool.NewWithConfig(ctx, c); err != nil {
			l.closePools()
			return nil, inboxError(err)
		}
	}
	l.states.read = l.readState
	if l.seen, err = l.readState(ctx); err != nil {
		l.closePools()
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.write()
	go l.watch(running)
	return l, nil
}

// parse reads a connection string. What it does not say comes from the usual
// environment variables (PGHOST and so on).
func parse(dsn string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the inbox's connection string cannot be read: %w", err) // without its password
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

// acquire takes a connection. An error that is ctx's own says that there was none.
func (l *Log) acquire(ctx context.Context, pool *pgxpool.Pool) (*pgxpool.Conn, error) {
	pc, err := pool.Acquire(ctx)
	switch {
	case err == nil && ctx.Err() == nil:
		return pc, nil
	case err == nil:
		pc.Release()
		return nil, ctx.Err()
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case l.isClosed():
		return nil, errClosed
	case errors.Is(err, context.DeadlineExceeded): // the time to connect, not ctx's
		return nil, late(err)
	}
	return nil, inboxError(err)
}

// reading runs what only reads. When that meets a connection that the server has
// closed since it was last used, as after a restart, it runs again on a new one;
// read says whether it got anything before, and must not run again.
func (l *Log) reading(ctx context.Context, pool *pgxpool.Pool, read func(pc *pgxpool.Conn) (again bool, err error)) error {
	for first := true; ; first = false {
		pc, err := l.acquire(ctx, pool)
		if err != nil {
			return err
		}
		again, err := read(pc)
		again = again && pc.Conn().IsClosed()
		pc.Release()
		if err == nil || !first || !again || ctx.Err() != nil {
			return err
		}
		pool.Reset() // the others are as old
	}
}

// failed maps the error of a statement that ran with ctx.
func failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return inboxError(err)
}

// Commits is how many transactions of this process appended something since Open.
func (l *Log) Commits() int64 { return l.commits.Load() }

// Ping reads from the database, and reports unavailable after Close.
func (l *Log) Ping(ctx context.Context) error {
	if l.isClosed() {
		return errClosed
	}
	_, err := l.readState(ctx)
	return err
}

func (l *Log) isClosed() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.closed
}

// Close finishes what was handed in before it and closes the connections. Later
// calls fail with code unavailable. It may be called twice.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	if first {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	l.stop()
	<-l.exited
	<-l.watched
	if first {
		l.closePools()
	}
	return nil
}

func (l *Log) closePools() {
	for _, pool := range []*pgxpool.Pool{l.writers, l.readers, l.asides} {
		if pool != nil {
			pool.Close()
		}
	}
}
