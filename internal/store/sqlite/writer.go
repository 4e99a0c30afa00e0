package sqlite

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"syncline"
	"syncline/internal/store"
)

// The bounds of one batch: how many closures share a transaction, and for how
// long it may gather them. A batch never waits for company.
const (
	maxBatch     = 256
	maxBatchTime = 10 * time.Millisecond
	queueSize    = 1024
	// slowWrite is when a closure is logged, because everyone else waited for it.
	slowWrite = 250 * time.Millisecond
)

// The writer's memory: 32 MB of cached pages. Memory mapping stays off, since
// an I/O error would then kill the process instead of failing the statement.
// A checkpoint every 2,000 pages (8 MB) keeps the log short; what it grew to
// beyond 64 MB is given back.
var writerPragmas = []string{
	"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-32768)", "mmap_size(0)", "temp_store(MEMORY)",
	"wal_autocheckpoint(2000)", "journal_size_limit(67108864)",
}

// The states of a job. Only a waiting one can be given up by its caller, so
// that whoever gives up knows whether it may have run.
const (
	jobWaiting int32 = iota
	jobTaken
	jobGivenUp
)

type job struct {
	fn      func(tx store.Tx) error
	durable bool
	state   atomic.Int32
	err     error
	done    chan struct{} // closed when err is final
}

// writer owns the one connection that writes. All fields below the queue
// belong to its goroutine.
type writer struct {
	mu     sync.RWMutex // guards closed and sends to queue
	closed bool
	queue  chan *job
	exited chan struct{}

	c        *conn
	opts     Options
	position *atomic.Int64
	seq      int64 // newest position, of the transaction that is open
	full     bool  // synchronous is FULL on the connection
	open     bool  // a transaction is open
	closeErr error
	durable  bool   // the batch that is gathered must be
	waiting  []*job // gathered and not yet run, in order
	buffer   []*job // what waiting starts from again
	batch    []*job // what was run and waits for the commit

	updates, commits, durableCommits atomic.Int64
}

func startWriter(c *conn, opts Options, position *atomic.Int64, seq int64) *writer {
	w := &writer{
		queue: make(chan *job, queueSize), exited: make(chan struct{}),
		c: c, opts: opts, position: position, seq: seq, full: true, buffer: make([]*job, 0, maxBatch),
	}
	go w.run()
	return w
}

func (w *writer) update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, durable: d == store.Durable, done: make(chan struct{})}
	if err := w.enqueue(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobGivenUp) {
			return ctx.Err()
		}
		// It runs, and writes to its caller's variables.
		<-j.done
		return j.err
	}
}

func (w *writer) enqueue(ctx context.Context, j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) isClosed() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.closed
}

func (w *writer) close() error {
	w.mu.Lock()
	first := !w.closed
	if first {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.exited
	if !first {
		return nil
	}
	return w.closeErr
}

// run is the writer's goroutine. Should a closure end it (runtime.Goexit, as
// testing's FailNow does), its batch fails and another goroutine goes on.
func (w *writer) run() {
	finished := false
	defer func() {
		if finished {
			return
		}
		w.fail(syncline.Errorf(syncline.CodeInternal, "a write of the same batch ended the writer's goroutine"))
		go w.run()
	}()
	for {
		w.commitBatch()
		j, ok := <-w.queue
		if !ok {
			break
		}
		w.gather(j)
	}
	finished = true
	w.closeErr = w.c.close()
	close(w.exited)
}

// gather takes what has queued up behind first. A batch is durable when any
// of its writes is, and that must be known before its transaction begins.
func (w *writer) gather(first *job) {
	w.waiting, w.durable = append(w.waiting, first), first.durable
	for len(w.waiting) < maxBatch {
		select {
		case j, ok := <-w.queue:
			if !ok {
				return
			}
			w.waiting = append(w.waiting, j)
			w.durable = w.durable || j.durable
		default:
			return
		}
	}
}

// commitBatch runs the gathered writes in as few transactions as the bounds
// allow.
func (w *writer) commitBatch() {
	began := time.Now()
	for len(w.waiting) > 0 {
		j := w.waiting[0]
		w.waiting[0] = nil
		w.waiting = w.waiting[1:]
		if !j.state.CompareAndSwap(jobWaiting, jobTaken) {
			continue // its caller gave up: it never runs
		}
		w.batch = append(w.batch, j)
		if err := w.begin(); err != nil {
			w.fail(err)
			continue
		}
		w.runOne(j)
		if w.c.broken != nil {
			w.fail(w.c.broken)
			continue
		}
		if time.Since(began) > maxBatchTime {
			w.commit()
			began = time.Now()
		}
	}
	w.commit()
	w.waiting = w.buffer[:0]
}

func (w *writer) begin() error {
	if w.open {
		return nil
	}
	w.c.broken = nil
	if w.durable != w.full {
		pragma := "PRAGMA synchronous=NORMAL"
		if w.durable {
			pragma = "PRAGMA synchronous=FULL"
		}
		if err := w.c.script(pragma); err != nil {
			return err
		}
		w.full = w.durable
	}
	if _, _, err := w.c.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	w.open = true
	return nil
}

// runOne runs one closure in a savepoint. Its error undoes its effects and
// nobody else's; it is told now only in j.err, and to its caller after the
// commit with everyone's, so that callers never see errors overtake.
func (w *writer) runOne(j *job) {
	w.updates.Add(1)
	seq := w.seq
	if _, _, err := w.c.exec("SAVEPOINT one"); err != nil {
		j.err = err
		return
	}
	began := time.Now()
	j.err = w.call(j.fn)
	if took := time.Since(began); took > slowWrite {
		w.opts.Logger.Warn("a write held the store", slog.Duration("took", took))
	}
	if j.err != nil {
		w.seq = seq
		if _, _, err := w.c.exec("ROLLBACK TO one"); err != nil && w.c.broken == nil {
			w.c.broken = fmt.Errorf("undo a write: %w", err)
			return
		}
	}
	if _, _, err := w.c.exec("RELEASE one"); err != nil && w.c.broken == nil {
		w.c.broken = fmt.Errorf("finish a write: %w", err)
	}
}

// call turns a panic of fn into an error.
func (w *writer) call(fn func(tx store.Tx) error) (err error) {
	t := &tx{reader: reader{c: w.c}, w: w}
	defer func() {
		t.reader.c = nil
		if p := recover(); p != nil {
			w.opts.Logger.Error("a write panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = syncline.Errorf(syncline.CodeInternal, "a write to the store panicked: %v", p)
		}
	}()
	return fn(t)
}

// commit commits the open transaction and tells the batch's callers.
func (w *writer) commit() {
	if len(w.batch) == 0 {
		return
	}
	if _, _, err := w.c.exec("COMMIT"); err != nil {
		w.fail(fmt.Errorf("commit: %w", err))
		return
	}
	w.open = false
	w.commits.Add(1)
	if w.full {
		w.durableCommits.Add(1)
	}
	w.position.Store(w.seq)
	w.settle()
}

// fail undoes the open transaction; every write of the batch gets the error.
func (w *writer) fail(err error) {
	if w.open {
		// SQLite may have rolled back by itself: then this fails, harmlessly.
		_ = w.c.script("ROLLBACK")
		w.open = false
	}
	w.c.broken = nil
	w.seq = w.position.Load()
	for _, j := range w.batch {
		if j.err == nil {
			j.err = err
		}
	}
	w.settle()
}

func (w *writer) settle() {
	for _, j := range w.batch {
		close(j.done)
	}
	clear(w.batch)
	w.batch = w.batch[:0]
}
