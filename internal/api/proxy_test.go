package api_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
)

// through is the proxy with a token, and the base URL of a stand-in.
type through struct {
	client *proxy.Client
	base   string
}

func (u *through) Stream(ctx context.Context, _ *syncline.Integration, c *syncline.Connection, args fn.HTTPArgs, body io.Reader, length int64) (*proxy.Stream, error) {
	return u.client.Stream(ctx, proxy.Request{
		Provider: &provider.Provider{Name: "github", Proxy: provider.Proxy{
			BaseURL: u.base, Headers: map[string]string{"Accept": "application/vnd.github+json"}, Auth: map[string]string{"Authorization": "Bearer ${accessToken}"}}},
		Connection: c, Credentials: map[string]string{"accessToken": "at-secret"}, Args: args,
	}, body, length)
}

// withProxy serves the API over TCP before a stand-in for the external API.
func withProxy(t *testing.T, h http.HandlerFunc) (h0 *harness, url string) {
	t.Helper()
	standIn := httptest.NewServer(h)
	t.Cleanup(standIn.Close)
	h0 = newHarness(t)
	client := proxy.New(proxy.Config{Policy: outbound.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Timeout: 5 * time.Second})
	t.Cleanup(client.Close)
	h0.deps.Upstream = &through{client: client, base: standIn.URL + "/base"}
	h0.api = api.New(h0.deps)
	h0.integration("github", "github")
	h0.connection("github", "c1", token)
	srv := httptest.NewServer(api.KeepProxyPaths(h0.api, http.NotFoundHandler()))
	t.Cleanup(srv.Close)
	return h0, srv.URL
}

// proxied makes a request for the connection c1.
func proxied(t *testing.T, method, url string, body io.Reader, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"Authorization", "Bearer " + devKey}, {"Provider-Config-Key", "github"}, {"Connection-Id", "c1"}} {
		r.Header.Set(pair[0], pair[1])
	}
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Del(headers[i]); headers[i+1] != "" {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func textOf(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPathsBehindProxyStayAsTheyAre(t *testing.T) {
	t.Parallel()
	_, url := withProxy(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
	for given, want := range map[string]string{
		"/proxy/issues":                     "/base/issues",
		"/proxy/issues/":                    "/base/issues/",
		"/proxy/issues?a=1&b=x%20y":         "/base/issues?a=1&b=x%20y",
		"/proxy/repos/a%2Fb/c":              "/base/repos/a%2Fb/c",
		"/proxy/a//b":                       "/base/a//b",
		"/proxy/a/./b":                      "/base/a/./b",
		"/proxy//issues":                    "/base/issues",
		"/proxy//evil.example/x":            "/base/evil.example/x",
		"/proxy/x:y/z@w":                    "/base/x:y/z@w",
		"/proxy/":                           "/base/",
		"/proxy":                            "/base",
		"/proxy/?q=1":                       "/base/?q=1",
		"/proxy/search?q=http://other.test": "/base/search?q=http://other.test",
		"/proxy/%E4%BA%BA/caf%C3%A9":        "/base/%E4%BA%BA/caf%C3%A9",
	} {
		resp := proxied(t, "GET", url+given, nil)
		if got := textOf(t, resp); resp.StatusCode != 200 || got != want {
			t.Errorf("%s became %d %s; want %s", given, resp.StatusCode, got, want)
		}
	}
}

func TestARequestThroughTheProxy(t *testing.T) {
	t.Parallel()
	seen := make(chan *http.Request, 1)
	_, url := withProxy(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen <- r
		w.Header().Set("X-Total", "7")
		w.Header().Set("Link", "<https://x>; rel=next")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/weird")
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, body)
	})
	resp := proxied(t, "POST", url+"/proxy/x", strings.NewReader(`{"a":1}`), "Content-Type", "application/json", "Cookie", "session=1",
		"Nango-Proxy-X-Custom", "yes", "nango-proxy-accept", "text/plain", "X-Other", "stays here", "Accept-Encoding", "br")
	r := <-seen
	for name, want := range map[string]string{
		"Authorization": "Bearer at-secret", "X-Custom": "yes", "Accept": "text/plain", "Content-Type": "application/json",
		"X-Other": "", "Cookie": "", "Connection-Id": "", "Provider-Config-Key": "", "Nango-Proxy-X-Custom": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("the external API got %s: %q; want %q", name, got, want)
		}
	}
	if got := textOf(t, resp); got != `POST {"a":1}` || resp.StatusCode != 418 || resp.Header.Get("X-Total") != "7" || resp.Header.Get("Link") == "" ||
		resp.Header.Get("Content-Type") != "text/weird" || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("answer: %d %q %v", resp.StatusCode, got, resp.Header)
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		if got := textOf(t, proxied(t, method, url+"/proxy/x", nil)); got != method+" " {
			t.Errorf("%s: %q", method, got)
		}
		<-seen
	}
	if head := proxied(t, "HEAD", url+"/proxy/x", nil); head.StatusCode != 418 || head.Header.Get("X-Total") != "7" {
		t.Errorf("HEAD: %v", head)
	}
}

func TestWhatTheProxyRefuses(t *testing.T) {
	t.Parallel()
	_, url := withProxy(t, func(w http.ResponseWriter, r *http.Request) { t.Error("the external API was called") })
	for name, tc := range map[string]struct {
		method, path string
		headers      []string
		status       int
		code         string
		contains     string
	}{
		"no key":                 {"GET", "/proxy/x", []string{"Authorization", ""}, 401, "missing_auth_header", "Authorization"},
		"no connection":          {"GET", "/proxy/x", []string{"Connection-Id", ""}, 400, "invalid_headers", "Connection-Id"},
		"no integration":         {"GET", "/proxy/x", []string{"Provider-Config-Key", ""}, 400, "invalid_headers", "Provider-Config-Key"},
		"an unknown connection":  {"GET", "/proxy/x", []string{"Connection-Id", "nope"}, 404, "unknown_connection", "nope"},
		"an unknown integration": {"GET", "/proxy/x", []string{"Provider-Config-Key", "nope"}, 404, "unknown_provider_config", "nope"},
		"retries that are none":  {"GET", "/proxy/x", []string{"Retries", "many"}, 400, "invalid_headers", "Retries"},
		"retry-on that is none":  {"GET", "/proxy/x", []string{"Retry-On", "4xx"}, 400, "invalid_headers", "Retry-On"},
		"decompress that is odd": {"GET", "/proxy/x", []string{"Decompress", "maybe"}, 400, "invalid_headers", "Decompress"},
		"a base that is none":    {"GET", "/proxy/x", []string{"Base-Url-Override", "ftp://x"}, 400, "invalid_headers", "Base-Url-Override"},
		"another method":         {"OPTIONS", "/proxy/x", nil, 405, "method_not_allowed", "OPTIONS"},
		"a forbidden host":       {"GET", "/proxy/x", []string{"Base-Url-Override", "http://169.254.169.254"}, 403, "forbidden", "link-local"},
		"nobody listens":         {"GET", "/proxy/x", []string{"Base-Url-Override", "http://127.0.0.1:1"}, 502, "upstream_error", "ECONNREFUSED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := proxied(t, tc.method, url+tc.path, nil, tc.headers...)
			if text := textOf(t, resp); resp.StatusCode != tc.status || !strings.Contains(text, `"code":"`+tc.code+`"`) || !strings.Contains(text, tc.contains) || strings.Contains(text, "at-secret") {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
		})
	}
}

func TestTheProxyStreams(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	var once sync.Once
	end := func() { once.Do(func() { close(next) }) }
	t.Cleanup(end)
	_, url := withProxy(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/base/events":
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for event := range next {
				_, _ = io.WriteString(w, event)
				w.(http.Flusher).Flush()
			}
		case "/base/count":
			n, err := io.Copy(io.Discard, r.Body)
			_, _ = fmt.Fprint(w, n, err)
		case "/base/broken":
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	resp := proxied(t, "GET", url+"/proxy/events", nil)
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		event := fmt.Sprintf("data: %d\n", i)
		next <- event
		if got, err := lines.ReadString('\n'); got != event || err != nil {
			t.Fatalf("event = %q, %v", got, err)
		}
	}
	end()
	if rest, err := io.ReadAll(lines); len(rest) != 0 || err != nil {
		t.Errorf("rest = %q, %v", rest, err)
	}
	const large = 40 << 20 // more than the API takes elsewhere
	if got := textOf(t, proxied(t, "POST", url+"/proxy/count", io.LimitReader(ones{}, large))); got != fmt.Sprint(large, nil) {
		t.Errorf("the external API read %s", got)
	}
	if text, err := io.ReadAll(proxied(t, "GET", url+"/proxy/broken", nil).Body); err == nil {
		t.Errorf("a body that broke off passed as whole: %q", text)
	}
}

type ones struct{}

func (ones) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '1'
	}
	return len(b), nil
}

// expired is a connection without credentials that can be used.
type expired struct{}

func (expired) Stream(context.Context, *syncline.Integration, *syncline.Connection, fn.HTTPArgs, io.Reader, int64) (*proxy.Stream, error) {
	return nil, syncline.Errorf(syncline.CodeUnauthorized, "the access token of connection %q expired", "c1")
}

func TestExpiredCredentialsAreNotTheCallersFault(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.deps.Upstream = expired{}
	h.api = api.New(h.deps)
	h.integration("github", "github")
	h.connection("github", "c1", token)
	h.play(scenario{name: "expired", method: "GET", path: "/proxy/x", headers: []string{"Provider-Config-Key", "github", "Connection-Id", "c1"}, status: 424, want: []string{`"code":"invalid_credentials"`, "expired"}})
}
