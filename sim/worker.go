package sim

import (
	"context"
	"errors"
	"iter"
	"time"

	"syncline"
	"syncline/internal/store"
)

// worker is something that takes steps of its own: a goroutine of the product,
// as a coroutine. It stands at a point between two of them.
type worker struct {
	name string
	next func() (point, bool)
	stop func()
	at   point
	pass *pass
}

// pass is what a coroutine stands still with.
type pass struct {
	w     *world
	yield func(point) bool
	err   error // it is told to end
	from  point // where it is in a request: of a poll or of a handler
}

var errCrash = errors.New("the process crashed")

type passKey struct{}

// at lets others go on. The error says that the worker ends here.
func (p *pass) at(where point) error {
	if p.err == nil && p.w.choices.pick(3) > 0 {
		if !p.yield(where) {
			p.err = errCrash
		}
	}
	return p.err
}

// spawn makes a worker. Its body does nothing before the first step.
func (w *world) spawn(ctx context.Context, name string, from point, body func(ctx context.Context, p *pass)) *worker {
	k := &worker{name: name, pass: &pass{w: w, from: from}}
	k.next, k.stop = iter.Pull(func(yield func(point) bool) {
		k.pass.yield = yield
		body(context.WithValue(ctx, passKey{}, k.pass), k.pass)
	})
	return k
}

// step lets a worker go on to where it stands next, and returns nil when it ended.
func (w *world) step(k *worker) *worker {
	w.acting = k
	at, more := k.next()
	w.acting = nil
	w.effect = nil
	if !more {
		return nil
	}
	k.at = at
	return k
}

// each calls fn for every worker that is at work; what fn returns takes its place.
func (w *world) each(fn func(k *worker) *worker) {
	for _, in := range w.instances {
		for i, k := range in.polls {
			if k != nil {
				in.polls[i] = fn(k)
			}
		}
	}
	for i, k := range w.lanes {
		if k != nil {
			w.lanes[i] = fn(k)
		}
	}
}

func (w *world) stopAll() {
	w.each(func(k *worker) *worker { k.stop(); return nil })
}

// crash ends the process and starts it again.
func (w *world) crash(ctx context.Context) {
	n := 0
	w.each(func(k *worker) *worker {
		n++
		w.counts[crashAt+Count(k.at)]++
		w.tell("the process crashes: %s ends %s", k.name, k.at)
		k.stop()
		return nil
	})
	if n == 0 {
		return
	}
	w.counts[Crashes]++
	w.restart(ctx)
}

// restart is what a process does first: it frees every lease and ends the runs
// that the one before left.
func (w *world) restart(ctx context.Context) {
	err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.ReleaseLeases() })
	if err != nil {
		w.fail("error", "restart: %v", err)
	}
	w.reap(ctx)
}

// reap ends the runs whose process holds no lease for them any more.
func (w *world) reap(ctx context.Context) {
	n, err := w.polls.Reap(ctx)
	if err != nil {
		w.fail("error", "reap: %v", err)
	}
	if n > 0 {
		w.counts[Reaped] += n
		w.tell("%d runs of the dead are ended", n)
	}
}

// hang makes one worker never go on. Its lease ends by the clock.
func (w *world) hang() {
	n := 0
	w.each(func(k *worker) *worker { n++; return k })
	if n == 0 {
		return
	}
	victim := w.choices.pick(n)
	w.each(func(k *worker) *worker {
		if victim--; victim != -1 {
			return k
		}
		w.counts[Hung]++
		w.tell("%s hangs for good %s", k.name, k.at)
		k.stop()
		return nil
	})
	w.clock.Advance(10 * time.Minute)
}

// cancel ends the polls of an instance that was reset; one that is in another
// process learns it with its next commit.
func (w *world) cancel(id int64) {
	for _, in := range w.instances {
		if in.id == id && in.polls[0] != nil {
			in.polls[0].pass.err = errMoved
		}
	}
}

var errMoved = syncline.Errorf(syncline.CodeFenced, "the sync was reset or taken over while it ran")

// unavailable is what the store says when it went away: workers live with it.
func unavailable(err error) bool { return syncline.CodeOf(err) == syncline.CodeUnavailable }

func fenced(err error) bool { return syncline.CodeOf(err) == syncline.CodeFenced }
