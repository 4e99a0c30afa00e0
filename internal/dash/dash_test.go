package dash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/dash"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

const (
	devKey  = "0c0ffee0-dead-4bee-8bad-f00dfeedface"
	hostile = `"><script>alert(1)</script><img src=x onerror=alert(2)>`
)

// world is a store with something of everything.
type world struct {
	*testing.T
	store *sqlite.Store
	clock *clock.Fake
	runs  []string // uuids: a good poll, a failed one, a webhook run
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c := clock.NewFake(time.Date(2026, 5, 31, 11, 46, 13, 0, time.UTC))
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{T: t, store: s, clock: c}
	if err := s.Update(context.Background(), store.Relaxed, w.fill); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) fill(tx store.Tx) error {
	now := w.clock.Now()
	w.runs = nil
	dev := syncline.Environment{UUID: "11111111-2222-4333-8444-555555555555", Name: "dev", CreatedAt: now}
	prod := syncline.Environment{UUID: "66666666-2222-4333-8444-555555555555", Name: "prod", CreatedAt: now}
	for _, e := range []*syncline.Environment{&dev, &prod} {
		if err := tx.CreateEnvironment(e); err != nil {
			return err
		}
	}
	if err := tx.CreateAPIKey(&syncline.APIKey{EnvironmentID: dev.ID, Name: "k", Hash: secret.HashAPIKey(devKey), CreatedAt: now}); err != nil {
		return err
	}
	github := syncline.Integration{EnvironmentID: dev.ID, UniqueKey: "github", Provider: "github", DisplayName: "GitHub", CreatedAt: now, UpdatedAt: now,
		Credentials: syncline.Sealed{KeyID: "k", Data: []byte("sealed-credentials")}, WebhookSecrets: syncline.Sealed{KeyID: "k", Data: []byte("sealed-secrets")}}
	evil := syncline.Integration{EnvironmentID: dev.ID, UniqueKey: "evil key", Provider: "hubspot", DisplayName: hostile, CreatedAt: now, UpdatedAt: now}
	secretive := syncline.Integration{EnvironmentID: prod.ID, UniqueKey: "stripe", Provider: "stripe", DisplayName: "Stripe of prod", CreatedAt: now, UpdatedAt: now}
	for _, i := range []*syncline.Integration{&github, &evil, &secretive} {
		if err := tx.CreateIntegration(i); err != nil {
			return err
		}
	}
	var connections []syncline.Connection
	for _, id := range []string{"acme", "globex", hostile} {
		k := syncline.Connection{EnvironmentID: dev.ID, IntegrationID: github.ID, ConnectionID: id, CreatedAt: now, UpdatedAt: now,
			Credentials: syncline.Sealed{KeyID: "k", Data: []byte("sealed-token")}, Metadata: map[string]any{"private": "metadata-value"}}
		if err := tx.CreateConnection(&k); err != nil {
			return err
		}
		connections = append(connections, k)
	}
	if err := tx.PutBundle(dev.ID, "hash", []byte("bundle")); err != nil {
		return err
	}
	var functions []syncline.Function
	for _, m := range []syncline.Manifest{
		{Type: syncline.FunctionSync, Name: "issues", Frequency: "every 30s", AutoStart: true, Description: "Issues of all repositories " + hostile,
			Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{}`), "Label": json.RawMessage(`{}`)}, WebhookSubscriptions: []string{"issues", "issue_comment", hostile}, HasOnWebhook: true},
		{Type: syncline.FunctionSync, Name: "pull-requests", Frequency: "every hour", Models: map[string]json.RawMessage{"PullRequest": json.RawMessage(`{}`)}},
		{Type: syncline.FunctionAction, Name: "create-issue", Description: "Opens an issue in a repository."},
	} {
		f := syncline.Function{EnvironmentID: dev.ID, IntegrationID: github.ID, Type: m.Type, Name: m.Name, Enabled: true, CreatedAt: now}
		for range 2 {
			if err := tx.DeployFunction(&f, &syncline.FunctionVersion{Manifest: m, BundleHash: "hash", DeployedAt: now.Add(-3 * time.Hour)}); err != nil {
				return err
			}
		}
		functions = append(functions, f)
	}
	inst := syncline.SyncInstance{UUID: syncline.NewUUID(), EnvironmentID: dev.ID, ConnectionID: connections[0].ID, FunctionID: functions[0].ID, Variant: syncline.BaseVariant,
		State: syncline.InstanceStarted, FrequencyOverride: "every minute", CreatedAt: now}
	if _, err := tx.EnsureInstance(&inst); err != nil {
		return err
	}
	stalled := syncline.SyncInstance{UUID: syncline.NewUUID(), EnvironmentID: dev.ID, ConnectionID: connections[2].ID, FunctionID: functions[0].ID, Variant: "eu",
		State: syncline.InstanceStarted, CreatedAt: now}
	if _, err := tx.EnsureInstance(&stalled); err != nil {
		return err
	}
	stalled.PollCheckpoint = json.RawMessage(`{"page":7}`)
	stalled.Progress = syncline.Progress{Stuck: 5, StalledAt: now.Add(-3 * time.Hour), Reason: "it ran longer than 30m " + hostile}
	if err := tx.UpdateInstance(&stalled); err != nil {
		return err
	}
	for i, r := range []syncline.Run{
		{Kind: syncline.RunPoll, Status: syncline.RunSuccess, SyncType: syncline.SyncInitial, ConnectionID: connections[0].ID,
			Models: map[string]syncline.ModelResult{"Issue": {Added: 240, Updated: 3, Deleted: 1, Unchanged: 12}, "Label": {Added: 9, Skipped: 2, Contested: 1}}, Warnings: []string{"an update named an unknown id " + hostile}},
		{Kind: syncline.RunPoll, Status: syncline.RunFailed, ConnectionID: connections[2].ID, ErrorCode: syncline.CodeScript, Error: "TypeError: cannot read properties of undefined (reading 'title')\n    at github/syncs/issues.ts:14:9 " + hostile},
		{Kind: syncline.RunWebhook, Status: syncline.RunSuccess, SyncType: syncline.SyncWebhook, ConnectionID: connections[1].ID, Models: map[string]syncline.ModelResult{"Issue": {Updated: 1}}},
		{Kind: syncline.RunWebhook, Status: syncline.RunRetrying, Attempt: 2, ConnectionID: connections[1].ID, ErrorCode: syncline.CodeUpstream, Error: "GET https://api.github.com/repos/acme/app/issues/7: 502 Bad Gateway"},
		{Kind: syncline.RunPoll, Status: syncline.RunRunning, ConnectionID: connections[0].ID},
	} {
		r.UUID, r.EnvironmentID, r.FunctionID, r.VersionID, r.InstanceID, r.Attempt = syncline.NewUUID(), dev.ID, functions[0].ID, functions[0].Active.ID, inst.ID, max(r.Attempt, 1)
		r.StartedAt = now.Add(time.Duration(i-5) * 7 * time.Minute)
		if r.Status != syncline.RunRunning {
			r.FinishedAt = r.StartedAt.Add([]time.Duration{83 * time.Second, 900 * time.Millisecond, 8 * time.Millisecond, 412 * time.Microsecond}[i])
		}
		if err := tx.CreateRun(&r); err != nil {
			return err
		}
		w.runs = append(w.runs, r.UUID)
		lines := []syncline.LogLine{
			{RunID: r.ID, At: r.StartedAt, Level: syncline.LogInfo, Message: "fetching acme/app, page 1"},
			{RunID: r.ID, At: r.StartedAt.Add(40 * time.Millisecond), Level: syncline.LogDebug, Message: "rate limit", Data: json.RawMessage(`{"remaining":4998,"note":"</pre><script>alert(3)</script>"}`)},
			{RunID: r.ID, At: r.StartedAt.Add(90 * time.Millisecond), Level: syncline.LogWarn, Message: "a slow answer"},
			{RunID: r.ID, At: r.StartedAt.Add(95 * time.Millisecond), Level: syncline.LogError, Message: "failed " + hostile},
		}
		if err := tx.AppendLogs(dev.ID, r.ID, lines); err != nil {
			return err
		}
	}
	issues, err := tx.EnsureCollection(dev.ID, connections[0].ID, "Issue", now)
	if err != nil {
		return err
	}
	if err := tx.OpenWindow(&syncline.DeleteWindow{EnvironmentID: dev.ID, CollectionID: issues, State: syncline.WindowHeld, Deletes: 90, Live: 120, HeldAt: now}); err != nil {
		return err
	}
	for i, status := range []syncline.DeliveryStatus{syncline.DeliveryProcessed, syncline.DeliveryProcessed, syncline.DeliveryIgnored, syncline.DeliveryParked, syncline.DeliveryDead} {
		d := syncline.DeliveryState{Position: int64(i + 1), EnvironmentID: dev.ID, IntegrationID: github.ID, Status: status, Type: "issues", DeliveryID: fmt.Sprintf("72d3162e-cc78-11e3-81ab-4c9367dc095%d", i),
			Events: 1, ReceivedAt: now.Add(time.Duration(i-6) * time.Minute), UpdatedAt: now}
		switch status {
		case syncline.DeliveryIgnored:
			d.Type, d.Events, d.Reason = "star", 0, "no deployed sync subscribes to star"
		case syncline.DeliveryParked:
			d.Events, d.Reason = 0, "no connection has installation_id 123 "+hostile
		case syncline.DeliveryDead:
			d.DeadEvents, d.Duplicates, d.Reason = 1, 2, "1 of 1 events failed 5 times"
		}
		if err := tx.PutDeliveryState(&d); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) handler(open bool) http.Handler {
	return dash.New(dash.Deps{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler), PublicURL: "https://sync.example.com/", Open: open})
}

func get(t *testing.T, h http.Handler, target string, change func(r *http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", target, nil)
	r.Host = "localhost:3003"
	if change != nil {
		change(r)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestPagesShowWhatThereIs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.handler(true)
	for name, c := range map[string]struct {
		path   string
		status int
		want   []string
	}{
		"the overview lists integrations": {"/", 200, []string{">GitHub</h2>", "/ui/integrations/github?env=dev", "/ui/integrations/evil%20key?env=dev", "running",
			"Held deletes", "90 of 120", "syncline deletes confirm 1", "Stalled syncs", "3 h ago", "github/issues::eu", "it ran longer than 30m"}},
		"the overview has another path":    {"/ui/", 200, []string{">GitHub</h2>"}},
		"another environment":              {"/?env=prod", 200, []string{"Stripe of prod", "Nothing has run yet"}},
		"an integration without endpoints": {"/ui/integrations/stripe?env=prod", 200, []string{"No function is deployed", "No webhook has arrived", "None yet"}},
		"an integration with its endpoints": {"/ui/integrations/github?env=dev", 200, []string{
			"https://sync.example.com/webhook/11111111-2222-4333-8444-555555555555/github", "<code>Issue</code>", "<code>Label</code>", "every 30s", "1 connection has", "version 2",
			"<code>issue_comment</code>", "3 connections", "+240", "~3", "−1", "2 skipped", "1 contested", "1m23s", "412 µs", "try 2", "502 Bad Gateway", "no deployed sync subscribes to star",
			"1 dead", "2 redeliveries", "1 <span class=\"badge bad\">stalled</span>", "{&#34;page&#34;:7}", `syncline sync trigger "github" issues::eu -c CONNECTION`, "create-issue", "It has not run yet"}},
		"a run with its logs":        {"/ui/runs/" + w.runs[1] + "?env=dev", 200, []string{"reading &#39;title&#39;", "script_error", "fetching acme/app, page 1", "900 ms", "&#34;remaining&#34;:4998"}},
		"a run with its warnings":    {"/ui/runs/" + w.runs[0], 200, []string{"an update named an unknown id"}},
		"a run that runs":            {"/ui/runs/" + w.runs[4], 200, []string{"still running"}},
		"an unknown environment":     {"/?env=nope", 404, []string{"This is not here"}},
		"an unknown integration":     {"/ui/integrations/nope", 404, []string{"This is not here"}},
		"an unknown run":             {"/ui/runs/nope", 404, []string{"This is not here"}},
		"a run of another":           {"/ui/runs/" + w.runs[0] + "?env=prod", 404, []string{"This is not here"}},
		"an integration of another":  {"/ui/integrations/github?env=prod", 404, []string{"This is not here"}},
		"an unknown page":            {"/ui/nothing", 404, []string{"There is no such page"}},
		"a directory of the program": {"/ui/templates/layout.html", 404, []string{"There is no such page"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := get(t, h, c.path, nil)
			body := rec.Body.String()
			if rec.Code != c.status {
				t.Fatalf("status %d: %s", rec.Code, body)
			}
			for _, part := range c.want {
				if !strings.Contains(body, part) {
					t.Errorf("the page lacks %s", part)
				}
			}
			for _, part := range []string{"<script", "<img src=x", "sealed-", "metadata-value", "ZgotmplZ"} {
				if strings.Contains(body, part) {
					t.Errorf("the page has %s", part)
				}
			}
			if csp := rec.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
				t.Errorf("the content security policy is %q", csp)
			}
			if rec.Header().Get("Cache-Control") != "no-store" || rec.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", rec.Header())
			}
		})
	}
}

func TestAnEmptyServerSaysWhatToDo(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	err = s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		return tx.CreateEnvironment(&syncline.Environment{UUID: syncline.NewUUID(), Name: "dev"})
	})
	if err != nil {
		t.Fatal(err)
	}
	h := dash.New(dash.Deps{Store: s, Clock: clock.System, Log: slog.New(slog.DiscardHandler), Open: true})
	if rec := get(t, h, "/", nil); rec.Code != 200 || !strings.Contains(rec.Body.String(), "syncline deploy") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestWhoMaySeeThePages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	withKey := func(key string) func(r *http.Request) {
		return func(r *http.Request) { r.Host = "sync.example.com"; r.SetBasicAuth("anyone", key) }
	}
	host := func(name string) func(r *http.Request) { return func(r *http.Request) { r.Host = name } }
	method := func(m string) func(r *http.Request) { return func(r *http.Request) { r.Method = m } }
	for name, c := range map[string]struct {
		open   bool
		path   string
		change func(r *http.Request)
		status int
		want   string
	}{
		"open, by name":                                  {true, "/", host("localhost:3003"), 200, "GitHub"},
		"open, by address":                               {true, "/", host("127.0.0.1:3003"), 200, "GitHub"},
		"open, by the newer address":                     {true, "/", host("[::1]:3003"), 200, "GitHub"},
		"open, without a port":                           {true, "/", host("[::1]"), 200, "GitHub"},
		"open, under a name that was made to point here": {true, "/", host("evil.example:3003"), 403, "localhost"},
		"open, under a name that looks like it":          {true, "/", host("localhost.evil.example"), 403, "localhost"},
		"closed, without a key":                          {false, "/", nil, 401, "API key"},
		"closed, with a wrong key":                       {false, "/", withKey("nope"), 401, "API key"},
		"closed, with an empty key":                      {false, "/", withKey(""), 401, "API key"},
		"closed, with the key":                           {false, "/", withKey(devKey), 200, "GitHub"},
		"closed, another environment is not shown":       {false, "/ui/integrations/stripe?env=prod", withKey(devKey), 404, "not here"},
		"closed, a run without a key":                    {false, "/ui/runs/" + w.runs[0], nil, 401, "API key"},
		"closed, the style is no secret":                 {false, "/ui/style.css", nil, 200, ":root"},
		"nothing can be changed":                         {true, "/", method("POST"), 405, "can only be read"},
		"nothing can be deleted":                         {true, "/ui/runs/" + w.runs[0], method("DELETE"), 405, "can only be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rec := get(t, w.handler(c.open), c.path, c.change)
			if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
				t.Errorf("status %d, want %d with %q: %s", rec.Code, c.status, c.want, rec.Body)
			}
			if (rec.Code == 401) != (rec.Header().Get("WWW-Authenticate") != "") {
				t.Error("a login is asked for wrongly")
			}
			if !c.open && strings.Contains(rec.Body.String(), "prod") {
				t.Error("another environment is named")
			}
		})
	}
}

func TestAStoreThatFailsIsNotShownFromInside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.store.Close()
	if rec := get(t, w.handler(true), "/", nil); rec.Code != 500 || !strings.Contains(rec.Body.String(), "log says why") || strings.Contains(rec.Body.String(), "sql") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
