package quickjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"modernc.org/quickjs"
	"modernc.org/quickjs/intl"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs/native"
)

// vm is one JavaScript context with a bundle in it. It is used by one call at
// a time.
type vm struct {
	js       *quickjs.VM
	bundle   *bundle
	runFn    quickjs.Value
	settleFn quickjs.Value
	made     time.Time
	key      string
	memory   int64
	calls    int
	// broken says that the context was interrupted or ran out of memory: its
	// state is unknown and it must not be used again.
	broken bool

	call *call // the call that runs now
}

// setup is the budget for loading a bundle, before any call.
const setup = 10 * time.Second

func newVM(ctx context.Context, b *bundle, limits fn.Limits) (*vm, error) {
	js, err := quickjs.NewVM()
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "cannot make a JavaScript context: %w", err)
	}
	v := &vm{js: js, bundle: b, made: time.Now(), memory: limits.Memory}
	if err := v.load(ctx, limits); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *vm) load(ctx context.Context, limits fn.Limits) error {
	v.js.SetMemoryLimit(uintptr(limits.Memory))
	for name, f := range map[string]quickjs.HostFunc{
		"__sl_call":   func(a []any) (any, error) { return v.call.ask(integer(a, 0), text(a, 1), text(a, 2)), nil },
		"__sl_timer":  func(a []any) (any, error) { v.call.timer(integer(a, 0), integer(a, 1)); return nil, nil },
		"__sl_log":    func(a []any) (any, error) { v.call.log(text(a, 0), text(a, 1), text(a, 2)); return nil, nil },
		"__sl_end":    func(a []any) (any, error) { v.call.end(len(a) > 0 && a[0] == true, text(a, 1)); return nil, nil },
		"__sl_native": func(a []any) (any, error) { return native.Call(text(a, 0), text(a, 1), text(a, 2), text(a, 3)), nil },
	} {
		if err := v.js.RegisterHostFunc(name, f); err != nil {
			return syncline.Errorf(syncline.CodeInternal, "cannot set up a JavaScript context: %w", err)
		}
	}
	if v.bundle.needs.intl {
		if err := intl.Register(v.js); err != nil {
			return syncline.Errorf(syncline.CodeInternal, "cannot set up Intl: %w", err)
		}
	}
	for _, s := range v.bundle.needs.list() {
		code, err := s()
		if err == nil {
			_, err = v.js.EvalBytecode(code)
		}
		if err != nil {
			return syncline.Errorf(syncline.CodeInternal, "cannot load the host module: %w", err)
		}
	}
	var err error
	if v.runFn, err = v.js.EvalValue("__syncline.run", quickjs.EvalGlobal); err != nil {
		return syncline.Errorf(syncline.CodeInternal, "cannot load the host module: %w", err)
	}
	if v.settleFn, err = v.js.EvalValue("__syncline.settle", quickjs.EvalGlobal); err != nil {
		return syncline.Errorf(syncline.CodeInternal, "cannot load the host module: %w", err)
	}
	// Top-level code of the bundle may compute; it has nobody to call. Timers
	// that it starts never come due.
	v.call = newCallOf(ctx, v, limits, discard{})
	stop := context.AfterFunc(ctx, v.js.Interrupt)
	defer func() { stop(); v.call = nil }()
	if err := v.js.SetEvalTimeout(setup); err != nil {
		return syncline.Errorf(syncline.CodeInternal, "cannot bound the loading of a bundle: %w", err)
	}
	if l := v.bundle.library; l != nil {
		_, err = v.js.EvalBytecode(l.bytecode)
	}
	if err == nil {
		_, err = v.js.EvalBytecode(v.bundle.bytecode)
	}
	switch {
	case err == nil:
		return nil
	case isOutOfMemory(err):
		return memoryError(limits)
	case isInterrupted(err) && ctx.Err() != nil:
		return context.Cause(ctx)
	case isInterrupted(err):
		return syncline.Errorf(syncline.CodeLimit, "loading the bundle took longer than %s", setup).
			WithHint("move work from the top level of the file into exec or onWebhook")
	}
	return v.scriptError(err)
}

func (v *vm) close() {
	if !v.runFn.IsUndefined() {
		v.runFn.Free()
	}
	if !v.settleFn.IsUndefined() {
		v.settleFn.Free()
	}
	v.js.Close()
}

// scriptError is an exception that escaped to the engine.
func (v *vm) scriptError(err error) error {
	var e *quickjs.Error
	if errors.As(err, &e) {
		name, message := e.Name, e.Message
		if message == "" {
			message = err.Error()
		}
		return &fn.ScriptError{Name: name, Message: message, Stack: v.bundle.frames.MapStack(v.bundle.source, e.Stack)}
	}
	return &fn.ScriptError{Name: "Error", Message: err.Error()}
}

// isInterrupted reports whether QuickJS stopped the script.
func isInterrupted(err error) bool {
	var e *quickjs.Error
	return errors.As(err, &e) && isInterrupt(e.Name, e.Message)
}

// isOutOfMemory reports whether the script hit its memory limit. QuickJS throws
// null when not even the error fits any more.
func isOutOfMemory(err error) bool {
	var e *quickjs.Error
	return errors.As(err, &e) && (isMemory(e.Name, e.Message) || e.Name == "" && e.Error() == "null")
}

func isInterrupt(name, message string) bool {
	return name == "InternalError" && message == "interrupted"
}

func isMemory(name, message string) bool {
	return name == "InternalError" && message == "out of memory"
}

func memoryError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run used more than its %d MiB of memory", limits.Memory>>20).WithField(fn.LimitMemory).
		WithHint("save records page by page instead of collecting them, or raise --run-memory-limit")
}

// nullError is for a function that ended with null as its error: nearly always
// QuickJS threw it for lack of memory.
func nullError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run used more than its %d MiB of memory: it threw null, as happens when none is left for an error", limits.Memory>>20).WithField(fn.LimitMemory).
		WithHint("save records page by page instead of collecting them, or raise --run-memory-limit; if the function throws null by itself, throw an Error")
}

func cpuError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run computed for longer than %s", limits.CPU).WithField(fn.LimitCPU).
		WithHint("waiting for external APIs is not counted; look for an endless loop or a slow regular expression, or raise --run-cpu-limit")
}

func wallError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run took longer than %s", limits.Wall).WithField(fn.LimitWall).
		WithHint("save checkpoints, so that the next run goes on from there, or raise the limit (--poll-wall-limit, --webhook-wall-limit)")
}

// discard is the host while a bundle loads.
type discard struct{}

func (discard) Call(context.Context, string, json.RawMessage) (json.RawMessage, error) {
	return nil, fmt.Errorf("host calls are possible only in exec and onWebhook")
}

func (discard) Log(syncline.LogLine) {}

func text(args []any, i int) string {
	if i < len(args) {
		s, _ := args[i].(string)
		return s
	}
	return ""
}

func integer(args []any, i int) int64 {
	if i < len(args) {
		switch n := args[i].(type) {
		case int:
			return int64(n)
		case int64:
			return n
		case float64:
			return int64(n)
		}
	}
	return 0
}
