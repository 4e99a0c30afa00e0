package api_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/secret"
	"syncline/internal/store"
)

func TestIntegrations(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const oauth = `{"type":"OAUTH2","client_id":"cid","client_secret":"cs-secret","scopes":"repo,user","webhook_secret":"whsec-from-credentials-1"}`
	h.play(
		scenario{name: "made", method: "POST", path: "/integrations", status: 200, golden: "integration_created", not: []string{"secret"},
			body: `{"unique_key":"github","provider":"github","display_name":"Our GitHub","credentials":` + oauth + `,
				"config":{"proxy_base_url":"http://localhost:9/api","webhook":{"secrets":["hook-secret-0001","hook-secret-0002"],"match_all":true}}}`},
		scenario{name: "listed", method: "GET", path: "/integrations", status: 200, golden: "integrations", not: []string{"secret"}},
		scenario{name: "shown", method: "GET", path: "/integrations/github", status: 200, not: []string{"secret", "webhook_url"}},
		scenario{name: "shown with its webhook", method: "GET", path: "/integrations/github?include=webhook", status: 200, golden: "integration_webhook", not: []string{"hook-secret", "cs-secret"}},
		scenario{name: "shown with its credentials", method: "GET", path: "/integrations/github?include=credentials&include=webhook", status: 200, golden: "integration_full", not: []string{"hook-secret"}},
		scenario{name: "includes in one word", method: "GET", path: "/integrations/github?include=webhook,credentials", status: 200, golden: "integration_full"},
		scenario{name: "an unknown include", method: "GET", path: "/integrations/github?include=all", status: 400, want: []string{`"code":"invalid_query_params"`}},
		scenario{name: "not there", method: "GET", path: "/integrations/gitlab", status: 404, want: []string{`"code":"not_found"`, "gitlab"}},
		scenario{name: "a unique key that is taken", method: "POST", path: "/integrations", body: `{"unique_key":"github","provider":"keyed"}`, status: 400, want: []string{"taken", `"path":["unique_key"]`}},
		scenario{name: "the same key in another environment", method: "POST", path: "/integrations", body: `{"unique_key":"github","provider":"keyed"}`, headers: []string{"Authorization", "Bearer " + prodKey}, status: 200},
		scenario{name: "no unique key", method: "POST", path: "/integrations", body: `{"provider":"github"}`, status: 400, want: []string{"unique_key is missing"}},
		scenario{name: "no provider", method: "POST", path: "/integrations", body: `{"unique_key":"a"}`, status: 400, want: []string{"provider is missing"}},
		scenario{name: "an unknown provider", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"nope"}`, status: 400, want: []string{`\"nope\"`, "GET /providers"}},
		scenario{name: "a unique key with a slash", method: "POST", path: "/integrations", body: `{"unique_key":"a/b","provider":"github"}`, status: 400, want: []string{`"path":["unique_key"]`}},
		scenario{name: "a unique key that is a step of a path", method: "POST", path: "/integrations", body: `{"unique_key":"..","provider":"github"}`, status: 400},
		scenario{name: "an empty name", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","display_name":""}`, status: 400},
		scenario{name: "credentials of another mode", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","credentials":{"type":"APP","app_id":"1","app_link":"l","private_key":"k"}}`, status: 400, want: []string{"OAUTH2"}},
		scenario{name: "credentials that lack a member", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"app","credentials":{"type":"APP","app_id":"1","app_link":"l"}}`, status: 400, want: []string{"credentials.private_key is missing"}},
		scenario{name: "credentials with an unknown member", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","credentials":{"typ":"OAUTH2"}}`, status: 400, want: []string{"typ"}},
		scenario{name: "credentials of a provider that takes none", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"keyed","credentials":{"type":"API_KEY"}}`, status: 400, want: []string{"take no credentials"}},
		scenario{name: "a configuration of a provider that takes none", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","integration_config":{"x":"y"}}`, status: 400, want: []string{"integration_config"}},
		scenario{name: "a base URL that is none", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"proxy_base_url":"ftp://x"}}`, status: 400, want: []string{`"path":["config","proxy_base_url"]`}},
		scenario{name: "an override that the catalogue does not know", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"webhook":{"verfy":[]}}}`, status: 400, want: []string{"verfy"}},
		scenario{name: "secrets that are none", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"webhook":{"secrets":"one"}}}`, status: 400, want: []string{"array of strings"}},
		scenario{name: "an empty secret", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"webhook":{"secrets":[""]}}}`, status: 400},
		scenario{name: "too many secrets", method: "POST", path: "/integrations", body: `{"unique_key":"a","provider":"github","config":{"webhook":{"secrets":["1","2","3","4","5","6","7","8","9","10","11"]}}}`, status: 400, want: []string{"the most is 10"}},

		scenario{name: "renamed", method: "PATCH", path: "/integrations/github", body: `{"unique_key":"gh","display_name":"GH","forward_webhooks":false}`, status: 200, want: []string{`"unique_key":"gh"`, `"forward_webhooks":false`, `"display_name":"GH"`}},
		scenario{name: "its URL follows", method: "GET", path: "/integrations/gh?include=webhook", status: 200, want: []string{`/webhook/` + devUUID + `/gh"`, `"match_all":true`}},
		scenario{name: "the old name is gone", method: "GET", path: "/integrations/github", status: 404},
		scenario{name: "a provider stays", method: "PATCH", path: "/integrations/gh", body: `{"provider":"keyed"}`, status: 400},
		scenario{name: "secrets alone leave overrides", method: "PATCH", path: "/integrations/gh", body: `{"config":{"webhook":{"secrets":["hook-secret-0003"]}}}`, status: 200, want: []string{`"match_all":true`}},
		scenario{name: "only the new secret is there", method: "GET", path: "/integrations/gh?include=webhook", status: 200, want: []string{`"webhook_secret_hints":["…0003"]`}},
		scenario{name: "null removes overrides and secrets", method: "PATCH", path: "/integrations/gh", body: `{"config":{"webhook":null,"proxy_base_url":""}}`, status: 200, not: []string{"config"}},
		scenario{name: "a change of what is not there", method: "PATCH", path: "/integrations/nope", body: `{}`, status: 404},
		scenario{name: "a deletion of what is not there", method: "DELETE", path: "/integrations/nope", status: 404},
	)
	if n := h.hooks.take("connections"); n == 0 {
		t.Error("nobody was told of the changes")
	}
}

func TestWebhookSecretsAreSealedAsAJSONArray(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.must("POST", "/integrations", `{"unique_key":"github","provider":"github","credentials":{"type":"OAUTH2","client_id":"c","client_secret":"s","webhook_secret":"b"},"config":{"webhook":{"secrets":["a"]}}}`)
	var i syncline.Integration
	h.view(func(r store.Reader) (err error) {
		i, err = r.IntegrationByKey(h.dev, "github")
		return err
	})
	plain, err := h.deps.Secrets.Open(h.dev, secret.PurposeWebhookSecrets, i.WebhookSecrets)
	if err != nil || string(plain) != `["a","b"]` {
		t.Errorf("%s, %v", plain, err)
	}
	if i.Config.Webhook != nil {
		t.Errorf("the overrides are %s", i.Config.Webhook)
	}
}

func TestDeletingAnIntegrationDeletesWhatItHas(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	h.must("POST", "/deployments", deployment(issuesManifest))
	for i := range 3 {
		h.connection("github", fmt.Sprint("c", i), token)
	}
	h.play(
		scenario{name: "deleted", method: "DELETE", path: "/integrations/github", status: 200, want: []string{`{"success":true}`}},
		scenario{name: "it is gone", method: "GET", path: "/integrations/github", status: 404},
		scenario{name: "so are its connections", method: "GET", path: "/connections", status: 200, want: []string{`{"connections":[]}`}},
		scenario{name: "its key can be taken again", method: "POST", path: "/integrations", body: `{"unique_key":"github","provider":"github"}`, status: 200},
	)
	h.view(func(r store.Reader) error {
		functions, err := r.Functions(h.dev, 0)
		if len(functions) != 0 {
			t.Errorf("functions are left: %v", functions)
		}
		return err
	})
}

func TestConnections(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, p := range []string{"github", "keyed", "basic", "app", "open"} {
		h.integration(p, p)
	}
	h.must("POST", "/deployments", deployment(issuesManifest))
	h.hooks.take("schedules")
	const q = "?provider_config_key=github"
	h.play(
		scenario{name: "made", method: "POST", path: "/connections", status: 200, golden: "connection_created",
			body: `{"provider_config_key":"github","connection_id":"c1","credentials":` + token + `,"metadata":{"big":12345678901234567890,"n":{"a":[1]}},"connection_config":{"org":"acme"},"tags":{"Team":"Red"}}`},
		scenario{name: "shown without its refresh token", method: "GET", path: "/connections/c1" + q, status: 200, golden: "connection", not: []string{"rt-secret"}},
		scenario{name: "shown with its refresh token", method: "GET", path: "/connections/c1" + q + "&refresh_token=true", status: 200, want: []string{"rt-secret"}},
		scenario{name: "by its deprecated name", method: "GET", path: "/connection/c1" + q, status: 200, golden: "connection"},
		scenario{name: "without an id", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"keyed","credentials":{"type":"API_KEY","apiKey":"k-secret"}}`, want: []string{`"credentials":{"type":"API_KEY","apiKey":"k-secret"}`}},
		scenario{name: "Basic", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"basic","connection_id":"b","credentials":{"type":"BASIC","username":"u","password":"p"}}`},
		scenario{name: "an app", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"app","connection_id":"a","credentials":{"type":"APP","app_id":"1","installation_id":"2"}}`},
		scenario{name: "without credentials", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"open","connection_id":"o","credentials":{"type":"NONE"}}`, want: []string{`"credentials":{}`}},
		scenario{name: "an end user becomes tags", method: "POST", path: "/connections", status: 200, golden: "connection_end_user",
			body: `{"provider_config_key":"open","connection_id":"eu","credentials":{"type":"NONE"},"end_user":{"id":"u1","email":"a@example.com","organization":{"id":"o1","display_name":"Org"}}}`},
		scenario{name: "an id with a slash", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"open","connection_id":"a/b c","credentials":{"type":"NONE"}}`},
		scenario{name: "an id with a slash is found", method: "GET", path: "/connections/a%2Fb%20c?provider_config_key=open", status: 200, want: []string{`"connection_id":"a/b c"`}},
		scenario{name: "the deprecated flat form", method: "POST", path: "/connection", status: 200, body: `{"provider_config_key":"github","connection_id":"flat","access_token":"at2","no_expiration":true,"oauth_client_id_override":"co"}`,
			want: []string{`"access_token":"at2"`, `"client_id":"co"`}},
		scenario{name: "an unknown member of the flat form", method: "POST", path: "/connection", status: 400, body: `{"provider_config_key":"github","acess_token":"at2"}`, want: []string{"acess_token"}},

		scenario{name: "no integration", method: "POST", path: "/connections", status: 400, body: `{"credentials":{}}`, want: []string{"provider_config_key is missing"}},
		scenario{name: "an unknown integration", method: "POST", path: "/connections", status: 404, body: `{"provider_config_key":"nope","credentials":{}}`, want: []string{`"code":"not_found"`}},
		scenario{name: "no credentials", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"github"}`, want: []string{"credentials is missing", `"path":["credentials"]`}},
		scenario{name: "credentials of another mode", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"github","credentials":{"type":"API_KEY","apiKey":"k-secret"}}`, want: []string{"OAUTH2"}, not: []string{"k-secret"}},
		scenario{name: "an empty id", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","connection_id":"","credentials":{}}`},
		scenario{name: "an id with a line break", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","connection_id":"a\nb","credentials":{}}`},
		scenario{name: "metadata that is no object", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","credentials":{},"metadata":[]}`, want: []string{`"path":["metadata"]`}},
		scenario{name: "a tag that is no string", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","credentials":{},"tags":{"a":1}}`, want: []string{"tags"}},
		scenario{name: "too many tags", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","credentials":{},"tags":{"1":"","2":"","3":"","4":"","5":"","6":"","7":"","8":"","9":"","10":"","11":""}}`, want: []string{"the most is 10"}},
		scenario{name: "a tag that is too long", method: "POST", path: "/connections", status: 400, body: `{"provider_config_key":"open","credentials":{},"tags":{"a":"` + strings.Repeat("x", 256) + `"}}`},

		scenario{name: "shown without its integration", method: "GET", path: "/connections/c1", status: 400, want: []string{"provider_config_key is missing"}},
		scenario{name: "not there", method: "GET", path: "/connections/nope" + q, status: 404, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "of an integration that is not there", method: "GET", path: "/connections/c1?provider_config_key=nope", status: 404, want: []string{`"code":"unknown_provider_config"`}},
		scenario{name: "of another integration", method: "GET", path: "/connections/c1?provider_config_key=keyed", status: 404},
		scenario{name: "of another environment", method: "GET", path: "/connections/c1" + q, headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "a refresh that cannot be made", method: "GET", path: "/connections/c1" + q + "&force_refresh=true", status: 400, want: []string{"does not refresh"}},
		scenario{name: "a refresh where there is nothing to refresh", method: "GET", path: "/connections/o?provider_config_key=open&force_refresh=true", status: 200},
		scenario{name: "a boolean that is none", method: "GET", path: "/connections/c1" + q + "&force_refresh=1", status: 400},

		scenario{name: "listed, newest first", method: "GET", path: "/connections?limit=2", status: 200, want: []string{`"connection_id":"flat"`, `"connection_id":"a/b c"`}, not: []string{`"c1"`, "credentials"}},
		scenario{name: "the next page", method: "GET", path: "/connections?limit=2&page=1", status: 200, want: []string{`"connection_id":"eu"`, `"connection_id":"o"`}, not: []string{`"flat"`}},
		scenario{name: "by id", method: "GET", path: "/connections?connectionId=c1", status: 200, golden: "connections"},
		scenario{name: "by a part of the id", method: "GET", path: "/connection?search=FLA", status: 200, want: []string{`"flat"`}, not: []string{`"c1"`}},
		scenario{name: "by tag", method: "GET", path: "/connections?tags[team]=Red", status: 200, want: []string{`"c1"`}, not: []string{`"flat"`}},
		scenario{name: "by a tag that none has", method: "GET", path: "/connections?tags[team]=Blue", status: 200, want: []string{`{"connections":[]}`}},
		scenario{name: "by end user", method: "GET", path: "/connections?endUserId=u1&endUserOrganizationId=o1", status: 200, want: []string{`"eu"`}, not: []string{`"c1"`}},
		scenario{name: "by integration", method: "GET", path: "/connections?integrationId=basic", status: 200, want: []string{`"b"`}, not: []string{`"c1"`}},
		scenario{name: "by two integrations", method: "GET", path: "/connections?integrationId=basic,app&limit=1&page=1", status: 200, want: []string{`"connection_id":"b"`}, not: []string{`"connection_id":"a"`}},
		scenario{name: "by an integration that is not there", method: "GET", path: "/connections?integrationId=nope", status: 200, want: []string{`{"connections":[]}`}},
		scenario{name: "a limit that is none", method: "GET", path: "/connections?limit=many", status: 400, want: []string{`"path":["limit"]`}},
		scenario{name: "a tag without a name", method: "GET", path: "/connections?tags[]=a", status: 400},

		scenario{name: "made again, it is updated", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"github","connection_id":"c1","credentials":{"access_token":"at3"},"metadata":{"new":true}}`,
			want: []string{`"access_token":"at3"`, `"metadata":{"new":true}`, `"org":"acme"`, `"team":"Red"`, `"id":1,`}},
		scenario{name: "its tags are changed", method: "PATCH", path: "/connections/c1" + q, body: `{"tags":{"team":"Blue"}}`, status: 200, want: []string{`{"success":true}`}},
		scenario{name: "the new tags", method: "GET", path: "/connections?tags[team]=Blue", status: 200, want: []string{`"c1"`}},
		scenario{name: "a URL of its own", method: "PATCH", path: "/connections/c1" + q, body: `{"webhook_url_override":"https://x"}`, status: 400, want: []string{"webhook_url_override"}},
		scenario{name: "a change of what is not there", method: "PATCH", path: "/connections/nope" + q, body: `{}`, status: 404, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "deleted", method: "DELETE", path: "/connections/c1" + q, status: 200, want: []string{`{"success":true}`}},
		scenario{name: "deleted twice", method: "DELETE", path: "/connections/c1" + q, status: 404, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "gone", method: "GET", path: "/connections/c1" + q, status: 404},
		scenario{name: "made anew it is another", method: "POST", path: "/connections", status: 200, body: `{"provider_config_key":"github","connection_id":"c1","credentials":` + token + `}`, want: []string{`"metadata":{}`}, not: []string{`"id":1,`}},
	)
	if h.hooks.take("connections") == 0 || h.hooks.take("schedules") == 0 {
		t.Error("nobody was told")
	}
	if _, i := h.ids(); i.State != syncline.InstanceStarted || i.NextDueAt.IsZero() {
		t.Errorf("a new connection's sync is not planned: %+v", i)
	}
}

func TestAConnectionWhoseSyncFailsSaysSo(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	h.must("POST", "/deployments", deployment(issuesManifest))
	h.connection("github", "c1", token)
	run := h.pollRun(syncline.RunFailed)
	for _, path := range []string{"/connections", "/connections/c1?provider_config_key=github"} {
		if a := h.must("GET", path, ""); !strings.Contains(a.body, `"errors":[{"type":"sync","log_id":"`+run.UUID+`"}]`) {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

// pollRun writes a finished poll of the connection c1's sync.
func (h *harness) pollRun(status syncline.RunStatus) syncline.Run {
	h.Helper()
	k, i := h.ids()
	run := syncline.Run{UUID: syncline.NewUUID(), EnvironmentID: h.dev, ConnectionID: k.ID, InstanceID: i.ID, FunctionID: i.FunctionID, Kind: syncline.RunPoll,
		Status: status, Attempt: 1, SyncType: syncline.SyncInitial, Models: map[string]syncline.ModelResult{"Issue": {Added: 2, Updated: 1, Skipped: 1}},
		StartedAt: h.clock.Now(), FinishedAt: h.clock.Now().Add(1500 * time.Millisecond)}
	if status == syncline.RunFailed {
		run.ErrorCode, run.Error = syncline.CodeScript, "TypeError: x is undefined"
		i.PollFailures = 1
	}
	h.tx(func(tx store.Tx) error {
		f, err := tx.Function(h.dev, i.FunctionID)
		if err != nil {
			return err
		}
		run.VersionID = f.Active.ID
		if err := tx.CreateRun(&run); err != nil {
			return err
		}
		i.LastPollRunID = run.ID
		i.PollCheckpoint = json.RawMessage(`{"since":"2026"}`)
		return tx.UpdateInstance(&i)
	})
	return run
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("open", "open")
	for _, id := range []string{"a", "b"} {
		h.must("POST", "/connections", `{"provider_config_key":"open","connection_id":"`+id+`","credentials":{},"metadata":{"kept":1}}`)
	}
	h.hooks.take("connections")
	body := func(id, metadata string) string {
		return `{"provider_config_key":"open","connection_id":` + id + `,"metadata":` + metadata + `}`
	}
	get := func(id string) string {
		t.Helper()
		var out struct{ Metadata json.RawMessage }
		if err := json.Unmarshal([]byte(h.must("GET", "/connections/"+id+"?provider_config_key=open", "").body), &out); err != nil {
			t.Fatal(err)
		}
		return string(out.Metadata)
	}
	is := func(want map[string]string) {
		t.Helper()
		for id, m := range want {
			if got := get(id); got != m {
				t.Errorf("the metadata of %s is %s, want %s", id, got, m)
			}
		}
	}
	h.play(
		scenario{name: "merged", method: "PATCH", path: "/connections/metadata", body: body(`"a"`, `{"x":{"y":1},"big":12345678901234567890}`), status: 200,
			want: []string{`{"connection_id":"a","provider_config_key":"open","metadata":{"big":12345678901234567890,"x":{"y":1}}}`}},
		scenario{name: "merged for several", method: "PATCH", path: "/connections/metadata", body: body(`["a","b"]`, `{"x":2,"z":null}`), status: 200, want: []string{`"connection_id":["a","b"]`}},
	)
	is(map[string]string{"a": `{"big":12345678901234567890,"kept":1,"x":2,"z":null}`, "b": `{"kept":1,"x":2,"z":null}`})
	h.play(
		scenario{name: "one of several is not there", method: "PATCH", path: "/connections/metadata", body: body(`["a","nope"]`, `{"x":3}`), status: 400, want: []string{`"code":"unknown_connection"`, "nope"}},
		scenario{name: "one of several is not there, set", method: "POST", path: "/connections/metadata", body: body(`["b","nope"]`, `{"x":3}`), status: 400},
	)
	is(map[string]string{"a": `{"big":12345678901234567890,"kept":1,"x":2,"z":null}`, "b": `{"kept":1,"x":2,"z":null}`})
	h.play(
		scenario{name: "set", method: "POST", path: "/connections/metadata", body: body(`["a"]`, `{"only":1}`), status: 201, want: []string{`"connection_id":["a"]`, `"metadata":{"only":1}`}},
		scenario{name: "set to nothing", method: "POST", path: "/connection/metadata", body: body(`"b"`, `{}`), status: 201},
	)
	is(map[string]string{"a": `{"only":1}`, "b": `{}`})
	h.play(
		scenario{name: "no ids", method: "POST", path: "/connections/metadata", body: body(`[]`, `{}`), status: 400, want: []string{"connection_id is missing"}},
		scenario{name: "an id that is none", method: "POST", path: "/connections/metadata", body: body(`7`, `{}`), status: 400, want: []string{"a string or an array"}},
		scenario{name: "a null id", method: "POST", path: "/connections/metadata", body: body(`null`, `{}`), status: 400},
		scenario{name: "metadata that is null", method: "POST", path: "/connections/metadata", body: body(`"a"`, `null`), status: 400, want: []string{"metadata is missing"}},
		scenario{name: "metadata that is a list", method: "PATCH", path: "/connections/metadata", body: body(`"a"`, `[1]`), status: 400},
		scenario{name: "no integration", method: "PATCH", path: "/connections/metadata", body: `{"connection_id":"a","metadata":{}}`, status: 400},
		scenario{name: "another environment", method: "PATCH", path: "/connections/metadata", body: body(`"a"`, `{}`), headers: []string{"Authorization", "Bearer " + prodKey}, status: 400},

		scenario{name: "the deprecated set", method: "POST", path: "/connection/a/metadata", body: `{"p":1}`, headers: []string{"Provider-Config-Key", "open"}, status: 201},
		scenario{name: "the deprecated merge", method: "PATCH", path: "/connection/a/metadata", body: `{"q":2}`, headers: []string{"Provider-Config-Key", "open"}, status: 200, want: []string{`{"p":1,"q":2}`}},
		scenario{name: "the deprecated one without its header", method: "POST", path: "/connection/a/metadata", body: `{}`, status: 400, want: []string{`"code":"invalid_headers"`}},
		scenario{name: "the deprecated one of what is not there", method: "POST", path: "/connection/nope/metadata", body: `{}`, headers: []string{"Provider-Config-Key", "open"}, status: 404},
		scenario{name: "the deprecated one with null", method: "POST", path: "/connection/a/metadata", body: `null`, headers: []string{"Provider-Config-Key", "open"}, status: 400},
	)
	is(map[string]string{"a": `{"p":1,"q":2}`})
	if h.hooks.take("connections") == 0 {
		t.Error("nobody was told, though deliveries may be routed by metadata")
	}
}

func TestProviders(t *testing.T) {
	t.Parallel()
	newHarness(t).play(
		scenario{name: "listed", method: "GET", path: "/providers", status: 200, golden: "providers"},
		scenario{name: "one", method: "GET", path: "/providers/github", status: 200, want: []string{`"auth_mode":"OAUTH2"`, "https://api.github.com"}},
		scenario{name: "not there", method: "GET", path: "/providers/nope", status: 404, want: []string{`"code":"not_found"`}},
	)
}

func TestDeployments(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	h.connection("github", "c1", token)
	h.hooks.take("functions")
	faster := strings.Replace(issuesManifest, "every hour", "every 30s", 1)
	labels := `{"type":"sync","name":"labels","integration":"github","frequency":"every day","auto_start":false,"models":{"Label":{"$ref":"#/$defs/L","$defs":{"L":{"allOf":[{"properties":{"id":{"type":["number","null"]}}}]}}}}}`
	action := `{"type":"action","name":"issues","integration":"github","auto_start":false}`
	dry := func(body string) string { return strings.TrimSuffix(body, "}") + `,"dry_run":true}` }
	h.play(
		scenario{name: "a dry run says what it would do", method: "POST", path: "/deployments", body: dry(deployment(issuesManifest)), status: 200, want: []string{`"dry_run":true`, `"change":"created"`, `"version":1`}},
		scenario{name: "and did nothing", method: "POST", path: "/deployments", body: dry(deployment()), status: 200, want: []string{`{"changes":[],"dry_run":true,"missing_bundles":[]}`}},
		scenario{name: "created", method: "POST", path: "/deployments", body: deployment(issuesManifest, labels, action), status: 200, golden: "deploy_created"},
		scenario{name: "unchanged", method: "POST", path: "/deployments", body: deployment(action, issuesManifest, labels), status: 200, golden: "deploy_unchanged"},
		scenario{name: "updated, and one missing", method: "POST", path: "/deployments", body: deployment(faster, action), status: 200, golden: "deploy_updated"},
		scenario{name: "another bundle", method: "POST", path: "/deployments", body: strings.Replace(deployment(faster, action), "= 1", "= 2", 1), status: 200, want: []string{`"details":["code changed"]`, `"version":3`}},
		scenario{name: "the missing is deleted when that is asked for", method: "POST", path: "/deployments", body: strings.TrimSuffix(deployment(action, strings.Replace(faster, `"has_on_webhook":true`, `"has_on_webhook":true,"order":"object"`, 1)), "}") + `,"delete_missing":true}`, status: 200, golden: "deploy_deleted"},
	)
	if h.hooks.take("functions") != 4 {
		t.Error("each deployment that changed something is to be told of once")
	}
	_, i := h.ids()
	h.view(func(r store.Reader) error {
		f, err := r.FunctionByName(h.dev, mustIntegration(t, r, h.dev, "github"), syncline.FunctionSync, "issues")
		if err != nil {
			return err
		}
		if i.FunctionID != f.ID || i.State != syncline.InstanceStarted || i.NextDueAt.IsZero() {
			t.Errorf("the connection's sync is not planned: %+v", i)
		}
		source, err := r.Bundle(h.dev, f.Active.BundleHash)
		if string(source) != "var __syncline_fn = 1;" || f.Active.Manifest.Frequency != "every 30s" {
			t.Errorf("deployed is %s of %+v", source, f.Active.Manifest)
		}
		return err
	})
}

func TestDeployingBundlesByTheirHash(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	library := "globalThis.lib = 1;"
	code := string(fn.WithLibrary(hashOf(library), []byte("var __syncline_fn = lib;\n")))
	quote := func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "\n", `\n`), `"`, `\"`) }
	body := func(hash, rest string) string {
		return `{"functions":[{"manifest":` + issuesManifest + `,"bundle_hash":"` + hash + `"}]` + rest + `}`
	}
	h.play(
		scenario{name: "a dry run names what is missing", method: "POST", path: "/deployments", body: body(hashOf(code), `,"dry_run":true`), status: 200, want: []string{`"change":"created"`, `"missing_bundles":["` + hashOf(code) + `"]`}},
		scenario{name: "without it nothing is deployed", method: "POST", path: "/deployments", body: body(hashOf(code), ""), status: 400, want: []string{"does not have 1 of the bundles", "POST /bundles"}},
		scenario{name: "a bundle without its library", method: "POST", path: "/bundles", body: `{"bundles":["` + quote(code) + `"]}`, status: 400, want: []string{`"path":["bundles","0"]`, "continues the library " + hashOf(library), "send the library first"}},
		scenario{name: "nor within a deployment", method: "POST", path: "/deployments", body: `{"functions":[{"manifest":` + issuesManifest + `,"bundle":"` + quote(code) + `"}]}`, status: 400, want: []string{"continues the library"}},
		scenario{name: "an empty bundle", method: "POST", path: "/bundles", body: `{"bundles":[" "]}`, status: 400, want: []string{`"path":["bundles","0"]`, "is empty"}},
		scenario{name: "the library and the bundle", method: "POST", path: "/bundles", body: `{"bundles":["` + quote(library) + `","` + quote(code) + `"]}`, status: 200, want: []string{`"hashes":["` + hashOf(library) + `","` + hashOf(code) + `"]`}},
		scenario{name: "once more", method: "POST", path: "/bundles", body: `{"bundles":["` + quote(library) + `"]}`, status: 200, want: []string{hashOf(library)}},
		scenario{name: "nothing is missing", method: "POST", path: "/deployments", body: body(hashOf(code), `,"dry_run":true`), status: 200, want: []string{`"missing_bundles":[]`}},
		scenario{name: "deployed", method: "POST", path: "/deployments", body: body(hashOf(code), ""), status: 200, want: []string{`"change":"created"`}, not: []string{"missing_bundles"}},
		scenario{name: "unchanged", method: "POST", path: "/deployments", body: body(hashOf(code), ""), status: 200, want: []string{`"change":"unchanged"`}},
		scenario{name: "a hash that is none", method: "POST", path: "/deployments", body: body("ABC", ""), status: 400, want: []string{`"path":["functions","0","bundle_hash"]`, "64 digits"}},
		scenario{name: "both", method: "POST", path: "/deployments", body: strings.Replace(body(hashOf(code), ""), `"bundle_hash"`, `"bundle":"x","bundle_hash"`, 1), status: 400, want: []string{"have either bundle or bundle_hash"}},
	)
}

func hashOf(source string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(source))) }

func mustIntegration(t *testing.T, r store.Reader, env int64, key string) int64 {
	t.Helper()
	i, err := r.IntegrationByKey(env, key)
	if err != nil {
		t.Fatal(err)
	}
	return i.ID
}

func TestDeploymentsThatAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.integration("github", "github")
	with := func(old, new string) string { return deployment(strings.Replace(issuesManifest, old, new, 1)) }
	var list []scenario
	for name, c := range map[string]struct{ body, want string }{
		"no functions":                       {`{}`, "functions is missing"},
		"a function that is no object":       {`{"functions":[1]}`, "functions"},
		"an unknown integration":             {with(`"integration":"github"`, `"integration":"gitlab"`), `there is no integration \"gitlab\"`},
		"an unknown type":                    {with(`"type":"sync"`, `"type":"job"`), "must be sync, action or on-event"},
		"a name that is none":                {with(`"name":"issues"`, `"name":"a b"`), `"path":["functions","0","manifest","name"]`},
		"no frequency":                       {with(`"frequency":"every hour",`, ``), "frequency is missing"},
		"a frequency that is none":           {with("every hour", "hourly"), "frequency"},
		"a frequency that is too short":      {with("every hour", "every 0s"), "shorter than one second"},
		"no models":                          {with(`"models":{"Issue":{"type":"object","properties":{"id":{"type":"string"}}}}`, `"models":{}`), "between 1 and 100 models"},
		"a model without an id":              {with(`"id":{"type":"string"}`, `"title":{"type":"string"}`), "has no id"},
		"a model with a boolean id":          {with(`"id":{"type":"string"}`, `"id":{"type":"boolean"}`), "neither a string nor a number"},
		"a model that is no schema":          {with(`{"type":"object","properties":{"id":{"type":"string"}}}`, `7`), "not a JSON Schema"},
		"a choice of which one lacks the id": {with(`{"type":"object","properties":{"id":{"type":"string"}}}`, `{"anyOf":[{"properties":{"id":{}}},{"properties":{}}]}`), "has no id"},
		"a schema that refers to itself":     {with(`{"type":"object","properties":{"id":{"type":"string"}}}`, `{"$ref":"#/a","a":{"$ref":"#/a"}}`), "has no id"},
		"a model with a variant in its name": {with(`"Issue"`, `"Issue::x"`), "model name"},
		"subscriptions that nothing handles": {with(`,"has_on_webhook":true`, ``), "no onWebhook"},
		"an empty subscription":              {with(`["issues"]`, `[""]`), "is empty"},
		"an unknown order":                   {with(`"has_on_webhook":true`, `"has_on_webhook":true,"order":"random"`), "lane, object or none"},
		"a history that is none":             {with(`"auto_start":true`, `"auto_start":true,"history":{"Issue":"long"}`), `"path":["functions","0","manifest","history","Issue"]`},
		"a history of another model":         {with(`"auto_start":true`, `"auto_start":true,"history":{"Label":"30 days"}`), "which the sync does not have"},
		"a validation that there is not":     {with(`"auto_start":true`, `"auto_start":true,"validation":"maybe"`), `"path":["functions","0","manifest","validation"]`},
		"limits that cannot be":              {with(`"auto_start":true`, `"auto_start":true,"limits":{"wall":"1ms"}`), "limits.wall is less than 10ms"},
		"a member that is not known":         {with(`"auto_start":true`, `"auto_start":true,"autostart":true`), "autostart"},
		"the same twice":                     {deployment(issuesManifest, issuesManifest), "is there twice"},
		"an empty bundle":                    {strings.Replace(deployment(issuesManifest), "var __syncline_fn = 1;", " ", 1), "the bundle is empty"},
		"an action with webhooks":            {with(`"type":"sync"`, `"type":"action"`), "only syncs take webhooks"},
		"an engine that there is not":        {deployment(`{"type":"action","name":"a","integration":"github","auto_start":false,"engine":"deno"}`), "there is no engine"},
		"an engine that is not installed":    {deployment(`{"type":"action","name":"a","integration":"github","auto_start":false,"engine":"node"}`), "for the engine node, and this server cannot run it"},
		"an on-event without its event":      {deployment(`{"type":"on-event","name":"a","integration":"github","auto_start":false}`), "the event is missing"},
	} {
		list = append(list, scenario{name: name, method: "POST", path: "/deployments", body: c.body, status: 400, want: []string{`"code":"invalid_body"`, c.want}})
	}
	slices.SortFunc(list, func(a, b scenario) int { return strings.Compare(a.name, b.name) })
	list = append(list, scenario{name: "every mistake is named at once", method: "POST", path: "/deployments", status: 400,
		body: deployment(strings.Replace(issuesManifest, "every hour", "hourly", 1), `{"type":"on-event","name":"","integration":"github","auto_start":false,"source":"github/on-events/x.ts"}`),
		want: []string{`"path":["functions","0","manifest","frequency"]`, `"path":["functions","1","manifest","name"]`, `"path":["functions","1","manifest","event"]`, "github/on-events/x.ts"}})
	list = append(list, scenario{name: "too large", method: "POST", path: "/deployments", body: `{"functions":[{"bundle":"` + strings.Repeat("x", 2<<20) + `"}]}`, status: 413, want: []string{"2097152 bytes"}})
	h.play(list...)
	h.view(func(r store.Reader) error {
		functions, err := r.Functions(h.dev, 0)
		if diff := cmp.Diff([]syncline.Function(nil), functions); len(functions) != 0 {
			t.Errorf("something was deployed: %s", diff)
		}
		return err
	})
}
