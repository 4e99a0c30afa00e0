package sqlite

import (
	"context"
	"errors"
	"sync"
	"time"

	"syncline"
	"syncline/internal/store"
)

// readers is the pool of connections that read snapshots.
type readers struct {
	free chan *conn
	size int

	mu     sync.Mutex
	closed chan struct{}
}

// Readers share the file's pages through the operating system's cache; 8 MB
// each is for the inner pages of the trees.
var readerPragmas = []string{"cache_size(-8192)", "mmap_size(0)", "temp_store(MEMORY)"}

func openReaders(ctx context.Context, path string, n int) (*readers, error) {
	p := &readers{free: make(chan *conn, n), closed: make(chan struct{})}
	for range n {
		c, err := openConn(ctx, path, true, readerPragmas...)
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		p.free <- c
		p.size++
	}
	return p, nil
}

func (p *readers) view(ctx context.Context, fn func(r store.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-p.closed:
		return errClosed
	default:
	}
	var c *conn
	select {
	case c = <-p.free:
	case <-ctx.Done():
		return ctx.Err()
	case <-p.closed:
		return errClosed
	}
	// Deferred in this order: the snapshot ends before the connection is free
	// for others, also when fn panics.
	defer func() { p.free <- c }()
	if _, _, err := c.exec("BEGIN DEFERRED"); err != nil {
		return err
	}
	if ctx.Done() != nil {
		c.check = ctx.Err
	}
	r := &reader{c: c}
	defer func() {
		r.c, c.check, c.broken = nil, nil, nil
		_, _, _ = c.exec("ROLLBACK") // a snapshot has nothing to lose
	}()
	return fn(r)
}

func (p *readers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return nil
	default:
		close(p.closed)
	}
	var errs []error
	for range p.size {
		errs = append(errs, (<-p.free).close())
	}
	return errors.Join(errs...)
}

// reader implements store.Reader on a connection with an open transaction.
type reader struct{ c *conn }

// tx implements store.Tx on the writer's connection.
type tx struct {
	reader
	w *writer
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

var errFinished = syncline.Errorf(syncline.CodeInternal, "the transaction was used after it ended")

func (r *reader) query(sql string, each func(r *row) error, args ...any) error {
	if r.c == nil {
		return errFinished
	}
	return r.c.query(sql, each, args...)
}

// missing names a row that may not be there.
type missing struct {
	what string
	key  any
}

func (m missing) err() error {
	return syncline.Errorf(syncline.CodeNotFound, "%s %v does not exist in this environment", m.what, m.key)
}

// one reads one row with scan, or fails with not_found.
func one[T any](r *reader, m missing, sql string, scan func(*row) T, args ...any) (v T, err error) {
	if r.c == nil {
		return v, errFinished
	}
	found, err := r.c.get(sql, func(row *row) error {
		v = scan(row)
		return nil
	}, args...)
	if err == nil && !found {
		err = m.err()
	}
	return v, err
}

// all reads every row with scan; never nil.
func all[T any](r *reader, sql string, scan func(*row) T, args ...any) ([]T, error) {
	list := []T{}
	err := r.query(sql, func(row *row) error {
		list = append(list, scan(row))
		return nil
	}, args...)
	return list, err
}

// number reads one integer; 0 when there is no row.
func (r *reader) number(sql string, args ...any) (n int64, err error) {
	err = r.query(sql, func(row *row) error {
		n = row.int64()
		return errStop
	}, args...)
	return n, err
}

func (t *tx) exec(sql string, args ...any) (changed, lastID int64, err error) {
	if t.c == nil {
		return 0, 0, errFinished
	}
	return t.c.exec(sql, args...)
}

// exec1 runs a statement that must change a row, or fails with not_found.
func (t *tx) exec1(m missing, sql string, args ...any) error {
	n, _, err := t.exec(sql, args...)
	if err == nil && n == 0 {
		return m.err()
	}
	return err
}

// stamp sets a time that its caller left zero.
func (t *tx) stamp(at *time.Time) {
	if at.IsZero() {
		*at = t.w.opts.Clock.Now()
	}
}

// The bounds of listings, see [store.Page].
const (
	defaultLimit = 100
	maxLimit     = 10_000
)

func limit(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}
