package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// Contract holds an engine to what every function can rely upon, in whatever
// language it is written. setup is given one function in both languages and
// returns what runs it, and the call of it.
func Contract(t *testing.T, setup func(t *testing.T, javaScript string, handler gofn.Handler) (fn.Runner, fn.Call)) {
	t.Helper()
	for _, c := range contract {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runner, call := setup(t, body(c.javaScript), c.handler)
			call.EnvironmentID, call.Input, call.Limits = 1, json.RawMessage(c.input), c.limits
			call.Context.ConnectionID = "c1"
			if call.Limits.Wall == 0 {
				call.Limits.Wall = 20 * time.Second
			}
			h := &recorder{answer: c.answer}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if c.cancel != nil {
				time.AfterFunc(50*time.Millisecond, func() { cancel(c.cancel) })
			}
			out, err := runner.Run(ctx, call, h)
			if c.check != nil {
				c.check(t, string(out), err, h)
			} else if err != nil || string(out) != c.want {
				t.Errorf("got %s, %v; want %s", out, err, c.want)
			}
		})
	}
}

// call is a host call whose answer the function does not look at.
func call(ctx context.Context, s *gofn.Session, method string, args any) error {
	_, err := s.Call(ctx, method, args)
	return err
}

func cutAt(limit string) func(t *testing.T, out string, err error, h *recorder) {
	return func(t *testing.T, out string, err error, _ *recorder) {
		t.Helper()
		if syncline.CodeOf(err) != syncline.CodeLimit || fn.CutAt(err) != limit {
			t.Errorf("got %s, %v; want it cut at %s", out, err, limit)
		}
	}
}

var errMoved = errors.New("moved")

var contract = []struct {
	name       string
	javaScript string
	handler    gofn.Handler
	input      string
	limits     fn.Limits
	cancel     error
	answer     func(method string, args json.RawMessage) (json.RawMessage, error)
	want       string
	check      func(t *testing.T, out string, err error, h *recorder)
}{
	{
		name: "nothing is null", javaScript: ``, want: `null`,
		handler: func(context.Context, *gofn.Session) (any, error) { return nil, nil },
	},
	{
		name: "input and result are JSON as they are", javaScript: `return { got: input.a, of: nango.connectionId }`, input: `{"a":[1.5,"é😀<&>",null]}`,
		handler: func(_ context.Context, s *gofn.Session) (any, error) {
			var in struct{ A json.RawMessage }
			err := json.Unmarshal(s.Input, &in)
			return struct {
				Got json.RawMessage `json:"got"`
				Of  string          `json:"of"`
			}{in.A, s.Context.ConnectionID}, err
		},
		want: `{"got":[1.5,"é😀<&>",null],"of":"c1"}`,
	},
	{
		name: "the host's answer comes back", javaScript: `return nango.getMetadata()`,
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			return s.Call(ctx, fn.MethodGetMetadata, struct{}{})
		},
		answer: func(string, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(`{"plan":"é"}`), nil }, want: `{"plan":"é"}`,
	},
	{
		name: "changes reach the host in order", javaScript: `await nango.saveCheckpoint({ n: 1 }); await nango.clearCheckpoint()`,
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			return nil, errors.Join(call(ctx, s, fn.MethodSaveCheckpoint, map[string]any{"checkpoint": map[string]int{"n": 1}}), call(ctx, s, fn.MethodClearCheckpoint, struct{}{}))
		},
		check: func(t *testing.T, _ string, err error, h *recorder) {
			t.Helper()
			if got := strings.Join(h.calls, "; "); err != nil || got != `saveCheckpoint {"checkpoint":{"n":1}}; clearCheckpoint {}` {
				t.Errorf("the host saw %s, %v", got, err)
			}
		},
	},
	{
		name: "an error that is thrown", javaScript: `throw new Error('no seats')`,
		handler: func(context.Context, *gofn.Session) (any, error) { return nil, errors.New("no seats") },
		check: func(t *testing.T, _ string, err error, _ *recorder) {
			t.Helper()
			var e *fn.ScriptError
			if !errors.As(err, &e) || e.Name != "Error" || e.Message != "no seats" {
				t.Errorf("got %#v", err)
			}
		},
	},
	{
		name: "an error of the host that is not caught", javaScript: `await nango.getMetadata()`,
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			return nil, call(ctx, s, fn.MethodGetMetadata, struct{}{})
		},
		answer: func(string, json.RawMessage) (json.RawMessage, error) {
			return nil, syncline.Errorf(syncline.CodeFenced, "the run's lease was lost")
		},
		check: func(t *testing.T, _ string, err error, _ *recorder) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "the run's lease was lost") {
				t.Errorf("got %v", err)
			}
		},
	},
	{
		name: "an error of the host that is caught", javaScript: `try { await nango.getMetadata() } catch (e) { return e.message }`,
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			return fmt.Sprint(call(ctx, s, fn.MethodGetMetadata, struct{}{})), nil
		},
		answer: func(string, json.RawMessage) (json.RawMessage, error) {
			return nil, &fn.HostError{Code: syncline.CodeInvalid, Message: "there is none"}
		},
		want: `"there is none"`,
	},
	{
		name: "log lines keep their order and level", javaScript: `await nango.log('a'); await nango.log('b', { level: 'warn' })`,
		handler: func(_ context.Context, s *gofn.Session) (any, error) {
			s.Log(syncline.LogInfo, "a", nil)
			s.Log(syncline.LogWarn, "b", nil)
			return nil, nil
		},
		check: func(t *testing.T, _ string, err error, h *recorder) {
			t.Helper()
			if err != nil || len(h.logs) != 2 || h.logs[0].Message != "a" || h.logs[1].Message != "b" || h.logs[1].Level != syncline.LogWarn || h.logs[0].At.IsZero() {
				t.Errorf("the log is %+v, %v", h.logs, err)
			}
		},
	},
	{
		name: "the limit of host calls", javaScript: `for (;;) await nango.getMetadata()`, limits: fn.Limits{HostCalls: 50}, check: cutAt(fn.LimitHostCalls),
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			for {
				if err := call(ctx, s, fn.MethodGetMetadata, struct{}{}); err != nil {
					return nil, err
				}
			}
		},
	},
	{
		name: "the limit of the result", javaScript: `return 'x'.repeat(2000)`, limits: fn.Limits{Output: 1000}, check: cutAt(fn.LimitOutput),
		handler: func(context.Context, *gofn.Session) (any, error) { return strings.Repeat("x", 2000), nil },
	},
	{
		name: "the limit of time", javaScript: `await new Promise((r) => setTimeout(r, 60000))`, limits: fn.Limits{Wall: 100 * time.Millisecond}, check: cutAt(fn.LimitWall),
		handler: func(ctx context.Context, _ *gofn.Session) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
	},
	{
		name: "a run that is ended", javaScript: `await new Promise((r) => setTimeout(r, 60000))`, cancel: errMoved,
		handler: func(ctx context.Context, _ *gofn.Session) (any, error) { <-ctx.Done(); return nil, ctx.Err() },
		check: func(t *testing.T, _ string, err error, _ *recorder) {
			t.Helper()
			if !errors.Is(err, errMoved) {
				t.Errorf("got %v", err)
			}
		},
	},
	{
		name: "calls that are made at once", javaScript: `return (await Promise.all([1, 2, 3, 4].map((n) => nango.getMetadata()))).length`,
		handler: func(ctx context.Context, s *gofn.Session) (any, error) {
			done := make(chan error)
			for range 4 {
				go func() { done <- call(ctx, s, fn.MethodGetMetadata, struct{}{}) }()
			}
			n := 0
			for range 4 {
				if err := <-done; err != nil {
					return nil, err
				}
				n++
			}
			return n, nil
		},
		want: `4`,
	},
}
