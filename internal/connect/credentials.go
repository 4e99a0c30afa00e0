// Package connect owns the credentials of connections: it reads them in the
// shapes of Nango's API, seals and opens them, shows them to callers who may
// see them, and gives the proxy the variables of its templates.
//
// It does no I/O, knows no external API, and does not decide who may see
// credentials.
package connect

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"syncline"
	"syncline/internal/provider"
	"syncline/internal/secret"
)

// MaxCredentials is the largest credentials object that is accepted, in bytes.
const MaxCredentials = 64 << 10

// ExpiryMargin is how long before its end a token counts as expired, so that it
// does not expire on its way.
const ExpiryMargin = 15 * time.Second

// Credentials are one connection's. Which fields are set depends on Type.
type Credentials struct {
	Type provider.AuthMode

	AccessToken    string          // OAUTH2, APP
	RefreshToken   string          // OAUTH2, optional
	ExpiresAt      time.Time       // OAUTH2, APP: of the access token; zero when it does not expire
	ConfigOverride *ConfigOverride // OAUTH2, optional

	APIKey   string // API_KEY
	Username string // BASIC
	Password string // BASIC

	AppID          string // APP
	InstallationID string // APP

	// Raw is the object that the credentials came in (a token response, or
	// what was imported).
	Raw json.RawMessage
}

// ConfigOverride is the OAuth client that a connection's tokens belong to, when
// it is not the integration's.
type ConfigOverride struct {
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
}

// wire is the JSON form, of the API and at rest.
type wire struct {
	Type           provider.AuthMode `json:"type,omitempty"`
	AccessToken    string            `json:"access_token,omitempty"`
	RefreshToken   string            `json:"refresh_token,omitempty"`
	ExpiresAt      string            `json:"expires_at,omitempty"`
	ConfigOverride *ConfigOverride   `json:"config_override,omitempty"`
	APIKey         string            `json:"apiKey,omitempty"`
	Username       *string           `json:"username,omitempty"` // either may be "" in BASIC
	Password       *string           `json:"password,omitempty"`
	AppID          string            `json:"app_id,omitempty"`
	InstallationID string            `json:"installation_id,omitempty"`
	Raw            json.RawMessage   `json:"raw,omitempty"`
}

func (c *Credentials) wire() wire {
	w := wire{
		Type: c.Type, AccessToken: c.AccessToken, RefreshToken: c.RefreshToken, ConfigOverride: c.ConfigOverride,
		APIKey: c.APIKey, AppID: c.AppID, InstallationID: c.InstallationID, Raw: c.Raw,
	}
	if !c.ExpiresAt.IsZero() {
		w.ExpiresAt = c.ExpiresAt.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	if c.Type == provider.AuthBasic {
		w.Username, w.Password = &c.Username, &c.Password
	}
	return w
}

// Seal seals c for the environment.
func Seal(s *secret.Sealer, env int64, c *Credentials) (syncline.Sealed, error) {
	b, err := marshal(c.wire())
	if err != nil {
		return syncline.Sealed{}, syncline.Errorf(syncline.CodeInternal, "connect: encode credentials: %w", err)
	}
	return s.Seal(env, secret.PurposeConnectionCredentials, b)
}

// Open opens a connection's credentials. A connection without any has those
// of the mode NONE.
func Open(s *secret.Sealer, env int64, sealed syncline.Sealed) (*Credentials, error) {
	b, err := s.Open(env, secret.PurposeConnectionCredentials, sealed)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return &Credentials{Type: provider.AuthNone}, nil
	}
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		// The cause could quote the text, so it is left out.
		return nil, syncline.Errorf(syncline.CodeInternal, "the stored credentials are not in a known form")
	}
	c := &Credentials{
		Type: w.Type, AccessToken: w.AccessToken, RefreshToken: w.RefreshToken, ConfigOverride: w.ConfigOverride,
		APIKey: w.APIKey, AppID: w.AppID, InstallationID: w.InstallationID, Raw: w.Raw,
	}
	if w.Username != nil {
		c.Username = *w.Username
	}
	if w.Password != nil {
		c.Password = *w.Password
	}
	if w.ExpiresAt != "" {
		if c.ExpiresAt, err = time.Parse(time.RFC3339Nano, w.ExpiresAt); err != nil {
			return nil, syncline.Errorf(syncline.CodeInternal, "the stored credentials are not in a known form")
		}
	}
	return c, nil
}

// Render returns c as GET /connections/{id} and nango.getConnection show it: in
// Nango's shape, with raw where the mode has it. The refresh token is shown
// only when withRefreshToken is set.
func (c *Credentials) Render(withRefreshToken bool) (json.RawMessage, error) {
	w := c.wire()
	switch c.Type {
	case provider.AuthOAuth2, provider.AuthApp:
		if w.Raw == nil {
			w.Raw = json.RawMessage("{}")
		}
		if !withRefreshToken {
			w.RefreshToken = ""
			w.Raw = without(w.Raw, "refresh_token")
		}
	default:
		w.Raw = nil
		if c.Type == provider.AuthNone || c.Type == "" {
			w.Type = "" // an empty object, as in Nango
		}
	}
	b, err := marshal(w)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "connect: encode credentials: %w", err)
	}
	return b, nil
}

// Variables returns the variables of the catalogue's templates that carry
// credentials: accessToken, apiKey, username and password, as far as the mode
// has them.
//
// It is an error with code unauthorized when the credentials cannot be used
// at now: an expired token, or an app's installation without a token. name says
// which connection the message is about.
func (c *Credentials) Variables(name string, now time.Time) (map[string]string, error) {
	vars := make(map[string]string, 2)
	switch c.Type {
	case provider.AuthOAuth2, provider.AuthApp:
		if c.AccessToken == "" {
			return nil, syncline.Errorf(syncline.CodeUnauthorized, "connection %q has no access token", name).
				WithHint("import it again with POST /connections and credentials that hold an access_token")
		}
		if !c.ExpiresAt.IsZero() && !now.Before(c.ExpiresAt.Add(-ExpiryMargin)) {
			return nil, syncline.Errorf(syncline.CodeUnauthorized, "the access token of connection %q expired at %s",
				name, c.ExpiresAt.UTC().Format(time.RFC3339)).
				WithHint("import the connection again with POST /connections and a current access_token; this version does not refresh tokens")
		}
		vars["accessToken"] = c.AccessToken
	case provider.AuthAPIKey:
		vars["apiKey"] = c.APIKey
	case provider.AuthBasic:
		vars["username"], vars["password"] = c.Username, c.Password
	}
	return vars, nil
}

// marshal encodes without escaping <, > and &, as other JSON encoders do.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// An encoder's error can quote what it was given.
		return nil, errors.New("not valid JSON")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// without returns the object raw less one key.
func without(raw json.RawMessage, name string) json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return json.RawMessage("{}")
	}
	if _, ok := m[name]; !ok {
		return raw
	}
	delete(m, name)
	b, err := marshal(m)
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}
