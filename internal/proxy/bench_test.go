package proxy_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
)

// BenchmarkCall is one GET of 2 KB over a kept connection: through the proxy,
// and with net/http alone. The difference is what the proxy costs.
func BenchmarkCall(b *testing.B) {
	body := make([]byte, 2<<10)
	for i := range body {
		body[i] = 'x'
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(body) }))
	b.Cleanup(srv.Close)
	c := proxy.New(proxy.Config{Policy: only("127.0.0.0/8")})
	b.Cleanup(c.Close)
	through := func(b *testing.B, log func(syncline.LogLine)) {
		r := request(srv.URL, fn.HTTPArgs{Endpoint: "/repos/a/b/issues", Query: "state=all&per_page=100"})
		r.Connection.ID, r.Priority, r.Log = 1, proxy.PriorityPoll, log
		b.ReportAllocs()
		for b.Loop() {
			resp, err := c.Do(b.Context(), r)
			if err != nil || len(resp.Body) != len(body) {
				b.Fatal(resp, err)
			}
			_ = resp.Result("")
			resp.Release()
		}
	}
	b.Run("proxy", func(b *testing.B) { through(b, nil) })
	b.Run("proxy, logged", func(b *testing.B) { through(b, func(syncline.LogLine) {}) })
	b.Run("net/http", func(b *testing.B) {
		transport := &http.Transport{DisableCompression: true}
		defer transport.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			req, err := http.NewRequestWithContext(b.Context(), "GET", srv.URL+"/repos/a/b/issues?state=all&per_page=100", nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := transport.RoundTrip(req)
			if err != nil {
				b.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if _ = resp.Body.Close(); err != nil || len(got) != len(body) {
				b.Fatal(err)
			}
		}
	})
}
