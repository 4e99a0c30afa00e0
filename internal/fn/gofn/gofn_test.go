package gofn_test

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/enginetest"
	"syncline/internal/fn/gofn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type host struct {
	call func(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error)

	mu    sync.Mutex
	lines []syncline.LogLine
}

func (h *host) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	if h.call == nil {
		return args, nil
	}
	return h.call(ctx, method, args)
}

func (h *host) Log(l syncline.LogLine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, l)
}

var empty int // the compiler does not know

// none panics.
func none() map[string]int { return []map[string]int{}[empty] }

// runner has one function, "f" of "github".
func runner(t *testing.T, handler gofn.Handler) (*gofn.Runner, fn.Call) {
	t.Helper()
	r, err := gofn.NewRegistry("build", []gofn.Function{{
		Manifest: syncline.Manifest{Type: syncline.FunctionAction, Name: "f", Integration: "github"},
		Handlers: map[fn.Entry]gofn.Handler{fn.EntryExec: handler},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return &gofn.Runner{Registry: r}, fn.Call{
		Engine: syncline.EngineGo, Entry: fn.EntryExec, BundleHash: r.Versions()[0].Hash, Context: fn.Context{Function: "f"}, Limits: fn.Limits{Wall: 10 * time.Second},
	}
}

func TestAFunctionGetsItsInputAndItsResultIsJSON(t *testing.T) {
	t.Parallel()
	r, call := runner(t, func(ctx context.Context, s *gofn.Session) (any, error) {
		s.Log(syncline.LogWarn, "careful", json.RawMessage(`{"n":1}`))
		got, err := s.Call(ctx, "echo", map[string]string{"a": "<&>"})
		return map[string]any{"input": s.Input, "echo": got, "function": s.Context.Function}, err
	})
	call.Input = json.RawMessage(`{"x":1}`)
	h := &host{}
	out, err := r.Run(t.Context(), call, h)
	if want := `{"echo":{"a":"<&>"},"function":"f","input":{"x":1}}`; err != nil || string(out) != want {
		t.Errorf("got %s, %v", out, err)
	}
	if len(h.lines) != 1 || h.lines[0].Message != "careful" || h.lines[0].Level != syncline.LogWarn || string(h.lines[0].Data) != `{"n":1}` {
		t.Errorf("the log is %+v", h.lines)
	}
}

func TestAVersionThatIsNotCompiledInIsForAnotherProcess(t *testing.T) {
	t.Parallel()
	r, call := runner(t, nil)
	call.BundleHash = "another"
	_, err := r.Run(t.Context(), call, &host{})
	if syncline.CodeOf(err) != syncline.CodeWorkerLost || !fn.Unavailable(err) {
		t.Errorf("got %v", err)
	}
	if r.Registry.Has(&syncline.FunctionVersion{BundleHash: "another", Manifest: syncline.Manifest{Engine: syncline.EngineGo}}) {
		t.Error("it has a version that it does not have")
	}
	if !r.Registry.Has(&syncline.FunctionVersion{BundleHash: "another"}) {
		t.Error("it does not run functions in JavaScript")
	}
}

type next struct{}

func (next) Run(context.Context, fn.Call, fn.Host) (json.RawMessage, error) {
	return json.RawMessage(`"next"`), nil
}

func TestOtherEnginesAreNext(t *testing.T) {
	t.Parallel()
	r := &gofn.Runner{Next: next{}} // nothing is compiled in
	for _, engine := range []syncline.Engine{"", syncline.EngineQuickJS, syncline.EngineNode} {
		if out, err := r.Run(t.Context(), fn.Call{Engine: engine}, &host{}); err != nil || string(out) != `"next"` {
			t.Errorf("%q: got %s, %v", engine, out, err)
		}
	}
	if _, err := r.Run(t.Context(), fn.Call{Engine: syncline.EngineGo}, &host{}); syncline.CodeOf(err) != syncline.CodeWorkerLost {
		t.Errorf("go: %v", err)
	}
}

func TestAPanicIsTheFunctionsError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		handler gofn.Handler
		message string
	}{
		"of the runtime": {func(context.Context, *gofn.Session) (any, error) { return none()["x"], nil }, "runtime error: index out of range [0] with length 0"},
		"of a value":     {func(context.Context, *gofn.Session) (any, error) { panic("boom") }, "boom"},
		"of an error":    {func(context.Context, *gofn.Session) (any, error) { panic(errors.New("bang")) }, "bang"},
		"deep within": {func(context.Context, *gofn.Session) (any, error) {
			var deep func(int)
			deep = func(n int) {
				if n == 0 {
					panic("deep")
				}
				deep(n - 1)
			}
			deep(3)
			return nil, nil
		}, "deep"},
	} {
		r, call := runner(t, c.handler)
		_, err := r.Run(t.Context(), call, &host{})
		var script *fn.ScriptError
		if !errors.As(err, &script) || script.Name != "panic" || script.Message != c.message {
			t.Errorf("%s: got %#v", name, err)
			continue
		}
		if !strings.HasPrefix(script.Stack, "at syncline/internal/fn/gofn_test.") || !strings.Contains(script.Stack, "gofn_test.go:") || strings.Contains(script.Stack, "runner.go") {
			t.Errorf("%s: the stack is\n%s", name, script.Stack)
		}
	}
}

func TestAFunctionThatEndsItsGoroutineHasFailed(t *testing.T) {
	t.Parallel()
	r, call := runner(t, func(context.Context, *gofn.Session) (any, error) { runtime.Goexit(); return nil, nil })
	if _, err := r.Run(t.Context(), call, &host{}); err == nil || !strings.Contains(err.Error(), "Goexit") {
		t.Errorf("got %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits  fn.Limits
		handler gofn.Handler
		want    string
	}{
		"wall time": {fn.Limits{Wall: time.Millisecond}, func(ctx context.Context, _ *gofn.Session) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "the run took longer than 1ms"},
		"host calls, whatever the function makes of it": {fn.Limits{Wall: time.Minute, HostCalls: 3}, func(ctx context.Context, s *gofn.Session) (any, error) {
			for range 5 {
				_, _ = s.Call(ctx, "x", nil)
			}
			return nil, nil
		}, "more than 3 host calls"},
		"output": {fn.Limits{Wall: time.Minute, Output: 10}, func(context.Context, *gofn.Session) (any, error) {
			return strings.Repeat("x", 20), nil
		}, "returned 22 bytes; the limit is 10"},
	} {
		r, call := runner(t, c.handler)
		call.Limits = c.limits
		_, err := r.Run(t.Context(), call, &host{})
		if syncline.CodeOf(err) != syncline.CodeLimit || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAFloodOfLogLinesDoesNotReachTheHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 2<<20)
	r, call := runner(t, func(_ context.Context, s *gofn.Session) (any, error) {
		for range 1000 {
			s.Log(syncline.LogInfo, long, nil)
		}
		return nil, nil
	})
	call.Limits.LogLines = 2
	h := &host{}
	if _, err := r.Run(t.Context(), call, h); err != nil {
		t.Fatal(err)
	}
	if len(h.lines) != 20 || len(h.lines[0].Message) != 1<<20 { // the host counts some of what is dropped
		t.Errorf("%d lines of %d bytes", len(h.lines), len(h.lines[0].Message))
	}
}

func TestWhatCannotBeJSONIsTheFunctionsError(t *testing.T) {
	t.Parallel()
	r, call := runner(t, func(ctx context.Context, s *gofn.Session) (any, error) {
		if _, err := s.Call(ctx, "x", func() {}); err == nil {
			t.Error("a host call took a function")
		}
		return make(chan int), nil
	})
	var script *fn.ScriptError
	if _, err := r.Run(t.Context(), call, &host{}); !errors.As(err, &script) || !strings.Contains(err.Error(), "JSON") {
		t.Errorf("got %v", err)
	}
}

func TestAForgottenGoroutineIsRefused(t *testing.T) {
	t.Parallel()
	returned, asked := make(chan struct{}), make(chan error)
	r, call := runner(t, func(_ context.Context, s *gofn.Session) (any, error) {
		go func() {
			<-returned
			s.Log(syncline.LogInfo, "late", nil)
			_, err := s.Call(context.Background(), "batchSave", nil)
			asked <- err
		}()
		return nil, nil
	})
	h := &host{call: func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
		t.Error("the host was called after the function had returned")
		return nil, nil
	}}
	if _, err := r.Run(t.Context(), call, h); err != nil {
		t.Fatal(err)
	}
	close(returned)
	if err := <-asked; syncline.CodeOf(err) != syncline.CodeFenced {
		t.Errorf("it was told %v", err)
	}
	if len(h.lines) != 0 {
		t.Errorf("it logged %+v", h.lines)
	}
}

func TestCallsThatAreUnderWayAreWaitedFor(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"and count": nil, "and fail the run": errors.New("no")} {
		synctest.Test(t, func(t *testing.T) {
			begun, ended := make(chan struct{}), false
			h := &host{call: func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
				close(begun)
				time.Sleep(time.Second)
				ended = true
				return nil, failure
			}}
			r, call := runner(t, func(ctx context.Context, s *gofn.Session) (any, error) {
				go func() { _, _ = s.Call(ctx, "batchSave", nil) }()
				<-begun
				return nil, nil
			})
			_, err := r.Run(t.Context(), call, h)
			if !ended || (err != nil) != (failure != nil) {
				t.Errorf("%s: ended %t, %v", name, ended, err)
			}
		})
	}
}

func TestHostCallsEndWithTheRunWhateverTheirContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &host{call: func(ctx context.Context, _ string, _ json.RawMessage) (json.RawMessage, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		r, call := runner(t, func(_ context.Context, s *gofn.Session) (any, error) {
			_, err := s.Call(context.Background(), "http", nil)
			return nil, err
		})
		if _, err := r.Run(t.Context(), call, h); syncline.CodeOf(err) != syncline.CodeLimit {
			t.Errorf("got %v", err)
		}
	})
}

func TestARunThatIsEndedFromOutsideSaysWhy(t *testing.T) {
	t.Parallel()
	moved := syncline.Errorf(syncline.CodeFenced, "moved on")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, call := runner(t, func(ctx context.Context, _ *gofn.Session) (any, error) {
		cancel(moved)
		<-ctx.Done()
		return nil, errors.New("something else")
	})
	if _, err := r.Run(ctx, call, &host{}); !errors.Is(err, moved) {
		t.Errorf("got %v", err)
	}
}

func TestAFunctionThatDoesNotHeedItsContextIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		asked := make(chan error, 9) // what each call's host said
		r, call := runner(t, func(_ context.Context, s *gofn.Session) (any, error) {
			<-release
			_, err := s.Call(context.Background(), "batchSave", nil)
			asked <- err
			return nil, nil
		})
		for range 8 {
			_, err := r.Run(t.Context(), call, &host{})
			if syncline.CodeOf(err) != syncline.CodeLimit || !strings.Contains(err.Error(), "does not heed its context") {
				t.Fatalf("got %v", err)
			}
		}
		if _, err := r.Run(t.Context(), call, &host{}); syncline.CodeOf(err) != syncline.CodeLimit || !strings.Contains(err.Error(), "8 earlier calls of f still run") {
			t.Errorf("with 8 that still run: %v", err)
		}
		close(release)
		synctest.Wait()
		for range 8 {
			if err := <-asked; err == nil {
				t.Error("the host of a call that was given up answered")
			}
		}
		if _, err := r.Run(t.Context(), call, &host{}); err != nil {
			t.Errorf("once they have ended: %v", err)
		}
		if err := <-asked; err != nil {
			t.Errorf("the last call's host refused: %v", err)
		}
	})
}

func TestVersionsFollowTheManifestAndTheBuild(t *testing.T) {
	t.Parallel()
	hash := func(build, description string) string {
		r, err := gofn.NewRegistry(build, []gofn.Function{{Manifest: syncline.Manifest{Type: syncline.FunctionAction, Name: "f", Integration: "g", Description: description}}})
		if err != nil {
			t.Fatal(err)
		}
		v := r.Versions()[0]
		o, ok := gofn.ParseOrigin(v.Bundle)
		if !ok || o.Build != build || o.Manifest.Name != "f" || v.Manifest.Engine != syncline.EngineGo {
			t.Errorf("the version is %+v, of %+v", v, o)
		}
		return v.Hash
	}
	if again := hash("1", "a"); again != hash("1", "a") || hash("1", "a") == hash("2", "a") || hash("1", "a") == hash("1", "b") {
		t.Error("the hash does not tell versions apart")
	}
	if _, ok := gofn.ParseOrigin([]byte("var x = 1")); ok {
		t.Error("JavaScript was taken for a function in Go")
	}
	twice := gofn.Function{Manifest: syncline.Manifest{Type: syncline.FunctionAction, Name: "f", Integration: "g"}}
	if _, err := gofn.NewRegistry("1", []gofn.Function{twice, twice}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a function that is there twice: %v", err)
	}
}

func TestTheContractOfEngines(t *testing.T) {
	t.Parallel()
	enginetest.Contract(t, func(t *testing.T, _ string, handler gofn.Handler) (fn.Runner, fn.Call) {
		t.Helper()
		return runner(t, handler)
	})
}
