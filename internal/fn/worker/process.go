package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// MemoryVariable tells a worker process its memory limit in bytes.
const MemoryVariable = "SYNCLINE_WORKER_MEMORY"

// ExitMemory is the exit code of a worker that reached its memory limit.
const ExitMemory = 86

// errHeap is the end of a Node.js process that could not make room for one
// value: then the whole process ends, not the thread alone.
var errHeap = errors.New("the worker process had no memory left")

// process is the server's view of one worker.
type process struct {
	pool  *Pool
	group *group
	slot  int
	out   *frameWriter
	stdin io.Closer
	kill  func()
	dead  chan struct{} // closed when it is gone; why is set then
	why   error

	active int         // guarded by the pool
	idle   *time.Timer // guarded by the pool

	frames atomic.Int64 // how many it sent
	silent atomic.Bool  // it was killed because it sent none

	mu   sync.Mutex
	last uint32
	runs map[uint32]*run
}

// run is a call that a worker executes.
type run struct {
	ctx  context.Context
	call fn.Call
	host fn.Host
	done chan answer
	asks sync.WaitGroup
}

// start starts the worker of a slot.
func (p *Pool) start(g *group, slot int) (*process, error) {
	w := &process{pool: p, group: g, slot: slot, dead: make(chan struct{}), runs: map[uint32]*run{}}
	var stdout io.Reader
	var wait func() error
	if p.o.Command == nil {
		stdout, wait = w.inProcess()
	} else {
		var err error
		if stdout, wait, err = w.spawn(p.o); err != nil {
			return nil, syncline.Errorf(syncline.CodeWorkerLost, "cannot start a worker process: %w", err)
		}
	}
	p.alive.Go(func() {
		err := w.read(bufio.NewReaderSize(stdout, 64<<10))
		w.kill()
		// What it said wrong is why it was killed.
		if exit := wait(); exit != nil && err == nil {
			err = exit
		}
		if w.silent.Load() {
			err = fmt.Errorf("the worker process did not answer for %s and was killed", p.o.Silence)
		}
		w.end(err)
	})
	p.alive.Go(w.listen)
	return w, nil
}

// listen kills the worker when it has runs and does not answer: it hangs as a
// whole, beyond what the limits of runs see.
func (w *process) listen() {
	tick := time.NewTicker(w.pool.o.Silence / 4)
	defer tick.Stop()
	var pinged time.Time // when the ping was sent that has no answer yet
	var before int64     // frames it had sent by then
	for {
		select {
		case <-w.dead:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		busy := len(w.runs) > 0
		w.mu.Unlock()
		switch frames := w.frames.Load(); {
		case !busy:
			pinged = time.Time{}
		case pinged.IsZero() || frames != before:
			pinged, before = time.Now(), frames
			// The pipe may be full: then the ping waits, and time runs.
			w.pool.alive.Go(func() { _ = w.out.write(kindPing, 0) })
		case time.Since(pinged) > w.pool.o.Silence:
			w.silent.Store(true)
			w.destroy()
			return
		}
	}
}

// inProcess runs the worker's loop in this process.
func (w *process) inProcess() (io.Reader, func() error) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := Serve(ctx, inR, outW)
		outW.Close()
		inR.Close()
		done <- err
	}()
	w.out, w.stdin = newFrameWriter(inW), inW
	w.kill = func() { cancel(); inW.Close(); outR.Close() }
	return outR, func() error { return <-done }
}

// spawn starts a worker process. It gets nothing of the server's environment:
// functions must not find secrets there.
func (w *process) spawn(o Options) (io.Reader, func() error, error) {
	cmd := o.Command()
	cmd.Env = []string{"TZ=UTC", MemoryVariable + "=" + strconv.FormatInt(o.Memory, 10)}
	var stderr firstBytes
	cmd.Stderr = &stderr
	ownGroup(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	w.out, w.stdin = newFrameWriter(stdin), stdin
	w.kill = sync.OnceFunc(func() { killGroup(cmd) })
	if o.Setup != nil {
		// A process that dies at once breaks the pipe: the reader notices.
		w.pool.alive.Go(func() { _ = w.out.write(kindSetup, 0, o.Setup) })
	}
	return stdout, func() error {
		err := cmd.Wait()
		switch code := cmd.ProcessState.ExitCode(); {
		case err == nil:
			return nil
		case code == ExitMemory:
			return fmt.Errorf("the worker process reached its memory limit of %d MiB", o.Memory>>20)
		case stderr.has("heap out of memory"):
			return fmt.Errorf("%w: %w", errHeap, err)
		case stderr.String() != "":
			return fmt.Errorf("the worker process ended with %w: %s", err, stderr.String())
		}
		return fmt.Errorf("the worker process ended with %w", err)
	}, nil
}

// stop ends the worker: its input ends, and what does not end by itself is
// killed after the grace.
func (w *process) stop() {
	w.stdin.Close()
	select {
	case <-w.dead:
	case <-time.After(w.pool.o.Grace):
		w.kill()
		<-w.dead
	}
}

// destroy ends the worker at once; no further run is given to it.
func (w *process) destroy() {
	w.pool.gone(w)
	w.kill()
}

// read handles what the worker says until it says no more.
func (w *process) read(in *bufio.Reader) error {
	for {
		f, err := readFrame(in)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
				return nil
			}
			return fmt.Errorf("the worker sent what is no frame: %w", err)
		}
		w.frames.Add(1)
		if f.kind == kindPong {
			continue
		}
		if f.kind == kindHello {
			var hello struct{ Protocol int }
			if err := json.Unmarshal(f.payload, &hello); err != nil || hello.Protocol != protocol {
				return fmt.Errorf("the worker speaks protocol %d, not %d: is it another version?", hello.Protocol, protocol)
			}
			continue
		}
		w.mu.Lock()
		r := w.runs[f.run]
		w.mu.Unlock()
		if r == nil {
			continue // it has been given up
		}
		switch f.kind {
		case kindLog:
			var l syncline.LogLine
			if json.Unmarshal(f.payload, &l) == nil {
				r.host.Log(l)
			}
		case kindAsk:
			if err := w.asked(f.run, r, f.payload); err != nil {
				return err
			}
		case kindDone:
			if len(f.payload) == 0 {
				return errors.New("the worker sent a result that is cut off")
			}
			a := answer{data: f.payload[1:]}
			if f.payload[0] != 0 {
				a = answer{err: decodeError(f.payload[1:])}
			}
			r.done <- a
		default:
			return fmt.Errorf("the worker sent an unexpected frame of type %d", f.kind)
		}
	}
}

// asked answers a host call, beside others.
func (w *process) asked(id uint32, r *run, p []byte) error {
	if len(p) < 5 || len(p) < 5+int(p[4]) {
		return errors.New("the worker sent a host call that is cut off")
	}
	ask, method, args := p[:4], string(p[5:5+int(p[4])]), p[5+int(p[4]):]
	r.asks.Go(func() {
		var out []byte
		var err error
		if method == methodBundle {
			out, err = r.source(args)
		} else {
			out, err = r.host.Call(r.ctx, method, args)
		}
		if err == nil {
			err = w.out.write(kindAnswer, id, ask, []byte{0}, out)
			if err == nil || syncline.CodeOf(err) != syncline.CodeTooLarge {
				return // when the pipe is broken the reader notices
			}
		}
		_ = w.out.write(kindAnswer, id, ask, []byte{1}, encodeError(err))
	})
	return nil
}

// source is the bundle of a run, or the library that it continues when args
// name one.
func (r *run) source(args []byte) ([]byte, error) {
	if len(args) == 0 {
		return r.call.Bundle(r.ctx)
	}
	var hash string
	if err := json.Unmarshal(args, &hash); err != nil || r.call.Library == nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "the worker asked for a library that there is not: %s", args)
	}
	return r.call.Library(r.ctx, hash)
}

// end fails the runs of a worker that is gone.
func (w *process) end(err error) {
	w.pool.gone(w)
	if err == nil {
		err = errors.New("the worker process ended")
	}
	w.mu.Lock()
	w.why = &syncline.Error{Code: syncline.CodeWorkerLost, Message: "the run was lost: " + err.Error()}
	lost := len(w.runs)
	if lost == 1 && errors.Is(err, errHeap) {
		for _, r := range w.runs { // nobody else's
			w.why = syncline.Errorf(syncline.CodeLimit, "the run used more than its %d MiB of memory", r.call.Limits.Defaults().Memory>>20).WithField(fn.LimitMemory).
				WithHint("save records page by page instead of collecting them, or raise --run-memory-limit")
		}
	}
	w.mu.Unlock()
	if lost > 0 {
		w.pool.o.Log.Warn("a worker died", "runs", lost, "err", err)
	}
	close(w.dead)
}

// do executes one call.
func (w *process) do(ctx context.Context, call fn.Call, host fn.Host) (json.RawMessage, error) {
	defer w.pool.released(w)
	limits := call.Limits.Defaults()
	headJSON, err := json.Marshal(runHead{
		Entry: call.Entry, RunID: call.RunID, BundleHash: call.BundleHash, Context: call.Context, Limits: limits, WarmKey: call.WarmKey,
	})
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "encode a call: %w", err)
	}
	asks, cancelAsks := context.WithCancelCause(ctx)
	r := &run{ctx: asks, call: call, host: host, done: make(chan answer, 1)}
	w.mu.Lock()
	w.last++
	id := w.last
	w.runs[id] = r
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.runs, id)
		w.mu.Unlock()
		// No host call outlives its run: its session is about to commit.
		cancelAsks(errors.New("the run has ended"))
		r.asks.Wait()
	}()
	if err := w.out.write(kindRun, id, u32(uint32(len(headJSON))), headJSON, call.Input); err != nil {
		return nil, w.lost(err)
	}
	overrun := time.NewTimer(limits.Wall + w.pool.o.Grace)
	defer overrun.Stop()
	select {
	case a := <-r.done:
		return a.data, a.err
	case <-w.dead:
		return w.lastWord(r)
	case <-overrun.C:
		w.destroy()
		return nil, syncline.Errorf(syncline.CodeLimit, "the run took longer than %s and did not end when asked; its worker was killed", limits.Wall).WithField(fn.LimitWall)
	case <-ctx.Done():
	}
	_ = w.out.write(kindCancel, id)
	grace := time.NewTimer(w.pool.o.Grace)
	defer grace.Stop()
	select {
	case <-r.done:
	case <-w.dead:
	case <-grace.C:
		w.destroy()
	}
	return nil, context.Cause(ctx)
}

// lastWord is the result that came in just before the worker died, if any.
func (w *process) lastWord(r *run) (json.RawMessage, error) {
	select {
	case a := <-r.done:
		return a.data, a.err
	default:
		return nil, w.why
	}
}

func (w *process) lost(err error) error {
	select {
	case <-w.dead:
		return w.why
	case <-time.After(w.pool.o.Grace):
		return syncline.Errorf(syncline.CodeWorkerLost, "the run was lost: %w", err)
	}
}

// firstBytes keeps the beginning of what a worker writes to standard error.
type firstBytes struct {
	mu sync.Mutex
	b  []byte
}

func (t *firstBytes) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	const keep = 4 << 10
	// The beginning says what happened; a crash's stack follows.
	if len(t.b) > keep {
		t.b = t.b[:keep]
	}
	return len(p), nil
}

func (t *firstBytes) has(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Contains(t.b, []byte(text))
}

func (t *firstBytes) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	first, _, _ := bytes.Cut(bytes.TrimSpace(t.b), []byte("\n"))
	return strings.ToValidUTF8(string(first), "")
}
