package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
	"syncline/sdk"
	"syncline/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// do runs f as an action on a host.
func do(t *testing.T, h *sdktest.Host, f func(ctx context.Context, h *sdk.Handle) error) error {
	t.Helper()
	_, err := sdktest.CallAction(t.Context(), h, sdk.Action[struct{}, struct{}]{
		Name: "f", Integration: "i", Exec: func(ctx context.Context, h *sdk.Handle, _ struct{}) (struct{}, error) { return struct{}{}, f(ctx, h) },
	}, struct{}{})
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestManifests(t *testing.T) {
	t.Parallel()
	type meta struct {
		Repository string `json:"repository"`
	}
	type other struct {
		ID int `json:"id"`
	}
	functions, err := sdk.Functions{
		sdk.Sync[Contact]{
			Name: "contacts", Integration: "crm", Description: "d", Version: "1", Every: 90 * time.Second, ManualStart: true, Scopes: []string{"read"},
			Model:  sdk.Model[Contact]{IgnoredFields: []string{"seen"}, History: 48 * time.Hour},
			Models: []sdk.AnyModel{sdk.Model[other]{Name: "Other"}}, Checkpoint: cursor, Metadata: sdk.Metadata[meta]{},
			WebhookSubscriptions: []string{"*"}, Reconcile: 7 * 24 * time.Hour, RewindContested: true,
			Exec:      func(context.Context, *sdk.SyncHandle[Contact]) error { return nil },
			OnWebhook: func(context.Context, *sdk.SyncHandle[Contact], *sdk.Webhook) error { return nil },
		},
		sdk.Action[Greeting, Greeted]{Name: "greet", Integration: "crm", Exec: func(context.Context, *sdk.Handle, Greeting) (g Greeted, err error) { return g, err }},
		sdk.OnEvent{Name: "hello", Integration: "crm", Event: sdk.PostConnectionCreation, Exec: func(context.Context, *sdk.Handle) error { return nil }},
	}.Compile()
	must(t, err)
	registry, err := gofn.NewRegistry("b", functions)
	must(t, err)
	for i, want := range []string{
		`{"type":"sync","name":"contacts","integration":"crm","description":"d","engine":"go","version":"1","frequency":"every 90 seconds","auto_start":false,
		  "models":{"Contact":{"type":"object","properties":{"id":{"type":"string"},"email":{"type":"string"}},"required":["id","email"]},
		            "Other":{"type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}},
		  "metadata":{"type":"object","properties":{"repository":{"type":"string"}},"required":["repository"]},
		  "checkpoint":{"type":"object","properties":{"since":{"type":"string"}},"required":["since"]},
		  "webhook_subscriptions":["*"],"has_on_webhook":true,"scopes":["read"],"reconcile":"every 7 days","rewind_contested":true,
		  "history":{"Contact":"2 days"},"ignored_fields":{"Contact":["seen"]}}`,
		`{"type":"action","name":"greet","integration":"crm","engine":"go","auto_start":false,
		  "input":{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]},
		  "output":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}}`,
		`{"type":"on-event","name":"hello","integration":"crm","engine":"go","auto_start":false,"event":"post-connection-creation"}`,
	} {
		var x, y any
		raw, err := json.Marshal(registry.Versions()[i].Manifest)
		must(t, err)
		must(t, json.Unmarshal(raw, &x))
		must(t, json.Unmarshal([]byte(want), &y))
		if !reflect.DeepEqual(x, y) {
			t.Errorf("the manifest is\n%s", raw)
		}
		if f, err := syncline.ParseFrequency(registry.Versions()[0].Manifest.Frequency); err != nil || f != 90*time.Second {
			t.Errorf("the frequency is read as %s, %v", f, err)
		}
	}
}

func TestMistakesAreAllNamed(t *testing.T) {
	t.Parallel()
	_, err := sdk.Functions{
		sdk.Sync[Contact]{Name: "a", Every: time.Millisecond, WebhookSubscriptions: []string{"x"}, Models: []sdk.AnyModel{sdk.Model[string]{Name: "Contact"}}},
		sdk.Sync[struct{}]{Integration: "crm", Checkpoint: sdk.Checkpoint[time.Time]{}, Model: sdk.Model[struct{}]{History: time.Second}},
		sdk.Sync[Contact]{Name: "b", Integration: "crm", Every: time.Hour, Model: sdk.Model[Contact]{Schema: json.RawMessage(`{`), History: time.Minute}},
		sdk.Action[func(), struct{}]{Name: "c", Integration: "crm"},
		sdk.OnEvent{Name: "d", Integration: "crm", Event: "sometimes"},
		nil,
	}.Compile()
	if err == nil {
		t.Fatal("all of it was taken")
	}
	for _, want := range []string{
		`sync "a": Every is 1ms`, `sync "a": the Integration is missing`, `sync "a": Exec is missing`, `sync "a": it subscribes to webhooks but has no OnWebhook`,
		`sync "a": the model Contact is there twice`, `sync "": the Name is missing`, `sync "": Every is missing`, `sync "": a model has no name`,
		`sync "": Checkpoint is of a type that is no JSON object`, `sync "b": the model Contact: the Schema is not JSON`, `sync "b": the model Contact: History is 1m0s`,
		`action "c": the input: no JSON Schema`, `action "c": Exec is missing`, `on-event "d": the Event is "sometimes"`, "a function is nil",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it is not said that %s", want)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	h := &sdktest.Host{API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		must(t, err)
		got, body = r, string(b)
		w.Header().Set("X-Answer", "yes")
		fmt.Fprint(w, "\xff\x00")
	})}
	must(t, do(t, h, func(ctx context.Context, h *sdk.Handle) error {
		for name, c := range map[string]struct {
			r           sdk.Request
			method, uri string
			body, kind  string
		}{
			"get":     {sdk.Request{Endpoint: "/a?b=1", Query: url.Values{"c": {"2", "3"}}}, "GET", "/a?b=1&c=2&c=3", "", ""},
			"json":    {sdk.Request{Method: "post", Endpoint: "a", Body: map[string]string{"x": "<"}}, "POST", "/a", `{"x":"\u003c"}`, "application/json"},
			"form":    {sdk.Request{Method: "PUT", Endpoint: "/a", Body: url.Values{"x": {"1 2"}}}, "PUT", "/a", "x=1+2", "application/x-www-form-urlencoded"},
			"bytes":   {sdk.Request{Method: "PATCH", Endpoint: "/a", Body: []byte("\xfe")}, "PATCH", "/a", "\xfe", "application/octet-stream"},
			"text":    {sdk.Request{Method: "POST", Endpoint: "/a", Body: "plain"}, "POST", "/a", "plain", ""},
			"reader":  {sdk.Request{Method: "POST", Endpoint: "/a", Body: strings.NewReader("read"), Header: http.Header{"Content-Type": {"x/y"}}}, "POST", "/a", "read", "x/y"},
			"headers": {sdk.Request{Method: "POST", Endpoint: "/a", Body: []int{1}, Header: http.Header{"Content-Type": {"x/y"}}}, "POST", "/a", "[1]", "x/y"},
		} {
			r, err := h.Do(ctx, c.r)
			if err != nil {
				return err
			}
			if got.Method != c.method || got.URL.RequestURI() != c.uri || body != c.body || got.Header.Get("Content-Type") != c.kind {
				t.Errorf("%s: %s %s %q %q", name, got.Method, got.URL.RequestURI(), body, got.Header.Get("Content-Type"))
			}
			if string(r.Body) != "\xff\x00" || r.StatusCode != 200 || r.Status != "200 OK" || r.Header.Get("x-answer") != "yes" {
				t.Errorf("%s: the answer is %+v", name, r)
			}
		}
		return nil
	}))
	must(t, do(t, h, func(ctx context.Context, h *sdk.Handle) error {
		for method, call := range map[string]func() (*sdk.Response, error){
			"GET":    func() (*sdk.Response, error) { return h.Get(ctx, "/x", nil) },
			"POST":   func() (*sdk.Response, error) { return h.Post(ctx, "/x", "b") },
			"PUT":    func() (*sdk.Response, error) { return h.Put(ctx, "/x", "b") },
			"PATCH":  func() (*sdk.Response, error) { return h.Patch(ctx, "/x", "b") },
			"DELETE": func() (*sdk.Response, error) { return h.Delete(ctx, "/x") },
		} {
			if _, err := call(); err != nil || got.Method != method {
				t.Errorf("%s: %v", method, err)
			}
		}
		return nil
	}))
}

// failure is how a run of a Go function fails for the dispatcher.
func failure(t *testing.T, h fn.Host, f func(ctx context.Context, h *sdk.Handle) error) *fn.ScriptError {
	t.Helper()
	functions, err := sdk.Functions{sdk.OnEvent{
		Name: "f", Integration: "i", Event: sdk.ValidateConnection, Exec: f,
	}}.Compile()
	must(t, err)
	registry, err := gofn.NewRegistry("b", functions)
	must(t, err)
	r := gofn.Runner{Registry: registry}
	_, err = r.Run(t.Context(), fn.Call{Engine: syncline.EngineGo, Entry: fn.EntryExec, BundleHash: registry.Versions()[0].Hash}, h)
	var script *fn.ScriptError
	if !errors.As(err, &script) {
		t.Fatalf("the run ended with %v", err)
	}
	return script
}

type hostFunc func(method string, args json.RawMessage) (json.RawMessage, error)

func (f hostFunc) Call(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	return f(method, args)
}
func (hostFunc) Log(syncline.LogLine) {}

func answering(r fn.HTTPResult) fn.Host {
	return hostFunc(func(string, json.RawMessage) (json.RawMessage, error) { return json.Marshal(r) })
}

func failing(err error) fn.Host {
	return hostFunc(func(string, json.RawMessage) (json.RawMessage, error) { return nil, err })
}

// clientError is an error as API clients make them.
type clientError struct {
	Response *http.Response
	Message  string
}

func (e *clientError) Error() string { return e.Message }

func TestWhatAnErrorSaysOfTheWorld(t *testing.T) {
	t.Parallel()
	get := func(ctx context.Context, h *sdk.Handle) error {
		_, err := h.Get(ctx, "/x", nil)
		return err
	}
	client := func(ctx context.Context, h *sdk.Handle) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.com/x", nil)
		if err != nil {
			return err
		}
		resp, err := h.HTTPClient("").Do(r)
		if err != nil {
			return err
		}
		resp.Body = io.NopCloser(strings.NewReader("")) // as clients do that read it
		return fmt.Errorf("list: %w", &clientError{resp, "refused"})
	}
	refused := &fn.HostError{Code: syncline.CodeUpstream, NetCode: "ECONNREFUSED", Message: "connect ECONNREFUSED"}
	for name, c := range map[string]struct {
		host        fn.Host
		f           func(ctx context.Context, h *sdk.Handle) error
		code        syncline.Code
		status      int
		unavailable bool
	}{
		"a 404":                      {answering(fn.HTTPResult{Status: 404}), get, syncline.CodeUpstream, 404, false},
		"a 503":                      {answering(fn.HTTPResult{Status: 503}), get, syncline.CodeUpstream, 503, true},
		"a 403 that is a rate limit": {answering(fn.HTTPResult{Status: 403, RateLimited: true}), get, syncline.CodeUpstream, 429, true},
		"no answer":                  {failing(refused), get, syncline.CodeUpstream, 0, true},
		"a 503 to a client":          {answering(fn.HTTPResult{Status: 503}), client, syncline.CodeUpstream, 503, true},
		"a 404 to a client":          {answering(fn.HTTPResult{Status: 404}), client, syncline.CodeUpstream, 404, false},
		"a rate limit to a client":   {answering(fn.HTTPResult{Status: 403, RateLimited: true}), client, syncline.CodeUpstream, 429, true},
		"no answer to a client":      {failing(refused), client, syncline.CodeUpstream, 0, true},
		"a fence":                    {failing(syncline.Errorf(syncline.CodeFenced, "moved")), get, syncline.CodeFenced, 0, false},
		"a wrapped 429":              {answering(fn.HTTPResult{Status: 429}), func(ctx context.Context, h *sdk.Handle) error { return fmt.Errorf("a: %w", get(ctx, h)) }, syncline.CodeUpstream, 429, true},
		"one of several":             {answering(fn.HTTPResult{Status: 429}), func(ctx context.Context, h *sdk.Handle) error { return errors.Join(errors.New("a"), get(ctx, h)) }, syncline.CodeUpstream, 429, true},
		"what it says by itself": {nil, func(context.Context, *sdk.Handle) error {
			return fmt.Errorf("a: %w", sdk.Unavailable(errors.New("later")))
		}, syncline.CodeUnavailable, 0, true},
		"a timeout of its own": {failing(context.DeadlineExceeded), func(ctx context.Context, h *sdk.Handle) error {
			ctx, cancel := context.WithTimeout(ctx, time.Nanosecond)
			defer cancel()
			<-ctx.Done()
			return get(ctx, h)
		}, "", 0, false},
		"its own": {nil, func(context.Context, *sdk.Handle) error { return errors.New("own") }, "", 0, false},
		"a response of somewhere else's": {nil, func(context.Context, *sdk.Handle) error {
			return &clientError{&http.Response{StatusCode: 503, Request: &http.Request{}}, "x"}
		}, "", 0, false},
		"a panic with a 503": {answering(fn.HTTPResult{Status: 503}), func(ctx context.Context, h *sdk.Handle) error { panic(get(ctx, h)) }, syncline.CodeUpstream, 503, true},
	} {
		err := failure(t, c.host, c.f)
		if err.HostCode != c.code || err.Status != c.status || fn.Unavailable(err) != c.unavailable {
			t.Errorf("%s: %q %d, unavailable %t: %v", name, err.HostCode, err.Status, fn.Unavailable(err), err)
		}
	}
	if sdk.Unavailable(nil) != nil {
		t.Error("Unavailable(nil) is an error")
	}
	action := failure(t, nil, func(context.Context, *sdk.Handle) error {
		return fmt.Errorf("no: %w", &sdk.ActionError{Type: "t", Message: "m", Payload: []int{1}})
	})
	if action.Name != "ActionError" || string(action.Payload) != `{"message":"m","payload":[1],"type":"t"}` {
		t.Errorf("an action error is %+v: %s", action, action.Payload)
	}
}

func TestErrorsOfRequestsCanBeLookedAt(t *testing.T) {
	t.Parallel()
	h := &sdktest.Host{API: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Reason", "gone")
		w.WriteHeader(http.StatusGone)
		fmt.Fprint(w, strings.Repeat("x", 1000))
	})}
	err := do(t, h, func(ctx context.Context, h *sdk.Handle) error {
		_, err := h.Get(ctx, "/x", nil)
		return err
	})
	var e *sdk.HTTPError
	if !errors.As(err, &e) || e.StatusCode != http.StatusGone || e.Header.Get("X-Reason") != "gone" || len(e.Body) != 1000 || len(e.Error()) > 400 {
		t.Errorf("got %#v", err)
	}
	err = do(t, &sdktest.Host{}, func(ctx context.Context, h *sdk.Handle) error {
		_, err := h.Get(ctx, "/x", nil)
		return err
	})
	var none *sdk.HostError
	if !errors.As(err, &none) || none.NetCode != "ECONNREFUSED" || none.Timeout() || none.Op != "GET /x" {
		t.Errorf("got %#v", err)
	}
}

func TestClientsWorkOverTheProxy(t *testing.T) {
	t.Parallel()
	api := http.NewServeMux()
	api.HandleFunc("POST /repos/x", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		must(t, err)
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s", r.Header.Get("X-A"), r.URL.RawQuery, b)
	})
	h := &sdktest.Host{API: api, Elsewhere: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) })}
	must(t, do(t, h, func(ctx context.Context, handle *sdk.Handle) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.com/v3/repos/x?q=1", strings.NewReader("body"))
		must(t, err)
		r.Header["X-A"] = []string{"1", "2"}
		resp, err := handle.HTTPClient("https://api.example.com/v3/").Do(r)
		must(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != http.StatusTeapot || string(b) != "1, 2 q=1 body" || resp.Request.URL.Path != "/v3/repos/x" {
			t.Errorf("the client got %d %s", resp.StatusCode, b)
		}
		var args fn.HTTPArgs
		must(t, json.Unmarshal(h.Calls()[0].Args, &args))
		if args.Endpoint != "/repos/x?q=1" {
			t.Errorf("the proxy was asked for %q", args.Endpoint)
		}
		r, err = http.NewRequestWithContext(ctx, http.MethodGet, "https://api.example.com/v30/x", nil)
		must(t, err)
		resp, err = handle.HTTPClient("https://api.example.com/v3/").Do(r)
		must(t, err)
		resp.Body.Close()
		must(t, json.Unmarshal(h.Calls()[1].Args, &args))
		if args.Endpoint != "https://api.example.com/v30/x" {
			t.Errorf("an URL that is not below the base became %q", args.Endpoint)
		}
		r, err = http.NewRequestWithContext(ctx, http.MethodGet, "https://elsewhere.example/x", nil)
		must(t, err)
		resp, err = handle.UncontrolledFetch(r)
		must(t, err)
		defer resp.Body.Close()
		if b, err = io.ReadAll(resp.Body); err != nil || string(b) != "elsewhere.example" {
			t.Errorf("elsewhere answered %s, %v", b, err)
		}
		return nil
	}))
}

func TestTheRestOfTheHostAPI(t *testing.T) {
	t.Parallel()
	type meta struct {
		A string `json:"a"`
		B int    `json:"b,omitempty"`
	}
	var metadata sdk.Metadata[meta]
	h := &sdktest.Host{
		ConnectionID: "acme", Provider: "github", Environment: "prod", Metadata: meta{A: "x"}, WebhookURL: "https://hooks.example",
		EnvironmentVariables: map[string]string{"K": "v"}, Credentials: sdk.Credentials{Type: "API_KEY", APIKey: "secret"},
		Actions: map[string]func(context.Context, json.RawMessage) (any, error){
			"greet": func(_ context.Context, in json.RawMessage) (any, error) {
				return map[string]string{"text": string(in)}, nil
			},
		},
	}
	must(t, do(t, h, func(ctx context.Context, h *sdk.Handle) error {
		if h.ConnectionID() != "acme" || h.Provider() != "github" || h.Environment() != "prod" || h.ProviderConfigKey() != "i" || h.Variant() != "base" ||
			h.RunID() == "" || !h.LastSyncDate().IsZero() {
			t.Error("the run does not know what it is about")
		}
		c, err := h.Connection(ctx, &sdk.ConnectionOptions{WithoutRefreshToken: true})
		must(t, err)
		if c.ConnectionID != "acme" || !strings.Contains(string(c.Credentials.Raw), "secret") {
			t.Errorf("the connection is %+v", c)
		}
		token, err := h.Token(ctx)
		must(t, err)
		variables, err := h.EnvironmentVariables(ctx)
		must(t, err)
		hook, err := h.WebhookURL(ctx)
		must(t, err)
		if token != "secret" || variables["K"] != "v" || hook != "https://hooks.example" {
			t.Errorf("%s, %v, %s", token, variables, hook)
		}
		if i, err := h.Integration(ctx, sdk.IncludeWebhook); err != nil || i.Provider != "github" {
			t.Errorf("the integration is %+v, %v", i, err)
		}
		out, err := sdk.Action[Greeting, Greeted]{Name: "greet"}.Trigger(ctx, h, Greeting{Name: "Ada"})
		if err != nil || out.Text != `{"name":"Ada"}` {
			t.Errorf("the action answered %+v, %v", out, err)
		}
		must(t, h.TriggerSync(ctx, sdk.SyncCall{Name: "a"}))
		must(t, h.StartSync(ctx, sdk.SyncCall{Name: "b"}))
		first, err := h.TryAcquireLock(ctx, "k", time.Minute)
		must(t, err)
		second, err := h.TryAcquireLock(ctx, "k", time.Minute)
		must(t, err)
		held, err := h.ReleaseLock(ctx, "k")
		must(t, err)
		if !first || second || !held {
			t.Errorf("the lock: %t %t %t", first, second, held)
		}
		must(t, h.ReleaseAllLocks(ctx))
		must(t, metadata.Update(ctx, h, map[string]int{"b": 7}))
		m, err := metadata.Get(ctx, h)
		if err != nil || m != (meta{"x", 7}) {
			t.Errorf("the metadata is %+v, %v", m, err)
		}
		return metadata.Set(ctx, h, meta{A: "y"})
	}))
	var m meta
	must(t, h.SavedMetadata(&m))
	if got := h.TriggeredSyncs(); m != (meta{A: "y"}) || len(got) != 2 {
		t.Errorf("%+v %v", m, got)
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	type item struct {
		ID   int            `json:"id"`
		Data map[string]int `json:"data"`
	}
	others := sdk.Model[Contact]{Name: "Other"}
	step := 0
	y := sdk.Sync[item]{
		Name: "items", Integration: "i", Every: time.Hour, Model: sdk.Model[item]{Name: "Item", Merge: sdk.KeepNewest("data.v"), TrackDeletes: true}, Models: []sdk.AnyModel{others},
		Exec: func(ctx context.Context, h *sdk.SyncHandle[item]) error {
			if step++; step == 2 {
				return h.BatchSave(ctx, item{ID: 2})
			}
			must(t, h.BatchSave(ctx)) // nothing is nothing
			must(t, h.BatchSave(ctx, item{ID: 1, Data: map[string]int{"a": 1, "b": 2}}, item{ID: 2}, item{ID: 3}))
			must(t, h.BatchUpdate(ctx, sdk.Patch{"id": 1, "data": map[string]int{"b": 3}}, sdk.Patch{"id": 99}))
			must(t, h.BatchDelete(ctx, "3"))
			must(t, others.Of(h).BatchSave(ctx, Contact{ID: "o"}))
			found, err := h.GetRecordsByIDs(ctx, "1", "3", "4")
			must(t, err)
			if len(found) != 1 || found["1"].Data["a"] != 1 || found["1"].Data["b"] != 3 {
				t.Errorf("found are %+v", found)
			}
			n := 0
			for r, err := range h.ListRecords(ctx) {
				must(t, err)
				n += r.ID
			}
			if n != 3 {
				t.Errorf("the list has %d", n)
			}
			return nil
		},
		OnWebhook: func(ctx context.Context, h *sdk.SyncHandle[item], w *sdk.Webhook) error {
			must(t, h.BatchSave(ctx, item{ID: 50}))
			if found, err := h.GetRecordsByIDs(ctx, "50"); err != nil || len(found) != 1 {
				t.Errorf("the run does not see its own writes: %v, %v", found, err)
			}
			if h.TrackDeletesStart(ctx) == nil {
				t.Error("a webhook tracks deletes")
			}
			return errors.New("after all, no")
		},
	}
	h := &sdktest.Host{}
	must(t, h.Poll(t.Context(), y))
	items, err := sdktest.Records[item](h, "Item")
	must(t, err)
	rest, err := sdktest.Records[Contact](h, "Other")
	must(t, err)
	if len(items) != 2 || len(rest) != 1 {
		t.Errorf("the cache has %v and %v", items, rest)
	}
	if c := h.Calls()[0]; c.Method != "setMergingStrategy" || string(c.Args) != `{"model":"Item","strategy":"keep_newest","field":"data.v"}` {
		t.Errorf("first it called %s %s", c.Method, c.Args)
	}
	if err := h.Webhook(t.Context(), y, sdk.Webhook{Payload: json.RawMessage(`{}`)}); err == nil || err.Error() != "after all, no" {
		t.Errorf("the webhook failed with %v", err)
	}
	must(t, h.Poll(t.Context(), y))
	if items, err = sdktest.Records[item](h, "Item"); err != nil || len(items) != 1 || items["2"].ID != 2 {
		t.Errorf("the cache has %v, %v: what the second poll did not list is to be gone, and nothing of the webhook there", items, err)
	}
}

func TestLogs(t *testing.T) {
	t.Parallel()
	h := &sdktest.Host{}
	must(t, do(t, h, func(_ context.Context, h *sdk.Handle) error {
		h.Log("plain")
		l := h.Logger().With("a", 1).WithGroup("g").With("b", time.Second)
		l.Warn("careful", "c", errors.New("no"), "d", map[string]int{"e": 1})
		l.Error("bad", "f", func() {})
		h.Logger().Debug("little")
		return nil
	}))
	var got []string
	for _, l := range h.Log() {
		got = append(got, fmt.Sprintf("%s %s %s", l.Level, l.Message, l.Data))
	}
	want := []string{
		`info plain `, `warn careful {"a":1,"g.b":"1s","g.c":"no","g.d":{"e":1}}`, `error bad {"unprintable":"json: unsupported type: func()"}`, `debug little `,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the log is %q", got)
	}
}

func TestAPanicOfItsGoroutineIsAnError(t *testing.T) {
	t.Parallel()
	err := do(t, &sdktest.Host{}, func(_ context.Context, h *sdk.Handle) error {
		wait := h.Go(func() error { panic("boom") })
		fine := h.Go(func() error { return nil })
		return errors.Join(wait(), wait(), fine())
	})
	if err == nil || strings.Count(err.Error(), "panic: boom") != 2 {
		t.Errorf("got %v", err)
	}
}
