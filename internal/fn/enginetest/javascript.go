// Package enginetest is the suite that every engine which runs functions in
// JavaScript must pass: what a function can rely upon, whichever runs it. [Contract]
// is the part of it that Go functions are held to as well.
package enginetest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// JavaScript holds an engine to all that functions in JavaScript rely upon. It is
// one that runs calls for engine; they are of environment 1.
func JavaScript(t *testing.T, engine syncline.Engine, runner fn.Runner) {
	t.Helper()
	s := &suite{engine, runner}
	t.Run("the contract of all engines", func(t *testing.T) {
		t.Parallel()
		Contract(t, func(_ *testing.T, javaScript string, _ gofn.Handler) (fn.Runner, fn.Call) {
			return runner, s.call(newCall(javaScript))
		})
	})
	for name, test := range map[string]func(t *testing.T, s *suite){
		"what a function returns comes back":                      testWhatAFunctionReturnsComesBack,
		"errors say what went wrong":                              testErrorsSayWhatWentWrong,
		"limits end the call and are named":                       testLimitsEndTheCallAndAreNamed,
		"changes reach the host in call order also without await": testChangesReachTheHostInCallOrderAlsoWithoutAwait,
		"a failure that nobody sees fails the run":                testAFailureThatNobodySeesFailsTheRun,
		"calls that follow one that was not awaited are made":     testCallsThatFollowOneThatWasNotAwaitedAreMade,
		"a host error names the call that failed":                 testAHostErrorNamesTheCallThatFailed,
		"timers":                              testTimers,
		"h t t p looks like axios":            testHTTPLooksLikeAxios,
		"paginate":                            testPaginate,
		"a canceled call ends":                testACanceledCallEnds,
		"log lines have levels and data":      testLogLinesHaveLevelsAndData,
		"the functions s d k":                 testTheFunctionsSDK,
		"list records goes through the pages": testListRecordsGoesThroughThePages,
		"bodies of the web":                   testBodiesOfTheWeb,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, s)
		})
	}
}

type suite struct {
	engine syncline.Engine
	runner fn.Runner
}

func (s *suite) call(c fn.Call) fn.Call {
	c.Engine, c.EnvironmentID = s.engine, 1
	return c
}

func (s *suite) run(t *testing.T, c fn.Call, h fn.Host) (string, error) {
	t.Helper()
	out, err := s.runner.Run(t.Context(), s.call(c), h)
	return string(out), err
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

func testWhatAFunctionReturnsComesBack(t *testing.T, s *suite) {
	for in, want := range map[string]string{
		`return 1 + 1`:                          `2`,
		``:                                      `null`,
		`return { a: [1, null, "é\u{1F600}"] }`: `{"a":[1,null,"é😀"]}`,
		`return [nango.connectionId, nango.lastSyncDate ?? 'never']`:                                                                          `["c1","never"]`,
		`await new Promise((r) => setTimeout(r, 1)); return 'timer'`:                                                                          `"timer"`,
		`return new URL('../x?a=1#f', 'https://h.example:443/p/q').href`:                                                                      `"https://h.example/x?a=1#f"`,
		`const u = new URL('https://h/p'); u.searchParams.set('q', 'a b&'); return [u.href, [...new URLSearchParams('a=1&a=2').getAll('a')]]`: `["https://h/p?q=a+b%26",["1","2"]]`,
		`return Buffer.from('häß').toString('base64') + Buffer.from('aGk', 'base64') + Buffer.from('hi').toString('hex')`:                     `"aMOkw58=hi6869"`,
		`return [btoa('hi'), atob('aGk='), new TextDecoder().decode(new TextEncoder().encode('ü😀'))]`:                                         `["aGk=","hi","ü😀"]`,
		`const a = { d: new Date(0), m: new Map([[1, 2]]) }; const b = structuredClone(a); return [b.d.getTime(), b.m.get(1), b !== a]`:       `[0,2,true]`,
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			got, err := s.run(t, newCall(body(in)), &recorder{})
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func testErrorsSayWhatWentWrong(t *testing.T, s *suite) {
	for name, c := range map[string]struct {
		in   string
		want fn.ScriptError
	}{
		"an exception":                 {`null.x`, fn.ScriptError{Name: "TypeError", Message: "null"}},
		"a thrown string":              {`throw 'no'`, fn.ScriptError{Name: "Error", Message: "the function threw no"}},
		"a thrown undefined":           {`throw undefined`, fn.ScriptError{Name: "Error", Message: "the function threw undefined"}},
		"a promise that never settles": {`await new Promise(() => {})`, fn.ScriptError{Name: "Error", Message: "the function waits for a promise that never settles: nothing is left that could settle it"}},
		"an unknown method":            {`if (nango.teleport) throw new Error('it is there'); await nango.teleport()`, fn.ScriptError{Name: "TypeError", Message: "not a function"}},
		"an ActionError":               {`throw new nango.ActionError({ message: 'bad input' })`, fn.ScriptError{Name: "ActionError", Message: "bad input"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.run(t, newCall(body(c.in)), &recorder{})
			var e *fn.ScriptError
			if !errors.As(err, &e) || e.Name != c.want.Name || !strings.Contains(e.Message, c.want.Message) {
				t.Errorf("got %#v (%v), want %#v", e, err, c.want)
			}
		})
	}
}

func testLimitsEndTheCallAndAreNamed(t *testing.T, s *suite) {
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
		"big calls that nobody awaits": {`const s = 'x'.repeat(1 << 17); for (;;) nango.post({ endpoint: '/', data: s })`, fn.Limits{Memory: 16 << 20}, "host calls of more than 16 MiB under way"},
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
			_, err := s.run(t, call, &recorder{})
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
		_, err := s.run(t, newCall(body(`const f = () => f(); f()`)), &recorder{})
		var e *fn.ScriptError
		if !errors.As(err, &e) || !strings.Contains(e.Message, "stack") {
			t.Errorf("got %v", err)
		}
	})
}

func testChangesReachTheHostInCallOrderAlsoWithoutAwait(t *testing.T, s *suite) {
	h := &recorder{}
	_, err := s.run(t, newCall(body(`
		nango.batchSave([{ id: 1 }], 'M');
		nango.saveCheckpoint({ page: 1 });
		nango.batchDelete([{ id: 2 }], 'M');
		nango.batchSave([], 'M');`)), h)
	want := []string{`batchSave {"model":"M","records":[{"id":1}]}`, `saveCheckpoint {"checkpoint":{"page":1}}`, `batchDelete {"model":"M","records":[{"id":2}]}`}
	if err != nil || fmt.Sprint(h.calls) != fmt.Sprint(want) {
		t.Errorf("the host saw %v, %v", h.calls, err)
	}
}

func testAFailureThatNobodySeesFailsTheRun(t *testing.T, s *suite) {
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
			_, err := s.run(t, newCall(body(c.in)), h)
			var e *fn.ScriptError
			if failed := errors.As(err, &e) && e.Message == "record 0: has no id" && e.HostCode == syncline.CodeInvalid; failed != c.failed || !failed && err != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

func testCallsThatFollowOneThatWasNotAwaitedAreMade(t *testing.T, s *suite) {
	h := &recorder{}
	_, err := s.run(t, newCall(body(`(async () => { for (let i = 0; i < 3; i++) await nango.batchSave([{ id: i }], 'M') })()`)), h)
	if err != nil || len(h.calls) != 3 {
		t.Errorf("the host saw %v, %v", h.calls, err)
	}
	// The next call of the same context is not disturbed by what came before.
	if _, err := s.run(t, newCall(body(`setTimeout(() => nango.batchSave([{ id: 1 }], 'M'), 1000)`)), h); err != nil || len(h.calls) != 3 {
		t.Errorf("a timer outlived its call: %v, %v", h.calls, err)
	}
}

func testAHostErrorNamesTheCallThatFailed(t *testing.T, s *suite) {
	h := &recorder{answer: func(string, json.RawMessage) (json.RawMessage, error) { return nil, errors.New("no") }}
	for _, in := range []string{
		"await nango.batchSave([{}], 'M')", "await nango.get('/x')", "await nango.getRecordsByIds(['1'], 'M')", "for await (const _ of nango.paginate({ endpoint: '/x', paginate: { type: 'link', link_rel_in_response_header: 'next' } })) {}",
	} {
		_, err := s.run(t, newCall(body("await null; const theCaller = async () => { "+in+" }; await theCaller()")), h)
		var e *fn.ScriptError
		if !errors.As(err, &e) || e.Message != "no" || !strings.Contains(e.Stack, "at theCaller (") {
			t.Errorf("%s: got %#v", in, err)
		}
	}
}

func testTimers(t *testing.T, s *suite) {
	for in, want := range map[string]string{
		`const out = []; await new Promise((r) => { setTimeout(() => { out.push('b'); r() }, 5); setTimeout(() => out.push('a'), 1); const c = setTimeout(() => out.push('c'), 2); clearTimeout(c) }); return out`: `["a","b"]`,
		`let n = 0; await new Promise((r) => { const i = setInterval((by) => { n += by; if (n === 6) { clearInterval(i); r() } }, 1, 2) }); await new Promise((r) => setTimeout(r, 10)); return n`:                 `6`,
		`return new Promise((r) => setImmediate(r, 'now'))`:                                         `"now"`,
		`return Promise.race([nango.getMetadata(), new Promise((_, no) => setTimeout(no, 60000))])`: `true`,
	} {
		if got, err := s.run(t, newCall(body(in)), &recorder{}); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	if _, err := s.run(t, newCall(body(`clearTimeout(setTimeout(() => {}, 60000)); await new Promise(() => {})`)), &recorder{}); err == nil || !strings.Contains(err.Error(), "never settles") {
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

func testHTTPLooksLikeAxios(t *testing.T, s *suite) {
	h := httpHost(map[string]fn.HTTPResult{
		"/ok?a=1&b=x%2Cy": {Status: 200, StatusText: "OK", Headers: map[string]string{"x": "1"}, Body: `{"v":1}`},
		"/text":           {Status: 200, Body: `not json`},
		"/bad":            {Status: 422, Body: `{"message":"no"}`},
	})
	got, err := s.run(t, newCall(body(`
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
	_, err = s.run(t, newCall(body(`try { await nango.get('/bad') } catch (e) { throw new Error('wrapped', { cause: e }) }`)), h)
	var e *fn.ScriptError
	if !errors.As(err, &e) || e.Status != 422 || e.HostCode != syncline.CodeUpstream || e.Message != "wrapped" {
		t.Errorf("got %#v", err)
	}
}

func testPaginate(t *testing.T, s *suite) {
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
		`{ endpoint: '/l', params: { per_page: 2 }, paginate: { type: 'link', link_rel_in_response_header: 'next' } }`:                       `[[1,2],[],[3]]`,
		`{ endpoint: '/l', paginate: { type: 'link', link_rel_in_response_header: 'next', limit_name_in_request: 'per_page', limit: 2 } }`:   `[[1,2],[],[3]]`,
		`{ endpoint: '/c', paginate: { ` + cursor + ` } }`:                                                                                   `[[1],[2]]`,
		`{ endpoint: '/odata', paginate: { type: 'link', link_path_in_response_body: '@odata.nextLink', response_path: 'value[0].items' } }`: `[[1],[2]]`,
		`{ endpoint: '/o', paginate: { type: 'offset', offset_name_in_request: 'offset', limit_name_in_request: 'limit', limit: 2 } }`:       `[[1,2],[3]]`,
	} {
		if got, err := s.run(t, newCall(body(collect(config))), h); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", config, got, err, want)
		}
	}
	for config, want := range map[string]string{
		`{ endpoint: '/loop', paginate: { ` + cursor + ` } }`:                                                            "the API sent the same page and the same cursor twice (same)",
		`{ endpoint: '/c', paginate: { type: 'cursor', cursor_name_in_request: 'c', cursor_path_in_response: 'next' } }`: "the response is not an array; set response_path",
		`{ endpoint: '/c' }`: "the provider has no default pagination",
	} {
		if _, err := s.run(t, newCall(body(collect(config))), h); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", config, err, want)
		}
	}
}

func testACanceledCallEnds(t *testing.T, s *suite) {
	for _, in := range []string{`for (;;);`, `await new Promise((r) => setTimeout(r, 60000))`} {
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("moved")
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		if _, err := s.runner.Run(ctx, s.call(newCall(body(in))), &recorder{}); !errors.Is(err, why) {
			t.Errorf("%s: got %v", in, err)
		}
	}
}

func testLogLinesHaveLevelsAndData(t *testing.T, s *suite) {
	h := &recorder{}
	_, err := s.run(t, newCall(body(`
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

func testTheFunctionsSDK(t *testing.T, s *suite) {
	for name, c := range map[string]struct {
		in     string
		answer string // of every host call
		asked  string // the host calls, joined by newlines
		want   string // the result
		wrong  string // in the error
	}{
		"getConnection": {
			in: `return (await nango.getConnection()).id`, answer: `{"id":7}`, asked: `getConnection {}`, want: `7`,
		},
		"getConnection of another, refreshed": {
			in: `await nango.getConnection('slack', 'c2', { forceRefresh: true, refreshToken: false })`, answer: `{}`,
			asked: `getConnection {"provider_config_key":"slack","connection_id":"c2","refresh_token":false,"force_refresh":true}`, want: `null`,
		},
		"getToken of OAuth 2":     {in: `return nango.getToken()`, answer: `{"credentials":{"type":"OAUTH2","access_token":"t"}}`, asked: `getConnection {}`, want: `"t"`},
		"getToken of OAuth 1":     {in: `return nango.getToken()`, answer: `{"credentials":{"type":"OAUTH1","oauth_token":"a","oauth_token_secret":"b"}}`, asked: `getConnection {}`, want: `{"oAuthToken":"a","oAuthTokenSecret":"b"}`},
		"getToken of an API key":  {in: `return nango.getToken()`, answer: `{"credentials":{"type":"API_KEY","apiKey":"k"}}`, asked: `getConnection {}`, want: `{"type":"API_KEY","apiKey":"k"}`},
		"getIntegration":          {in: `return (await nango.getIntegration({ include: ['webhook'] })).provider`, answer: `{"provider":"github"}`, asked: `getIntegration {"include":["webhook"]}`, want: `"github"`},
		"getEnvironmentVariables": {in: `return nango.getEnvironmentVariables()`, answer: `[{"name":"A","value":"1"}]`, asked: `getEnvironmentVariables {}`, want: `[{"name":"A","value":"1"}]`},
		"getWebhookURL":           {in: `return nango.getWebhookURL()`, answer: `"https://s/webhook/e/i"`, asked: `getWebhookURL {}`, want: `"https://s/webhook/e/i"`},
		"getFlowAttributes":       {in: `return nango.getFlowAttributes()`, want: `{}`},
		"triggerAction": {
			in: `return nango.triggerAction('slack', 'c2', 'send', { text: 'é' })`, answer: `{"ts":"1"}`,
			asked: `triggerAction {"provider_config_key":"slack","connection_id":"c2","name":"send","input":{"text":"é"}}`, want: `{"ts":"1"}`,
		},
		"triggerSync by name": {
			in: `await nango.triggerSync('github', 'c1', 'issues')`, answer: `null`,
			asked: `triggerSync {"provider_config_key":"github","connection_id":"c1","name":"issues","sync_mode":"incremental"}`, want: `null`,
		},
		"triggerSync of a variant, in full": {
			in: `await nango.triggerSync('github', 'c1', { name: 'issues', variant: 'x' }, true)`, answer: `null`,
			asked: `triggerSync {"provider_config_key":"github","connection_id":"c1","name":"issues","variant":"x","sync_mode":"full_refresh"}`, want: `null`,
		},
		"startSync": {
			in: `await nango.startSync('github', ['a', { name: 'b', variant: 'v' }])`, answer: `null`,
			asked: `startSync {"provider_config_key":"github","connection_id":"c1","syncs":[{"name":"a"},{"name":"b","variant":"v"}]}`, want: `null`,
		},
		"startSync without a list": {in: `await nango.startSync('github', 'a')`, wrong: "takes an array of syncs"},
		"locks": {
			in:     `return [await nango.tryAcquireLock({ key: 'k', ttlMs: 1000.5 }), await nango.releaseLock({ key: 'k' }), await nango.releaseAllLocks()]`,
			answer: `true`, asked: "tryAcquireLock {\"key\":\"k\",\"ttl_ms\":1001}\nreleaseLock {\"key\":\"k\"}\nreleaseAllLocks {}", want: `[true,true,null]`,
		},
		"a lock without a time": {in: `await nango.tryAcquireLock({ key: 'k' })`, wrong: "the time is not a number of milliseconds"},
		"a lock without a key":  {in: `await nango.tryAcquireLock({ ttlMs: 1 })`, wrong: "the key is not a text"},
		"deletions of earlier executions": {
			in: `return nango.deleteRecordsFromPreviousExecutions('Issue')`, answer: `{"deletedKeys":["1"]}`,
			asked: `deleteRecordsFromPreviousExecutions {"model":"Issue"}`, want: `{"deletedKeys":["1"]}`,
		},
		"trackDeletesEnd": {in: `return nango.trackDeletesEnd('Issue')`, answer: `null`, asked: `trackDeletesEnd {"model":"Issue"}`, want: `{"deletedKeys":[]}`},
		"batchSend":       {in: `return nango.batchSend([{ id: '1' }], 'Issue')`, answer: `true`, asked: `batchSave {"model":"Issue","records":[{"id":"1"}]}`, want: `true`},
		"field mappings": {
			in: `await nango.setFieldMapping({ a: 'b' }); return nango.getFieldMapping()`, answer: `{"fieldMapping":{"a":"b"}}`,
			asked: "setMetadata {\"metadata\":{\"a\":\"b\"}}\ngetMetadata {}", want: `{"a":"b"}`,
		},
		"zodValidateInput takes what is right": {
			in: `return (await nango.zodValidateInput({ zodSchema: { safeParse: (v) => ({ success: true, data: v.a }) }, input: { a: 1 } })).data`, want: `1`,
		},
		"zodValidateInput throws what is wrong": {
			in:    `await nango.zodValidateInput({ zodSchema: { safeParse: () => ({ success: false, error: { issues: [{ message: 'Required', path: ['a', 0] }] } }) }, input: {} })`,
			wrong: "Invalid input provided",
		},
		"another connection, raw, within a time": {
			in:     `await nango.get({ endpoint: '/a', providerConfigKey: 'slack', connectionId: 'c2', decompress: false, timeout: 5000, retries: 2, retryOn: [409] })`,
			answer: `{"status":200,"headers":{},"body":""}`,
			asked:  `http {"method":"GET","endpoint":"/a","headers":{},"query":"","retries":2,"retryOn":[409],"decompress":false,"timeoutMs":5000,"providerConfigKey":"slack","connectionId":"c2"}`, want: `null`,
		},
		"a form": {
			in:     `await nango.post({ endpoint: '/a', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, data: { a: 'x y', b: [1, 2], c: { d: true }, e: undefined, f: null } })`,
			answer: `{"status":200,"headers":{},"body":""}`,
			asked:  `http {"method":"POST","endpoint":"/a","headers":{"Content-Type":"application/x-www-form-urlencoded"},"query":"","body":"a=x+y&b%5B%5D=1&b%5B%5D=2&c%5Bd%5D=true"}`, want: `null`,
		},
		"uncontrolledFetch": {
			in: `const r = await nango.uncontrolledFetch({ url: new URL('https://h/p?q=1'), method: 'post', headers: { A: 'b' }, body: 'x' });
				return [r.ok, r.status, r.headers.get('content-type'), await r.json(), r.bodyUsed]`,
			answer: `{"status":201,"statusText":"Created","headers":{"content-type":"application/json"},"body":"` + base64.StdEncoding.EncodeToString([]byte(`{"v":"é"}`)) + `","encoding":"base64","url":"https://h/p?q=1"}`,
			asked:  `uncontrolledFetch {"url":"https://h/p?q=1","method":"POST","headers":{"A":"b","content-type":"text/plain;charset=UTF-8"},"body":"x"}`, want: `[true,201,"application/json",{"v":"é"},true]`,
		},
		"fetch": {
			in:     `const r = await fetch(new Request('https://h/p', { method: 'PUT', headers: { a: 'b' }, body: new URLSearchParams({ c: 'd' }) })); return [r.ok, await r.text()]`,
			answer: `{"status":404,"headers":{},"body":"","url":"https://h/p"}`,
			asked:  `uncontrolledFetch {"url":"https://h/p","method":"PUT","headers":{"a":"b","content-type":"application/x-www-form-urlencoded;charset=UTF-8"},"body":"c=d"}`, want: `[false,""]`,
		},
		"uncontrolledFetch without a URL": {in: `await nango.uncontrolledFetch({})`, wrong: "there is no url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &recorder{answer: func(string, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(c.answer), nil }}
			got, err := s.run(t, newCall(body(c.in)), h)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("the error is %v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || got != c.want {
				t.Errorf("it returns %s, %v; want %s", got, err, c.want)
			}
			if asked := strings.Join(h.calls, "\n"); asked != c.asked {
				t.Errorf("it asks\n%s\nwant\n%s", asked, c.asked)
			}
		})
	}
}

func testListRecordsGoesThroughThePages(t *testing.T, s *suite) {
	h := &recorder{answer: func(_ string, args json.RawMessage) (json.RawMessage, error) {
		if strings.Contains(string(args), "c2") {
			return json.RawMessage(`{"records":[{"id":"3"}],"next_cursor":null}`), nil
		}
		return json.RawMessage(`{"records":[{"id":"1"},{"id":"2"}],"next_cursor":"c2"}`), nil
	}}
	got, err := s.run(t, newCall(body(`const ids = []; for await (const r of nango.listRecords('Issue')) ids.push(r.id); return ids`)), h)
	if err != nil || got != `["1","2","3"]` || len(h.calls) != 2 {
		t.Errorf("it gives %s, %v after %q", got, err, h.calls)
	}
	// One that stops early asks for no more.
	h.calls = nil
	got, err = s.run(t, newCall(body(`for await (const r of nango.listRecords('Issue', { cursor: 'c1' })) return r.id`)), h)
	if err != nil || got != `"1"` || len(h.calls) != 1 || h.calls[0] != `listRecords {"model":"Issue","cursor":"c1"}` {
		t.Errorf("it gives %s, %v after %q", got, err, h.calls)
	}
}

func testBodiesOfTheWeb(t *testing.T, s *suite) {
	for in, want := range map[string]string{
		`const b = new Blob(['é', new Uint8Array([33])], { type: 'Text/Plain' }); return [b.size, b.type, await b.text(), await b.slice(2).text()]`:             `[3,"text/plain","é!","!"]`,
		`const f = new File(['x'], 'a.txt'); return [f.name, f.size, f instanceof Blob]`:                                                                        `["a.txt",1,true]`,
		`const r = new Response('{"a":1}', { status: 404 }); const c = r.clone(); return [r.ok, await r.json(), await c.text(), r.headers.get('Content-Type')]`: `[false,{"a":1},"{\"a\":1}","text/plain;charset=UTF-8"]`,
		`const r = new Response('x'); await r.text(); return r.text().catch((e) => e.name)`:                                                                     `"TypeError"`,
		`const r = Response.json({ a: 1 }); return [r.headers.get('content-type'), new Uint8Array(await r.arrayBuffer()).length]`:                               `["application/json",7]`,
		`const r = new Request('https://h/', { method: 'post', body: 'x' }); return [r.method, r.url, await r.clone().text()]`:                                  `["POST","https://h/","x"]`,
	} {
		if got, err := s.run(t, newCall(body(in)), &recorder{}); err != nil || got != want {
			t.Errorf("%s\n got  %s, %v\n want %s", in, got, err, want)
		}
	}
	// Outside of a run there is nobody to ask.
	c := newCall(`var early = fetch('https://h/').then(() => 'fetched', (e) => e.message); ` + body(`return early`))
	if got, err := s.run(t, c, &recorder{}); err != nil || !strings.Contains(got, "only when the function runs") {
		t.Errorf("at the top level fetch gives %s, %v", got, err)
	}
}
