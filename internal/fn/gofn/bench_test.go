package gofn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
	"syncline/sdk"
)

type benchIssue struct {
	ID     string   `json:"id"`
	Title  string   `json:"title"`
	Body   *string  `json:"body"`
	Author string   `json:"author"`
	Labels []string `json:"labels"`
}

type benchAPI struct {
	ID     int64
	Title  string
	Body   *string
	User   struct{ Login string }
	Labels []struct{ Name string }
}

func (i benchAPI) record() benchIssue {
	r := benchIssue{ID: strconv.FormatInt(i.ID, 10), Title: i.Title, Body: i.Body, Author: i.User.Login}
	for _, l := range i.Labels {
		r.Labels = append(r.Labels, l.Name)
	}
	return r
}

func benchmarked(b *testing.B) (*gofn.Runner, fn.Call) {
	b.Helper()
	functions, err := sdk.Functions{sdk.Sync[benchIssue]{
		Name: "issues", Integration: "github", Every: time.Hour, WebhookSubscriptions: []string{"issues"},
		Exec: func(ctx context.Context, h *sdk.SyncHandle[benchIssue]) error {
			for page, err := range sdk.Paginate[benchAPI](ctx, h, sdk.Request{Endpoint: "/issues"}, &sdk.Pagination{Type: sdk.LinkPagination, LinkRel: "next"}) {
				if err != nil {
					return err
				}
				records := make([]benchIssue, len(page))
				for i := range page {
					records[i] = page[i].record()
				}
				if err := h.BatchSave(ctx, records...); err != nil {
					return err
				}
			}
			return nil
		},
		OnWebhook: func(ctx context.Context, h *sdk.SyncHandle[benchIssue], w *sdk.Webhook) error {
			var e struct{ Issue benchAPI }
			if err := w.Decode(&e); err != nil {
				return err
			}
			return h.BatchSave(ctx, e.Issue.record())
		},
	}}.Compile()
	if err != nil {
		b.Fatal(err)
	}
	registry, err := gofn.NewRegistry("b", functions)
	if err != nil {
		b.Fatal(err)
	}
	return &gofn.Runner{Registry: registry}, fn.Call{Engine: syncline.EngineGo, Entry: fn.EntryOnWebhook, BundleHash: registry.Versions()[0].Hash}
}

func benchIssueJSON(n int) string {
	return fmt.Sprintf(`{"id":%d,"number":%[1]d,"title":"x","html_url":"u","created_at":"2026-01-01T00:00:00Z","user":{"login":"octocat"},
		"labels":[{"name":"bug"}],"updated_at":"2026-01-01T00:00:00Z","body":%q}`, n, strings.Repeat("lorem ", 100))
}

// A webhook call with a body of 6 KB and one host call, as the worker's benchmark
// has it.
func BenchmarkWebhookCall(b *testing.B) {
	r, c := benchmarked(b)
	c.Input = json.RawMessage(`{"action":"opened","issue":{"id":1,"number":1,"title":"x","html_url":"u","created_at":"2026-01-01T00:00:00Z",` +
		`"updated_at":"2026-01-01T00:00:00Z","body":"` + strings.Repeat("lorem ", 1000) + `"}}`)
	for b.Loop() {
		if _, err := r.Run(b.Context(), c, &host{}); err != nil {
			b.Fatal(err)
		}
	}
}

// Polls of one page of 100 items, which are decoded, mapped and handed over.
func BenchmarkRecordsMapped(b *testing.B) {
	r, c := benchmarked(b)
	c.Entry = fn.EntryExec
	items := make([]string, 100)
	for i := range items {
		items[i] = benchIssueJSON(i + 1)
	}
	page, err := json.Marshal(fn.HTTPResult{Status: 200, Body: "[" + strings.Join(items, ",") + "]"})
	if err != nil {
		b.Fatal(err)
	}
	h := &host{call: func(_ context.Context, method string, _ json.RawMessage) (json.RawMessage, error) {
		if method == fn.MethodHTTP {
			return page, nil
		}
		return json.RawMessage("true"), nil
	}}
	n := 0
	for b.Loop() {
		if _, err := r.Run(b.Context(), c, h); err != nil {
			b.Fatal(err)
		}
		n += len(items)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
