package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"syncline/internal/api"
	"syncline/internal/clock"
	"syncline/internal/provider"
	"syncline/internal/secret"
	"syncline/internal/store"
)

func TestWhoMayCall(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	h.play(
		scenario{name: "no header", method: "GET", path: "/integrations", headers: []string{"Authorization", ""}, status: 401, want: []string{`"code":"missing_auth_header"`, "Bearer"}},
		scenario{name: "another scheme", method: "GET", path: "/integrations", headers: []string{"Authorization", "Basic " + devKey}, status: 401, want: []string{`"code":"malformed_auth_header"`}},
		scenario{name: "no key", method: "GET", path: "/integrations", headers: []string{"Authorization", "Bearer "}, status: 401, want: []string{`"code":"malformed_auth_header"`}},
		scenario{name: "an unknown key", method: "GET", path: "/integrations", headers: []string{"Authorization", "Bearer nope"}, status: 401, want: []string{`"code":"unauthorized"`}, not: []string{"nope"}},
		scenario{name: "the scheme's case does not matter", method: "GET", path: "/integrations", headers: []string{"Authorization", "bearer  " + devKey}, status: 200},
		scenario{name: "a key sees its own environment", method: "GET", path: "/integrations", headers: []string{"Authorization", "Bearer " + prodKey}, status: 200, want: []string{`{"data":[]}`}},
		scenario{name: "a key does not reach another environment by name", method: "GET", path: "/integrations/github", headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "health needs no key", method: "GET", path: "/healthz", headers: []string{"Authorization", ""}, status: 200, want: []string{`{"status":"ok"}`}},
		scenario{name: "readiness needs no key", method: "GET", path: "/readyz", headers: []string{"Authorization", ""}, status: 200, want: []string{`{"status":"ready"}`}},
	)
	if a := h.do("GET", "/integrations", "", "Authorization", ""); a.header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 does not say how to authorize")
	}
}

func TestADeletedKeyStopsWorking(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must("GET", "/integrations", "")
	h.tx(func(tx store.Tx) error {
		k, err := tx.APIKeyByHash(secret.HashAPIKey(devKey))
		if err != nil {
			return err
		}
		return tx.DeleteAPIKey(h.dev, k.ID)
	})
	h.clock.Advance(5 * time.Second)
	if a := h.do("GET", "/integrations", ""); a.status != 401 {
		t.Errorf("status %d %s", a.status, a.body)
	}
}

func TestRequestsThatAreNotUnderstood(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const good = `{"unique_key":"github","provider":"github"}`
	h.play(
		scenario{name: "an unknown path", method: "GET", path: "/nothing", status: 404, want: []string{`"code":"not_found"`, "GET /nothing"}},
		scenario{name: "a method that the path does not have", method: "PUT", path: "/integrations", body: good, status: 405, want: []string{`"code":"method_not_allowed"`, "GET, HEAD, POST"}},
		scenario{name: "an empty body", method: "POST", path: "/integrations", status: 400, want: []string{`"code":"invalid_body"`, "empty"}},
		scenario{name: "not JSON", method: "POST", path: "/integrations", body: `{"unique_key":`, status: 400, want: []string{`"code":"invalid_body"`, "not valid JSON"}},
		scenario{name: "not JSON in the middle", method: "POST", path: "/integrations", body: `{"unique_key":x}`, status: 400, want: []string{`at byte 15`}},
		scenario{name: "more than one value", method: "POST", path: "/integrations", body: good + good, status: 400, want: []string{"goes on after"}},
		scenario{name: "not an object", method: "POST", path: "/integrations", body: `[1]`, status: 400, want: []string{"a JSON array, not an object"}},
		scenario{name: "not UTF-8", method: "POST", path: "/integrations", body: "{\"unique_key\":\"\xff\"}", status: 400, want: []string{"UTF-8"}},
		scenario{name: "a wrong type", method: "POST", path: "/integrations", body: `{"unique_key":1}`, status: 400, want: []string{"unique_key is a JSON number; it must be a string", `"path":["unique_key"]`}},
		scenario{name: "a wrong type further in", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"proxy_base_url":[]}}`, status: 400, want: []string{`"path":["config","proxy_base_url"]`}},
		scenario{name: "an unknown member", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","nmae":1}`, status: 400, want: []string{`"path":["nmae"]`, "not a known member"}},
		scenario{name: "nested without end", method: "POST", path: "/integrations", body: `{"unique_key":` + strings.Repeat("[", 20_000), status: 400, want: []string{`"code":"invalid_body"`}},
		scenario{name: "another content type", method: "POST", path: "/integrations", body: good, headers: []string{"Content-Type", "text/plain"}, status: 415, want: []string{`"code":"invalid_content_type"`, "application/json"}},
		scenario{name: "a form", method: "POST", path: "/integrations", body: "a=b", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415},
		scenario{name: "a content type that cannot be read", method: "POST", path: "/integrations", body: good, headers: []string{"Content-Type", ";;"}, status: 415},
		scenario{name: "too large", method: "POST", path: "/integrations", body: `{"unique_key":"` + strings.Repeat("a", 1<<20), status: 413, want: []string{`"code":"too_large"`, "1048576 bytes"}},
		scenario{name: "an unknown query parameter", method: "GET", path: "/integrations?limt=1", status: 400, want: []string{`"code":"invalid_query_params"`, "limt"}},
		scenario{name: "a query that cannot be read", method: "GET", path: "/connections?search=%zz", status: 400, want: []string{`"code":"invalid_query_params"`}},
		scenario{name: "a query with a null character", method: "GET", path: "/connections?search=a%00", status: 400, want: []string{"not valid text"}},
		scenario{name: "JSON with a charset, and no content type, are taken", method: "POST", path: "/integrations/", body: good, headers: []string{"Content-Type", "application/json; charset=utf-8"}, status: 200},
		scenario{name: "a slash at the end does not matter", method: "GET", path: "/integrations/github/", status: 200},
	)
	if a := h.do("PUT", "/integrations", ""); a.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("Allow is %q", a.header.Get("Allow"))
	}
}

func TestEveryAnswerNamesItsRequest(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if a := h.do("GET", "/healthz", "", "X-Request-Id", "mine-1"); a.header.Get("X-Request-Id") != "mine-1" {
		t.Errorf("the caller's id is not kept: %q", a.header.Get("X-Request-Id"))
	}
	for _, bad := range []string{"a b", strings.Repeat("x", 200), "\x01"} {
		if a := h.do("GET", "/healthz", "", "X-Request-Id", bad); a.header.Get("X-Request-Id") == bad || a.header.Get("X-Request-Id") == "" {
			t.Errorf("the id %q is kept", bad)
		}
	}
}

func TestReadinessTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.readyErr = errDown
	h.play(
		scenario{name: "the inbox is down", method: "GET", path: "/readyz", status: 503, want: []string{`"code":"unavailable"`, "inbox is closed"}},
		scenario{name: "the process is well", method: "GET", path: "/healthz", status: 200},
	)
	h.store.Close()
	h.readyErr = nil
	h.play(
		scenario{name: "the store is down", method: "GET", path: "/readyz", status: 503, want: []string{"the store cannot be used"}},
		scenario{name: "a request that needs the store fails as a server's fault", method: "GET", path: "/integrations", status: 503},
	)
}

// panics panics where it is asked for a provider.
type panics struct{ api.Catalogue }

func (panics) Provider(string) (*provider.Provider, bool) { panic("a secret of the inside") }

func TestAPanicIsOneRequestsFailure(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d := h.deps
	d.Catalogue = panics{}
	h.api = api.New(d)
	a := h.do("GET", "/providers/github", "", "X-Request-Id", "r-42")
	if a.status != 500 || !strings.Contains(a.body, "r-42") || strings.Contains(a.body, "secret of the inside") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if log := h.log.String(); !strings.Contains(log, "a secret of the inside") || !strings.Contains(log, "r-42") {
		t.Errorf("the log does not tell: %s", log)
	}
	h.must("GET", "/integrations", "")
}

func TestAnAbortIsPassedOn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	d := h.deps
	d.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("recovered %v", p)
		}
	}()
	api.New(d).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/metrics", nil))
}

func TestACallerThatWentAwayGetsNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", "/integrations", nil)
	r.Header.Set("Authorization", "Bearer "+devKey)
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	if w.Body.Len() != 0 || strings.Contains(h.log.String(), "level=ERROR") {
		t.Errorf("%d %s\n%s", w.Code, w.Body, h.log)
	}
}

func TestMetricsAreServedWhenThereAreAny(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if a := h.do("GET", "/metrics", ""); a.status != 404 {
		t.Errorf("without metrics: %d", a.status)
	}
	d := h.deps
	d.Clock = clock.System
	d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("1")) })
	h.api = api.New(d)
	if a := h.do("GET", "/metrics", ""); a.status != 200 || a.body != "1" {
		t.Errorf("%d %s", a.status, a.body)
	}
}
