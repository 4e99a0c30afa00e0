package postgres

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// state is what is known of the whole log.
type state struct {
	last int64 // the newest position
	used int64 // bytes
}

const (
	// watchEvery is how soon appends of other processes are noticed.
	watchEvery = 50 * time.Millisecond
	// watchAgain is when it is tried again after the database did not answer.
	watchAgain = time.Second
	// stateTime bounds a reading of the state that several callers share.
	stateTime = 10 * time.Second
)

// stateSQL reads the ends of two primary keys.
const stateSQL = `SELECT greatest(p.position, e.position), greatest(p.total, e.total) - p.size
	FROM inbox_purged p LEFT JOIN LATERAL (SELECT position, total FROM inbox_entries ORDER BY position DESC LIMIT 1) e ON true
	WHERE p.id = 1`

func (l *Log) readState(ctx context.Context) (s state, err error) {
	err = l.reading(ctx, l.asides, func(pc *pgxpool.Conn) (again bool, err error) {
		if err := pc.QueryRow(ctx, stateSQL).Scan(&s.last, &s.used); err != nil {
			return true, failed(ctx, err)
		}
		return false, nil
	})
	if err == nil {
		l.notice(s)
	}
	return s, err
}

// notice takes note of a state that was committed, and wakes who waits for an
// append. One that is older than what is known is passed over: with the same
// newest position, the log can only have become smaller.
func (l *Log) notice(s state) {
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	switch {
	case s.last > l.seen.last:
		l.seen = s
		close(l.appended)
		l.appended = make(chan struct{})
		l.awaited = false
	case s.last == l.seen.last:
		l.seen.used = min(l.seen.used, s.used)
	}
}

func (l *Log) used() int64 {
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	return l.seen.used
}

// Last is the position of the newest entry, whichever process appended it. It
// reads one row; calls at the same time share the reading.
func (l *Log) Last(ctx context.Context) (int64, error) {
	s, err := l.states.get(ctx)
	return s.last, err
}

// Appended returns a channel that is closed at the next append. Appends of
// other processes are noticed within 50 milliseconds while the database answers.
func (l *Log) Appended() <-chan struct{} {
	l.seenMu.Lock()
	defer l.seenMu.Unlock()
	l.awaited = true
	return l.appended
}

// watch looks for appends of other processes while somebody waits for one. It
// asks rather than being told: a NOTIFY would make commits wait for those of
// everyone else on the server who sends one.
func (l *Log) watch(ctx context.Context) {
	defer close(l.watched)
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		next := watchEvery
		l.seenMu.Lock()
		awaited := l.awaited
		l.seenMu.Unlock()
		if awaited {
			if _, err := l.states.get(ctx); err != nil {
				next = watchAgain
			}
		}
		timer.Reset(next)
	}
}

// coalesced answers calls that come at the same time with one reading. A call
// is only answered with a reading that began after it.
type coalesced struct {
	read func(ctx context.Context) (state, error)

	mu      sync.Mutex
	next    *reading // has not begun
	running bool
}

type reading struct {
	done  chan struct{} // closed when the rest is final
	value state
	err   error
}

func (c *coalesced) get(ctx context.Context) (state, error) {
	if err := ctx.Err(); err != nil {
		return state{}, err
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
		return state{}, ctx.Err()
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
		ctx, cancel := context.WithTimeout(context.Background(), stateTime)
		r.value, r.err = c.read(ctx)
		cancel()
		if errors.Is(r.err, context.DeadlineExceeded) { // ours, not that of a caller
			r.err = late(r.err)
		}
		close(r.done)
	}
}
