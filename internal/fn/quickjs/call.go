package quickjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"modernc.org/quickjs"

	"syncline"
	"syncline/internal/fn"
)

// call is one call in a context. Its methods run on the goroutine that runs the
// context; only results arrive from others, through the channel.
type call struct {
	vm     *vm
	ctx    context.Context
	limits fn.Limits
	host   fn.Host

	results chan result
	asked   sync.WaitGroup
	pending int                 // host calls whose results will still arrive
	timers  map[int64]time.Time // when each is due
	calls   int
	lines   int
	// inFlight is how many bytes of arguments the pending calls hold.
	inFlight int64

	cpu   time.Duration
	done  bool
	value json.RawMessage
	err   error
}

// result is the outcome of a host call ("ok", "error") or a timer ("timer").
type result struct {
	id   int64
	kind string
	text string
	sent int64 // bytes of the call's arguments
}

func newCallOf(ctx context.Context, v *vm, limits fn.Limits, host fn.Host) *call {
	return &call{vm: v, ctx: ctx, limits: limits, host: host, results: make(chan result), timers: map[int64]time.Time{}}
}

// run executes one call to its end: JavaScript runs until it waits, then the
// next result is handed over, and so on.
func (v *vm) run(ctx context.Context, c fn.Call, limits fn.Limits, host fn.Host) (json.RawMessage, error) {
	info, err := json.Marshal(c.Context)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "encode the call's context: %w", err)
	}
	runCtx, cancel := context.WithTimeoutCause(ctx, limits.Wall, wallError(limits))
	k := newCallOf(runCtx, v, limits, host)
	v.call = k
	v.calls++
	stop := context.AfterFunc(runCtx, v.js.Interrupt)
	defer func() {
		if !stop() {
			v.broken = true
		}
		cancel()
		k.asked.Wait() // host calls see their context end
		v.call = nil
	}()
	if k.enter(func() error {
		_, err := v.runFn.Call(quickjs.UndefinedValue, string(c.Entry), string(info), string(c.Input))
		return err
	}) {
		k.loop()
	}
	if k.err != nil && syncline.CodeOf(k.err) == syncline.CodeLimit {
		v.broken = true
	}
	return k.value, k.err
}

func (k *call) loop() {
	for {
		if !k.enter(func() error { _, err := k.vm.js.ExecutePendingJobs(); return err }) || k.done {
			return
		}
		if k.pending == 0 && len(k.timers) == 0 {
			k.vm.broken = true
			k.err = &fn.ScriptError{Name: "Error", Message: "the function waits for a promise that never settles: nothing is left that could settle it"}
			return
		}
		r, ok := k.wait()
		if !ok {
			k.vm.broken = true
			k.err = context.Cause(k.ctx)
			return
		}
		if !k.enter(func() error {
			_, err := k.vm.settleFn.Call(quickjs.UndefinedValue, r.id, r.kind, r.text)
			return err
		}) {
			return
		}
	}
}

// wait waits for the next result or timer; false when the call's time is over.
func (k *call) wait() (result, bool) {
	var due <-chan time.Time
	id, at, ok := k.nextTimer()
	if ok {
		t := time.NewTimer(time.Until(at))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-k.ctx.Done():
		return result{}, false
	case r := <-k.results:
		k.pending--
		k.inFlight -= r.sent
		return r, true
	case <-due:
		delete(k.timers, id)
		return result{id: id, kind: "timer"}, true
	}
}

// nextTimer is the timer that is due first. There are few of them.
func (k *call) nextTimer() (id int64, at time.Time, ok bool) {
	for i, t := range k.timers {
		if !ok || t.Before(at) || t.Equal(at) && i < id {
			id, at, ok = i, t, true
		}
	}
	return id, at, ok
}

// enter runs JavaScript within what is left of the CPU limit. It reports
// whether the call can go on; otherwise k.err says why not.
func (k *call) enter(f func() error) bool {
	if k.err != nil {
		return false
	}
	left := k.limits.CPU - k.cpu
	if left <= 0 {
		k.err = cpuError(k.limits)
		return false
	}
	if k.err = k.vm.js.SetEvalTimeout(left); k.err != nil {
		return false
	}
	began := time.Now()
	err := f()
	k.cpu += time.Since(began)
	if err == nil {
		return k.err == nil
	}
	k.vm.broken = true
	switch {
	case k.err != nil: // a limit that a host function noticed
	case k.ctx.Err() != nil:
		k.err = context.Cause(k.ctx)
	case isOutOfMemory(err):
		k.err = memoryError(k.limits)
	case isInterrupted(err) || k.cpu >= k.limits.CPU:
		k.err = cpuError(k.limits)
	default:
		k.err = k.vm.scriptError(err)
	}
	return false
}

// ask starts a host call. Its result comes back through the loop. It reports
// whether the call is over: QuickJS looks for an interrupt only now and then.
func (k *call) ask(id int64, method, args string) (over bool) {
	if k.err != nil {
		return true
	}
	k.calls++
	k.inFlight += int64(len(args))
	switch {
	case k.calls > k.limits.HostCalls:
		k.stop(syncline.Errorf(syncline.CodeLimit, "the run made more than %d host calls", k.limits.HostCalls).WithField(fn.LimitHostCalls).
			WithHint("look for an endless loop, and save records in batches"))
		return true
	case k.inFlight > k.limits.Memory:
		// What waits for the host is no longer in the context, whose own limit
		// does not see it.
		k.stop(syncline.Errorf(syncline.CodeLimit, "the run has host calls of more than %d MiB under way", k.limits.Memory>>20).
			WithHint("await every call, or raise --run-memory-limit"))
		return true
	}
	k.pending++
	k.asked.Go(func() {
		out, err := k.host.Call(k.ctx, method, json.RawMessage(args))
		r := result{id: id, kind: "ok", text: string(out), sent: int64(len(args))}
		if err != nil {
			r.kind, r.text = "error", hostErrorText(err)
		}
		k.send(r)
	})
	return false
}

// maxTimers is how many timers one call may have at a time.
const maxTimers = 1000

// timer starts a timer, or ends it when ms is negative.
func (k *call) timer(id, ms int64) {
	if ms < 0 {
		delete(k.timers, id)
		return
	}
	if len(k.timers) >= maxTimers {
		k.stop(syncline.Errorf(syncline.CodeLimit, "the run has more than %d timers", maxTimers).
			WithHint("look for an endless loop around setTimeout"))
		return
	}
	k.timers[id] = time.Now().Add(time.Duration(ms) * time.Millisecond)
}

func (k *call) send(r result) {
	select {
	case k.results <- r:
	case <-k.ctx.Done():
	}
}

// stop ends the call from within a host function. JavaScript is interrupted a
// little later: an interrupt that is there when a host function returns ends
// only the async function around it, and its caller goes on.
func (k *call) stop(err error) {
	if k.err != nil {
		return
	}
	k.err = err
	time.AfterFunc(time.Millisecond, k.vm.js.Interrupt)
}

// maxLogLine is how many bytes of a message, or of its data, leave the engine.
// The host keeps less; this bounds what goes over the pipe.
const maxLogLine = 1 << 20

func (k *call) log(level, message, data string) {
	k.lines++
	if k.lines > k.limits.LogLines {
		// The host counts what is dropped; beyond that a flood is not carried
		// over the pipe line by line.
		if k.lines > 10*k.limits.LogLines {
			return
		}
	}
	if len(message) > maxLogLine {
		message = strings.ToValidUTF8(message[:maxLogLine], "")
	}
	l := syncline.LogLine{At: time.Now().UTC(), Level: syncline.LogLevel(level), Message: message}
	if data != "" && len(data) <= maxLogLine {
		l.Data = json.RawMessage(data)
	}
	k.host.Log(l)
}

func (k *call) end(ok bool, text string) {
	if k.done {
		return
	}
	k.done = true
	if ok {
		if int64(len(text)) > k.limits.Output {
			k.err = syncline.Errorf(syncline.CodeLimit, "the function returned %d bytes; the limit is %d", len(text), k.limits.Output).WithField(fn.LimitOutput)
			return
		}
		k.value = json.RawMessage(text)
		return
	}
	k.err = k.thrown(text)
}

// thrown reads the description of what the function threw.
func (k *call) thrown(text string) error {
	var e struct {
		Name, Message, Stack string
		Payload              json.RawMessage
		HostCode             syncline.Code
		Status               int
		Upstream             *syncline.UpstreamAnswer
		Null                 bool
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return &fn.ScriptError{Name: "Error", Message: "the function threw something that cannot be described"}
	}
	// An interrupt or a lack of memory can also surface as the rejection of an
	// async function.
	switch {
	case isMemory(e.Name, e.Message):
		return memoryError(k.limits)
	case e.Null:
		return nullError(k.limits)
	case isInterrupt(e.Name, e.Message) && k.ctx.Err() != nil:
		return context.Cause(k.ctx)
	case isInterrupt(e.Name, e.Message):
		return cpuError(k.limits)
	}
	return &fn.ScriptError{
		Name: e.Name, Message: e.Message, Stack: k.vm.bundle.frames.MapStack(k.vm.bundle.source, e.Stack),
		Payload: e.Payload, HostCode: e.HostCode, Status: e.Status, Upstream: e.Upstream,
	}
}

// hostErrorText is a host call's failure as the host module reads it.
func hostErrorText(err error) string {
	e := struct {
		Name    string        `json:"name,omitempty"`
		Message string        `json:"message"`
		Code    syncline.Code `json:"code"`
		NetCode string        `json:"netCode,omitempty"`
	}{Message: err.Error(), Code: syncline.CodeOf(err)}
	var h *fn.HostError
	if errors.As(err, &h) {
		e.Name, e.Message, e.Code, e.NetCode = h.Name, h.Message, h.Code, h.NetCode
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Sprintf(`{"message":%q,"code":"internal"}`, "unprintable error")
	}
	return string(b)
}
