package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
)

// Options tune an inbox. Zero fields take the default.
type Options struct {
	// MaxBytes is the size of the log beyond which Append refuses; default 10 GiB.
	MaxBytes int64
	// MinFreeDisk is the free space on the disk below which Append refuses;
	// default 0, which does not look.
	MinFreeDisk int64
	Logger      *slog.Logger
	Clock       clock.Clock
}

// Log is an inbox in one SQLite file.
type Log struct {
	path    string
	o       Options
	writeDB *sql.DB
	readDB  *sql.DB
	size    atomic.Int64 // bytes in use
	queued  atomic.Int64 // bytes of bodies that wait to be written
	last    atomic.Int64
	commits atomic.Int64

	mu       sync.RWMutex // guards closed and sends to queue
	closed   bool
	queue    chan *job
	exited   chan struct{}
	appended chan struct{}
	appendMu sync.Mutex
}

var _ inbox.Log = (*Log)(nil)

// Open opens the inbox at path, which is made when it does not exist. The file
// is for one process at a time; the caller sees to that.
func Open(ctx context.Context, path string, o Options) (*Log, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	l := &Log{path: path, o: o, queue: make(chan *job, 1024), exited: make(chan struct{}), appended: make(chan struct{})}
	var err error
	if l.writeDB, err = open(path, false); err != nil {
		return nil, err
	}
	if err := migrate(ctx, l.writeDB, path); err != nil {
		return nil, errors.Join(err, l.writeDB.Close())
	}
	if l.readDB, err = open(path, true); err != nil {
		return nil, errors.Join(err, l.writeDB.Close())
	}
	w, err := newWriter(ctx, l)
	if err != nil {
		return nil, errors.Join(unavailable(path, err), l.writeDB.Close(), l.readDB.Close())
	}
	go w.run()
	return l, nil
}

func open(path string, readOnly bool) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	q := url.Values{"_busy_timeout": {"10000"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-8192)",
		"mmap_size(0)", "wal_autocheckpoint(2000)", "journal_size_limit(67108864)"}}
	if readOnly {
		q.Set("_query_only", "1")
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, unavailable(path, err)
	}
	if readOnly {
		db.SetMaxOpenConns(4)
		db.SetMaxIdleConns(4)
	} else {
		db.SetMaxOpenConns(1)
	}
	return db, nil
}

func unavailable(path string, err error) error {
	return syncline.Errorf(syncline.CodeUnavailable, "the inbox %s cannot be used: %w", path, err).
		WithHint("check its disk and the permissions of the data directory")
}

var errClosed = syncline.Errorf(syncline.CodeUnavailable, "the inbox is closed")

// Last is the position of the newest entry.
func (l *Log) Last(context.Context) (int64, error) { return l.last.Load(), nil }

// Commits is how many transactions appended something since Open.
func (l *Log) Commits() int64 { return l.commits.Load() }

// Appended returns a channel that is closed at the next append.
func (l *Log) Appended() <-chan struct{} {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	return l.appended
}

func (l *Log) announce() {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	close(l.appended)
	l.appended = make(chan struct{})
}

// Ping reports whether the log can be read and is open.
func (l *Log) Ping(ctx context.Context) error {
	l.mu.RLock()
	closed := l.closed
	l.mu.RUnlock()
	if closed {
		return errClosed
	}
	var n int64
	if err := l.readDB.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM entries LIMIT 1)").Scan(&n); err != nil {
		return unavailable(l.path, err)
	}
	return nil
}

// Close finishes what was handed in before it and closes the file. Later
// calls fail with code unavailable. It may be called twice.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	if first {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	<-l.exited
	if !first {
		return nil
	}
	if err := errors.Join(l.readDB.Close(), l.writeDB.Close()); err != nil {
		return fmt.Errorf("close the inbox %s: %w", l.path, err)
	}
	return nil
}
