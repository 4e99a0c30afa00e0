package postgres

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"syncline"
	"syncline/internal/store"
)

const (
	// maxAttempts is how often a closure runs whose transaction the server ends
	// to break a deadlock.
	maxAttempts = 6
	// retryDelay grows with each attempt, and is drawn anew each time.
	retryDelay = 5 * time.Millisecond
	// leftTime is for how long a closure runs on after its caller's context ended.
	leftTime = 3 * time.Second
)

// write is one call of Update. It has a goroutine of its own, because a closure
// may end the goroutine that runs it (runtime.Goexit, as testing's FailNow does).
type write struct {
	s      *Store
	pc     *pgxpool.Conn
	fn     func(tx store.Tx) error
	begin  []string
	ctx    context.Context // outlives the caller's
	cancel context.CancelFunc
	done   chan struct{}
	err    error // final when done is closed
}

var (
	beginDurable = []string{"BEGIN ISOLATION LEVEL READ COMMITTED"}
	beginRelaxed = append(beginDurable[:1:1], "SET LOCAL synchronous_commit = off")
)

func newWrite(ctx context.Context, s *Store, pc *pgxpool.Conn, d store.Durability, fn func(tx store.Tx) error) *write {
	w := &write{s: s, pc: pc, fn: fn, begin: beginDurable, done: make(chan struct{})}
	if d == store.Relaxed {
		w.begin = beginRelaxed
	}
	w.ctx, w.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return w
}

func (w *write) run() {
	w.err = syncline.Errorf(syncline.CodeInternal, "a write ended the goroutine that ran it")
	defer func() {
		w.cancel()
		w.pc.Release()
		close(w.done)
	}()
	for n := 1; ; n++ {
		again, err := w.attempt()
		if again && n < maxAttempts && w.ctx.Err() == nil {
			time.Sleep(rand.N(time.Duration(n) * retryDelay)) //nolint:gosec // no secret
			continue
		}
		w.err = err
		return
	}
}

// attempt runs the closure in one transaction. again says that the same may
// succeed when it runs once more.
func (w *write) attempt() (again bool, err error) {
	c := &conn{pc: w.pc, ctx: w.ctx, begin: w.begin}
	defer c.rollback() // unless it was committed
	err = w.call(c)
	if err == nil {
		err = c.broken // the closure did not pass it on
	}
	if err != nil {
		return isTransient(c.broken), err
	}
	if !c.open {
		return false, nil
	}
	if err = c.control(w.ctx, "COMMIT"); err == nil {
		c.open = false
		return false, nil
	}
	if w.ctx.Err() != nil {
		err = syncline.Errorf(syncline.CodeUnavailable, "the commit took too long after its caller had left, and may have happened: %w", err)
	}
	return isTransient(err), err
}

// call turns a panic of the closure into an error.
func (w *write) call(c *conn) (err error) {
	t := &tx{reader: reader{c: c}, clock: w.s.opts.Clock}
	defer func() {
		t.c = nil
		if p := recover(); p != nil {
			w.s.opts.Logger.Error("a write panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = syncline.Errorf(syncline.CodeInternal, "a write to the store panicked: %v", p)
		}
	}()
	return w.fn(t)
}
