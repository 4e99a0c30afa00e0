package worker

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// Options set up a pool. Zero fields take the default.
type Options struct {
	// Command makes the command of a worker process; nil runs workers in this
	// process, for tests. Its environment is replaced by a minimal one.
	Command func() *exec.Cmd
	// Setup, when there is one, is the first frame that a worker process gets.
	Setup []byte
	// Workers is how many workers one environment has at most; default 2, or
	// the number of CPUs when that is more.
	Workers int
	// Slots is how many calls one worker runs at a time; default 8.
	Slots int
	// IdleTimeout is after how long without a call a worker is stopped;
	// default 2 minutes.
	IdleTimeout time.Duration
	// Grace is how long a call that is to end may take before its worker is
	// killed; default 5 s.
	Grace time.Duration
	// Silence is how long a worker that has runs may leave a ping unanswered
	// before it is killed; default 30 s.
	Silence time.Duration
	// Memory is the most that one worker process may use in bytes; default 2 GiB.
	Memory int64
	Log    *slog.Logger
}

// Pool runs calls in workers.
type Pool struct {
	o Options

	mu     sync.Mutex
	closed bool
	envs   map[int64]*group
	alive  sync.WaitGroup
}

var _ fn.Runner = (*Pool)(nil)

// NewPool makes a pool. Workers are started when they are needed.
func NewPool(o Options) *Pool {
	if o.Workers == 0 {
		o.Workers = max(2, runtime.NumCPU())
	}
	if o.Slots == 0 {
		o.Slots = 8
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 2 * time.Minute
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Second
	}
	if o.Silence == 0 {
		o.Silence = 30 * time.Second
	}
	if o.Memory == 0 {
		o.Memory = 2 << 30
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Pool{o: o, envs: map[int64]*group{}}
}

// group is the workers of one environment.
type group struct {
	slots      []chan struct{} // every call holds one, by its depth
	background chan struct{}   // background calls hold one of these too
	workers    []*process      // nil where none runs
}

func (p *Pool) group(env int64) (*group, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "the server is stopping")
	}
	g := p.envs[env]
	if g == nil {
		n := p.o.Workers * p.o.Slots
		g = &group{
			slots:      make([]chan struct{}, fn.MaxDepth+1),
			background: make(chan struct{}, max(1, n-max(1, n/4))), // a quarter is left for webhooks
			workers:    make([]*process, p.o.Workers),
		}
		for depth := range g.slots {
			g.slots[depth] = make(chan struct{}, n)
		}
		p.envs[env] = g
	}
	return g, nil
}

// Run runs one call in a worker of its environment.
func (p *Pool) Run(ctx context.Context, call fn.Call, host fn.Host) (json.RawMessage, error) {
	g, err := p.group(call.EnvironmentID)
	if err != nil {
		return nil, err
	}
	if call.Background {
		if err := acquire(ctx, g.background); err != nil {
			return nil, err
		}
		defer func() { <-g.background }()
	}
	slots := g.slots[min(max(call.Depth, 0), fn.MaxDepth)]
	if err := acquire(ctx, slots); err != nil {
		return nil, err
	}
	defer func() { <-slots }()
	w, err := p.worker(g, call.WarmKey)
	if err != nil {
		return nil, err
	}
	return w.do(ctx, call, host)
}

func acquire(ctx context.Context, c chan struct{}) error {
	select {
	case c <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// worker chooses a worker and counts the call on it: the one that is likely to
// have the warm context, as long as it has room, else the one with most room.
func (p *Pool) worker(g *group, warmKey string) (*process, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "the server is stopping")
	}
	at := -1
	if warmKey != "" {
		h := fnv.New32a()
		h.Write([]byte(warmKey)) // never fails
		at = int(h.Sum32() % uint32(len(g.workers)))
		if w := g.workers[at]; w != nil && w.active >= p.o.Slots {
			at = -1
		}
	}
	if at < 0 {
		at = 0
		for i, w := range g.workers {
			if load(w) < load(g.workers[at]) {
				at = i
			}
		}
	}
	if g.workers[at] == nil {
		w, err := p.start(g, at)
		if err != nil {
			return nil, err
		}
		g.workers[at] = w
	}
	w := g.workers[at]
	w.active++
	if w.idle != nil {
		w.idle.Stop()
		w.idle = nil
	}
	return w, nil
}

// load orders workers: an idle one first, then one that would have to be
// started, then by what they do.
func load(w *process) int {
	switch {
	case w == nil:
		return 1
	case w.active == 0:
		return 0
	}
	return w.active + 1
}

// released notes that a call on w has ended.
func (p *Pool) released(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.active--
	if w.active == 0 && !p.closed && w.group.workers[w.slot] == w {
		w.idle = time.AfterFunc(p.o.IdleTimeout, func() {
			p.mu.Lock()
			idle := w.active == 0 && w.group.workers[w.slot] == w
			if idle {
				w.group.workers[w.slot] = nil
			}
			p.mu.Unlock()
			if idle {
				w.stop()
			}
		})
	}
}

// gone forgets a worker that died, so that the next call starts another.
func (p *Pool) gone(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.group.workers[w.slot] == w {
		w.group.workers[w.slot] = nil
	}
	if w.idle != nil {
		w.idle.Stop()
	}
}

// Close stops all workers and waits for them. Calls that still run end with
// an error; end them first.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	var all []*process
	for _, g := range p.envs {
		for i, w := range g.workers {
			if w != nil {
				all = append(all, w)
				g.workers[i] = nil
			}
		}
	}
	p.mu.Unlock()
	for _, w := range all {
		w.stop()
	}
	p.alive.Wait()
}
