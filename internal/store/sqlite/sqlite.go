package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Options tunes a store. The zero value is good.
type Options struct {
	Logger *slog.Logger // default: nothing is logged
	Clock  clock.Clock  // stamps rows whose CreatedAt or UpdatedAt is zero; default: the system's
	// ReadConns is how many snapshots can be read at the same time; default:
	// two per CPU, at least 4.
	ReadConns int
}

// Store is a main store in one SQLite file.
type Store struct {
	path     string
	writer   *writer
	readers  *readers
	position atomic.Int64
}

var _ store.Store = (*Store)(nil)

// Open opens the store at path, which is made when it does not exist, and
// brings its schema up to date. The file is for one process at a time; the
// caller sees to that. Errors: conflict when the file was written by a newer
// version or is not a store; unavailable when it cannot be opened.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = clock.System
	}
	if opts.ReadConns <= 0 {
		opts.ReadConns = max(4, 2*runtime.NumCPU())
	}
	if err := migrate(ctx, path, migrations, opts.Logger); err != nil {
		return nil, err
	}
	s := &Store{path: path}
	c, err := openConn(ctx, path, false, writerPragmas...)
	if err != nil {
		return nil, err
	}
	seq, err := readCounter(c, counterSeq)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	s.position.Store(seq)
	if s.readers, err = openReaders(ctx, path, opts.ReadConns); err != nil {
		return nil, errors.Join(err, c.close())
	}
	s.writer = startWriter(c, opts, &s.position, seq)
	return s, nil
}

// Update runs fn in one atomic transaction, see [store.Store].
func (s *Store) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return s.writer.update(ctx, d, fn)
}

// View runs fn on one consistent snapshot, see [store.Store].
func (s *Store) View(ctx context.Context, fn func(r store.Reader) error) error {
	return s.readers.view(ctx, fn)
}

// Position is the newest committed position.
func (s *Store) Position(context.Context) (int64, error) {
	return s.position.Load(), nil
}

// Ping reads from the file, and reports unavailable after Close.
func (s *Store) Ping(ctx context.Context) error {
	if s.writer.isClosed() {
		return errClosed
	}
	return s.readers.view(ctx, func(r store.Reader) error {
		_, err := readCounter(r.(*reader).c, counterSeq)
		return err
	})
}

// Stats counts what the store did since it was opened.
type Stats struct {
	Updates        int64 // closures that were run
	Commits        int64 // transactions that they were committed in
	DurableCommits int64 // of these, how many waited for the disk
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	return Stats{
		Updates:        s.writer.updates.Load(),
		Commits:        s.writer.commits.Load(),
		DurableCommits: s.writer.durableCommits.Load(),
	}
}

// Close finishes the transactions that were handed in before it, waits for
// snapshots that are being read, and closes the file. Later calls of Update
// and View fail with code unavailable. It may be called twice.
func (s *Store) Close() error {
	if err := errors.Join(s.writer.close(), s.readers.close()); err != nil {
		return fmt.Errorf("close the store %s: %w", s.path, err)
	}
	return nil
}

var errClosed = syncline.Errorf(syncline.CodeUnavailable, "the store is closed")
