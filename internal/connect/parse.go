package connect

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"syncline"
	"syncline/internal/provider"
)

// Parse reads the credentials object of POST /connections for an integration
// whose provider has the given auth mode:
//
//	OAUTH2   access_token, and optionally refresh_token, expires_at or
//	         expires_in, no_expiration, config_override
//	API_KEY  apiKey (api_key is taken too)
//	BASIC    username and password, of which one may be empty
//	APP      app_id and installation_id, or an access_token with expires_at
//	NONE     nothing
//
// The type may be left out; another type than the provider's is refused. Every
// error has code invalid_request and names the field; none shows a value.
// expires_in counts from now.
func Parse(mode provider.AuthMode, raw json.RawMessage, now time.Time) (*Credentials, error) {
	if len(raw) > MaxCredentials {
		return nil, syncline.Errorf(syncline.CodeTooLarge, "credentials have %d bytes; the limit is %d", len(raw), MaxCredentials).WithField("credentials")
	}
	if len(bytes.TrimSpace(raw)) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		if mode == provider.AuthNone {
			return &Credentials{Type: mode}, nil
		}
		return nil, missing("credentials", mode)
	}
	var in map[string]json.RawMessage
	if err := json.Unmarshal(raw, &in); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "credentials is not a JSON object").WithField("credentials")
	}
	f := fields{in: in}
	given := provider.AuthMode(f.text("type"))
	if f.err == nil && given != "" && given != mode {
		// What was given is not repeated: it may be a token in the wrong place.
		return nil, syncline.Errorf(syncline.CodeInvalid, "credentials.type is not that of the integration's provider, which is %s", mode).
			WithHint("leave it out, or set it to %s", mode).WithField("credentials.type")
	}

	c := &Credentials{Type: mode}
	switch mode {
	case provider.AuthOAuth2:
		f.oauth2(c, now)
	case provider.AuthAPIKey:
		c.APIKey = f.text("apiKey")
		if c.APIKey == "" {
			c.APIKey = f.text("api_key")
		}
		f.require("apiKey", c.APIKey, mode)
	case provider.AuthBasic:
		c.Username, c.Password = f.text("username"), f.text("password")
		_, hasUser := in["username"]
		_, hasPassword := in["password"]
		if f.err == nil && (!hasUser && !hasPassword || c.Username == "" && c.Password == "") {
			f.err = missing("credentials.username", mode)
		}
		if f.err == nil && strings.Contains(c.Username, ":") {
			f.fail("username", "holds a colon, which Basic authorization cannot carry")
		}
	case provider.AuthApp:
		c.AppID, c.InstallationID = f.scalar("app_id"), f.scalar("installation_id")
		c.AccessToken = f.text("access_token")
		c.ExpiresAt = f.expiry(now)
		if f.err == nil && c.AccessToken == "" {
			f.require("app_id", c.AppID, mode)
			f.require("installation_id", c.InstallationID, mode)
		}
		c.Raw = f.raw()
	case provider.AuthNone:
	default:
		return nil, syncline.Errorf(syncline.CodeInvalid, "connections of the auth mode %s cannot be imported by this version", mode).
			WithHint("the modes are OAUTH2, API_KEY, BASIC, APP and NONE").WithField("credentials.type")
	}
	if f.err != nil {
		return nil, f.err
	}
	for name, v := range map[string]string{
		"access_token": c.AccessToken, "apiKey": c.APIKey, "username": c.Username, "password": c.Password,
	} {
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, syncline.Errorf(syncline.CodeInvalid, "credentials.%s holds a line break or another control character", name).
				WithHint("look for a line break that was copied with it").WithField("credentials." + name)
		}
	}
	return c, nil
}

func missing(field string, mode provider.AuthMode) *syncline.Error {
	return syncline.Errorf(syncline.CodeInvalid, "%s is missing", field).
		WithHint("%s", map[provider.AuthMode]string{
			provider.AuthOAuth2: `an OAUTH2 connection takes {"type": "OAUTH2", "access_token": …}`,
			provider.AuthAPIKey: `an API_KEY connection takes {"type": "API_KEY", "apiKey": …}`,
			provider.AuthBasic:  `a BASIC connection takes {"type": "BASIC", "username": …, "password": …}`,
			provider.AuthApp:    `an APP connection takes {"type": "APP", "app_id": …, "installation_id": …} or an access_token`,
		}[mode]).WithField(field)
}

// fields reads members of the credentials object and keeps the first error.
type fields struct {
	in  map[string]json.RawMessage
	err *syncline.Error
}

func (f *fields) fail(name, why string) {
	if f.err == nil {
		f.err = syncline.Errorf(syncline.CodeInvalid, "credentials.%s %s", name, why).WithField("credentials." + name)
	}
}

func (f *fields) require(name, value string, mode provider.AuthMode) {
	if f.err == nil && value == "" {
		f.err = missing("credentials."+name, mode)
	}
}

func (f *fields) text(name string) string {
	v, ok := f.in[name]
	if !ok || string(v) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		f.fail(name, "is not a string")
	}
	return s
}

// scalar reads an id that is a string or a number.
func (f *fields) scalar(name string) string {
	v, ok := f.in[name]
	if !ok || string(v) == "null" {
		return ""
	}
	var n json.Number
	if v[0] != '"' && json.Unmarshal(v, &n) == nil {
		return n.String()
	}
	return f.text(name)
}

func (f *fields) oauth2(c *Credentials, now time.Time) {
	c.AccessToken, c.RefreshToken = f.text("access_token"), f.text("refresh_token")
	f.require("access_token", c.AccessToken, provider.AuthOAuth2)
	c.ExpiresAt = f.expiry(now)
	if v, ok := f.in["config_override"]; ok && string(v) != "null" {
		var o ConfigOverride
		if json.Unmarshal(v, &o) != nil {
			f.fail("config_override", "is not an object with client_id and client_secret")
		} else if o != (ConfigOverride{}) {
			c.ConfigOverride = &o
		}
	}
	c.Raw = f.raw()
}

// raw is the member raw when there is one. Otherwise it is what came in, less
// what is no part of a token response.
func (f *fields) raw() json.RawMessage {
	if v, ok := f.in["raw"]; ok && len(v) > 0 && v[0] == '{' {
		return v
	}
	m := make(map[string]json.RawMessage, len(f.in))
	for name, v := range f.in {
		switch name {
		case "type", "raw", "config_override", "no_expiration":
		default:
			m[name] = v
		}
	}
	b, err := marshal(m)
	if err != nil {
		f.fail("raw", "is not valid JSON")
	}
	return b
}

// expiry reads expires_at (an ISO 8601 date or time, or Unix seconds or
// milliseconds) or expires_in (seconds from now). no_expiration overrides both.
func (f *fields) expiry(now time.Time) time.Time {
	if v := f.in["no_expiration"]; string(v) == "true" {
		return time.Time{}
	}
	if v, ok := f.in["expires_at"]; ok && string(v) != "null" {
		text := string(v)
		if v[0] == '"' {
			text = f.text("expires_at")
		}
		t, ok := parseTime(text)
		if !ok {
			f.fail("expires_at", "is not a time: write it as 2026-01-31T12:00:00Z")
		}
		return t
	}
	if v, ok := f.in["expires_in"]; ok && string(v) != "null" {
		n, err := strconv.ParseFloat(strings.Trim(string(v), `"`), 64)
		if err != nil || math.IsNaN(n) || n < 0 || n > 100*365*24*3600 {
			f.fail("expires_in", "is not a number of seconds")
			return time.Time{}
		}
		return now.Add(time.Duration(n * float64(time.Second))).UTC().Truncate(time.Millisecond)
	}
	return time.Time{}
}

func parseTime(s string) (time.Time, bool) {
	if s == "" {
		return time.Time{}, true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", time.DateTime, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Truncate(time.Millisecond), true
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil || n <= 0:
		return time.Time{}, false
	case n > 1e11: // seconds would be after the year 5000
		return time.UnixMilli(n).UTC(), true
	}
	return time.Unix(n, 0).UTC(), true
}
