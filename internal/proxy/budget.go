package proxy

import (
	"container/list"
	"context"
	"math"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
)

// Priority is who draws from a connection's budget before whom.
type Priority int8

// The priorities. The zero one is for requests that somebody waits for.
const (
	PriorityCall    Priority = iota // actions, on-event functions, requests through the HTTP API
	PriorityWebhook                 // fetches of webhook handlers: they are why records are fresh
	PriorityPoll                    // fetches of polls
)

// PriorityOf is the priority of the requests of a run.
func PriorityOf(k syncline.RunKind) Priority {
	switch k {
	case syncline.RunWebhook:
		return PriorityWebhook
	case syncline.RunPoll:
		return PriorityPoll
	}
	return PriorityCall
}

// background requests can wait for a limit to pass whatever they say about
// retries: nobody stands before a screen.
func (p Priority) background() bool { return p != PriorityCall }

// aging is by how much later a request of a lower priority counts as having
// come; so one that has waited this much longer goes first, and none waits for ever.
const aging = 15 * time.Second

// lead is how much earlier than it came a request counts as having come.
func (p Priority) lead() time.Duration {
	switch p {
	case PriorityWebhook:
		return 2 * aging
	case PriorityCall:
		return aging
	}
	return 0
}

// maxQueued bounds how many requests of one connection wait.
const maxQueued = 4096

// maxGates is how many connections' budgets are kept before those that stand
// still are looked for.
const maxGates = 4096

// budgets shares out what each connection's external API takes: how many
// requests at a time, how many in a second, and none while the API said that
// it takes none.
type budgets struct {
	concurrency int           // of one connection; more wait
	rate        float64       // requests a second of one connection; 0: no limit
	maxWait     time.Duration // longest pause that is waited for
	backoff     time.Duration // first pause where the API does not say how long
	clock       clock.Clock

	mu    sync.Mutex
	gates map[int64]*gate // by connection
}

// gate is one connection's budget. It is guarded by budgets.mu.
type gate struct {
	queues  [3]list.List // of *waiter, by priority
	waiting int
	running int
	polls   int // of the running ones
	// window is how many may run: one after a pause, and one more with each answer.
	window int
	// slot is when the next request would be due at an even rate.
	slot time.Time

	until   time.Time     // no request begins before
	told    time.Time     // when the API said to come back; it may be later than until, which probes
	paused  time.Time     // when the newest pause began
	strikes int           // refusals since the last success
	changed chan struct{} // closed when a pause begins
}

// waiter is a request that waits for its turn.
type waiter struct {
	arrived time.Time
	ready   chan struct{} // closed when it is its turn
	place   *list.Element
}

// turn is the right to make one request.
type turn struct {
	b        *budgets
	g        *gate
	id       int64
	priority Priority
	began    time.Time
}

// pause says that a request was not made, because the API has said that it
// takes none of the connection until at.
type pause struct{ at time.Time }

func newBudgets(c Config) *budgets {
	return &budgets{
		concurrency: c.ConnectionConcurrency, rate: c.ConnectionRate, maxWait: c.RetryCap, backoff: c.RetryBase,
		clock: c.Clock, gates: map[int64]*gate{},
	}
}

// enter waits for a turn. Requests of equal priority go in the order of
// arrived, which a retried request keeps. It returns a pause instead when the
// API takes no requests for longer than may be waited, which is not at all when
// patient is false. Errors are ctx's, and a HostError when too many wait.
// The id 0 has no budget; its turn is nil.
func (b *budgets) enter(ctx context.Context, id int64, p Priority, arrived time.Time, patient bool) (*turn, *pause, error) {
	if id == 0 {
		return nil, nil, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.gates[id]
	if g == nil {
		b.sweep()
		g = &gate{window: b.concurrency, changed: make(chan struct{})}
		b.gates[id] = g
	}
	now := b.clock.Now()
	if p := b.refuse(ctx, g, now, patient); p != nil {
		return nil, p, nil
	}
	t := &turn{b: b, g: g, id: id, priority: p}
	if g.waiting == 0 && b.free(g, p, now) {
		b.begin(g, p, now)
		t.began = now
		return t, nil, nil
	}
	if g.waiting >= maxQueued {
		return nil, nil, &fn.HostError{Code: syncline.CodeLimited, Name: "AxiosError", NetCode: "ERR_QUEUE_FULL",
			Message: sprintf("%d requests of this connection wait for the external API already; make fewer at a time", g.waiting)}
	}
	w := &waiter{arrived: arrived, ready: make(chan struct{})}
	b.queue(g, p, w)
	for {
		b.dispatch(g, now)
		select {
		case <-w.ready:
			t.began = now
			return t, nil, nil
		default:
		}
		var wake <-chan time.Time
		if d := b.next(g, now); d > 0 {
			wake = b.clock.After(d)
		}
		changed := g.changed
		b.mu.Unlock()
		select {
		case <-w.ready:
		case <-changed:
		case <-wake:
		case <-ctx.Done():
		}
		b.mu.Lock()
		now = b.clock.Now()
		select {
		case <-w.ready:
			t.began = now
			if ctx.Err() != nil {
				b.end(t)
				b.dispatch(g, now)
				return nil, nil, ctx.Err()
			}
			return t, nil, nil
		default:
		}
		refused := b.refuse(ctx, g, now, patient)
		if ctx.Err() != nil || refused != nil {
			g.queues[p].Remove(w.place)
			g.waiting--
			b.dispatch(g, now)
			b.drop(id, g, now)
			return nil, refused, ctx.Err()
		}
	}
}

// queue puts w where its arrival belongs: mostly at the end, before others when
// it has waited before.
func (b *budgets) queue(g *gate, p Priority, w *waiter) {
	g.waiting++
	q := &g.queues[p]
	for e := q.Back(); e != nil; e = e.Prev() {
		if !e.Value.(*waiter).arrived.After(w.arrived) {
			w.place = q.InsertAfter(w, e)
			return
		}
	}
	w.place = q.PushFront(w)
}

// refuse is the pause that a request cannot wait for, or nil.
func (b *budgets) refuse(ctx context.Context, g *gate, now time.Time, patient bool) *pause {
	if !g.until.After(now) {
		return nil
	}
	if !patient || g.told.Sub(now) > b.maxWait || !leavesRoom(ctx, g.until.Sub(now)) {
		return &pause{at: g.told}
	}
	return nil
}

// free reports whether a request of priority p may begin.
func (b *budgets) free(g *gate, p Priority, now time.Time) bool {
	if g.until.After(now) || g.running >= g.window || b.ahead(g, now) > 0 {
		return false
	}
	// Polls leave a quarter, so that a webhook's fetch finds a place at once.
	return p != PriorityPoll || g.polls < g.window-g.window/4
}

// ahead is how long the rate makes the next request wait. A second's worth may
// be made at once.
func (b *budgets) ahead(g *gate, now time.Time) time.Duration {
	if b.rate <= 0 || !g.slot.After(now) {
		return 0
	}
	burst := time.Duration(float64(time.Second) * math.Max(0, b.rate-1) / b.rate)
	return max(0, g.slot.Sub(now)-burst)
}

func (b *budgets) begin(g *gate, p Priority, now time.Time) {
	g.running++
	if p == PriorityPoll {
		g.polls++
	}
	if b.rate > 0 {
		if g.slot.Before(now) {
			g.slot = now
		}
		g.slot = g.slot.Add(time.Duration(float64(time.Second) / b.rate))
	}
}

// end gives the place of a turn back.
func (b *budgets) end(t *turn) {
	t.g.running--
	if t.priority == PriorityPoll {
		t.g.polls--
	}
}

// next is how long nothing can begin for a reason that time takes away.
func (b *budgets) next(g *gate, now time.Time) time.Duration {
	return max(g.until.Sub(now), b.ahead(g, now), 0)
}

// dispatch lets requests begin, as many as may.
func (b *budgets) dispatch(g *gate, now time.Time) {
	for g.waiting > 0 {
		best, when := Priority(-1), time.Time{}
		for p := range g.queues {
			head := g.queues[p].Front()
			if head == nil || !b.free(g, Priority(p), now) {
				continue
			}
			counts := head.Value.(*waiter).arrived.Add(-Priority(p).lead())
			if best < 0 || counts.Before(when) {
				best, when = Priority(p), counts
			}
		}
		if best < 0 {
			return
		}
		q := &g.queues[best]
		w := q.Remove(q.Front()).(*waiter)
		g.waiting--
		b.begin(g, best, now)
		close(w.ready)
	}
}

// outcome is what an answer says about the budget.
type outcome struct {
	answered bool      // by the API, and not with a 5xx
	limited  bool      // refused because of too many requests
	spent    bool      // the API's headers say that this was the last one
	at       time.Time // when to come back; zero when the API did not say
}

// leave ends a turn. What the API said holds for all requests of the
// connection: they wait together, and begin again one by one.
func (t *turn) leave(o outcome) {
	if t == nil {
		return
	}
	b, g := t.b, t.g
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	b.end(t)
	known := t.began.Before(g.paused) // it was made before the newest pause: one refusal of several
	switch {
	case o.limited:
		if !known || g.strikes == 0 {
			g.strikes++
		}
		at := o.at
		if !at.After(now) {
			if known {
				at = g.told
			} else {
				at = now.Add(doubled(b.backoff, g.strikes, b.maxWait))
			}
		}
		b.pause(g, now, at)
	case o.spent && o.at.After(now):
		b.pause(g, now, o.at)
	case o.answered && !known:
		g.strikes = 0
		g.window = min(g.window+1, b.concurrency)
	}
	b.dispatch(g, now)
	b.drop(t.id, g, now)
}

// pause holds the connection's requests until at. A pause that is longer than
// may be waited for is probed: what a header says may be wrong.
func (b *budgets) pause(g *gate, now, at time.Time) {
	if until := now.Add(b.maxWait); at.After(until) {
		g.until = until
	} else if at.After(g.until) {
		g.until = at
	}
	if at.After(g.told) {
		g.told = at
	}
	if g.until.After(now) {
		g.paused, g.window = now, 1
		close(g.changed)
		g.changed = make(chan struct{})
	}
}

// idle reports whether a gate is as a new one would be.
func (b *budgets) idle(g *gate, now time.Time) bool {
	return g.running == 0 && g.waiting == 0 && g.window == b.concurrency && !g.until.After(now) && !g.slot.After(now)
}

func (b *budgets) drop(id int64, g *gate, now time.Time) {
	if b.idle(g, now) && b.gates[id] == g {
		delete(b.gates, id)
	}
}

// sweep forgets connections that nothing was asked of for long.
func (b *budgets) sweep() {
	if len(b.gates) < maxGates {
		return
	}
	now := b.clock.Now()
	for id, g := range b.gates {
		if g.running == 0 && g.waiting == 0 && !g.until.After(now) {
			delete(b.gates, id)
		}
	}
}

// doubled is the n-th of waits that begin with first and double up to most.
func doubled(first time.Duration, n int, most time.Duration) time.Duration {
	d := first
	for range n - 1 {
		if d *= 2; d >= most {
			return most
		}
	}
	return min(d, most)
}
