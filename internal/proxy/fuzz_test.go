package proxy_test

import (
	"net/url"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy"
)

// FuzzTarget: whatever a customer has in a connection_config, and whatever a
// function has in an endpoint, credentials go to the host of the catalogue.
func FuzzTarget(f *testing.F) {
	for _, seed := range []struct{ subdomain, segment, endpoint, query string }{
		{"acme", "v1", "/x", "a=1"}, {"evil.com/", "..", "//evil.com", "#"}, {"evil.com#", "a/../b", "@evil.com", "&&"}, {"evil.com:80", "%2e%2e", ":80@evil.com", "?"},
		{"x@evil.com", "?", "\\\\evil.com", " "}, {"evil.com\\", "#", ".evil.com", "\r\n"}, {"[::1]", "\x00", "/../../x", "%zz"}, {"。", "é", "http:evil.com", "é"},
	} {
		f.Add(seed.subdomain, seed.segment, seed.endpoint, seed.query)
	}
	f.Fuzz(func(t *testing.T, subdomain, segment, endpoint, query string) {
		if strings.Contains(endpoint, "://") {
			t.Skip("an absolute URL is judged by its origin")
		}
		got, err := proxy.URLOf(proxy.Request{
			Provider:   &provider.Provider{Proxy: provider.Proxy{BaseURL: "https://${connectionConfig.s}.api.example.com/base/${connectionConfig.p}/"}},
			Connection: &syncline.Connection{ConnectionConfig: map[string]any{"s": subdomain, "p": segment}},
			Args:       fn.HTTPArgs{Endpoint: endpoint, Query: query},
		})
		if err != nil {
			return
		}
		u, err := url.Parse(got)
		if err != nil {
			t.Fatalf("the URL %q does not parse: %v", got, err)
		}
		if u.Scheme != "https" || u.User != nil || !strings.HasSuffix(u.Hostname(), ".api.example.com") || u.Port() != "" {
			t.Errorf("%q goes to %q", got, u.Host)
		}
		if !strings.HasPrefix(u.EscapedPath(), "/base/") {
			t.Errorf("%q leaves the base path", got)
		}
		if strings.ContainsAny(got, " \r\n\t\x00") {
			t.Errorf("%q cannot stand in a request line", got)
		}
	})
}
