package quickjs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/quickjs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// body wraps statements of exec in a bundle as the bundler makes it.
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

func TestWhatAFunctionReturnsComesBack(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`return 1 + 1`:                          `2`,
		``:                                      `null`,
		`return { a: [1, null, "é\u{1F600}"] }`: `{"a":[1,null,"é😀"]}`,
		`return [nango.connectionId, nango.lastSyncDate ?? 'never']`:                                                                          `["c1","never"]`,
		`await new Promise((r) => setTimeout(r, 1)); return 'timer'`:                                                                          `"timer"`,
		`return new URL('../x?a=1#f', 'https://h.example:443/p/q').href`:                                                                      `"https://h.example/x?a=1#f"`,
		`const u = new URL('https://h/p'); u.searchParams.set('q', 'a b&'); return [u.href, [...new URLSearchParams('a=1&a=2').getAll('a')]]`: `["https://h/p?q=a+b%26",["1","2"]]`,
		`return Buffer.from('häß').toString('base64') + Buffer.from('aGk', 'base64') + Buffer.from('hi').toString('hex')`:                     `"aMOkw58=hi6869"`,
		`return crypto.createHmac('sha256', 'k').update('d').digest('hex')`:                                                                   `"e7ea21c3bcb63a4da3ad78503168d36bdca0be622382ea60a108fad4e4966679"`,
		`return [btoa('hi'), atob('aGk='), new TextDecoder().decode(new TextEncoder().encode('ü😀'))]`:                                         `["aGk=","hi","ü😀"]`,
		`const a = { d: new Date(0), m: new Map([[1, 2]]) }; const b = structuredClone(a); return [b.d.getTime(), b.m.get(1), b !== a]`:       `[0,2,true]`,
		`return typeof process + typeof require + typeof std + typeof os`:                                                                     `"undefinedundefinedundefinedundefined"`,
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, err := run(t, newCall(body(in)), &recorder{})
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestErrorsSayWhatWentWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   string
		want fn.ScriptError
	}{
		"an exception":                 {`null.x`, fn.ScriptError{Name: "TypeError", Message: "cannot read property 'x' of null"}},
		"a thrown string":              {`throw 'no'`, fn.ScriptError{Name: "Error", Message: "the function threw no"}},
		"a thrown undefined":           {`throw undefined`, fn.ScriptError{Name: "Error", Message: "the function threw undefined"}},
		"a promise that never settles": {`await new Promise(() => {})`, fn.ScriptError{Name: "Error", Message: "the function waits for a promise that never settles: nothing is left that could settle it"}},
		"an unknown method":            {`await nango.teleport()`, fn.ScriptError{Name: "Error", Message: "nango.teleport is not offered by this version of Syncline"}},
		"an ActionError":               {`throw new nango.ActionError({ message: 'bad input' })`, fn.ScriptError{Name: "ActionError", Message: "bad input"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, newCall(body(c.in)), &recorder{})
			var e *fn.ScriptError
			if !errors.As(err, &e) || e.Name != c.want.Name || e.Message != c.want.Message {
				t.Errorf("got %#v (%v), want %#v", e, err, c.want)
			}
		})
	}
}

func TestLimitsEndTheCallAndAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in     string
		limits fn.Limits
		want   string
	}{
		"an endless loop":              {`for (;;);`, fn.Limits{CPU: 200 * time.Millisecond}, "the run computed for longer than 200ms"},
		"an endless loop that catches": {`for (;;) { try { for (;;); } catch {} }`, fn.Limits{CPU: 200 * time.Millisecond}, "the run computed for longer than 200ms"},
		"a chain of microtasks":        {`const f = () => Promise.resolve().then(f); await f()`, fn.Limits{CPU: 300 * time.Millisecond}, "the run computed for longer than 300ms"},
		"a catastrophic expression":    {`/^(a+)+$/.test('a'.repeat(40) + 'b')`, fn.Limits{CPU: 300 * time.Millisecond}, "the run computed for longer than 300ms"},
		"waiting":                      {`await new Promise((r) => setTimeout(r, 60000))`, fn.Limits{Wall: 100 * time.Millisecond}, "the run took longer than 100ms"},
		"arrays without end":           {`const a = []; for (;;) a.push(new Array(1000).fill(1))`, fn.Limits{Memory: 32 << 20}, "32 MiB"},
		"a string without end":         {`const a = []; const s = 'x'.repeat(1 << 20); for (let i = 0; ; i++) a.push(JSON.parse(JSON.stringify(s + i)))`, fn.Limits{Memory: 32 << 20}, "32 MiB"},
		"small objects without end":    {`let h = null; for (;;) h = { h }`, fn.Limits{Memory: 32 << 20}, "32 MiB"},
		"timers without end":           {`for (;;) setTimeout(() => {}, 60000)`, fn.Limits{}, "more than 1000 timers"},
		"big calls that nobody awaits": {`const s = 'x'.repeat(1 << 17); for (;;) nango.get({ endpoint: '/', data: s })`, fn.Limits{Memory: 16 << 20}, "host calls of more than 16 MiB under way"},
		"a flood of host calls":        {`for (;;) await nango.getMetadata()`, fn.Limits{HostCalls: 100}, "more than 100 host calls"},
		"a huge result":                {`return 'x'.repeat(2000)`, fn.Limits{Output: 1000}, "the function returned 2002 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.limits.Memory != 0 {
				t.Skip("filling memory takes too long under the race detector")
			}
			call := newCall(body(c.in))
			call.Limits = c.limits
			began := time.Now()
			_, err := run(t, call, &recorder{})
			if syncline.CodeOf(err) != syncline.CodeLimit || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s to end it", took)
			}
		})
	}
	t.Run("recursion is an error of the function", func(t *testing.T) {
		t.Parallel()
		_, err := run(t, newCall(body(`const f = () => f(); f()`)), &recorder{})
		var e *fn.ScriptError
		if !errors.As(err, &e) || !strings.Contains(e.Message, "stack overflow") {
			t.Errorf("got %v", err)
		}
	})
}

func TestChangesReachTheHostInCallOrderAlsoWithoutAwait(t *testing.T) {
	t.Parallel()
	h := &recorder{}
	_, err := run(t, newCall(body(`
		nango.batchSave([{ id: 1 }], 'M');
		nango.saveCheckpoint({ page: 1 });
		nango.batchDelete([{ id: 2 }], 'M');
		nango.batchSave([], 'M');`)), h)
	want := []string{`batchSave {"model":"M","records":[{"id":1}]}`, `saveCheckpoint {"checkpoint":{"page":1}}`, `batchDelete {"model":"M","records":[{"id":2}]}`}
	if err != nil || fmt.Sprint(h.calls) != fmt.Sprint(want) {
		t.Errorf("the host saw %v, %v", h.calls, err)
	}
}

func TestAFailureThatNobodySeesFailsTheRun(t *testing.T) {
	t.Parallel()
	h := &recorder{answer: func(method string, _ json.RawMessage) (json.RawMessage, error) {
		if method == fn.MethodGetMetadata {
			return json.RawMessage(`{}`), nil
		}
		return nil, syncline.Errorf(syncline.CodeInvalid, "record 0: has no id")
	}}
	for name, c := range map[string]struct {
		in     string
		failed bool
	}{
		"not awaited":                            {`nango.batchSave([{}], 'M')`, true},
		"not awaited, and long past":             {`nango.batchSave([{}], 'M'); await nango.getMetadata(); await nango.getMetadata()`, true},
		"not awaited in a helper":                {`const save = async () => { await nango.batchSave([{}], 'M') }; save()`, true},
		"with a handler":                         {`nango.batchSave([{}], 'M').catch(() => {})`, false},
		"with a handler, and long past":          {`nango.batchSave([{}], 'M').catch(() => {}); await nango.getMetadata(); await nango.getMetadata()`, false},
		"awaited and caught":                     {`try { await nango.batchSave([{}], 'M') } catch {}`, false},
		"awaited later and caught":               {`const p = nango.batchSave([{}], 'M'); await nango.getMetadata(); try { await p } catch {}`, false},
		"together with others":                   {`await Promise.all([nango.getMetadata(), nango.batchSave([{}], 'M')])`, true},
		"together with others, whatever happens": {`await Promise.allSettled([nango.batchSave([{}], 'M')])`, false},
		"returned":                               {`return nango.batchSave([{}], 'M')`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := run(t, newCall(body(c.in)), h)
			var e *fn.ScriptError
			if failed := errors.As(err, &e) && e.Message == "record 0: has no id" && e.HostCode == syncline.CodeInvalid; failed != c.failed || !failed && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCallsThatFollowOneThatWasNotAwaitedAreMade(t *testing.T) {
	t.Parallel()
	h := &recorder{}
	_, err := run(t, newCall(body(`(async () => { for (let i = 0; i < 3; i++) await nango.batchSave([{ id: i }], 'M') })()`)), h)
	if err != nil || len(h.calls) != 3 {
		t.Errorf("the host saw %v, %v", h.calls, err)
	}
	// The next call of the same context is not disturbed by what came before.
	if _, err := run(t, newCall(body(`setTimeout(() => nango.batchSave([{ id: 1 }], 'M'), 1000)`)), h); err != nil || len(h.calls) != 3 {
		t.Errorf("a timer outlived its call: %v, %v", h.calls, err)
	}
}

func TestAHostErrorNamesTheCallThatFailed(t *testing.T) {
	t.Parallel()
	h := &recorder{answer: func(string, json.RawMessage) (json.RawMessage, error) { return nil, errors.New("no") }}
	for _, in := range []string{
		"await nango.batchSave([{}], 'M')", "await nango.get('/x')", "await nango.getRecordsByIds(['1'], 'M')", "for await (const _ of nango.paginate({ endpoint: '/x', paginate: { type: 'link', link_rel_in_response_header: 'next' } })) {}",
	} {
		_, err := run(t, newCall(body("await null; const theCaller = async () => { "+in+" }; await theCaller()")), h)
		var e *fn.ScriptError
		if !errors.As(err, &e) || e.Message != "no" || !strings.Contains(e.Stack, "at theCaller (") {
			t.Errorf("%s: got %#v", in, err)
		}
	}
}

func TestTimers(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`const out = []; await new Promise((r) => { setTimeout(() => { out.push('b'); r() }, 5); setTimeout(() => out.push('a'), 1); const c = setTimeout(() => out.push('c'), 2); clearTimeout(c) }); return out`: `["a","b"]`,
		`let n = 0; await new Promise((r) => { const i = setInterval((by) => { n += by; if (n === 6) { clearInterval(i); r() } }, 1, 2) }); await new Promise((r) => setTimeout(r, 10)); return n`:                 `6`,
		`return new Promise((r) => setImmediate(r, 'now'))`:                                         `"now"`,
		`return Promise.race([nango.getMetadata(), new Promise((_, no) => setTimeout(no, 60000))])`: `true`,
	} {
		if got, err := run(t, newCall(body(in)), &recorder{}); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	if _, err := run(t, newCall(body(`clearTimeout(setTimeout(() => {}, 60000)); await new Promise(() => {})`)), &recorder{}); err == nil || !strings.Contains(err.Error(), "never settles") {
		t.Errorf("a timer that was ended was waited for: %v", err)
	}
}

func httpHost(pages map[string]fn.HTTPResult) *recorder {
	return &recorder{answer: func(_ string, args json.RawMessage) (json.RawMessage, error) {
		var a fn.HTTPArgs
		if err := json.Unmarshal(args, &a); err != nil {
			return nil, err
		}
		key := a.Endpoint
		if a.Query != "" {
			key += "?" + a.Query
		}
		r, ok := pages[key]
		if !ok {
			return nil, &fn.HostError{Code: syncline.CodeUpstream, NetCode: "ENOTFOUND", Message: "no page " + key}
		}
		return json.Marshal(r)
	}}
}

func TestHTTPLooksLikeAxios(t *testing.T) {
	t.Parallel()
	h := httpHost(map[string]fn.HTTPResult{
		"/ok?a=1&b=x%2Cy": {Status: 200, StatusText: "OK", Headers: map[string]string{"x": "1"}, Body: `{"v":1}`},
		"/text":                       {Status: 200, Body: `not json`},
		"/bad":                        {Status: 422, Body: `{"message":"no"}`},
	})
	got, err := run(t, newCall(body(`
		const out = [];
		const ok = await nango.get({ endpoint: '/ok', params: { a: 1, b: ['x', 'y'], c: undefined } });
		out.push(ok.data.v, ok.status, ok.headers.x);
		out.push((await nango.get({ endpoint: '/text' })).data);
		try { await nango.post({ endpoint: '/bad', data: { x: 1 } }) } catch (e) { out.push(e.message, e.code, e.response.status, e.response.data.message, e.isAxiosError) }
		try { await nango.get('/gone') } catch (e) { out.push(e.code, e.response === undefined) }
		return out`)), h)
	want := `[1,200,"1","not json","Request failed with status code 422","ERR_BAD_REQUEST",422,"no",true,"ENOTFOUND",true]`
	if err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	_, err = run(t, newCall(body(`try { await nango.get('/bad') } catch (e) { throw new Error('wrapped', { cause: e }) }`)), h)
	var e *fn.ScriptError
	if !errors.As(err, &e) || e.Status != 422 || e.HostCode != syncline.CodeUpstream || e.Message != "wrapped" {
		t.Errorf("got %#v", err)
	}
}

func TestPaginate(t *testing.T) {
	t.Parallel()
	link := func(next string) map[string]string {
		if next == "" {
			return map[string]string{"link": `<https://x/first>; rel="first"`}
		}
		return map[string]string{"link": `<https://x/first>; rel="first", <` + next + `>; rel="next"`}
	}
	h := httpHost(map[string]fn.HTTPResult{
		"/l?per_page=2":       {Status: 200, Body: `[1,2]`, Headers: link("https://x/l?page=2")},
		"https://x/l?page=2":  {Status: 200, Body: `[]`, Headers: link("https://x/l?page=3")},
		"https://x/l?page=3":  {Status: 200, Body: `[3]`, Headers: link("")},
		"/c":                  {Status: 200, Body: `{"data":{"items":[1]},"next":"n1"}`},
		"/c?cursor=n1":        {Status: 200, Body: `{"data":{"items":[2]},"next":null}`},
		"/o?offset=0&limit=2": {Status: 200, Body: `[1,2]`},
		"/o?limit=2&offset=0": {Status: 200, Body: `[1,2]`},
		"/o?limit=2&offset=2": {Status: 200, Body: `[3]`},
		"/odata":              {Status: 200, Body: `{"value":[{"items":[1]}],"@odata.nextLink":"/odata2"}`},
		"/odata2":             {Status: 200, Body: `{"value":[{"items":[2]}]}`},
		"/loop":               {Status: 200, Body: `{"data":{"items":[1]},"next":"same"}`},
		"/loop?cursor=same":   {Status: 200, Body: `{"data":{"items":[1]},"next":"same"}`},
	})
	collect := func(config string) string {
		return `const all = []; for await (const page of nango.paginate(` + config + `)) all.push(page); return all`
	}
	cursor := `type: 'cursor', cursor_name_in_request: 'cursor', cursor_path_in_response: 'next', response_path: 'data.items'`
	for config, want := range map[string]string{
		`{ endpoint: '/l', params: { per_page: 2 }, paginate: { type: 'link', link_rel_in_response_header: 'next' } }`:                       `[[1,2],[3]]`,
		`{ endpoint: '/l', paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 2 } }`:   `[[1,2],[3]]`,
		`{ endpoint: '/c', paginate: { ` + cursor + ` } }`:                                                                                   `[[1],[2]]`,
		`{ endpoint: '/odata', paginate: { type: 'link', link_path_in_response_body: '@odata.nextLink', response_path: 'value[0].items' } }`: `[[1],[2]]`,
		`{ endpoint: '/o', paginate: { type: 'offset', offset_name_in_request: 'offset', limit_name_in_request: 'limit', limit: 2 } }`:       `[[1,2],[3]]`,
	} {
		if got, err := run(t, newCall(body(collect(config))), h); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", config, got, err, want)
		}
	}
	for config, want := range map[string]string{
		`{ endpoint: '/loop', paginate: { ` + cursor + ` } }`:                                                            "the API sent the same next page twice (same)",
		`{ endpoint: '/c', paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: 'next' } }`: "the response is not an array; set response_path",
		`{ endpoint: '/c' }`: "the provider has no default pagination",
	} {
		if _, err := run(t, newCall(body(collect(config))), h); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", config, err, want)
		}
	}
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

func TestACanceledCallEnds(t *testing.T) {
	t.Parallel()
	e := quickjs.New(quickjs.Options{})
	defer e.Close()
	for _, in := range []string{`for (;;);`, `await new Promise((r) => setTimeout(r, 60000))`} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("moved")
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		if _, err := e.Run(ctx, newCall(body(in)), &recorder{}); !errors.Is(err, why) {
			t.Errorf("%s: got %v", in, err)
		}
	}
}

func TestLogLinesHaveLevelsAndData(t *testing.T) {
	t.Parallel()
	h := &recorder{}
	_, err := run(t, newCall(body(`
		await nango.log('plain');
		await nango.log('warned', { level: 'warn' });
		await nango.log({ a: 1 });
		console.error('from', 'console', [1]);
		nango.setLogger({ level: 'warn' });
		await nango.log('not this');
		await nango.log('but this', 2, { level: 'error' });
		await nango.log('nor this', { level: 'off' });`)), h)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range h.logs {
		got = append(got, fmt.Sprintf("%s:%s:%s", l.Level, l.Message, l.Data))
	}
	if want := `[info:plain: warn:warned: info:{"a":1}:{"a":1} error:from console [1]: error:but this 2:]`; fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
}
