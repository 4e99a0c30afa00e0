package ingest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/provider"
)

// BenchmarkHandler measures one delivery from the request to the answer:
// limits, verification, reading, and the commit to the inbox with its fsync;
// without the network.
func BenchmarkHandler(b *testing.B) {
	p, _ := provider.Builtin().Provider("github")
	text := strings.Repeat("x", 8<<10) // about what GitHub sends
	body := func(n int64) string {
		return fmt.Sprintf(`{"action":"edited","issue":{"number":%d,"body":"%s"},"repository":{"id":42,"full_name":"octo/hello"}}`, n, text)
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("%d callers", callers), func(b *testing.B) {
			w := newWorld(b, nil)
			before := w.inbox.Commits()
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var failed atomic.Int64
			one := func() bool {
				n := next.Add(1)
				if n > int64(b.N) {
					return false
				}
				text := body(n)
				headers, err := p.Webhook.Sign(&syncline.Delivery{Body: []byte(text)}, webhookSecret, "", start)
				if err != nil {
					failed.Add(1)
					return false
				}
				r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, w.path("github"), strings.NewReader(text))
				r.Header.Set("X-GitHub-Event", "issues")
				r.Header.Set("X-GitHub-Delivery", fmt.Sprint(n))
				for _, h := range headers {
					r.Header.Set(h.Name, h.Value)
				}
				rec := httptest.NewRecorder()
				began := time.Now()
				w.handler.ServeHTTP(rec, r)
				took[n-1] = time.Since(began)
				if rec.Code != http.StatusOK {
					failed.Add(1)
				}
				return true
			}
			done := make(chan struct{})
			b.ResetTimer()
			for range callers {
				go func() {
					defer func() { done <- struct{}{} }()
					for one() {
					}
				}()
			}
			for range callers {
				<-done
			}
			b.StopTimer()
			if failed.Load() > 0 {
				b.Fatalf("%d of %d were not received", failed.Load(), b.N)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "webhooks/s")
			b.ReportMetric(float64(b.N)/float64(w.inbox.Commits()-before), "webhooks/commit")
		})
	}
}
