// Package supervise runs the loops of a process: it starts them, restarts one
// that fails, tells which are healthy, and stops them in ordered stages. It
// knows nothing of what the loops do.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"syncline/internal/clock"
)

// Loop is one loop of the process.
type Loop struct {
	Name string
	// Run runs until ctx ends and then returns. What it has begun by then may
	// finish under work, which ends when the stage's time is up. An error or a
	// panic before that restarts the loop; nil means that it has nothing more
	// to do.
	Run func(ctx, work context.Context) error
}

// Until makes a loop of one that has nothing to finish once ctx ends.
func Until(name string, run func(ctx context.Context) error) Loop {
	return Loop{Name: name, Run: func(ctx, _ context.Context) error { return run(ctx) }}
}

// Stage is a set of loops that are stopped together.
type Stage struct {
	Name string
	// Timeout is how long the loops have, from being told to stop, before the
	// context of their work ends too; 0 ends both at once. They then have
	// Grace to return.
	Timeout time.Duration
	Loops   []Loop
}

// Grace is how long the loops of a stage have to return once their work was
// ended. One that has not by then is given up: its name is in Run's error.
const Grace = 5 * time.Second

// The waits before restarts: minBackoff, doubling up to maxBackoff, and from
// the start again once a loop ran for steady.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	steady     = time.Minute
)

// Group is the loops of one process. It runs once.
type Group struct {
	clock  clock.Clock
	log    *slog.Logger
	stages []*stage
	stop   chan struct{} // closed by Stop
	once   sync.Once

	mu      sync.Mutex
	started bool
}

type stage struct {
	Stage
	loops        []*loop
	ctx, work    context.Context
	cancel, kill context.CancelFunc
}

// New returns a group whose stages stop in the order given, each before the
// next is told to. They start in the opposite order, so that what is
// downstream is there first.
func New(c clock.Clock, log *slog.Logger, stages ...Stage) *Group {
	g := &Group{clock: c, log: log, stop: make(chan struct{})}
	for _, s := range stages {
		st := &stage{Stage: s}
		for _, l := range s.Loops {
			st.loops = append(st.loops, &loop{Loop: l, done: make(chan struct{}), health: Health{Loop: l.Name, Stage: s.Name, State: Waiting}})
		}
		g.stages = append(g.stages, st)
	}
	return g
}

// Stop makes Run stop the loops and return; a Run that comes later starts
// nothing. It does not wait, and may be called any number of times.
func (g *Group) Stop() { g.once.Do(func() { close(g.stop) }) }

// Run starts the loops, waits until ctx ends or Stop is called, and stops them
// in order. The error names the loops that did not return in time; their
// goroutines still run.
func (g *Group) Run(ctx context.Context) error {
	g.mu.Lock()
	if g.started {
		g.mu.Unlock()
		return errors.New("supervise: a group runs once")
	}
	g.started = true
	g.mu.Unlock()
	if g.stopping(ctx) {
		return nil
	}
	base := context.WithoutCancel(ctx)
	for i := len(g.stages) - 1; i >= 0; i-- {
		g.startStage(base, g.stages[i])
	}
	select {
	case <-ctx.Done():
	case <-g.stop:
	}
	var left []string
	for _, s := range g.stages {
		left = append(left, g.stopStage(s)...)
	}
	if len(left) > 0 {
		return fmt.Errorf("supervise: did not stop in time: %s", strings.Join(left, ", "))
	}
	return nil
}

func (g *Group) stopping(ctx context.Context) bool {
	select {
	case <-g.stop:
		return true
	default:
		return ctx.Err() != nil
	}
}

func (g *Group) startStage(base context.Context, s *stage) {
	s.work, s.kill = context.WithCancel(base)
	s.ctx, s.cancel = context.WithCancel(s.work)
	for _, l := range s.loops {
		go g.keep(s, l)
	}
}

// stopStage returns the names of the loops that it gave up.
func (g *Group) stopStage(s *stage) (left []string) {
	began := g.clock.Now()
	defer s.kill()
	s.cancel()
	if open := g.wait(s.loops, s.Timeout); len(open) > 0 {
		if s.Timeout > 0 {
			g.log.Warn("a stage did not finish in time; its work is ended", "stage", s.Name, "timeout", s.Timeout, "loops", names(open))
		}
		s.kill()
		if open = g.wait(open, Grace); len(open) > 0 {
			left = names(open)
			g.log.Error("loops did not stop", "stage", s.Name, "loops", left)
		}
	}
	g.log.Debug("stage stopped", "stage", s.Name, "took", g.clock.Now().Sub(began))
	return left
}

// wait returns the loops that have not ended within d.
func (g *Group) wait(loops []*loop, d time.Duration) (open []*loop) {
	expired := g.clock.After(d)
	for i, l := range loops {
		select {
		case <-l.done:
			continue
		default:
		}
		select {
		case <-l.done:
		case <-expired:
			for _, l := range loops[i:] {
				select {
				case <-l.done:
				default:
					open = append(open, l)
				}
			}
			return open
		}
	}
	return nil
}

func names(loops []*loop) (list []string) {
	for _, l := range loops {
		list = append(list, l.Name)
	}
	return list
}

// keep runs a loop, again and again while it fails, until its stage stops.
func (g *Group) keep(s *stage, l *loop) {
	defer close(l.done)
	backoff := minBackoff
	for {
		began := g.clock.Now()
		l.running(began)
		err := l.call(s.ctx, s.work)
		now := g.clock.Now()
		if s.ctx.Err() != nil {
			if err != nil && !errors.Is(err, context.Canceled) {
				g.log.Warn("a loop failed while it stopped", "loop", l.Name, "err", err)
			}
			l.ended(Stopped, now)
			return
		}
		if err == nil {
			l.ended(Done, now)
			return
		}
		if now.Sub(began) >= steady {
			backoff = minBackoff
		}
		var p *panicError
		if errors.As(err, &p) {
			g.log.Error("a loop panicked; it is started again", "loop", l.Name, "err", err, "in", backoff, "stack", p.stack)
		} else {
			g.log.Error("a loop failed; it is started again", "loop", l.Name, "err", err, "in", backoff)
		}
		l.failed(err, now)
		select {
		case <-s.ctx.Done():
			l.ended(Stopped, g.clock.Now())
			return
		case <-g.clock.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

type panicError struct {
	value any
	stack string
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// call runs the loop once; a panic becomes an error.
func (l *loop) call(ctx, work context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, string(debug.Stack())}
		}
	}()
	return l.Run(ctx, work)
}
