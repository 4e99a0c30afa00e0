package provider

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorizing are variables that there are only while credentials are obtained.
var authorizing = []string{
	"clientId", "clientSecret", "code", "random", "now", "accessToken", "refreshToken", "apiKey", "username", "password",
	"appId", "appJwt", "assertion", "publicKeyFingerprint",
}

func (a *Auth) check(variables []string) error {
	may := append(slices.Clone(authorizing), variables...)
	if err := a.checkURLs(may); err != nil {
		return err
	}
	for _, c := range []struct {
		field, value string
		of           []string
	}{
		{"pkce", a.PKCE, []string{"supported", "required", "off"}},
		{"token_method", a.TokenMethod, []string{"GET", "POST", "PUT"}},
		{"token_params_in", a.TokenParamsIn, []string{"body", "query"}},
		{"client_auth", a.ClientAuth, []string{"body", "basic", "custom", "private_key_jwt"}},
		{"body_format", a.BodyFormat, bodyFormats},
		{"client_certificate", a.Certificate, []string{"required"}},
	} {
		if err := oneOf(c.field, c.value, c.of...); err != nil {
			return err
		}
	}
	for _, m := range []struct {
		field  string
		values map[string]string
		header bool
	}{
		{"authorization_params", a.AuthorizationParams, false}, {"token_params", a.TokenParams, false}, {"token_headers", a.TokenHeaders, true},
		{"refresh_params", a.RefreshParams, false}, {"refresh_headers", a.RefreshHeaders, true},
	} {
		if err := checkMap(m.field, m.values, may, m.header); err != nil {
			return err
		}
	}
	if err := a.TokenLifetime.check("token_lifetime"); err != nil {
		return err
	}
	for _, d := range []struct {
		field string
		value Duration
	}{{"assume_lifetime", a.AssumeLifetime}, {"refresh_margin", a.RefreshMargin}} {
		if d.value < 0 {
			return wrong(d.field, "%s is negative", time.Duration(d.value))
		}
	}
	if err := a.RefreshToken.check(); err != nil {
		return within("refresh_token", err)
	}
	if r := a.TokenResponse; r != nil {
		if err := oneOf("token_response.expires_in_unit", r.ExpiresInUnit, "milliseconds"); err != nil {
			return err
		}
	}
	return a.checkKinds(may)
}

var bodyFormats = []string{"form", "json", "xml", "query"}

func (a *Auth) checkURLs(may []string) error {
	type named struct{ field, url string }
	urls := []named{
		{"authorization_url", a.AuthorizationURL}, {"token_url", a.TokenURL}, {"app_token_url", a.AppTokenURL}, {"refresh_url", a.RefreshURL},
		{"revoke_url", a.RevokeURL}, {"introspect_url", a.IntrospectURL},
	}
	for i, u := range a.AuthorizationURLFallbacks {
		urls = append(urls, named{"authorization_url_fallbacks[" + strconv.Itoa(i) + "]", u})
	}
	for i, u := range a.TokenURLFallbacks {
		urls = append(urls, named{"token_url_fallbacks[" + strconv.Itoa(i) + "]", u})
	}
	for _, u := range urls {
		if u.url == "" && !strings.HasSuffix(u.field, "]") {
			continue
		}
		if err := checkURL(u.url, may); err != nil {
			return within(u.field, err)
		}
	}
	return nil
}

// checkKinds checks the sections of single ways to authorize.
func (a *Auth) checkKinds(may []string) error {
	if o := a.OAuth1; o != nil {
		if err := oneOf("oauth1.signature_method", o.SignatureMethod, "HMAC-SHA1", "HMAC-SHA256", "RSA-SHA1", "PLAINTEXT"); err != nil {
			return err
		}
		if o.RequestURL != "" {
			if err := checkURL(o.RequestURL, may); err != nil {
				return within("oauth1.request_url", err)
			}
		}
		if err := checkTemplate(o.Realm, may); err != nil {
			return within("oauth1.realm", err)
		}
		if err := checkMap("oauth1.request_params", o.RequestParams, may, false); err != nil {
			return err
		}
	}
	if j := a.JWT; j != nil {
		if err := oneOf("jwt.algorithm", j.Algorithm, "RS256", "ES256", "HS256", "PS256", "EdDSA"); err != nil {
			return err
		}
		if err := oneOf("jwt.key_format", j.KeyFormat, "hex", "utf8"); err != nil {
			return err
		}
		if err := checkTemplate(j.Key, may); err != nil {
			return within("jwt.key", err)
		}
		if err := checkMap("jwt.claims", j.Claims, may, false); err != nil {
			return err
		}
		if err := checkMap("jwt.header", j.Header, may, false); err != nil {
			return err
		}
	}
	if s := a.Assertion; s != nil {
		if err := oneOf("assertion.type", s.Type, "saml2-bearer", "jwt"); err != nil {
			return err
		}
		for _, m := range []struct {
			field  string
			values map[string]string
		}{{"attributes", s.Attributes}, {"header", s.Header}, {"claims", s.Claims}} {
			if err := checkMap("assertion."+m.field, m.values, may, false); err != nil {
				return err
			}
		}
	}
	var answers []string
	for i, step := range a.Steps {
		field := "steps[" + strconv.Itoa(i) + "]"
		answers = append(answers, "step"+strconv.Itoa(i+1)+".")
		if err := step.check(may, answers); err != nil {
			return within(field, err)
		}
	}
	for i, alternative := range a.Alternatives {
		if err := alternative.check(may); err != nil {
			return within("alternatives["+strconv.Itoa(i)+"]", err)
		}
	}
	return nil
}

// check checks a step, which may use the answers of the requests before it.
func (s *Step) check(may, answers []string) error {
	var all []string
	for _, text := range append(values(s.Params), append(values(s.Headers), s.URL)...) {
		t, err := ParseTemplate(text)
		if err != nil {
			return err
		}
		for _, name := range t.Variables() {
			if slices.ContainsFunc(answers, func(p string) bool { return strings.HasPrefix(name, p) && name != p }) {
				all = append(all, name)
			}
		}
	}
	may = append(all, may...)
	if err := checkURL(s.URL, may); err != nil {
		return within("url", err)
	}
	if err := oneOf("method", s.Method, "GET", "POST", "PUT"); err != nil {
		return err
	}
	if err := oneOf("body_format", s.BodyFormat, bodyFormats...); err != nil {
		return err
	}
	if err := checkMap("params", s.Params, may, false); err != nil {
		return err
	}
	return checkMap("headers", s.Headers, may, true)
}

func values(m map[string]string) (list []string) {
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

func (a *Alternative) check(may []string) error {
	if a.Title == "" {
		return wrong("title", "it is missing")
	}
	if _, known := credentials[a.AuthMode]; a.AuthMode != "" && !known {
		return wrong("auth_mode", "%q is not one of %s", a.AuthMode, modes())
	}
	for _, u := range [][2]string{{"authorization_url", a.AuthorizationURL}, {"token_url", a.TokenURL}} {
		if u[1] == "" {
			continue
		}
		if err := checkURL(u[1], may); err != nil {
			return within(u[0], err)
		}
	}
	if err := checkMap("token_params", a.TokenParams, may, false); err != nil {
		return err
	}
	if err := oneOf("pkce", a.PKCE, "supported", "required", "off"); err != nil {
		return err
	}
	if err := oneOf("client_auth", a.ClientAuth, "body", "basic"); err != nil {
		return err
	}
	if err := oneOf("body_format", a.BodyFormat, bodyFormats...); err != nil {
		return err
	}
	if err := a.TokenLifetime.check("token_lifetime"); err != nil {
		return err
	}
	return within("refresh_token", a.RefreshToken.check())
}

func (r *RefreshToken) check() error {
	if r == nil {
		return nil
	}
	if err := oneOf("rotates", r.Rotates, "yes", "no", "may"); err != nil {
		return err
	}
	return r.Lifetime.check("lifetime")
}
