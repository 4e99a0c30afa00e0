package connect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/connect"
	"syncline/internal/provider"
	"syncline/internal/secret"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func sealer(t *testing.T) *secret.Sealer {
	t.Helper()
	s, err := secret.New(bytes.Repeat([]byte{1}, secret.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCredentialsInNangosShapesComeBackAsTheyWentIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode provider.AuthMode
		in   string
		want string // Render(true)
		vars map[string]string
	}{
		"OAUTH2": {
			provider.AuthOAuth2,
			`{"type":"OAUTH2","access_token":"at","refresh_token":"rt","expires_at":"2026-05-01T14:00:00.000Z"}`,
			`{"type":"OAUTH2","access_token":"at","refresh_token":"rt","expires_at":"2026-05-01T14:00:00.000Z","raw":{"access_token":"at","expires_at":"2026-05-01T14:00:00.000Z","refresh_token":"rt"}}`,
			map[string]string{"accessToken": "at"},
		},
		"OAUTH2 with a lifetime": {
			provider.AuthOAuth2,
			`{"access_token":"at","expires_in":3600}`,
			`{"type":"OAUTH2","access_token":"at","expires_at":"2026-05-01T13:00:00.000Z","raw":{"access_token":"at","expires_in":3600}}`,
			map[string]string{"accessToken": "at"},
		},
		"OAUTH2 with a date, in Unix time": {
			provider.AuthOAuth2,
			`{"access_token":"at","expires_at":1800000000}`,
			`{"type":"OAUTH2","access_token":"at","expires_at":"2027-01-15T08:00:00.000Z","raw":{"access_token":"at","expires_at":1800000000}}`,
			map[string]string{"accessToken": "at"},
		},
		"OAUTH2 that does not expire, with an own client and raw": {
			provider.AuthOAuth2,
			`{"type":"OAUTH2","access_token":"a<b>&c","no_expiration":true,"expires_at":"2001-01-01","config_override":{"client_id":"id","client_secret":"cs"},"raw":{"team":{"id":"T1"}}}`,
			`{"type":"OAUTH2","access_token":"a<b>&c","config_override":{"client_id":"id","client_secret":"cs"},"raw":{"team":{"id":"T1"}}}`,
			map[string]string{"accessToken": "a<b>&c"},
		},
		"API_KEY": {
			provider.AuthAPIKey, `{"type":"API_KEY","apiKey":"k"}`, `{"type":"API_KEY","apiKey":"k"}`, map[string]string{"apiKey": "k"},
		},
		"API_KEY in snake case": {
			provider.AuthAPIKey, `{"type":"API_KEY","api_key":"k"}`, `{"type":"API_KEY","apiKey":"k"}`, map[string]string{"apiKey": "k"},
		},
		"BASIC": {
			provider.AuthBasic, `{"type":"BASIC","username":"u","password":"p:q"}`, `{"type":"BASIC","username":"u","password":"p:q"}`,
			map[string]string{"username": "u", "password": "p:q"},
		},
		"BASIC with an empty password": {
			provider.AuthBasic, `{"username":"key","password":""}`, `{"type":"BASIC","username":"key","password":""}`,
			map[string]string{"username": "key", "password": ""},
		},
		"APP with a token": {
			provider.AuthApp, `{"type":"APP","access_token":"ghs","expires_at":"2026-05-01T13:00:00Z","raw":{"x":1}}`,
			`{"type":"APP","access_token":"ghs","expires_at":"2026-05-01T13:00:00.000Z","raw":{"x":1}}`, map[string]string{"accessToken": "ghs"},
		},
		"NONE":         {provider.AuthNone, `{"type":"NONE"}`, `{}`, map[string]string{}},
		"NONE as null": {provider.AuthNone, `null`, `{}`, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := connect.Parse(tc.mode, json.RawMessage(tc.in), now)
			if err != nil {
				t.Fatal(err)
			}
			s := sealer(t)
			sealed, err := connect.Seal(s, 5, c)
			if err != nil {
				t.Fatal(err)
			}
			c, err = connect.Open(s, 5, sealed)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Render(true)
			if err != nil || string(got) != tc.want {
				t.Errorf("rendered\n %s\nwant\n %s (%v)", got, tc.want, err)
			}
			vars, err := c.Variables("c1", now)
			if err != nil || len(vars) != len(tc.vars) {
				t.Fatalf("variables = %v, %v", vars, err)
			}
			for k, v := range tc.vars {
				if vars[k] != v {
					t.Errorf("variable %s = %q, want %q", k, vars[k], v)
				}
			}
		})
	}
}

func TestARefreshTokenIsShownOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	c, err := connect.Parse(provider.AuthOAuth2, json.RawMessage(`{"access_token":"at","refresh_token":"rt-secret"}`), now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Render(false)
	if err != nil || string(got) != `{"type":"OAUTH2","access_token":"at","raw":{"access_token":"at"}}` {
		t.Errorf("Render(false) = %s, %v", got, err)
	}
}

func TestCredentialsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode  provider.AuthMode
		in    string
		field string
		code  syncline.Code
	}{
		"nothing for OAUTH2":            {provider.AuthOAuth2, ``, "credentials", ""},
		"null for API_KEY":              {provider.AuthAPIKey, `null`, "credentials", ""},
		"not an object":                 {provider.AuthAPIKey, `"hush"`, "credentials", ""},
		"broken JSON":                   {provider.AuthAPIKey, `{"apiKey":"hush"`, "credentials", ""},
		"another type":                  {provider.AuthAPIKey, `{"type":"OAUTH2","access_token":"hush"}`, "credentials.type", ""},
		"a type that is not a string":   {provider.AuthAPIKey, `{"type":7,"apiKey":"hush"}`, "credentials.type", ""},
		"no access token":               {provider.AuthOAuth2, `{"refresh_token":"hush"}`, "credentials.access_token", ""},
		"a token that is a number":      {provider.AuthOAuth2, `{"access_token":42}`, "credentials.access_token", ""},
		"an expiry that is no time":     {provider.AuthOAuth2, `{"access_token":"hush","expires_at":"tomorrow"}`, "credentials.expires_at", ""},
		"a negative lifetime":           {provider.AuthOAuth2, `{"access_token":"hush","expires_in":-1}`, "credentials.expires_in", ""},
		"an endless lifetime":           {provider.AuthOAuth2, `{"access_token":"hush","expires_in":1e300}`, "credentials.expires_in", ""},
		"no API key":                    {provider.AuthAPIKey, `{"type":"API_KEY"}`, "credentials.apiKey", ""},
		"a key with a line break":       {provider.AuthAPIKey, `{"apiKey":"hush\n"}`, "credentials.apiKey", ""},
		"header injection by a token":   {provider.AuthOAuth2, `{"access_token":"hush\r\nX-Evil: 1"}`, "credentials.access_token", ""},
		"no user name and no password":  {provider.AuthBasic, `{"type":"BASIC"}`, "credentials.username", ""},
		"a colon in the user name":      {provider.AuthBasic, `{"username":"hu:sh","password":"x"}`, "credentials.username", ""},
		"an app without installation":   {provider.AuthApp, `{"app_id":1}`, "credentials.installation_id", ""},
		"a config override of no shape": {provider.AuthOAuth2, `{"access_token":"hush","config_override":[1]}`, "credentials.config_override", ""},
		"a mode not known":              {"TBA", `{"type":"TBA","token_id":"hush"}`, "credentials.type", ""},
		"too large":                     {provider.AuthAPIKey, `{"apiKey":"` + strings.Repeat("h", connect.MaxCredentials) + `"}`, "credentials", syncline.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.code == "" {
				tc.code = syncline.CodeInvalid
			}
			_, err := connect.Parse(tc.mode, json.RawMessage(tc.in), now)
			var e *syncline.Error
			if !errors.As(err, &e) || e.Code != tc.code || e.Field != tc.field {
				t.Fatalf("error = %#v; want %s at %s", err, tc.code, tc.field)
			}
			if strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestCredentialsThatCannotBeUsedNow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode provider.AuthMode
		in   string
		at   time.Time
		ok   bool
	}{
		"before it expires":             {provider.AuthOAuth2, `{"access_token":"hush","expires_at":"2026-05-01T13:00:00Z"}`, now, true},
		"just before the margin":        {provider.AuthOAuth2, `{"access_token":"hush","expires_in":60}`, now.Add(60*time.Second - connect.ExpiryMargin - time.Millisecond), true},
		"within the margin":             {provider.AuthOAuth2, `{"access_token":"hush","expires_in":60}`, now.Add(60*time.Second - connect.ExpiryMargin), false},
		"long expired":                  {provider.AuthOAuth2, `{"access_token":"hush","expires_at":"2020-01-01"}`, now, false},
		"a token without an expiry":     {provider.AuthOAuth2, `{"access_token":"hush"}`, now.AddDate(50, 0, 0), true},
		"an installation with no token": {provider.AuthApp, `{"app_id":"1","installation_id":2}`, now, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := connect.Parse(tc.mode, json.RawMessage(tc.in), now)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Variables("customer-1", tc.at)
			if tc.ok {
				if err != nil {
					t.Errorf("error = %v", err)
				}
				return
			}
			if syncline.CodeOf(err) != syncline.CodeUnauthorized || !strings.Contains(err.Error(), "customer-1") ||
				!strings.Contains(err.Error(), "POST /connections") || strings.Contains(err.Error(), "hush") {
				t.Errorf("error = %v", err)
			}
		})
	}
}

func TestCredentialsDoNotOpenInAnotherEnvironment(t *testing.T) {
	t.Parallel()
	s := sealer(t)
	sealed, err := connect.Seal(s, 1, &connect.Credentials{Type: provider.AuthAPIKey, APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect.Open(s, 2, sealed); err == nil {
		t.Error("opened in environment 2")
	}
	c, err := connect.Open(s, 2, syncline.Sealed{})
	if err != nil || c.Type != provider.AuthNone {
		t.Errorf("no credentials: %+v, %v", c, err)
	}
}
