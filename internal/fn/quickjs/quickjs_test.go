package quickjs_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/enginetest"
	"syncline/internal/fn/quickjs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheSuiteOfEngines(t *testing.T) {
	t.Parallel()
	e := quickjs.New(quickjs.Options{})
	t.Cleanup(e.Close)
	enginetest.JavaScript(t, syncline.EngineQuickJS, e)
}

func TestNothingOfTheMachineIsThere(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`return __syncline.modules.crypto.createHmac('sha256', 'k').update('d').digest('hex')`: `"e7ea21c3bcb63a4da3ad78503168d36bdca0be622382ea60a108fad4e4966679"`,
		`return typeof process + typeof require + typeof std + typeof os`:                      `"undefinedundefinedundefinedundefined"`,
	} {
		if got, err := run(t, newCall(body(in)), &recorder{}); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
}

// recorder is a host that keeps what it was asked and answers by a function.
type recorder struct {
	mu     sync.Mutex
	calls  []string
	logs   []syncline.LogLine
	answer func(method string, args json.RawMessage) (json.RawMessage, error)
}

func (r *recorder) Call(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	r.mu.Lock()
	r.calls = append(r.calls, method+" "+string(args))
	r.mu.Unlock()
	if r.answer == nil {
		return json.RawMessage("true"), nil
	}
	return r.answer(method, args)
}

func (r *recorder) Log(l syncline.LogLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, l)
}

func body(statements string) string {
	return `var __syncline_fn = { default: __syncline.module.createSync({ exec: async (nango, input) => {` + statements +
		`}, onWebhook: async (nango, payload) => {` + statements + `} }) };`
}

func newCall(source string) fn.Call {
	return fn.Call{
		Entry: fn.EntryExec, BundleHash: source,
		Bundle:  func(context.Context) ([]byte, error) { return []byte(source), nil },
		Context: fn.Context{ConnectionID: "c1", ProviderConfigKey: "github", Environment: "dev", RunID: "r1"},
		Limits:  fn.Limits{Wall: 20 * time.Second, CPU: 10 * time.Second},
	}
}

func run(t *testing.T, c fn.Call, h fn.Host) (string, error) {
	t.Helper()
	e := quickjs.New(quickjs.Options{})
	defer e.Close()
	out, err := e.Run(t.Context(), c, h)
	return string(out), err
}

func TestWarmContextsAreSharedByKeyOnly(t *testing.T) {
	t.Parallel()
	e := quickjs.New(quickjs.Options{Warm: 2})
	defer e.Close()
	source := body(`globalThis.n = (globalThis.n ?? 0) + 1; Object.prototype.polluted = nango.connectionId; return [globalThis.n, ({}).polluted]`)
	call := func(key string) string {
		c := newCall(source)
		c.WarmKey = key
		c.Context.ConnectionID = key
		out, err := e.Run(t.Context(), c, &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for i, want := range []string{`[1,"a"]`, `[2,"a"]`} {
		if got := call("a"); got != want {
			t.Errorf("call %d: %s, want %s", i, got, want)
		}
	}
	if got := call("b"); got != `[1,"b"]` {
		t.Errorf("another key saw %s", got)
	}
	call("c") // pushes a out
	if got := call("a"); got != `[1,"a"]` {
		t.Errorf("the oldest context was kept: %s", got)
	}
	if got := call(""); got != `[1,""]` {
		t.Errorf("a fresh context saw %s", got)
	}
}
