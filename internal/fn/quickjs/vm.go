package quickjs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"modernc.org/quickjs"
	"modernc.org/quickjs/intl"

	"syncline"
	"syncline/internal/fn"
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

func newVM(b *bundle, limits fn.Limits) (*vm, error) {
	js, err := quickjs.NewVM()
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "cannot make a JavaScript context: %w", err)
	}
	v := &vm{js: js, bundle: b, made: time.Now(), memory: limits.Memory}
	if err := v.load(limits); err != nil {
		v.close()
		return nil, err
	}
	return v, nil
}

func (v *vm) load(limits fn.Limits) error {
	v.js.SetMemoryLimit(uintptr(limits.Memory))
	for name, f := range map[string]quickjs.HostFunc{
		"__sl_call":   func(a []any) (any, error) { v.call.ask(integer(a, 0), text(a, 1), text(a, 2)); return nil, nil },
		"__sl_timer":  func(a []any) (any, error) { v.call.timer(integer(a, 0), integer(a, 1)); return nil, nil },
		"__sl_log":    func(a []any) (any, error) { v.call.log(text(a, 0), text(a, 1), text(a, 2)); return nil, nil },
		"__sl_end":    func(a []any) (any, error) { v.call.end(len(a) > 0 && a[0] == true, text(a, 1)); return nil, nil },
		"__sl_native": func(a []any) (any, error) { return native(text(a, 0), text(a, 1), text(a, 2), text(a, 3)), nil },
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
	for _, s := range v.bundle.needs.scripts() {
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
	// Top-level code of the bundle may log; it cannot do anything else.
	v.call = &call{vm: v, ctx: context.Background(), limits: limits, host: discard{}}
	defer func() { v.call = nil }()
	if err := v.js.SetEvalTimeout(setup); err != nil {
		return syncline.Errorf(syncline.CodeInternal, "cannot bound the loading of a bundle: %w", err)
	}
	_, err = v.js.EvalBytecode(v.bundle.bytecode)
	switch {
	case err == nil:
		return nil
	case isOutOfMemory(err):
		return memoryError(limits)
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
		return &fn.ScriptError{Name: name, Message: message, Stack: v.bundle.frames.mapStack(v.bundle.source, e.Stack)}
	}
	return &fn.ScriptError{Name: "Error", Message: err.Error()}
}

func isInterrupted(err error) bool { return strings.Contains(err.Error(), "interrupted") }

func isOutOfMemory(err error) bool { return strings.Contains(err.Error(), "out of memory") }

func memoryError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run used more than its %d MiB of memory", limits.Memory>>20).
		WithHint("save records page by page instead of collecting them, or raise --run-memory-limit")
}

func cpuError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run computed for longer than %s", limits.CPU).
		WithHint("waiting for external APIs is not counted; look for an endless loop or a slow regular expression, or raise --run-cpu-limit")
}

func wallError(limits fn.Limits) error {
	return syncline.Errorf(syncline.CodeLimit, "the run took longer than %s", limits.Wall).
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
