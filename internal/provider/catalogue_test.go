package provider_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/provider"
)

func TestTheBuiltinCatalogue(t *testing.T) {
	t.Parallel()
	c := provider.Builtin()
	for _, name := range c.Names() {
		if _, ok := c.Provider(name); !ok { // a mistake panics
			t.Errorf("%s is not there", name)
		}
	}
	if n := len(c.Names()); n < 284 {
		t.Errorf("%d providers", n)
	}
	modes := map[string]provider.AuthMode{
		"github": provider.AuthOAuth2, "github-app": provider.AuthApp, "github-pat": provider.AuthAPIKey,
		"private-api-basic": provider.AuthBasic, "private-api-bearer": provider.AuthAPIKey, "unauthenticated": provider.AuthNone,
	}
	for name, mode := range modes {
		p, ok := c.Provider(name)
		if !ok || p.Name != name || p.AuthMode != mode {
			t.Errorf("%s: %+v", name, p)
			continue
		}
		if github := strings.HasPrefix(name, "github"); github != (p.Webhook != nil) || github != (p.Proxy.BaseURL == "https://api.github.com") {
			t.Errorf("%s: base URL %q, webhook %v", name, p.Proxy.BaseURL, p.Webhook)
		}
		if (mode != provider.AuthNone) != (len(p.Proxy.Auth) > 0) {
			t.Errorf("%s: auth %v", name, p.Proxy.Auth)
		}
	}
	if _, ok := c.Provider("nobody"); ok {
		t.Error("found a provider that does not exist")
	}
}

func TestGitHubsWebhooksAreTheSameHoweverItIsAuthorized(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"github-app", "github-pat"} {
		p, _ := provider.Builtin().Provider(name)
		if diff := cmp.Diff(github(t), p.Webhook); diff != "" {
			t.Errorf("github and %s (-github +%s):\n%s", name, name, diff)
		}
	}
}

// good is a provider to spoil.
const good = `display_name: X
auth_mode: API_KEY
docs_url: https://example.com
proxy:
  base_url: https://${connectionConfig.subdomain}.example.com
  auth:
    Authorization: Bearer ${apiKey}
webhook:
  verify:
    - scheme: hmac-sha256
      encoding: hex
      header: x-sig
  type: ["header:x-type"]
  match:
    - from: "body:account.id"
      property: [connection_config.account]
`

func TestAMistakeInTheCatalogueIsNamedByFileAndLine(t *testing.T) {
	t.Parallel()
	if _, err := provider.Load(fstest.MapFS{"c/x.yaml": {Data: []byte(good)}}, "c"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, new, want string }{
		{"an unknown field", "docs_url:", "docs:", "c/x.yaml:3:1: "},
		{"an unknown field deep inside", "      header:", "      headers:", "c/x.yaml:12:7: "},
		{"a field twice", "docs_url: https://example.com", "docs_url: https://example.com\nauth_mode: NONE", "c/x.yaml:4:1: "},
		{"what is not YAML", "display_name: X", "display_name: [X", "c/x.yaml:"},
		{"a wrong type", "auth_mode: API_KEY", "auth_mode: [API_KEY]", "c/x.yaml:2:12: "},
		{"an unknown auth mode", "API_KEY", "MAGIC", "c/x.yaml:2:12: auth_mode: "},
		{"no name", "display_name: X\n", "", "display_name: it is missing"},
		{"a base URL without TLS", "https://${", "http://${", "c/x.yaml:5:13: proxy.base_url: "},
		{"a credential in the base URL", "connectionConfig.subdomain", "apiKey", "c/x.yaml:5:13: proxy.base_url: ${apiKey}"},
		{"another mode's credential", "${apiKey}", "${accessToken}", "c/x.yaml:7:20: proxy.auth.Authorization: ${accessToken}"},
		{"an open template", "${apiKey}", "${apiKey", "not closed"},
		{"an unknown scheme", "hmac-sha256", "md5", "c/x.yaml:10:15: webhook.verify[0].scheme: "},
		{"no encoding", "      encoding: hex\n", "", "c/x.yaml:10:"},
		{"a source that is none", "header:x-type", "x-type", "c/x.yaml:13:10: webhook.type[0]: "},
		{"a property that is none", "connection_config.account", "account", "c/x.yaml:16:18: webhook.match[0].property[0]: "},
		{"a path that computes", "body:account.id", "body:account.@reverse", "c/x.yaml:15:13: webhook.match[0].from: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(good, tc.old, tc.new, 1)
			if text == good {
				t.Fatal("nothing was spoiled")
			}
			_, err := provider.Load(fstest.MapFS{"c/x.yaml": {Data: []byte(text)}}, "c")
			if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v; want %q", err, tc.want)
			}
		})
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	base := github(t)
	before, err := json.Marshal(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, override string
		wrong          string // part of the error
		check          func(w *provider.Webhook) bool
	}{
		{name: "nothing", override: "", check: func(w *provider.Webhook) bool { return w == base }},
		{name: "null", override: "null", check: func(w *provider.Webhook) bool { return w == base }},
		{name: "an empty object", override: "{}", check: func(w *provider.Webhook) bool { return cmp.Equal(w, base) }},
		{name: "a field is replaced, the others stay", override: `{"type":["body:action"]}`,
			check: func(w *provider.Webhook) bool {
				return len(w.Type) == 1 && w.Type[0] == "body:action" && cmp.Equal(w.Signatures, base.Signatures) && cmp.Equal(w.Match, base.Match)
			}},
		{name: "a list is replaced whole", override: `{"verify":[{"scheme":"token","header":"x-token"}]}`,
			check: func(w *provider.Webhook) bool {
				return cmp.Equal(w.Signatures, []provider.Signature{{Scheme: "token", Header: "x-token"}})
			}},
		{name: "null takes a field away", override: `{"match":null,"match_all":true}`,
			check: func(w *provider.Webhook) bool { return len(w.Match) == 0 && w.MatchAll }},
		{name: "durations are text", override: `{"dedupe_body":"5m","verify":[{"scheme":"hmac-sha1","encoding":"base64","header":"x","signed":"{timestamp}.{raw_body}","timestamp":"t","tolerance":"90s"}]}`,
			check: func(w *provider.Webhook) bool { return w.DedupeBody == 300e9 && w.Signatures[0].Tolerance == 90e9 }},
		{name: "not an object", override: `[]`, wrong: "not a JSON object"},
		{name: "not JSON", override: `{`, wrong: "not a JSON object"},
		{name: "an unknown field", override: `{"verifiy":[]}`, wrong: `unknown field "verifiy"`},
		{name: "a wrong type", override: `{"type":"issues"}`, wrong: "type"},
		{name: "a number for a duration", override: `{"dedupe_body":5}`, wrong: "form of the catalogue"},
		{name: "too long a duration", override: `{"dedupe_body":"2h"}`, wrong: "config.webhook.dedupe_body"},
		{name: "an unknown scheme", override: `{"verify":[{"scheme":"rot13"}]}`, wrong: "config.webhook.verify[0].scheme"},
		{name: "none beside another", override: `{"verify":[{"scheme":"none"},{"scheme":"token","header":"x"}]}`, wrong: "stands alone"},
		{name: "none with a header", override: `{"verify":[{"scheme":"none","header":"x"}]}`, wrong: "no other fields"},
		{name: "match_all beside match", override: `{"match_all":true}`, wrong: "config.webhook.match_all"},
		{name: "a signing time that is not signed", override: `{"verify":[{"scheme":"hmac-sha256","encoding":"hex","header":"x","timestamp":"t","tolerance":"1m"}]}`, wrong: "made up"},
		{name: "signed content without the body", override: `{"verify":[{"scheme":"hmac-sha256","encoding":"hex","header":"x","signed":"{header:y}"}]}`, wrong: "{raw_body}"},
		{name: "an unknown placeholder", override: `{"verify":[{"scheme":"hmac-sha256","encoding":"hex","header":"x","signed":"{path}{raw_body}"}]}`, wrong: "{path}"},
		{name: "a payload that is none", override: `{"payload":"xml"}`, wrong: "config.webhook.payload"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := base.Override(json.RawMessage(tc.override))
			if tc.wrong != "" {
				if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("error = %v; want %q", err, tc.wrong)
				}
				return
			}
			if err != nil || !tc.check(got) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	t.Cleanup(func() {
		if after, _ := json.Marshal(base); string(after) != string(before) {
			t.Error("an override changed the catalogue")
		}
	})
}

func TestWebhookOf(t *testing.T) {
	t.Parallel()
	c := provider.Builtin()
	if w, err := c.WebhookOf(&syncline.Integration{Provider: "unauthenticated"}); w != nil || err != nil {
		t.Errorf("%v, %v; want nothing", w, err)
	}
	if _, err := c.WebhookOf(&syncline.Integration{Provider: "gone"}); syncline.CodeOf(err) != syncline.CodeNotFound {
		t.Errorf("%v; want not_found", err)
	}
	w, err := c.WebhookOf(&syncline.Integration{Provider: "private-api-bearer", Config: syncline.IntegrationConfig{
		Webhook: json.RawMessage(`{"verify":[{"scheme":"token","header":"X-Token"}],"type":["body:type"]}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !w.IsSecret("x-token") || w.IsSecret("x-type") {
		t.Error("the header with the token is not known as secret")
	}
}
