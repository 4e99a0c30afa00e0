package gofn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// grace is how long a handler has to return once its time is over.
const grace = 2 * time.Second

// maxAbandoned is how many calls of one function may run on after their time is
// over, before it is not called any more.
const maxAbandoned = 8

// Runner runs the functions of a registry, and hands calls for other engines to
// Next.
type Runner struct {
	Registry *Registry
	Next     fn.Runner
	// Grace is how long a handler has to return once its time is over; 0 is 2
	// seconds.
	Grace time.Duration
}

var _ fn.Runner = (*Runner)(nil)

// Run executes one call. A version that this process does not have is
// worker_lost: another process may have it.
func (r *Runner) Run(ctx context.Context, call fn.Call, host fn.Host) (json.RawMessage, error) {
	if call.Engine != syncline.EngineGo {
		return r.Next.Run(ctx, call, host)
	}
	f := r.Registry.find(call.BundleHash)
	if f == nil {
		return nil, syncline.Errorf(syncline.CodeWorkerLost, "this process does not have the deployed version of the Go function %s", call.Context.Function).
			WithHint("it is compiled into another build: run a process of that build, or restart one that has the function, which deploys its own version")
	}
	handler := f.Handlers[call.Entry]
	if handler == nil {
		return nil, &fn.ScriptError{Name: "Error", Message: fmt.Sprintf("the function has no %s", call.Entry)}
	}
	if err := f.enter(call.Context.Function); err != nil {
		return nil, err
	}
	limits := call.Limits.Defaults()
	wall, stopWall := context.WithTimeoutCause(ctx, limits.Wall, wallError(limits))
	defer stopWall()
	runCtx, cancel := context.WithCancelCause(wall)
	defer cancel(nil)
	s := newSession(runCtx, cancel, &call, limits, host)

	done := make(chan outcome, 1)
	go func() { f.call(runCtx, handler, s, done) }()
	out, ended := r.wait(runCtx, done)
	if !ended {
		f.abandon(done)
	}
	exceeded, late := s.close()
	switch {
	case exceeded != nil:
		return nil, exceeded
	case !ended:
		return nil, stuckError(context.Cause(runCtx))
	case out.err != nil && runCtx.Err() != nil && out.panicked == "":
		// Whatever it made of its context's end, that is why it failed.
		return nil, context.Cause(runCtx)
	case out.err != nil:
		return nil, f.thrown(out)
	case late != nil && runCtx.Err() != nil:
		return nil, context.Cause(runCtx)
	case late != nil:
		return nil, f.thrown(outcome{err: fmt.Errorf("a call that was under way when the function returned failed: %w", late)})
	}
	return encode(out.value, limits)
}

// outcome is what came of a handler.
type outcome struct {
	value    any
	err      error
	panicked string // the stack
}

func (r *Runner) wait(ctx context.Context, done <-chan outcome) (outcome, bool) {
	select {
	case out := <-done:
		return out, true
	case <-ctx.Done():
	}
	d := r.Grace
	if d == 0 {
		d = grace
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case out := <-done:
		return out, true
	case <-t.C:
		return outcome{}, false
	}
}

// call runs the handler on the goroutine that is its own.
func (f *entry) call(ctx context.Context, h Handler, s *Session, done chan<- outcome) {
	out := outcome{err: errors.New("the function ended its goroutine (runtime.Goexit) instead of returning")}
	defer func() {
		if v := recover(); v != nil {
			err, ok := v.(error)
			if !ok {
				err = fmt.Errorf("%v", v)
			}
			out = outcome{err: err, panicked: stack(debug.Stack())}
		}
		done <- out
	}()
	value, err := h(ctx, s)
	out = outcome{value: value, err: err}
}

// enter refuses a function whose earlier calls do not end.
func (f *entry) enter(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.abandoned >= maxAbandoned {
		return syncline.Errorf(syncline.CodeLimit, "%d earlier calls of %s still run though their time is over", f.abandoned, name).
			WithHint("code in Go cannot be stopped from outside: make it return when its context ends, then restart the server with it")
	}
	return nil
}

// abandon counts a call that goes on after its time, until it ends.
func (f *entry) abandon(done <-chan outcome) {
	f.mu.Lock()
	f.abandoned++
	f.mu.Unlock()
	go func() {
		<-done
		f.mu.Lock()
		f.abandoned--
		f.mu.Unlock()
	}()
}

// thrown is a handler's error as the dispatcher knows errors of functions.
func (f *entry) thrown(out outcome) error {
	e := &fn.ScriptError{Name: "Error", Message: out.err.Error()}
	if f.Describe != nil {
		e = f.Describe(out.err)
	}
	if out.panicked != "" {
		e.Name, e.Stack = "panic", out.panicked
	}
	return e
}

func encode(value any, limits fn.Limits) (json.RawMessage, error) {
	out, err := encodeJSON(value)
	if err != nil {
		return nil, &fn.ScriptError{Name: "Error", Message: "what the function returned cannot be written as JSON: " + err.Error()}
	}
	if int64(len(out)) > limits.Output {
		return nil, syncline.Errorf(syncline.CodeLimit, "the function returned %d bytes; the limit is %d", len(out), limits.Output).WithField(fn.LimitOutput)
	}
	return out, nil
}

func wallError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run took longer than %s", limits.Wall).WithField(fn.LimitWall).
		WithHint("save checkpoints, so that the next run goes on from there, or raise the limit (--poll-wall-limit, --webhook-wall-limit)")
}

// stuckError adds to why a call was ended that it was not heard.
func stuckError(cause error) error {
	var e *syncline.Error
	if errors.As(cause, &e) && e.Code == syncline.CodeLimit {
		return syncline.Errorf(e.Code, "%s, and the function still runs: it does not heed its context", e.Message).
			WithHint("pass ctx on to what waits, and look at ctx.Err() in long loops: code in Go cannot be stopped from outside")
	}
	return cause
}

// stack is what of a panic's stack tells of the function: the frames between
// the panic and this package.
func stack(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var out []string
	begun := false
	for i := 1; i+1 < len(lines); i += 2 { // the first line names the goroutine
		name, file := lines[i], strings.TrimSpace(lines[i+1])
		if strings.HasPrefix(name, "panic(") || strings.HasPrefix(name, "runtime.") {
			begun, out = true, nil // what was before is how the panic was made and met
			continue
		}
		if begun && strings.HasPrefix(name, "syncline/internal/fn/gofn.") {
			break
		}
		if begun {
			file, _, _ = strings.Cut(file, " +0x")
			if at := strings.LastIndexByte(name, '('); at > 0 {
				name = name[:at]
			}
			out = append(out, fmt.Sprintf("at %s (%s)", name, file))
		}
	}
	return strings.Join(out, "\n")
}
