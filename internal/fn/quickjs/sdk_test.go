package quickjs_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
)

// What each method of nango asks of the host, and what it makes of the answer.
func TestTheFunctionsSDK(t *testing.T) {
	t.Parallel()
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
		"getFlowAttributes":       {in: `return nango.getFlowAttributes()`, want: `null`},
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
			in: `await nango.setFieldMapping({ a: 'b' }); return nango.getFieldMapping()`, answer: `{"a":"b"}`,
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
			asked:  `http {"method":"POST","endpoint":"/a","headers":{"Content-Type":"application/x-www-form-urlencoded"},"query":"","body":"a=x+y&b%5B%5D=1&b%5B%5D=2&c%5Bd%5D=true&f="}`, want: `null`,
		},
		"uncontrolledFetch": {
			in: `const r = await nango.uncontrolledFetch({ url: new URL('https://h/p?q=1'), method: 'post', headers: { A: 'b' }, body: 'x' });
				return [r.ok, r.status, r.headers.get('content-type'), await r.json(), r.bodyUsed]`,
			answer: `{"status":201,"statusText":"Created","headers":{"content-type":"application/json"},"body":"` + base64.StdEncoding.EncodeToString([]byte(`{"v":"é"}`)) + `","encoding":"base64","url":"https://h/p?q=1"}`,
			asked:  `uncontrolledFetch {"url":"https://h/p?q=1","method":"POST","headers":{"A":"b"},"body":"x"}`, want: `[true,201,"application/json",{"v":"é"},true]`,
		},
		"fetch": {
			in:     `const r = await fetch(new Request('https://h/p', { method: 'PUT', headers: { a: 'b' }, body: new URLSearchParams({ c: 'd' }) })); return [r.ok, await r.text()]`,
			answer: `{"status":404,"headers":{},"body":"","url":"https://h/p"}`,
			asked:  `uncontrolledFetch {"url":"https://h/p","method":"PUT","headers":{"a":"b","content-type":"application/x-www-form-urlencoded;charset=utf-8"},"body":"c=d"}`, want: `[false,""]`,
		},
		"uncontrolledFetch without a URL": {in: `await nango.uncontrolledFetch({})`, wrong: "there is no url"},
		"a method that there is not":      {in: `await nango.nothing()`, wrong: "nango.nothing is not offered"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &recorder{answer: func(string, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(c.answer), nil }}
			got, err := run(t, newCall(body(c.in)), h)
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

func TestListRecordsGoesThroughThePages(t *testing.T) {
	t.Parallel()
	h := &recorder{answer: func(_ string, args json.RawMessage) (json.RawMessage, error) {
		if strings.Contains(string(args), "c2") {
			return json.RawMessage(`{"records":[{"id":"3"}],"next_cursor":null}`), nil
		}
		return json.RawMessage(`{"records":[{"id":"1"},{"id":"2"}],"next_cursor":"c2"}`), nil
	}}
	got, err := run(t, newCall(body(`const ids = []; for await (const r of nango.listRecords('Issue')) ids.push(r.id); return ids`)), h)
	if err != nil || got != `["1","2","3"]` || len(h.calls) != 2 {
		t.Errorf("it gives %s, %v after %q", got, err, h.calls)
	}
	// One that stops early asks for no more.
	h.calls = nil
	got, err = run(t, newCall(body(`for await (const r of nango.listRecords('Issue', { cursor: 'c1' })) return r.id`)), h)
	if err != nil || got != `"1"` || len(h.calls) != 1 || h.calls[0] != `listRecords {"model":"Issue","cursor":"c1"}` {
		t.Errorf("it gives %s, %v after %q", got, err, h.calls)
	}
}

func TestBodiesOfTheWeb(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`const b = new Blob(['é', new Uint8Array([33])], { type: 'Text/Plain' }); return [b.size, b.type, await b.text(), await b.slice(2).text()]`:             `[3,"text/plain","é!","!"]`,
		`const f = new File(['x'], 'a.txt'); return [f.name, f.size, f instanceof Blob]`:                                                                        `["a.txt",1,true]`,
		`const r = new Response('{"a":1}', { status: 404 }); const c = r.clone(); return [r.ok, await r.json(), await c.text(), r.headers.get('Content-Type')]`: `[false,{"a":1},"{\"a\":1}","text/plain;charset=UTF-8"]`,
		`const r = new Response('x'); await r.text(); return r.text().catch((e) => e.name)`:                                                                     `"TypeError"`,
		`const r = Response.json({ a: 1 }); return [r.headers.get('content-type'), new Uint8Array(await r.arrayBuffer()).length]`:                               `["application/json",7]`,
		`const r = new Request('https://h/', { method: 'post', body: 'x' }); return [r.method, r.url, await r.clone().text()]`:                                  `["POST","https://h/","x"]`,
	} {
		if got, err := run(t, newCall(body(in)), &recorder{}); err != nil || got != want {
			t.Errorf("%s\n got  %s, %v\n want %s", in, got, err, want)
		}
	}
	// Outside of a run there is nobody to ask.
	c := newCall(`var early = fetch('https://h/').then(() => 'fetched', (e) => e.message); ` + body(`return early`))
	if got, err := run(t, c, &recorder{}); err != nil || !strings.Contains(got, "only when the function runs") {
		t.Errorf("at the top level fetch gives %s, %v", got, err)
	}
}
