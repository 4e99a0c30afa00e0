package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline/e2e/harness"
	"syncline/internal/standin/recorded"
)

// realtime is one example of examples/real-time: a sync, how its provider signs,
// and what the webhooks of its folder do to the cache.
type realtime struct {
	provider, sync, model string
	credentials           map[string]any
	config                map[string]any
	secret                string
	// sign adds the provider's signature to a request. It is written from the
	// provider's documentation and shares nothing with the product's engine.
	sign  func(r *http.Request, body []byte, secret string, now time.Time)
	steps []step
}

// step is a webhook and what the records that it speaks of are after it: fields
// that they must have, or nil for one that is gone.
type step struct {
	webhook string
	want    map[string]map[string]any
}

func sum(h func() hash.Hash, secret string, parts ...string) []byte {
	m := hmac.New(h, []byte(secret))
	for _, p := range parts {
		_, _ = io.WriteString(m, p)
	}
	return m.Sum(nil)
}

var oauth = map[string]any{"type": "OAUTH2", "access_token": "a-token"}

var realtimes = []realtime{
	{
		provider: "github", sync: "pull-requests", model: "PullRequest", credentials: oauth, secret: "a-secret",
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum(sha256.New, secret, string(body))))
		},
		steps: []step{
			{"pull_request.edited", map[string]map[string]any{"279147437": {"title": "Update the README with new information, and a picture"}}},
			{"pull_request.late", map[string]map[string]any{"279147437": {"title": "Update the README with new information, and a picture"}}},
		},
	},
	{
		provider: "gitlab", sync: "issues", model: "Issue", credentials: oauth, secret: "a-secret-token",
		sign: func(r *http.Request, _ []byte, secret string, _ time.Time) { r.Header.Set("X-Gitlab-Token", secret) },
		steps: []step{{"issue.updated", map[string]map[string]any{
			"301": {"state": "closed", "labels": []any{"API"}, "updated_at": "2013-12-03T17:20:00.000Z"},
		}}},
	},
	{
		provider: "hubspot", sync: "contacts", model: "Contact", credentials: oauth, secret: "a-client-secret",
		config: map[string]any{"portalId": 33},
		sign: func(r *http.Request, body []byte, secret string, now time.Time) {
			at := strconv.FormatInt(now.UnixMilli(), 10)
			r.Header.Set("X-HubSpot-Request-Timestamp", at)
			r.Header.Set("X-HubSpot-Signature-v3", base64.StdEncoding.EncodeToString(sum(sha256.New, secret, r.Method, r.URL.String(), string(body), at)))
		},
		steps: []step{{"contacts", map[string]map[string]any{
			"1246965": {"lifecycle_stage": "subscriber"}, "1246978": nil,
		}}},
	},
	{
		provider: "stripe", sync: "invoices", model: "Invoice", credentials: oauth, secret: "whsec_a_secret",
		sign: func(r *http.Request, body []byte, secret string, now time.Time) {
			at := strconv.FormatInt(now.Unix(), 10)
			r.Header.Set("Stripe-Signature", "t="+at+",v1="+hex.EncodeToString(sum(sha256.New, secret, at, ".", string(body)))+",v0=decoy")
		},
		steps: []step{
			{"invoice.paid", map[string]map[string]any{"in_1MtHbELkdIwHu7ixl4OzzPMv": {"status": "paid", "amount_paid": 1000.0}}},
			{"invoice.deleted", map[string]map[string]any{"in_1MtGmCLkdIwHu7ix6PgS6g8S": nil}},
		},
	},
	{
		provider: "slack", sync: "messages", model: "Message", credentials: oauth, secret: "a-signing-secret",
		config: map[string]any{"team.id": "T061EG9R6"},
		sign: func(r *http.Request, body []byte, secret string, now time.Time) {
			at := strconv.FormatInt(now.Unix(), 10)
			r.Header.Set("X-Slack-Request-Timestamp", at)
			r.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(sum(sha256.New, secret, "v0:", at, ":", string(body))))
		},
		steps: []step{
			{"message", map[string]map[string]any{"C024BE91L:1355517600.000007": {"text": "A new message"}}},
			{"message.changed", map[string]map[string]any{"C024BE91L:1355517523.000005": {"text": "Live long and prosper.", "edited": true}}},
			{"message.deleted", map[string]map[string]any{"C024BE91L:1355517500.000001": nil}},
		},
	},
	{
		provider: "shopify", sync: "products", model: "Product", credentials: oauth, secret: "a-client-secret",
		config: map[string]any{"subdomain": "acme"},
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(sum(sha256.New, secret, string(body))))
		},
		steps: []step{
			{"products.update", map[string]map[string]any{"788032119674": {"updated_at": "2022-01-02T00:00:00.000Z"}}},
			{"products.late", map[string]map[string]any{"788032119674": {"updated_at": "2022-01-02T00:00:00.000Z"}}},
			{"products.delete", map[string]map[string]any{"788032119675": nil}},
		},
	},
	{
		provider: "linear", sync: "issues", model: "Issue", credentials: oauth, secret: "lin_wh_a_secret",
		config: map[string]any{"organizationId": "d0b8f2a1-4d3e-4b7a-9a53-0e1f5b9f6c1a"},
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("Linear-Signature", hex.EncodeToString(sum(sha256.New, secret, string(body))))
		},
		steps: []step{
			{"issue.update", map[string]map[string]any{"539068e2-ae88-4d09-bd75-22eb4a59612f": {"state": "Done"}}},
			{"issue.remove", map[string]map[string]any{"2174add1-f7c8-44e3-bbf3-2d60b5ea8bc9": nil}},
		},
	},
	{
		provider: "jira", sync: "issues", model: "Issue", credentials: oauth, secret: "a-secret",
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("X-Hub-Signature", "sha256="+hex.EncodeToString(sum(sha256.New, secret, string(body))))
		},
		steps: []step{
			{"issue_updated", map[string]map[string]any{"99291": {"status": "Resolved", "updated_at": "2009-12-17T06:10:00.000Z"}}},
			{"issue_deleted", map[string]map[string]any{"99290": nil}},
		},
	},
	{
		provider: "zendesk", sync: "tickets", model: "Ticket", credentials: oauth, secret: "a-signing-secret",
		config: map[string]any{"subdomain": "acme", "account_id": 12514403},
		sign: func(r *http.Request, body []byte, secret string, now time.Time) {
			at := now.UTC().Format(time.RFC3339)
			r.Header.Set("X-Zendesk-Webhook-Signature-Timestamp", at)
			r.Header.Set("X-Zendesk-Webhook-Signature", base64.StdEncoding.EncodeToString(sum(sha256.New, secret, at, string(body))))
		},
		steps: []step{
			{"ticket.status_changed", map[string]map[string]any{"5158": {"status": "solved"}}},
			{"ticket.soft_deleted", map[string]map[string]any{"5159": nil}},
		},
	},
	{
		provider: "intercom", sync: "contacts", model: "Contact", credentials: oauth, secret: "a-client-secret",
		config: map[string]any{"app_id": "a3vz8f0q"},
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(sum(sha1.New, secret, string(body))))
		},
		steps: []step{
			{"contact.user.updated", map[string]map[string]any{"5ba682d23d7cf92bef87bfd4": {"name": "Joseph Example"}}},
			{"contact.deleted", map[string]map[string]any{"5ba682d23d7cf92bef87bfd5": nil}},
		},
	},
	{
		provider: "notion", sync: "pages", model: "Page", credentials: oauth, secret: "secret_a_verification_token",
		config: map[string]any{"workspace_id": "13950b26-c203-4f3b-b97d-93ec06319565"},
		sign: func(r *http.Request, body []byte, secret string, _ time.Time) {
			r.Header.Set("X-Notion-Signature", "sha256="+hex.EncodeToString(sum(sha256.New, secret, string(body))))
		},
		steps: []step{
			{"page.properties_updated", map[string]map[string]any{"153104cd-477e-809d-8dc4-ff2d96ae3090": {"title": "Shopping list"}}},
			{"page.deleted", map[string]map[string]any{"59833787-2cf9-4fdf-8782-e53db20768a5": nil}},
		},
	},
	{
		provider: "salesforce", sync: "contacts", model: "Contact", credentials: oauth, secret: "a-secret-of-the-named-credential",
		config: map[string]any{"instance_url": "https://acme.my.salesforce.com"},
		sign: func(r *http.Request, _ []byte, secret string, _ time.Time) {
			r.Header.Set("Authorization", "Bearer "+secret)
		},
		steps: []step{
			{"contact.saved", map[string]map[string]any{"003D000000QYVGsIAP": {"last_name": "Rogers-Smith"}}},
			{"contact.deleted", map[string]map[string]any{"003D000000QYVGtIAP": nil}},
		},
	},
}

const realtimeDir = "../examples/real-time"

// TestRealTimeExamples deploys the example of twelve providers, lets each poll a
// stand-in of its API, and sends it webhooks signed as its provider signs them.
func TestRealTimeExamples(t *testing.T) {
	t.Parallel()
	s := newServer(t, "", binary)
	c := s.Client()
	t.Cleanup(c.HTTP.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	if _, err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	fixtures, upstreams := map[string]*recorded.Fixture{}, map[string]*recorded.Server{}
	for _, e := range realtimes {
		f, err := recorded.Load(filepath.Join(realtimeDir, e.provider, "tests", e.sync+".test.json"))
		if err != nil {
			t.Fatal(err)
		}
		fixtures[e.provider], upstreams[e.provider] = f, recorded.New(f)
		upstream := httptest.NewServer(upstreams[e.provider])
		t.Cleanup(upstream.Close)
		err = c.Do(ctx, http.MethodPost, "/integrations", nil, map[string]any{
			"unique_key": e.provider, "provider": e.provider,
			"config": map[string]any{"proxy_base_url": upstream.URL, "webhook": map[string]any{"secrets": []string{e.secret}}},
		}, nil)
		if err != nil {
			t.Fatalf("%s: %v", e.provider, err)
		}
	}
	if out, err := s.Deploy(ctx, realtimeDir); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	// The subtests share the server, which goes when this test ends.
	t.Run("providers", func(t *testing.T) {
		for _, e := range realtimes {
			t.Run(e.provider, func(t *testing.T) {
				t.Parallel()
				e.tell(ctx, t, c, fixtures[e.provider], upstreams[e.provider])
			})
		}
	})
}

func (e *realtime) tell(ctx context.Context, t *testing.T, c *harness.Client, f *recorded.Fixture, upstream *recorded.Server) {
	t.Helper()
	config, _ := f.Nango.Connection["connection_config"].(map[string]any)
	if config == nil {
		config = e.config
	}
	err := c.Do(ctx, http.MethodPost, "/connections", nil, map[string]any{
		"provider_config_key": e.provider, "connection_id": "acme", "credentials": e.credentials,
		"connection_config": config, "metadata": f.Nango.Metadata,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	until := func(what string, want func(map[string]harness.Record) string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			all, err := c.All(ctx, e.provider, "acme", e.model)
			if err != nil {
				t.Fatal(err)
			}
			why := want(all)
			if why == "" {
				return
			}
			if time.Now().After(deadline) {
				deliveries, _ := c.Deliveries(ctx, "integration="+e.provider)
				runs, _ := c.Runs(ctx, "limit=5&provider_config_key="+e.provider)
				t.Fatalf("%s: %s\nrequests that the stand-in does not know: %q\ndeliveries: %+v\nruns: %v", what, why, upstream.Unknown(), deliveries, runs)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	// The first poll gives what the fixture says, field by field.
	until("after the first poll", func(all map[string]harness.Record) string {
		live := 0
		for _, r := range all {
			if !r.Deleted {
				live++
			}
		}
		if live != len(f.Nango.Saved[e.model]) {
			return fmt.Sprintf("there are %d records", live)
		}
		for _, want := range f.Nango.Saved[e.model] {
			if diff := cmp.Diff(want, fields(want, all[fmt.Sprint(want["id"])])); diff != "" {
				return diff
			}
		}
		return ""
	})

	address, err := c.WebhookURL(ctx, e.provider)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.config) == 0 && e.provider != "github" {
		address += "/acme" // nothing in the payload tells the connection
	}
	for _, step := range e.steps {
		var hook struct {
			Headers map[string]string `json:"headers"`
			Body    json.RawMessage   `json:"body"`
		}
		text, err := os.ReadFile(filepath.Join(realtimeDir, e.provider, "webhooks", step.webhook+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &hook); err != nil {
			t.Fatal(err)
		}
		body := hook.Body
		if bytes.Contains(body, []byte(`"webhookTimestamp"`)) { // Linear signs the time in the body
			var fresh map[string]any
			if err := json.Unmarshal(body, &fresh); err != nil {
				t.Fatal(err)
			}
			fresh["webhookTimestamp"] = time.Now().UnixMilli()
			if body, err = json.Marshal(fresh); err != nil {
				t.Fatal(err)
			}
		}
		send := func(secret string) int {
			t.Helper()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			for name, value := range hook.Headers {
				r.Header.Set(name, value)
			}
			e.sign(r, body, secret, time.Now())
			resp, err := c.HTTP.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
		if status := send("not-" + e.secret); status != http.StatusUnauthorized {
			t.Errorf("%s with a wrong signature got %d", step.webhook, status)
		}
		if status := send(e.secret); status != http.StatusOK {
			t.Fatalf("%s got %d", step.webhook, status)
		}
		if err := c.Quiet(ctx); err != nil {
			t.Fatal(err)
		}
		until(step.webhook, func(all map[string]harness.Record) string {
			for id, want := range step.want {
				if r, ok := all[id]; want == nil && ok && !r.Deleted {
					return id + " is still there"
				} else if want != nil && r.Deleted {
					return id + " is gone"
				}
				if diff := cmp.Diff(want, fields(want, all[id])); want != nil && diff != "" {
					return diff
				}
			}
			return ""
		})
	}
	dead, err := c.Deliveries(ctx, "status=dead&integration="+e.provider)
	if err != nil {
		t.Fatal(err)
	}
	if len(dead) > 0 || len(upstream.Unknown()) > 0 {
		t.Errorf("dead: %+v; requests that the stand-in does not know: %q", dead, upstream.Unknown())
	}
}

// fields are the fields of a record that are asked for.
func fields(want map[string]any, r harness.Record) map[string]any {
	got := map[string]any{}
	for name := range want {
		if v, ok := r.Fields[name]; ok {
			got[name] = v
		}
	}
	if _, ok := want["id"]; ok {
		got["id"] = r.ID
	}
	return got
}
