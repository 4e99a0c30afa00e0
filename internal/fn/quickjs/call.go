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
	pending int // host calls and timers that will still arrive
	calls   int
	lines   int

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
}

// run executes one call to its end: JavaScript runs until it waits, then the
// next result is handed over, and so on.
func (v *vm) run(ctx context.Context, c fn.Call, limits fn.Limits, host fn.Host) (json.RawMessage, error) {
	info, err := json.Marshal(c.Context)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "encode the call's context: %w", err)
	}
	runCtx, cancel := context.WithTimeoutCause(ctx, limits.Wall, wallError(limits))
	k := &call{vm: v, ctx: runCtx, limits: limits, host: host, results: make(chan result)}
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
		if k.pending == 0 {
			k.vm.broken = true
			k.err = &fn.ScriptError{Name: "Error", Message: "the function waits for a promise that never settles: nothing is left that could settle it"}
			return
		}
		select {
		case <-k.ctx.Done():
			k.vm.broken = true
			k.err = context.Cause(k.ctx)
			return
		case r := <-k.results:
			k.pending--
			if !k.enter(func() error {
				_, err := k.vm.settleFn.Call(quickjs.UndefinedValue, r.id, r.kind, r.text)
				return err
			}) {
				return
			}
		}
	}
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

// ask starts a host call. Its result comes back through the loop.
func (k *call) ask(id int64, method, args string) {
	k.calls++
	if k.calls > k.limits.HostCalls {
		k.stop(syncline.Errorf(syncline.CodeLimit, "the run made more than %d host calls", k.limits.HostCalls).
			WithHint("look for an endless loop, and save records in batches"))
		return
	}
	k.pending++
	k.asked.Go(func() {
		out, err := k.host.Call(k.ctx, method, json.RawMessage(args))
		r := result{id: id, kind: "ok", text: string(out)}
		if err != nil {
			r.kind, r.text = "error", hostErrorText(err)
		}
		k.send(r)
	})
}

func (k *call) timer(id, ms int64) {
	k.pending++
	d := time.Duration(min(ms, 24*3600*1000)) * time.Millisecond
	k.asked.Go(func() {
		select {
		case <-k.ctx.Done():
		case <-time.After(d):
			k.send(result{id: id, kind: "timer"})
		}
	})
}

func (k *call) send(r result) {
	select {
	case k.results <- r:
	case <-k.ctx.Done():
	}
}

// stop ends the call from within a host function: JavaScript is interrupted
// before it gets any further.
func (k *call) stop(err error) {
	if k.err == nil {
		k.err = err
	}
	k.vm.js.Interrupt()
}

func (k *call) log(level, message, data string) {
	k.lines++
	if k.lines > k.limits.LogLines {
		// The host counts what is dropped; beyond that a flood is not carried
		// over the pipe line by line.
		if k.lines > 10*k.limits.LogLines {
			return
		}
	}
	l := syncline.LogLine{At: time.Now().UTC(), Level: syncline.LogLevel(level), Message: message}
	if data != "" {
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
			k.err = syncline.Errorf(syncline.CodeLimit, "the function returned %d bytes; the limit is %d", len(text), k.limits.Output)
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
	}
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		return &fn.ScriptError{Name: "Error", Message: "the function threw something that cannot be described"}
	}
	if e.Name == "InternalError" {
		// An interrupt or a lack of memory can also surface as the rejection
		// of an async function.
		switch {
		case strings.Contains(e.Message, "out of memory"):
			k.vm.broken = true
			return memoryError(k.limits)
		case e.Message == "interrupted" && k.ctx.Err() != nil:
			return context.Cause(k.ctx)
		case e.Message == "interrupted":
			k.vm.broken = true
			return cpuError(k.limits)
		}
	}
	return &fn.ScriptError{
		Name: e.Name, Message: e.Message, Stack: k.vm.bundle.frames.mapStack(k.vm.bundle.source, e.Stack),
		Payload: e.Payload, HostCode: e.HostCode, Status: e.Status,
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
