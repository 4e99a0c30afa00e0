package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/clock"
	"syncline/internal/provider"
	"syncline/internal/records"
	"syncline/internal/schedule"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

var update = flag.Bool("update", false, "write the golden files")

// The keys of the two environments.
const (
	devKey  = "0c0ffee0-dead-4bee-8bad-f00dfeedface"
	prodKey = "1c0ffee0-dead-4bee-8bad-f00dfeedface"
)

const devUUID = "11111111-2222-4333-8444-555555555555"

// catalogue has one provider of every auth mode.
type catalogue map[string]*provider.Provider

func (c catalogue) Provider(name string) (*provider.Provider, bool) { p, ok := c[name]; return p, ok }
func (c catalogue) Names() []string {
	names := []string{}
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

var providers = catalogue{
	"github": {Name: "github", DisplayName: "GitHub", AuthMode: provider.AuthOAuth2, DocsURL: "https://docs.github.com", Proxy: provider.Proxy{BaseURL: "https://api.github.com"}},
	"keyed":  {Name: "keyed", DisplayName: "Keyed", AuthMode: provider.AuthAPIKey},
	"basic":  {Name: "basic", DisplayName: "Basic", AuthMode: provider.AuthBasic},
	"app":    {Name: "app", DisplayName: "App", AuthMode: provider.AuthApp},
	"open":   {Name: "open", DisplayName: "Open", AuthMode: provider.AuthNone},
}

// hooks counts what it is told.
type hooks struct {
	mu    sync.Mutex
	calls map[string]int
}

func (h *hooks) count(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[name]++
}

func (h *hooks) take(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.calls[name]
	h.calls[name] = 0
	return n
}

func (h *hooks) ConnectionsChanged(_, _ int64) { h.count("connections") }
func (h *hooks) FunctionsChanged(_, _ int64)   { h.count("functions") }
func (h *hooks) SchedulesChanged()             { h.count("schedules") }
func (h *hooks) NotificationsChanged()         { h.count("notifications") }
func (h *hooks) JobsChanged()                  { h.count("jobs") }

// harness is the API over a store of its own, with the environments dev and prod.
type harness struct {
	*testing.T
	store    *sqlite.Store
	clock    *clock.Fake
	hooks    *hooks
	deps     api.Deps
	api      http.Handler
	log      *bytes.Buffer
	dev      int64
	readyErr error
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	c := clock.NewFake(time.Date(2026, 5, 31, 11, 46, 13, 390_123_000, time.UTC))
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "syncline.db"), sqlite.Options{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	sealer, err := secret.New(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, store: s, clock: c, hooks: &hooks{calls: map[string]int{}}, log: &bytes.Buffer{}}
	control := &schedule.Control{Store: s, Clock: c, Wake: func() {}, Cancel: func(int64) {}}
	h.deps = api.Deps{

		Limits: syncline.RunLimits{Wall: 30 * time.Minute, LogLines: 10}, MostLimits: syncline.RunLimits{Wall: 24 * time.Hour},
		Store: s, Secrets: sealer, Catalogue: providers, Syncs: control, Hooks: h.hooks, Clock: c, PublicURL: "https://sync.example.com/",
		Log:      slog.New(slog.NewTextHandler(&lockedWriter{w: h.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Ready:    func(context.Context) error { return h.readyErr },
		Received: func(context.Context) (int64, error) { return 9, nil },
		MaxBody:  1 << 20, MaxDeployBody: 2 << 20,
	}
	h.api = api.New(h.deps)
	h.tx(func(tx store.Tx) error {
		for i, key := range []string{devKey, prodKey} {
			env := syncline.Environment{UUID: []string{devUUID, "66666666-2222-4333-8444-555555555555"}[i], Name: []string{"dev", "prod"}[i], CreatedAt: c.Now()}
			if err := tx.CreateEnvironment(&env); err != nil {
				return err
			}
			if i == 0 {
				h.dev = env.ID
			}
			if env.SigningKey, err = sealer.Seal(env.ID, secret.PurposeSigningKey, []byte("signing-key-of-"+env.Name)); err != nil {
				return err
			}
			if err := tx.UpdateEnvironment(&env); err != nil {
				return err
			}
			if err := tx.CreateAPIKey(&syncline.APIKey{EnvironmentID: env.ID, Name: "default", Hash: secret.HashAPIKey(key), Hint: secret.HintOf(key), CreatedAt: c.Now()}); err != nil {
				return err
			}
		}
		return nil
	})
	return h
}

type lockedWriter struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (h *harness) tx(fn func(tx store.Tx) error) {
	h.Helper()
	if err := h.store.Update(context.Background(), store.Relaxed, fn); err != nil {
		h.Fatal(err)
	}
}

func (h *harness) view(fn func(r store.Reader) error) {
	h.Helper()
	if err := h.store.View(context.Background(), fn); err != nil {
		h.Fatal(err)
	}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request with the dev key; headers come in pairs, an empty
// Authorization sends none.
func (h *harness) do(method, path, body string, headers ...string) answer {
	h.Helper()
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+devKey)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.api.ServeHTTP(w, r)
	a := answer{w.Code, w.Header(), w.Body.String()}
	if !json.Valid([]byte(a.body)) {
		h.Errorf("%s %s answers %d with what is not JSON: %q", method, path, a.status, a.body)
	}
	return a
}

// must is do for requests that set a test up.
func (h *harness) must(method, path, body string, headers ...string) answer {
	h.Helper()
	a := h.do(method, path, body, headers...)
	if a.status >= 300 {
		h.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a
}

// scenario is one request and what it must get.
type scenario struct {
	name    string
	method  string
	path    string
	body    string
	headers []string
	status  int
	// want are parts of the body; golden names a file that has all of it.
	want   []string
	not    []string
	golden string
}

// play runs scenarios one after another.
func (h *harness) play(list ...scenario) {
	h.Helper()
	for _, s := range list {
		h.Run(s.name, func(t *testing.T) {
			on := *h
			on.T = t
			a := on.do(s.method, s.path, s.body, s.headers...)
			if a.status != s.status {
				t.Errorf("status %d, want %d; body %s", a.status, s.status, a.body)
			}
			for _, part := range s.want {
				if !strings.Contains(a.body, part) {
					t.Errorf("the body lacks %s: %s", part, a.body)
				}
			}
			for _, part := range s.not {
				if strings.Contains(a.body, part) {
					t.Errorf("the body has %s: %s", part, a.body)
				}
			}
			if s.golden != "" {
				golden(t, s.golden, a.body)
			}
		})
	}
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// golden compares a JSON body with testdata/name.json; ids that are drawn at
// random are written as <uuid>.
func golden(t *testing.T, name, body string) {
	t.Helper()
	var buf bytes.Buffer
	if err := json.Indent(&buf, []byte(body), "", "  "); err != nil {
		t.Fatal(err)
	}
	got := uuids.ReplaceAllStringFunc(buf.String()+"\n", func(s string) string {
		if s == devUUID {
			return s
		}
		return "<uuid>"
	})
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the answer is not that of %s:\n%s", path, diff)
	}
}

// integration makes an integration, and connection one of its connections.
func (h *harness) integration(key, provider string) {
	h.Helper()
	h.must("POST", "/integrations", `{"unique_key":"`+key+`","provider":"`+provider+`"}`)
}

func (h *harness) connection(integration, id, credentials string) {
	h.Helper()
	h.must("POST", "/connections", `{"provider_config_key":"`+integration+`","connection_id":"`+id+`","credentials":`+credentials+`}`)
}

const token = `{"type":"OAUTH2","access_token":"at-secret","refresh_token":"rt-secret"}`

// issuesManifest is a sync of the model Issue.
const issuesManifest = `{"type":"sync","name":"issues","integration":"github","frequency":"every hour","auto_start":true,
	"models":{"Issue":{"type":"object","properties":{"id":{"type":"string"}}}},"webhook_subscriptions":["issues"],"has_on_webhook":true}`

func deployment(manifests ...string) string {
	list := make([]string, len(manifests))
	for i, m := range manifests {
		list[i] = `{"manifest":` + m + `,"bundle":"var __syncline_fn = 1;"}`
	}
	return `{"functions":[` + strings.Join(list, ",") + `]}`
}

// ids are the internal ids of the connection c1 of the integration github, and
// of its sync's base instance.
func (h *harness) ids() (k syncline.Connection, i syncline.SyncInstance) {
	h.Helper()
	h.view(func(r store.Reader) error {
		github, err := r.IntegrationByKey(h.dev, "github")
		if err != nil {
			return err
		}
		if k, err = r.ConnectionByKey(h.dev, github.ID, "c1"); err != nil {
			return err
		}
		list, err := r.Instances(h.dev, store.InstanceFilter{ConnectionID: k.ID, Variant: syncline.BaseVariant})
		if err == nil && len(list) > 0 {
			i = list[0]
		}
		return err
	})
	return k, i
}

// save writes records of the model to the connection c1.
func (h *harness) save(model string, raws ...string) {
	h.Helper()
	k, _ := h.ids()
	list := []json.RawMessage{}
	for _, r := range raws {
		list = append(list, json.RawMessage(r))
	}
	b, err := records.NewBatch(records.OpSave, model, list)
	if err != nil {
		h.Fatal(err)
	}
	h.tx(func(tx store.Tx) error {
		_, err := records.Apply(tx, records.Target{EnvironmentID: h.dev, ConnectionID: k.ID, Model: model}, b, records.Guard{Strategy: syncline.StrategyOverride}, h.clock.Now())
		return err
	})
}

var errDown = errors.New("the inbox is closed")
