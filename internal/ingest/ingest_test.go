package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/inbox"
	inboxsqlite "syncline/internal/inbox/sqlite"
	"syncline/internal/ingest"
	"syncline/internal/provider"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const webhookSecret = "gh-secret"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is an ingest over real stores.
type world struct {
	store     *sqlite.Store
	inbox     *inboxsqlite.Log
	sealer    *secret.Sealer
	clock     *clock.Fake
	registry  *prometheus.Registry
	endpoints *ingest.Endpoints
	env       syncline.Environment
	github    syncline.Integration
	handler   http.Handler
}

func newWorld(t testing.TB, change func(c *ingest.Config)) *world {
	t.Helper()
	w := &world{clock: clock.NewFake(start), registry: prometheus.NewRegistry()}
	var err error
	if w.store, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close() })
	if w.inbox, err = inboxsqlite.Open(t.Context(), filepath.Join(t.TempDir(), "inbox.db"), inboxsqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.inbox.Close() })
	if w.sealer, err = secret.New(bytes.Repeat([]byte{7}, secret.KeySize)); err != nil {
		t.Fatal(err)
	}
	w.env = syncline.Environment{UUID: syncline.NewUUID(), Name: "dev"}
	w.update(t, func(tx store.Tx) error { return tx.CreateEnvironment(&w.env) })
	w.github = w.integration(t, "github", "github", "", webhookSecret)
	w.endpoints = &ingest.Endpoints{Store: w.store, Catalogue: provider.Builtin(), Secrets: w.sealer, Clock: w.clock}
	c := ingest.Config{
		Endpoints: w.endpoints, Inbox: w.inbox, Position: w.store.Position, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Metrics: w.registry,
	}
	if change != nil {
		change(&c)
	}
	w.handler = ingest.Handler(c)
	return w
}

func (w *world) update(t testing.TB, fn func(tx store.Tx) error) {
	t.Helper()
	if err := w.store.Update(t.Context(), store.Durable, fn); err != nil {
		t.Fatal(err)
	}
}

func (w *world) seal(t testing.TB, secrets ...string) syncline.Sealed {
	t.Helper()
	if len(secrets) == 0 {
		return syncline.Sealed{}
	}
	text, err := json.Marshal(secrets)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := w.sealer.Seal(w.env.ID, secret.PurposeWebhookSecrets, text)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func (w *world) integration(t testing.TB, key, name, overrides string, secrets ...string) syncline.Integration {
	t.Helper()
	i := syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: key, Provider: name, WebhookSecrets: w.seal(t, secrets...)}
	if overrides != "" {
		i.Config.Webhook = json.RawMessage(overrides)
	}
	w.update(t, func(tx store.Tx) error { return tx.CreateIntegration(&i) })
	return i
}

func (w *world) path(rest string) string { return "/webhook/" + w.env.UUID + "/" + rest }

// github is a delivery as GitHub sends it.
func request(t *testing.T, path, body, id string) *http.Request {
	t.Helper()
	p, _ := provider.Builtin().Provider("github")
	headers, err := p.Webhook.Sign(&syncline.Delivery{Body: []byte(body)}, webhookSecret, "", start)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("X-GitHub-Event", "issues")
	r.Header.Set("X-GitHub-Delivery", id)
	for _, h := range headers {
		r.Header.Set(h.Name, h.Value)
	}
	return r
}

type answer struct {
	code   int
	header http.Header
	Status string
	// Position is that of the delivery.
	Position int64
	Error    struct{ Code, Message string }
}

func (w *world) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return read(t, rec.Result())
}

func read(t *testing.T, r *http.Response) answer {
	t.Helper()
	defer r.Body.Close()
	a := answer{code: r.StatusCode, header: r.Header}
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		t.Fatalf("status %d: the answer is not JSON: %v", r.StatusCode, err)
	}
	if ct := r.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
	return a
}

func (w *world) entries(t *testing.T) []inbox.Entry {
	t.Helper()
	entries, err := w.inbox.Read(t.Context(), 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func (w *world) counted(t *testing.T, result string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == result {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

func TestADeliveryIsStoredAsItCameBeforeItIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	body := "{\"action\": \"opened\" }\n"
	r := request(t, w.path("github/customer%201?hook=1"), body, "d-1")
	r.Header.Add("X-Twice", "a")
	r.Header.Add("X-Twice", "b")
	a := w.do(t, r)
	if a.code != http.StatusOK || a.Status != "received" || a.Position == 0 {
		t.Fatalf("%+v", a)
	}
	entries := w.entries(t)
	if len(entries) != 1 || entries[0].Position != a.Position {
		t.Fatalf("%+v", entries)
	}
	d := entries[0].Delivery
	if string(d.Body) != body || d.ConnectionID != "customer 1" || d.DeliveryID != "d-1" || d.Method != "POST" || !d.ReceivedAt.Equal(start) ||
		d.EnvironmentID != w.env.ID || d.IntegrationID != w.github.ID || !strings.HasSuffix(d.Path, "/github/customer%201?hook=1") {
		t.Errorf("%+v", d)
	}
	var twice []string
	for _, h := range d.Headers {
		if h.Name == "X-Twice" {
			twice = append(twice, h.Value)
		}
	}
	if strings.Join(twice, ",") != "a,b" || d.Header("host") == "" {
		t.Errorf("headers %+v", d.Headers)
	}
	if w.counted(t, "received") != 1 {
		t.Error("it was not counted")
	}
}

func TestTheWatermarkIsTheStoresPositionAtReceipt(t *testing.T) {
	t.Parallel()
	position := int64(41)
	w := newWorld(t, func(c *ingest.Config) {
		c.Position = func(context.Context) (int64, error) { position++; return position, nil }
	})
	r := request(t, w.path("github"), "{}", "d-1")
	r.Body = io.NopCloser(io.MultiReader(reader(func() { position = 100 }), r.Body))
	if a := w.do(t, r); a.code != http.StatusOK {
		t.Fatalf("%+v", a)
	}
	if got := w.entries(t)[0].Delivery.Watermark; got != 42 {
		t.Errorf("watermark %d; want the position before the body had arrived", got)
	}
}

// reader calls itself when it is read.
type reader func()

func (r reader) Read([]byte) (int, error) { r(); return 0, io.EOF }

func TestRedeliveriesAreRecognised(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first := w.do(t, request(t, w.path("github"), `{"n":1}`, "d-1"))
	again := w.do(t, request(t, w.path("github"), `{"n":1}`, "d-1"))
	if again.code != http.StatusOK || again.Status != "duplicate" || again.Position != first.Position {
		t.Errorf("the same again: %+v; the first was %d", again, first.Position)
	}
	for name, r := range map[string]*http.Request{
		"another body":     request(t, w.path("github"), `{"n":2}`, "d-1"),
		"another id":       request(t, w.path("github"), `{"n":1}`, "d-2"),
		"another endpoint": request(t, w.path("github/customer-1"), `{"n":1}`, "d-1"),
	} {
		if a := w.do(t, r); a.Status != "received" {
			t.Errorf("%s: %+v", name, a)
		}
	}
	r := request(t, w.path("github"), `{"n":1}`, "")
	for range 2 {
		r.Body = io.NopCloser(strings.NewReader(`{"n":1}`))
		if a := w.do(t, r); a.Status != "received" {
			t.Errorf("without an id: %+v", a)
		}
	}
	if w.counted(t, "duplicate") != 1 {
		t.Error("the redelivery was not counted")
	}
}

func TestEqualBodiesAreOneDeliveryWhereTheSectionSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.integration(t, "private", "private-api-bearer", `{"verify":[{"scheme":"token","header":"x-token"}],"dedupe_body":"5m"}`, "tok")
	post := func() answer {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, w.path("private"), strings.NewReader(`{"n":1}`))
		r.Header.Set("X-Token", "tok")
		return w.do(t, r)
	}
	first := post()
	w.clock.Advance(4 * time.Minute)
	if a := post(); a.Status != "duplicate" || a.Position != first.Position {
		t.Errorf("after 4 minutes: %+v", a)
	}
	w.clock.Advance(2 * time.Minute)
	if a := post(); a.Status != "received" {
		t.Errorf("after 6 minutes: %+v", a)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	small := func(c *ingest.Config) { c.MaxBody = 64 << 10 }
	w := newWorld(t, small)
	w.integration(t, "no-secret", "github", "")
	w.integration(t, "unknown-webhooks", "unauthenticated", "", "s")
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for _, tc := range []struct {
		name    string
		request func() *http.Request
		status  int
		code    string
		message string
	}{
		{"an unknown environment", func() *http.Request { return request(t, "/webhook/"+syncline.NewUUID()+"/github", "{}", "1") }, 404, "not_found", "no integration has this webhook URL"},
		{"an unknown integration", func() *http.Request { return request(t, w.path("gitlab"), "{}", "1") }, 404, "not_found", "no integration has this webhook URL"},
		{"a URL that is none", func() *http.Request { return request(t, "/webhook/", "{}", "1") }, 404, "not_found", ""},
		{"a longer URL", func() *http.Request { return request(t, w.path("github/c/more"), "{}", "1") }, 404, "not_found", ""},
		{"a wrong method", func() *http.Request {
			return httptest.NewRequestWithContext(t.Context(), http.MethodGet, w.path("github"), nil)
		}, 405, "method_not_allowed", "by POST, not by GET"},
		{"no signature", func() *http.Request {
			r := request(t, w.path("github"), "{}", "1")
			r.Header.Del("X-Hub-Signature-256")
			return r
		}, 401, "unauthorized", "signature is missing"},
		{"a wrong signature", func() *http.Request {
			r := request(t, w.path("github"), "{}", "1")
			r.Body = io.NopCloser(strings.NewReader("[]"))
			return r
		}, 401, "unauthorized", "does not match"},
		{"an empty body with the signature of another", func() *http.Request {
			r := request(t, w.path("github"), "{}", "1")
			r.Body, r.ContentLength = http.NoBody, 0
			return r
		}, 401, "unauthorized", "does not match"},
		{"an integration without a secret", func() *http.Request { return request(t, w.path("no-secret"), "{}", "1") }, 401, "unauthorized", "no webhook secret"},
		{"a provider whose webhooks are not known", func() *http.Request { return request(t, w.path("unknown-webhooks"), "{}", "1") }, 401, "unauthorized", "cannot be verified"},
		{"an empty body", func() *http.Request { return request(t, w.path("github"), "", "1") }, 400, "invalid_request", "empty"},
		{"what is not JSON", func() *http.Request { return request(t, w.path("github"), "hello", "1") }, 400, "invalid_request", "not JSON"},
		{"invalid UTF-8", func() *http.Request { return request(t, w.path("github"), "\"\xff\"", "1") }, 400, "invalid_request", "UTF-8"},
		{"JSON of 10,000 levels", func() *http.Request { return request(t, w.path("github"), deep, "1") }, 400, "invalid_request", "1000 levels"},
		{"a body that is too large", func() *http.Request { return request(t, w.path("github"), `"`+strings.Repeat("x", 64<<10)+`"`, "1") }, 413, "too_large", "65536 bytes"},
		{"one that does not say how large it is", func() *http.Request {
			r := request(t, w.path("github"), `"`+strings.Repeat("x", 64<<10)+`"`, "1")
			r.ContentLength = -1
			return r
		}, 413, "too_large", "--webhook-body-limit"},
		{"one that breaks off", func() *http.Request {
			r := request(t, w.path("github"), `{}`, "1")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{}))
			return r
		}, 400, "invalid_request", "did not arrive whole"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := w.do(t, tc.request())
			if a.code != tc.status || a.Error.Code != tc.code || !strings.Contains(a.Error.Message, tc.message) {
				t.Errorf("%d %+v; want %d %s %q", a.code, a.Error, tc.status, tc.code, tc.message)
			}
			if allow := a.header.Get("Allow"); (a.code == 405) != (allow == "POST") {
				t.Errorf("Allow: %q", allow)
			}
		})
	}
	if e := w.entries(t); len(e) != 0 {
		t.Errorf("%d were stored", len(e))
	}
	if n := w.counted(t, "unauthorized"); n != 5 {
		t.Errorf("%v refused signatures were counted; want 5", n)
	}
	for reason, want := range map[string]float64{"missing": 1, "mismatch": 2, "no_secret": 1, "unverifiable": 1} {
		if n := w.counted(t, reason); n != want {
			t.Errorf("%v were counted as %s; want %v", n, reason, want)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("connection reset by 10.1.2.3") }

func TestABodyOfTheLimitIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ingest.Config) { c.MaxBody, c.MaxInFlight = 1<<20, 1 })
	body := `"` + strings.Repeat("x", 1<<20-2) + `"`
	if a := w.do(t, request(t, w.path("github"), body, "1")); a.code != 200 {
		t.Errorf("%+v", a)
	}
	r := request(t, w.path("github"), body, "2")
	r.ContentLength = -1
	if a := w.do(t, r); a.code != 200 {
		t.Errorf("of unknown length: %+v", a)
	}
	for _, e := range w.entries(t) {
		if string(e.Delivery.Body) != body {
			t.Error("the body changed")
		}
	}
}

func TestWhatCannotBeStoredIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if err := w.inbox.Close(); err != nil {
		t.Fatal(err)
	}
	a := w.do(t, request(t, w.path("github"), "{}", "1"))
	if a.code != 503 || a.Error.Code != "unavailable" || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	w.endpoints.Forget()
	a = w.do(t, request(t, w.path("github"), "{}", "1"))
	if a.code != 503 || a.header.Get("Retry-After") == "" || strings.Contains(a.Error.Message, "store") && strings.Contains(a.Error.Message, "/") {
		t.Errorf("without the store: %+v", a)
	}
}

// full is an inbox that refuses.
type full struct {
	inbox.Log
	err error
}

func (f full) Append(context.Context, *syncline.Delivery, inbox.Key) (inbox.Receipt, error) {
	return inbox.Receipt{}, f.err
}

func TestALimitIsNamedToTheSenderAndNothingElse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err         error
		shown, kept string
	}{
		"a limit":   {syncline.Errorf(syncline.CodeUnavailable, "the inbox holds 9 bytes; its limit is 9"), "its limit is 9", "\x00"},
		"a failure": {syncline.Errorf(syncline.CodeUnavailable, "the inbox /data/inbox.db: %w", errors.New("disk I/O")), "cannot be stored now", "/data"},
		"a defect":  {errors.New("nil map at /src/x.go"), "cannot be stored now", "/src"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(c *ingest.Config) { c.Inbox = full{c.Inbox, tc.err} })
			a := w.do(t, request(t, w.path("github"), "{}", "1"))
			if a.code != 503 || !strings.Contains(a.Error.Message, tc.shown) || strings.Contains(a.Error.Message, tc.kept) {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestSecretsTakeEffectAtOnceWhenTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	post := func() int { return w.do(t, request(t, w.path("github"), "{}", "")).code }
	change := func(secrets ...string) {
		w.github.WebhookSecrets = w.seal(t, secrets...)
		w.update(t, func(tx store.Tx) error { i := w.github; return tx.UpdateIntegration(&i) })
	}
	if got := post(); got != 200 {
		t.Fatalf("status %d", got)
	}
	change("another")
	w.endpoints.Invalidate(w.env.ID, w.github.ID)
	if got := post(); got != 401 {
		t.Errorf("after the secret was replaced: %d", got)
	}
	change("another", webhookSecret) // a rotation; another process made it
	if got := post(); got != 401 {
		t.Errorf("within the memory of this process: %d", got)
	}
	w.clock.Advance(time.Minute)
	if got := post(); got != 200 {
		t.Errorf("after it: %d", got)
	}
	w.update(t, func(tx store.Tx) error { return tx.DeleteIntegration(w.env.ID, w.github.ID, start) })
	w.endpoints.Invalidate(w.env.ID, w.github.ID)
	if got := post(); got != 404 {
		t.Errorf("after the integration was deleted: %d", got)
	}
}
