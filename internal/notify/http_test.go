package notify_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/notify"
	"syncline/internal/proxy/outbound"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// single is a store that holds one environment and one notification.
type single struct {
	store.Tx
	env syncline.Environment
	row syncline.Notification
}

func (s *single) Update(_ context.Context, _ store.Durability, fn func(store.Tx) error) error {
	return fn(s)
}
func (s *single) View(_ context.Context, fn func(store.Reader) error) error { return fn(s) }
func (s *single) Environment(int64) (syncline.Environment, error)           { return s.env, nil }
func (s *single) Notification(int64, int64) (syncline.Notification, error)  { return s.row, nil }
func (s *single) UpdateNotification(n *syncline.Notification) error         { s.row = *n; return nil }
func (s *single) DueNotifications(now time.Time, _ int) ([]syncline.Notification, error) {
	if s.row.Status != syncline.NotificationPending || s.row.NextAttemptAt.After(now) {
		return nil, nil
	}
	return []syncline.Notification{s.row}, nil
}

// send makes one attempt at url and returns the row after it.
func send(t *testing.T, url string, policy outbound.Policy, payload json.RawMessage) syncline.Notification {
	t.Helper()
	sealer, err := secret.New(bytes.Repeat([]byte{7}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	key, err := sealer.Seal(3, secret.PurposeSigningKey, []byte("the-signing-key"))
	if err != nil {
		t.Fatal(err)
	}
	st := &single{env: syncline.Environment{ID: 3, WebhookURL: url, SigningKey: key}}
	st.row = *notify.Rows(&st.env, 5, 6, "sync", payload, time.Now().Add(-time.Second))[0]
	st.row.ID = 1
	s := notify.New(notify.Config{Store: st, Secrets: sealer, Policy: policy})
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return st.row
}

var openPolicy = outbound.Policy{AllowPrivateNetworks: true}

func TestANotificationIsSignedOverItsRawBody(t *testing.T) {
	t.Parallel()
	var header http.Header
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		body, _ = io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.URL.Path != "/hook" {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(srv.Close)
	payload := json.RawMessage(`{"b":1,  "a":"<ü>"}`) // not in any normal form
	n := send(t, srv.URL+"/hook", openPolicy, payload)
	if n.Status != syncline.NotificationDelivered || n.Attempts != 1 || n.DeliveredAt.IsZero() {
		t.Fatalf("row = %+v", n)
	}
	if !bytes.Equal(body, payload) {
		t.Errorf("body = %s", body)
	}
	mac := hmac.New(sha256.New, []byte("the-signing-key"))
	mac.Write(payload)
	legacy := sha256.Sum256([]byte("the-signing-key" + string(payload)))
	for name, want := range map[string]string{
		"X-Nango-Hmac-Sha256": hex.EncodeToString(mac.Sum(nil)), "X-Nango-Signature": hex.EncodeToString(legacy[:]),
		"X-Syncline-Notification-Id": n.UUID, "Content-Type": "application/json", "User-Agent": "Syncline",
	} {
		if header.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, header.Get(name), want)
		}
	}
	sig := header.Get(notify.HeaderHMAC)
	if !notify.Verify("the-signing-key", body, sig) || !notify.Verify("the-signing-key", body, strings.ToUpper(sig)) {
		t.Error("the signature does not verify")
	}
	if notify.Verify("another-key", body, sig) || notify.Verify("the-signing-key", append(body, ' '), sig) || notify.Verify("the-signing-key", body, "") || notify.Verify("", body, notify.Sign("", body)) {
		t.Error("a wrong signature verifies")
	}
}

func TestWhyANotificationDidNotArrive(t *testing.T) {
	t.Parallel()
	answer := func(h http.HandlerFunc) string {
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	for name, tc := range map[string]struct {
		url    string
		policy outbound.Policy
		want   string
	}{
		"a refusal with text": {answer(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "<h1>\n  no\x00 such\r\n table </h1>")
		}), openPolicy, "the app answered 500: <h1> no such table </h1>"},
		"a long refusal": {answer(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			_, _ = io.WriteString(w, strings.Repeat("é", 100_000))
		}), openPolicy, "the app answered 404: ééé"},
		"a redirect": {answer(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the redirect was followed")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}), openPolicy, "redirects are not followed"},
		"a closed connection": {answer(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), openPolicy, "closed the connection"},
		"a private address":   {answer(func(http.ResponseWriter, *http.Request) { t.Error("reached") }), outbound.Policy{}, "--allow-private-networks"},
		"a metadata address":  {"http://169.254.169.254", openPolicy, "link-local"},
		"not a URL":           {"http://[::1", openPolicy, "not valid"},
		"another scheme":      {"ftp://example.com", openPolicy, "scheme"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := send(t, tc.url+"/hook?key=hush", tc.policy, json.RawMessage(`{}`))
			if n.Status != syncline.NotificationPending || n.Attempts != 1 || !n.NextAttemptAt.After(time.Now()) {
				t.Errorf("row = %+v", n)
			}
			if !strings.Contains(n.LastError, tc.want) || strings.Contains(n.LastError, "hush") || len(n.LastError) > 520 {
				t.Errorf("last error = %q; want %q", n.LastError, tc.want)
			}
		})
	}
}

func TestRowsAreMadeForEachURL(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	env := &syncline.Environment{ID: 1}
	if rows := notify.Rows(env, 2, 3, "sync", nil, now); rows != nil {
		t.Errorf("rows without a URL: %v", rows)
	}
	env.WebhookURL, env.WebhookURLSecondary = "https://a", "https://b"
	rows := notify.Rows(env, 2, 3, "sync", json.RawMessage(`{}`), now)
	if len(rows) != 2 || rows[0].Target != notify.Primary || rows[1].Target != notify.Secondary || rows[0].UUID == rows[1].UUID ||
		rows[1].ConnectionID != 2 || rows[1].RunID != 3 || !rows[1].NextAttemptAt.Equal(now) || rows[1].Status != syncline.NotificationPending {
		t.Errorf("rows = %+v", rows)
	}
}

func TestPayloadsHaveNangosShape(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 12, 0, 0, 123_456_000, time.UTC)
	base := notify.SyncEvent{ConnectionID: "c<1>", ProviderConfigKey: "github", SyncName: "issues", Model: "Issue", SyncType: syncline.SyncIncremental,
		ModifiedAfter: at, Results: syncline.ModelResult{Added: 1, Updated: 2, Unchanged: 9}}
	initial, webhook, failed := base, base, base
	initial.SyncType, initial.SyncVariant = syncline.SyncInitial, "eu"
	initial.Checkpoints = &notify.Checkpoints{To: json.RawMessage(`{"page":2}`)}
	webhook.SyncType, webhook.Results = syncline.SyncWebhook, syncline.ModelResult{Deleted: 1}
	failed.Failure = &notify.Failure{Type: "script_error", Description: "boom", StartedAt: at, FailedAt: at.Add(time.Second)}
	failed.Checkpoints = &notify.Checkpoints{From: json.RawMessage(`{"page":2}`), To: json.RawMessage(`broken`)}
	for name, tc := range map[string]struct {
		e    notify.SyncEvent
		want string
	}{
		"INCREMENTAL": {base, `{"from":"nango","type":"sync","connectionId":"c<1>","providerConfigKey":"github","syncName":"issues","syncVariant":"base","model":"Issue","syncType":"INCREMENTAL","success":true,"modifiedAfter":"2026-05-01T12:00:00.123Z","queryTimeStamp":"2026-05-01T12:00:00.123Z","responseResults":{"added":1,"updated":2,"deleted":0}}`},
		"INITIAL":     {initial, `{"from":"nango","type":"sync","connectionId":"c<1>","providerConfigKey":"github","syncName":"issues","syncVariant":"eu","model":"Issue","syncType":"INITIAL","success":true,"modifiedAfter":"2026-05-01T12:00:00.123Z","queryTimeStamp":"2026-05-01T12:00:00.123Z","responseResults":{"added":1,"updated":2,"deleted":0},"checkpoints":{"from":null,"to":{"page":2}}}`},
		"WEBHOOK":     {webhook, `{"from":"nango","type":"sync","connectionId":"c<1>","providerConfigKey":"github","syncName":"issues","syncVariant":"base","model":"Issue","syncType":"WEBHOOK","success":true,"modifiedAfter":"2026-05-01T12:00:00.123Z","queryTimeStamp":"2026-05-01T12:00:00.123Z","responseResults":{"added":0,"updated":0,"deleted":1}}`},
		"a failure":   {failed, `{"from":"nango","type":"sync","connectionId":"c<1>","providerConfigKey":"github","syncName":"issues","syncVariant":"base","model":"Issue","syncType":"INCREMENTAL","success":false,"error":{"type":"script_error","description":"boom"},"startedAt":"2026-05-01T12:00:00.123Z","failedAt":"2026-05-01T12:00:01.123Z","checkpoints":{"from":{"page":2},"to":null}}`},
	} {
		if got := string(notify.SyncPayload(tc.e)); got != tc.want {
			t.Errorf("%s:\n %s\nwant\n %s", name, got, tc.want)
		}
	}
}
