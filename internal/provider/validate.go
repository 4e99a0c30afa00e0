package provider

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// credentials are the short names of the template variables that each auth
// mode fills. What a provider declares besides is ${credentials.x}.
var credentials = map[AuthMode][]string{
	AuthOAuth2:     {"accessToken", "clientId", "clientSecret"},
	AuthOAuth2CC:   {"accessToken", "clientId", "clientSecret"},
	AuthOAuth1:     {"clientId", "clientSecret"},
	AuthAPIKey:     {"apiKey"},
	AuthBasic:      {"username", "password"},
	AuthApp:        {"accessToken"},
	AuthCustom:     {"accessToken", "clientId", "clientSecret"},
	AuthTBA:        {"clientId", "clientSecret"},
	AuthJWT:        {"accessToken"},
	AuthTwoStep:    {"accessToken"},
	AuthSignature:  {"username", "password"},
	AuthAWSSigV4:   {"username", "password"},
	AuthBill:       {"accessToken"},
	AuthInstall:    {"username", "password"},
	AuthMCP:        {"accessToken"},
	AuthMCPGeneric: {"accessToken"},
	AuthAppStore:   {"accessToken"},
	AuthNone:       {},
}

// check reports what is wrong with a provider; the error names the field.
func (p *Provider) check() error {
	short, known := credentials[p.AuthMode]
	if !known {
		return wrong("auth_mode", "%q is not one of %s", p.AuthMode, modes())
	}
	variables := slices.Clone(short)
	for name := range p.Credentials {
		variables = append(variables, "credentials."+name)
	}
	if p.DisplayName == "" {
		return wrong("display_name", "it is missing")
	}
	if p.DocsURL != "" && !strings.HasPrefix(p.DocsURL, "https://") {
		return wrong("docs_url", "it is not an https URL")
	}
	for _, c := range []struct {
		field, value string
		of           []string
	}{
		{"confidence", p.Confidence, []string{ConfidenceHigh, ConfidenceMedium, ConfidenceLow}},
		{"environment", p.Environment, []string{"sandbox"}},
	} {
		if err := oneOf(c.field, c.value, c.of...); err != nil {
			return err
		}
	}
	for i, c := range p.Categories {
		if strings.Trim(c, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || c == "" {
			return wrong("categories["+strconv.Itoa(i)+"]", "%q is not a word of small letters", c)
		}
	}
	for _, section := range []struct {
		name   string
		fields map[string]Field
	}{{"credentials", p.Credentials}, {"connection_config", p.ConnectionConfig}} {
		for _, name := range slices.Sorted(maps.Keys(section.fields)) {
			if err := checkField(name, section.fields[name]); err != nil {
				return within(section.name, err)
			}
		}
	}
	if p.Auth != nil {
		if err := p.Auth.check(variables); err != nil {
			return within("auth", err)
		}
	}
	if err := p.Proxy.check(variables); err != nil {
		return within("proxy", err)
	}
	if p.Verify != nil {
		if err := p.Verify.check(variables); err != nil {
			return within("verify", err)
		}
	}
	if p.Webhook != nil {
		if err := p.Webhook.Check(); err != nil {
			return within("webhook", err)
		}
	}
	return nil
}

func modes() string {
	var names []string
	for m := range credentials {
		names = append(names, string(m))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// oneOf checks a field that may be left out.
func oneOf(field, value string, of ...string) error {
	if value != "" && !slices.Contains(of, value) {
		return wrong(field, "%q is not one of %s", value, strings.Join(of, ", "))
	}
	return nil
}

func checkField(name string, f Field) error {
	if !isVariableName(name) {
		return wrong(name, "%q is not the name of a variable", name)
	}
	if f.Title == "" {
		return wrong(name, "its title is missing")
	}
	pattern, err := regexp.Compile(f.Pattern)
	if err != nil {
		return wrong(name+".pattern", "it is not a regular expression: %v", err)
	}
	if f.Pattern != "" && f.Example != "" && !pattern.MatchString(f.Example) {
		return wrong(name+".example", "%q does not match the pattern", f.Example)
	}
	if f.Default != nil && *f.Default != "" {
		if len(f.Enum) > 0 && !slices.Contains(f.Enum, *f.Default) {
			return wrong(name+".default", "%q is not one of the values of enum", *f.Default)
		}
		if !pattern.MatchString(*f.Default) {
			return wrong(name+".default", "%q does not match the pattern", *f.Default)
		}
	}
	return within(name, oneOf("from", f.From, FieldSources...))
}

// isVariableName reports whether a name can stand in a template.
func isVariableName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || strings.ContainsRune("${}():|", r) || r == 0x7f })
}

func (x *Proxy) check(variables []string) error {
	bases := append([]string{x.BaseURL}, x.BaseURLFallbacks...)
	for i, base := range bases {
		field := "base_url"
		if i > 0 {
			field = "base_url_fallbacks[" + strconv.Itoa(i-1) + "]"
		}
		if err := checkBaseURL(base, variables); err != nil && (base != "" || i > 0) {
			return within(field, err)
		}
	}
	if x.BaseURL == "" && len(x.BaseURLFallbacks) > 0 {
		return wrong("base_url", "it is missing, with fallbacks there")
	}
	for _, m := range []struct {
		field  string
		values map[string]string
		may    []string
		header bool
	}{
		{"headers", x.Headers, nil, true}, {"auth", x.Auth, variables, true}, {"optional_headers", x.OptionalHeaders, variables, true},
		{"query", x.Query, variables, false}, {"body", x.Body, variables, false},
	} {
		if err := checkMap(m.field, m.values, m.may, m.header); err != nil {
			return err
		}
	}
	if err := oneOf("sign.scheme", x.scheme(), "oauth1", "aws-sigv4", "wsse"); err != nil {
		return err
	}
	if x.Sign != nil {
		if x.Sign.Scheme == "" || !isHeaderName(x.Sign.Header) {
			return wrong("sign", "it takes a scheme and the name of a header")
		}
		if err := checkTemplate(x.Sign.Region, nil); err != nil {
			return within("sign.region", err)
		}
	}
	for _, m := range []struct {
		field string
		names []string
	}{{"after", x.Retry.After}, {"at", x.Retry.At}, {"reset", x.Retry.Reset}, {"usage", x.Retry.Usage}} {
		for i, name := range m.names {
			if !isHeaderName(name) {
				return wrong("retry."+m.field+"["+strconv.Itoa(i)+"]", "%q is not the name of a header", name)
			}
		}
	}
	if err := x.Retry.check(); err != nil {
		return within("retry", err)
	}
	if x.Paginate != nil {
		if err := x.Paginate.check(); err != nil {
			return within("paginate", err)
		}
	}
	if x.PaginateInherited != nil {
		if err := x.PaginateInherited.check(); err != nil {
			return within("paginate_inherited", err)
		}
	}
	return nil
}

func (x *Proxy) scheme() string {
	if x.Sign == nil {
		return ""
	}
	return x.Sign.Scheme
}

// checkMap checks templates by name.
func checkMap(field string, values map[string]string, may []string, header bool) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if header && !isHeaderName(name) {
			return wrong(field, "%q is not the name of a header", name)
		}
		if err := checkTemplate(values[name], may); err != nil {
			return within(field+"."+name, err)
		}
	}
	return nil
}

// checkURL checks the template of an absolute URL.
func checkURL(template string, may []string) error {
	if !strings.HasPrefix(template, "https://") && !strings.HasPrefix(template, "${") {
		return wrong("", "it is not an https URL")
	}
	return checkTemplate(template, may)
}

// checkBaseURL checks the template of a base URL. Credentials can be in its
// path alone, where some APIs want them; hosts are logged.
func checkBaseURL(template string, may []string) error {
	rest, absolute := strings.CutPrefix(template, "https://")
	if !absolute {
		return checkURL(template, nil)
	}
	host, path, _ := strings.Cut(rest, "/")
	if err := checkTemplate(host, nil); err != nil {
		return err
	}
	return checkTemplate(path, may)
}

func (v *Verify) check(variables []string) error {
	if err := oneOf("method", v.Method, "GET", "POST", "PUT", "HEAD"); err != nil {
		return err
	}
	if (len(v.Paths) == 0) == (v.URL == "") {
		return wrong("paths", "there must be either paths or a url")
	}
	for i, path := range v.Paths {
		if err := checkTemplate(path, variables); err != nil {
			return within("paths["+strconv.Itoa(i)+"]", err)
		}
	}
	for _, u := range [][2]string{{"url", v.URL}, {"base_url", v.BaseURL}} {
		if u[1] == "" {
			continue
		}
		if err := checkURL(u[1], nil); err != nil {
			return within(u[0], err)
		}
	}
	if v.Body != "" && !json.Valid([]byte(v.Body)) {
		return wrong("body", "it is not JSON")
	}
	return checkMap("headers", v.Headers, variables, true)
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
	for _, h := range [][2]string{{"remaining_zero", r.RemainingZero}, {"hint", r.Hint}} {
		if h[1] != "" && !isHeaderName(h[1]) {
			return wrong(h[0], "%q is not the name of a header", h[1])
		}
	}
	if d := time.Duration(r.Wait); d < 0 || d > time.Hour {
		return wrong("wait", "%s is not between 0s and 1h", d)
	}
	if b := r.InBody; b != nil {
		if b.Path == "" {
			return wrong("in_body.path", "it is missing")
		}
		if e, err := regexp.Compile(b.Pattern); err != nil || b.Pattern != "" && e.NumSubexp() < 1 {
			return wrong("in_body.pattern", "it is not a regular expression with a group")
		}
	}
	return nil
}

// checkTemplate checks that a template names only variables that there can be.
// Credentials stay out of what may be logged: base URLs and plain headers.
func checkTemplate(template string, credentials []string) error {
	t, err := ParseTemplate(template)
	if err != nil {
		return err
	}
	for _, name := range t.Variables() {
		if !IsConnectionVariable(name) && !slices.Contains(credentials, name) {
			return wrong("", "${%s} is not a variable that can stand here", name)
		}
	}
	return nil
}

// IsConnectionVariable reports whether a variable of a template is a part of
// the connection that is no credential.
func IsConnectionVariable(name string) bool {
	for _, prefix := range []string{"connectionConfig.", "metadata."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return true
		}
	}
	return false
}
