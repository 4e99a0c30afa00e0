package proxy_test

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// token is the credential that must turn up nowhere but in the right header.
const token = "ghp_SuperSecretToken42"

// settled orders what handlers and tests do to shared variables: a network
// round trip does, but the race detector cannot see that.
var settled sync.Mutex

func settle() {
	settled.Lock()
	defer settled.Unlock()
}

// client is a proxy.Client whose requests are ordered with their handlers.
type client struct{ *proxy.Client }

func (c client) Do(ctx context.Context, r proxy.Request) (*proxy.Response, error) {
	settle()
	defer settle()
	return c.Client.Do(ctx, r)
}

func orderly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		settle()
		defer settle()
		h(w, r)
	}
}

// newClient is a client that may call this machine.
func newClient(t *testing.T, c proxy.Config) client {
	t.Helper()
	if c.Policy.Allow == nil {
		c.Policy.AllowPrivateNetworks = true
	}
	if c.Clock == nil {
		c.Clock = clock.NewFake(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	}
	if c.Rand == nil {
		c.Rand = func() float64 { return 0 }
	}
	p := proxy.New(c)
	t.Cleanup(p.Close)
	return client{p}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(orderly(h))
	t.Cleanup(srv.Close)
	return srv
}

// serveOn serves on an address of this machine's loopback network.
func serveOn(t *testing.T, ip string, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Skipf("this machine has no %s: %v", ip, err)
	}
	srv := httptest.NewUnstartedServer(orderly(h))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// github is a catalogue entry in the style of real ones.
func github(base string) *provider.Provider {
	return &provider.Provider{Name: "github", AuthMode: provider.AuthOAuth2, Proxy: provider.Proxy{
		BaseURL: base,
		Headers: map[string]string{"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"},
		Auth:    map[string]string{"Authorization": "Bearer ${accessToken}"},
		Retry:   provider.Retry{After: []string{"retry-after"}, At: []string{"x-ratelimit-reset"}, RemainingZero: "x-ratelimit-remaining"},
	}}
}

func request(base string, args fn.HTTPArgs) proxy.Request {
	return proxy.Request{
		Provider:    github(base),
		Connection:  &syncline.Connection{ConnectionID: "customer-1"},
		Credentials: map[string]string{"accessToken": token},
		Args:        args,
	}
}

func hostErr(t *testing.T, err error) *fn.HostError {
	t.Helper()
	var e *fn.HostError
	if !errors.As(err, &e) {
		t.Fatalf("error = %v; want a host error", err)
	}
	if strings.Contains(e.Message, token) || strings.Contains(e.Message, "SuperSecret") {
		t.Fatalf("the error shows a credential: %s", e.Message)
	}
	return e
}

func TestARequestIsBuiltFromTheCatalogueTheConnectionAndTheCaller(t *testing.T) {
	t.Parallel()
	var got *http.Request
	var body string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, body = r, string(b)
		w.Header().Add("X-Multi", "a")
		w.Header().Add("X-Multi", "b")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"ok":true}`)
	})
	client := newClient(t, proxy.Config{})
	payload := `{"title":"ü"}`
	resp, err := client.Do(t.Context(), request(srv.URL+"/api/", fn.HTTPArgs{
		Method: "POST", Endpoint: "/repos/a%2Fb/issues?state=all", Query: "per_page=100&labels=x%20y", Body: &payload, ContentType: "application/json",
		Headers: map[string]string{"accept": "application/json", "X-Mine": "1", "Host": "evil.example", "Content-Length": "3", "Transfer-Encoding": "chunked"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.RequestURI != "/api/repos/a%2Fb/issues?state=all&per_page=100&labels=x%20y" || body != payload {
		t.Errorf("server saw %s %s %q", got.Method, got.RequestURI, body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer " + token, "Accept": "application/json", "X-Github-Api-Version": "2022-11-28", "X-Mine": "1",
		"Content-Type": "application/json", "User-Agent": "Syncline",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("header %s = %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.Host == "evil.example" || got.ContentLength != int64(len(payload)) {
		t.Errorf("host %q, length %d: a header of the connection was taken from the caller", got.Host, got.ContentLength)
	}
	result := resp.Result("")
	if result.Status != 201 || result.StatusText != "Created" || result.Body != `{"ok":true}` || result.Encoding != "" ||
		result.Headers["x-multi"] != "a, b" || result.URL != srv.URL+"/api/repos/a%2Fb/issues?state=all&per_page=100&labels=x%20y" {
		t.Errorf("result = %+v", result)
	}
}

func TestWhereARequestGoes(t *testing.T) {
	t.Parallel()
	conn := &syncline.Connection{
		ConnectionID:     "c",
		ConnectionConfig: map[string]any{"subdomain": "acme", "evil": "evil.com/#", "at": "x@evil.com", "url": "https://eu.example.com/v2/", "query": "https://x.example/?a=1", "n": float64(42), "slash": "a/b", "dots": "..", "nested": map[string]any{"dc": "us1"}, "port": "example.com:8443"},
		Metadata:         map[string]any{"region": "eu"},
	}
	for name, tc := range map[string]struct {
		template, integration, override, endpoint, query string
		want                                             string // URL, or part of the error after "!"
	}{
		"the provider's base":                       {"https://api.example.com", "", "", "/x", "", "https://api.example.com/x"},
		"no slash":                                  {"https://api.example.com", "", "", "x/y", "", "https://api.example.com/x/y"},
		"base with a path":                          {"https://api.example.com/v3/", "", "", "/x", "", "https://api.example.com/v3/x"},
		"an empty endpoint":                         {"https://api.example.com/v3", "", "", "", "", "https://api.example.com/v3"},
		"a query alone":                             {"https://api.example.com/v3", "", "", "?a=1", "", "https://api.example.com/v3?a=1"},
		"a slash alone":                             {"https://api.example.com/graphql", "", "", "/", "", "https://api.example.com/graphql/"},
		"the integration's base wins":               {"https://api.example.com", "https://gw.example.com/p", "", "/x", "", "https://gw.example.com/p/x"},
		"the request's base wins over both":         {"https://api.example.com", "https://gw.example.com", "https://other.example.com/q", "/x", "", "https://other.example.com/q/x"},
		"a variable in the host":                    {"https://${connectionConfig.subdomain}.example.com", "", "", "/x", "", "https://acme.example.com/x"},
		"a nested variable":                         {"https://${connectionConfig.nested.dc}.example.com", "", "", "/x", "", "https://us1.example.com/x"},
		"a host and port":                           {"https://${connectionConfig.port}/api", "", "", "/x", "", "https://example.com:8443/api/x"},
		"metadata and a number":                     {"https://api.example.com/${metadata.region}/${connectionConfig.n}", "", "", "/x", "", "https://api.example.com/eu/42/x"},
		"a whole URL from the connection":           {"${connectionConfig.url}", "", "", "/x", "", "https://eu.example.com/v2/x"},
		"a slash in a path value is escaped":        {"https://api.example.com/${connectionConfig.slash}", "", "", "/x", "", "https://api.example.com/a%2Fb/x"},
		"dots in a path value are refused":          {"https://api.example.com/t/${connectionConfig.dots}", "", "", "/x", "", "!cannot be a segment"},
		"a host value cannot end the host":          {"https://${connectionConfig.evil}.example.com", "", "", "/x", "", "!not a host name"},
		"a host value cannot hold user information": {"https://${connectionConfig.at}.example.com", "", "", "/x", "", "!not a host name"},
		"a whole URL with a query is refused":       {"${connectionConfig.query}", "", "", "/x", "", "!not a plain http"},
		"an unset variable is named":                {"https://${connectionConfig.domain}", "", "", "/x", "", `!connection "c" has no connectionConfig.domain`},
		"no base URL":                               {"", "", "", "/x", "", "!has no base URL"},
		"two slashes do not change the host":        {"https://api.example.com", "", "", "//evil.com/x", "", "https://api.example.com/evil.com/x"},
		"an at sign does not change the host":       {"https://api.example.com", "", "", "@evil.com/x", "", "https://api.example.com/@evil.com/x"},
		"a dot does not change the host":            {"https://api.example.com", "", "", ".evil.com/x", "", "https://api.example.com/.evil.com/x"},
		"a colon does not change the port":          {"https://api.example.com", "", "", ":81/x", "", "https://api.example.com/:81/x"},
		"a URL in the query is no absolute URL":     {"https://api.example.com", "", "", "/x?u=http://evil.com/", "", "https://api.example.com/x?u=http://evil.com/"},
		"queries merge":                             {"https://api.example.com?k=v", "", "", "/x?a=1", "?b=2", "https://api.example.com/x?k=v&a=1&b=2"},
		"odd bytes in a query are escaped":          {"https://api.example.com", "", "", "/x?q=a b", "w=ü&z=\"<>", "https://api.example.com/x?q=a%20b&w=%C3%BC&z=%22%3C%3E"},
		"odd bytes in a path are escaped":           {"https://api.example.com", "", "", "/a b/ü", "", "https://api.example.com/a%20b/%C3%BC"},
		"a fragment is dropped":                     {"https://api.example.com", "", "", "/x#frag", "", "https://api.example.com/x"},
		"a line break is refused":                   {"https://api.example.com", "", "", "/x\r\nHost: evil.com", "", "!valid URL"},
		"another scheme is refused":                 {"https://api.example.com", "", "", "file:///etc/passwd", "", "!scheme"},
		"another scheme as base is refused":         {"https://api.example.com", "", "gopher://example.com", "/x", "", "!scheme"},
		"user information in a base is refused":     {"https://api.example.com", "", "https://u:p@example.com", "/x", "", "!user information"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := proxy.URLOf(proxy.Request{
				Provider: &provider.Provider{Name: "p", Proxy: provider.Proxy{BaseURL: tc.template}}, BaseURL: tc.integration, Connection: conn,
				Args: fn.HTTPArgs{Endpoint: tc.endpoint, Query: tc.query, BaseURLOverride: tc.override},
			})
			if want, isErr := strings.CutPrefix(tc.want, "!"); isErr {
				e := hostErr(t, err)
				if e.Code != syncline.CodeInvalid || !strings.Contains(e.Message, want) {
					t.Errorf("error = %v; want %q", e, want)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("URL = %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}

func TestTemplatesOfCredentials(t *testing.T) {
	t.Parallel()
	var got http.Header
	var query url.Values
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { got, query = r.Header, r.URL.Query() })
	client := newClient(t, proxy.Config{})
	resp, err := client.Do(t.Context(), proxy.Request{
		Provider: &provider.Provider{Proxy: provider.Proxy{
			BaseURL: srv.URL,
			Auth:    map[string]string{"Authorization": "Basic ${base64(username:password)}", "X-Key": "Basic ${base64(apiKey:)}", "X-Account": "${connectionConfig.account}"},
			Query:   map[string]string{"api_key": "${apiKey}", "v": "2", "account": "${connectionConfig.account}"},
		}},
		Connection:  &syncline.Connection{ConnectionConfig: map[string]any{"account": "acme"}},
		Credentials: map[string]string{"username": "u", "password": "p:q", "apiKey": "k&y=SuperSecret"},
		Args:        fn.HTTPArgs{Endpoint: "/x?v=3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	if got.Get("Authorization") != "Basic "+b64("u:p:q") || got.Get("X-Key") != "Basic "+b64("k&y=SuperSecret:") || got.Get("X-Account") != "acme" {
		t.Errorf("headers = %v", got)
	}
	if query.Get("api_key") != "k&y=SuperSecret" || query["v"][0] != "3" || len(query["v"]) != 1 || query.Get("account") != "acme" {
		t.Errorf("query = %v", query)
	}
	if resp.URL != srv.URL+"/x?v=3&account=acme" {
		t.Errorf("URL = %s; want it without the key", resp.URL)
	}
}

func TestAHeaderCannotBeInjected(t *testing.T) {
	t.Parallel()
	client := newClient(t, proxy.Config{})
	for name, r := range map[string]proxy.Request{
		"by a credential": {Provider: github("https://api.example.com"), Credentials: map[string]string{"accessToken": "SuperSecret\r\nX-Evil: 1"}},
		"by a value":      request("https://api.example.com", fn.HTTPArgs{Headers: map[string]string{"X-A": "1\nX-Evil: 1"}}),
		"by a name":       request("https://api.example.com", fn.HTTPArgs{Headers: map[string]string{"X-A: 1\r\nX-Evil": "1"}}),
		"by a method":     request("https://api.example.com", fn.HTTPArgs{Method: "GET /x HTTP/1.1\r\nX-Evil: 1"}),
		"by CONNECT":      request("https://api.example.com", fn.HTTPArgs{Method: "CONNECT"}),
	} {
		_, err := client.Do(t.Context(), r)
		if e := hostErr(t, err); e.Code != syncline.CodeInvalid {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestAnAbsoluteEndpointGetsCredentialsOnlyAtItsOwnOrigin(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	record := func(w http.ResponseWriter, r *http.Request) { seen <- r.Header }
	api, other := serve(t, record), serve(t, record)
	client := newClient(t, proxy.Config{})

	if _, err := client.Do(t.Context(), request(api.URL+"/v1", fn.HTTPArgs{Endpoint: api.URL + "/v1/issues?page=2"})); err != nil {
		t.Fatal(err)
	}
	if h := <-seen; h.Get("Authorization") != "Bearer "+token {
		t.Errorf("own origin: %v", h)
	}
	r := request(api.URL, fn.HTTPArgs{Endpoint: other.URL + "/steal"})
	r.Provider.Proxy.Headers["X-Secret-Header"] = "${accessToken}"
	r.Provider.Proxy.Query = map[string]string{"key": "${accessToken}"}
	resp, err := client.Do(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if h := <-seen; h.Get("Authorization") != "" || h.Get("X-Secret-Header") != "" || strings.Contains(resp.URL, "key=") {
		t.Errorf("another origin got %v, %s", h, resp.URL)
	}
}

func TestResponsesCrossAsTextOrBase64(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body, responseType string
		wantBody, encoding string
	}{
		"text":              {"grüße", "", "grüße", ""},
		"empty":             {"", "", "", ""},
		"invalid UTF-8":     {"caf\xe9", "", base64.StdEncoding.EncodeToString([]byte("caf\xe9")), "base64"},
		"an array buffer":   {"plain", "arraybuffer", base64.StdEncoding.EncodeToString([]byte("plain")), "base64"},
		"binary":            {"\x00\xff\xfe", "", "AP/+", "base64"},
		"a null byte alone": {"a\x00b", "", "a\x00b", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["X-Latin"] = []string{"caf\xe9"}
				_, _ = io.WriteString(w, tc.body)
			})
			resp, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			if err != nil {
				t.Fatal(err)
			}
			got := resp.Result(tc.responseType)
			if got.Body != tc.wantBody || got.Encoding != tc.encoding || got.Headers["x-latin"] != "caf\uFFFD" {
				t.Errorf("result = %+v", got)
			}
		})
	}
}

func TestAPrivateAddressIsForbidden(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was reached") })
	client := proxy.New(proxy.Config{})
	t.Cleanup(client.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, base := range []string{srv.URL, "http://localhost:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://2130706433:" + port, "http://0:" + port, "http://169.254.169.254/latest/meta-data"} {
		_, err := client.Do(t.Context(), request(base, fn.HTTPArgs{Endpoint: "/x", Retries: 5}))
		e := hostErr(t, err)
		if e.Code != syncline.CodeForbidden || e.NetCode != "ERR_OUTBOUND_POLICY" {
			t.Errorf("%s: %+v", base, e)
		}
	}
	_, err := client.Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
	if e := hostErr(t, err); !strings.Contains(e.Message, "127.0.0.1") || !strings.Contains(e.Message, outbound.Flag) {
		t.Errorf("the message does not name the host and the flag: %s", e.Message)
	}
}

func only(prefix string) outbound.Policy {
	return outbound.Policy{Allow: []netip.Prefix{netip.MustParsePrefix(prefix)}}
}
