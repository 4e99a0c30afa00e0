package provider

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// credentials are the template variables that each auth mode fills.
var credentials = map[AuthMode][]string{
	AuthOAuth2: {"accessToken"},
	AuthAPIKey: {"apiKey"},
	AuthBasic:  {"username", "password"},
	AuthApp:    {"accessToken"},
	AuthNone:   {},
}

// check reports what is wrong with a provider; the error names the field.
func (p *Provider) check() error {
	variables, known := credentials[p.AuthMode]
	if !known {
		return wrong("auth_mode", "%q is not one of OAUTH2, API_KEY, BASIC, APP, NONE", p.AuthMode)
	}
	if p.DisplayName == "" {
		return wrong("display_name", "it is missing")
	}
	if !strings.HasPrefix(p.DocsURL, "https://") {
		return wrong("docs_url", "it is not an https URL")
	}
	if err := p.Proxy.check(variables); err != nil {
		return within("proxy", err)
	}
	if p.Webhook != nil {
		if err := p.Webhook.Check(); err != nil {
			return within("webhook", err)
		}
	}
	return nil
}

func (x *Proxy) check(variables []string) error {
	if x.BaseURL != "" && !strings.HasPrefix(x.BaseURL, "https://") && !strings.HasPrefix(x.BaseURL, "${") {
		return wrong("base_url", "it is not an https URL")
	}
	if err := checkTemplate(x.BaseURL, nil); err != nil {
		return within("base_url", err)
	}
	for _, m := range []struct {
		field  string
		values map[string]string
		may    []string
	}{{"headers", x.Headers, nil}, {"auth", x.Auth, variables}, {"query", x.Query, variables}} {
		for _, name := range slices.Sorted(maps.Keys(m.values)) {
			if m.field != "query" && !isHeaderName(name) {
				return wrong(m.field, "%q is not the name of a header", name)
			}
			if err := checkTemplate(m.values[name], m.may); err != nil {
				return within(m.field+"."+name, err)
			}
		}
	}
	for _, m := range []struct {
		field string
		names []string
	}{{"after", x.Retry.After}, {"at", x.Retry.At}, {"reset", x.Retry.Reset}} {
		for i, name := range m.names {
			if !isHeaderName(name) {
				return wrong("retry."+m.field+"["+strconv.Itoa(i)+"]", "%q is not the name of a header", name)
			}
		}
	}
	if err := x.Retry.check(); err != nil {
		return within("retry", err)
	}
	if x.Paginate != nil && !slices.Contains([]string{"link", "cursor", "offset"}, x.Paginate.Type) {
		return wrong("paginate.type", "%q is not one of link, cursor, offset", x.Paginate.Type)
	}
	return nil
}

// resetUnits are what [Retry.ResetUnit] may be.
var resetUnits = []string{ResetEpochSeconds, ResetEpochMilliseconds, ResetEpochMicroseconds, ResetISO8601, ResetSecondsLeft, ResetMillisecondsLeft}

// retryCode is the form of [Retry.Codes].
var retryCode = regexp.MustCompile(`^([1-5]xx|[1-5]\d\d(-[1-5]\d\d)?)$`)

func (r *Retry) check() error {
	if r.ResetUnit != "" && !slices.Contains(resetUnits, r.ResetUnit) {
		return wrong("reset_unit", "%q is not one of %s", r.ResetUnit, strings.Join(resetUnits, ", "))
	}
	for i, code := range r.Codes {
		if !retryCode.MatchString(code) {
			return wrong("codes["+strconv.Itoa(i)+"]", "%q is not a status such as 403, 5xx or 500-502", code)
		}
	}
	if b := r.InBody; b != nil {
		if b.Path == "" {
			return wrong("in_body.path", "it is missing")
		}
		if e, err := regexp.Compile(b.Pattern); err != nil || e.NumSubexp() < 1 {
			return wrong("in_body.pattern", "it is not a regular expression with a group")
		}
	}
	return nil
}

// checkTemplate checks that a template names only variables that there can be.
// Credentials stay out of what may be logged: base URLs and plain headers.
func checkTemplate(template string, credentials []string) error {
	for rest := template; ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return nil
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed {
			return wrong("", "a ${ is not closed")
		}
		if err := checkVariable(name, credentials); err != nil {
			return err
		}
		rest = tail
	}
}

func checkVariable(name string, credentials []string) error {
	if inner, ok := strings.CutPrefix(name, "base64("); ok && strings.HasSuffix(inner, ")") {
		for part := range strings.SplitSeq(strings.TrimSuffix(inner, ")"), ":") {
			if part == "" {
				continue // an empty name is an empty string: "apiKey:"
			}
			if err := checkVariable(part, credentials); err != nil {
				return err
			}
		}
		return nil
	}
	for _, prefix := range []string{"connectionConfig.", "metadata."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return nil
		}
	}
	if !slices.Contains(credentials, name) {
		return wrong("", "${%s} is not a variable that can stand here", name)
	}
	return nil
}
