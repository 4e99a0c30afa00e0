package proxy

import (
	"encoding/base64"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/provider"
)

// prepared is a request that is ready to be made, as often as need be.
type prepared struct {
	method string
	url    *url.URL
	header http.Header
	body   *payload
	// credentialParams are the query parameters that carry credentials.
	credentialParams []string
	secrets          *redactor
	rules            rules
	timeout          time.Duration // of one attempt
	raw              bool          // the body stays as the API encoded it
	log              callLog
}

// host is the host that the request is made to, for messages.
func (p *prepared) host() string { return p.secrets.text(p.url.Host) }

// shownURL is u without credentials.
func (p *prepared) shownURL(u *url.URL) string { return p.secrets.url(u, p.credentialParams) }

func (c *Client) prepare(r Request, body *payload) (*prepared, error) {
	p := &prepared{secrets: &redactor{}, method: r.Args.Method, body: body, timeout: c.conf.Timeout}
	if asked := time.Duration(r.Args.TimeoutMS) * time.Millisecond; r.Args.TimeoutMS > 0 && r.Args.TimeoutMS < math.MaxInt64/int64(time.Millisecond) {
		p.timeout = min(asked, p.timeout)
	}
	p.raw = r.Args.Decompress != nil && !*r.Args.Decompress
	// Also what no template uses, in case the API echoes it.
	for _, value := range r.Credentials {
		p.secrets.add(value)
	}
	if r.Provider == nil {
		r.Provider = &provider.Provider{}
	}
	p.rules = rulesOf(r.Provider.Proxy.Retry, &r.Args)
	vars := variables{credentials: r.Credentials, connection: r.Connection, secrets: p.secrets}

	if p.method == "" {
		p.method = http.MethodGet
	}
	if strings.Trim(p.method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || p.method == http.MethodConnect || p.method == http.MethodTrace {
		return nil, invalid("ERR_BAD_OPTION_VALUE", "%q is not a method that can be called", p.method)
	}
	var err error
	var withCredentials bool
	if p.url, withCredentials, err = target(r, vars); err != nil {
		return nil, hostError(err, p.secrets)
	}
	if r.Args.BaseURLOverride != "" && c.conf.Overrides.Off {
		return nil, hostError(syncline.Errorf(syncline.CodeForbidden, "the base URL of a request cannot be overridden on this server").
			WithHint("leave baseUrlOverride out, or start Syncline with --base-url-override"), p.secrets)
	}
	if err := c.conf.Policy.CheckURL(p.url); err != nil {
		return nil, hostError(err, p.secrets)
	}
	if withCredentials {
		if err := p.addCatalogueQuery(r.Provider.Proxy.Query, vars); err != nil {
			return nil, hostError(err, p.secrets)
		}
	}
	if p.header, err = c.header(r, vars, withCredentials); err != nil {
		return nil, hostError(err, p.secrets)
	}
	if !p.body.empty() && p.header.Get("Content-Type") == "" && r.Args.ContentType != "" {
		p.header.Set("Content-Type", r.Args.ContentType)
	}
	p.log = callLog{add: r.Log, method: p.method, now: c.conf.Clock.Now}
	if r.Log != nil {
		p.log.url = p.shownURL(p.url)
	}
	return p, nil
}

func (c *Client) body(args fn.HTTPArgs) ([]byte, error) {
	if args.Body == nil {
		return nil, nil
	}
	size := int64(len(*args.Body))
	if args.BodyEncoding == "base64" {
		size = int64(base64.StdEncoding.DecodedLen(len(*args.Body)))
	}
	if size > c.conf.MaxRequestBody+2 { // two bytes of padding
		return nil, tooLargeToSend(c.conf.MaxRequestBody)
	}
	switch args.BodyEncoding {
	case "":
		return []byte(*args.Body), nil
	case "base64":
		b, err := base64.StdEncoding.DecodeString(*args.Body)
		if err != nil {
			return nil, invalid("ERR_BAD_OPTION_VALUE", "the request's body is not base64")
		}
		return b, nil
	}
	return nil, invalid("ERR_BAD_OPTION_VALUE", "the body encoding %q is not known", args.BodyEncoding)
}

// Overrides says whether a request may name its own base URL.
type Overrides struct {
	// Off refuses requests with a base URL of their own. Absolute endpoints and
	// the integration's proxy_base_url are none: the former get no credentials
	// beyond their origin, the latter is set by who administers the environment.
	Off bool
}

// target builds the URL. withCredentials says whether credentials go along: an
// endpoint that is an absolute URL (the next link of a page, say) gets them only
// when it has the origin of the base URL.
func target(r Request, vars variables) (u *url.URL, withCredentials bool, err error) {
	baseText := r.Args.BaseURLOverride
	if baseText == "" {
		template := r.BaseURL
		if template == "" {
			template = r.Provider.Proxy.BaseURL
		}
		if baseText, err = vars.expandBaseURL(template); err != nil {
			return nil, false, err
		}
	}
	endpoint := strings.TrimSpace(r.Args.Endpoint)
	absolute := isAbsolute(endpoint)
	if baseText == "" && !absolute {
		return nil, false, syncline.Errorf(syncline.CodeInvalid, "the provider %q has no base URL", r.Provider.Name).
			WithHint("set baseUrlOverride in the request, or proxy_base_url in the integration's config")
	}
	base, err := url.Parse(baseText)
	if err != nil || baseText != "" && base.Host == "" {
		return nil, false, syncline.Errorf(syncline.CodeInvalid, "the base URL is not an http or https URL")
	}
	text := endpoint
	if !absolute {
		// Joined as text and behind a slash, so that an endpoint cannot reach
		// into the host ("//other.host", "@other.host", ".other.host").
		prefix := *base
		prefix.RawQuery, prefix.Fragment, prefix.RawFragment = "", "", ""
		text = strings.TrimRight(prefix.String(), "/")
		switch path := strings.TrimLeft(endpoint, "/"); {
		case path == "" && endpoint == "":
		case strings.HasPrefix(endpoint, "?"):
			text += path
		default:
			text += "/" + path
		}
	}
	if u, err = url.Parse(text); err != nil || u.Opaque != "" {
		return nil, false, syncline.Errorf(syncline.CodeInvalid, "the endpoint does not make a valid URL")
	}
	u.Fragment, u.RawFragment = "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	same := sameOrigin(u, base)
	if !absolute && !same {
		return nil, false, syncline.Errorf(syncline.CodeInvalid, "the endpoint does not make a valid URL")
	}
	if !absolute {
		u.RawQuery = joinQuery(base.RawQuery, u.RawQuery)
	}
	u.RawQuery = escapeQuery(joinQuery(u.RawQuery, strings.TrimPrefix(r.Args.Query, "?")))
	return u, same, nil
}

func isAbsolute(endpoint string) bool {
	scheme, _, ok := strings.Cut(endpoint, "://")
	if !ok || scheme == "" {
		return false
	}
	return !strings.ContainsFunc(scheme, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '+' || r == '-' || r == '.')
	})
}

// sameOrigin reports whether a and b have the same scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func joinQuery(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return strings.TrimRight(a, "&") + "&" + strings.TrimLeft(b, "&")
}

// escapeQuery escapes what may not stand in a request line, and nothing else:
// the rest was encoded by the caller.
func escapeQuery(q string) string {
	const hex = "0123456789ABCDEF"
	var out strings.Builder
	for i := range len(q) {
		switch b := q[i]; {
		case b <= ' ' || b >= 0x7f || b == '"' || b == '<' || b == '>' || b == '#':
			out.Write([]byte{'%', hex[b>>4], hex[b&15]})
		default:
			out.WriteByte(b)
		}
	}
	return out.String()
}

// addCatalogueQuery adds the provider's query parameters, as far as the caller
// did not set them.
func (p *prepared) addCatalogueQuery(query map[string]string, vars variables) error {
	have := p.url.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		value, err := vars.expand(query[name], nil)
		if err != nil {
			return err
		}
		if mentionsCredential(query[name]) {
			p.credentialParams = append(p.credentialParams, name)
		}
		if !have.Has(name) {
			p.url.RawQuery = joinQuery(p.url.RawQuery, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
	}
	return nil
}

// connectionHeaders belong to the connection to the server and not to the
// request; the transport sets them.
var connectionHeaders = []string{"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

// header builds the request's headers: the catalogue's, then the credentials,
// then the caller's, where the later wins.
func (c *Client) header(r Request, vars variables, withCredentials bool) (http.Header, error) {
	h := http.Header{
		"Accept":          {"application/json, text/plain, */*"},
		"Accept-Encoding": {"gzip, deflate, br"},
		"User-Agent":      {c.conf.UserAgent},
	}
	set := func(name, value string) error {
		if !validHeaderName(name) {
			return syncline.Errorf(syncline.CodeInvalid, "%q is not the name of a header", vars.secrets.text(name))
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return syncline.Errorf(syncline.CodeInvalid, "the header %s holds a line break or another control character", name)
		}
		if name = http.CanonicalHeaderKey(name); !slices.Contains(connectionHeaders, name) {
			h[name] = []string{value}
		}
		return nil
	}
	groups := []map[string]string{r.Provider.Proxy.Headers}
	if withCredentials {
		groups = append(groups, r.Provider.Proxy.Auth)
	}
	for _, group := range groups {
		for _, name := range slices.Sorted(maps.Keys(group)) {
			if !withCredentials && mentionsCredential(group[name]) {
				continue
			}
			value, err := vars.expand(group[name], nil)
			if err != nil {
				return nil, err
			}
			if err := set(name, value); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Args.Headers)) {
		if err := set(name, r.Args.Headers[name]); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// mentionsCredential reports whether a template uses anything besides
// connection_config and metadata.
func mentionsCredential(template string) bool {
	for rest := template; ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return false
		}
		name, tail, _ := strings.Cut(after, "}")
		name = strings.TrimSpace(name)
		if !strings.HasPrefix(name, "connectionConfig.") && !strings.HasPrefix(name, "metadata.") {
			return true
		}
		rest = tail
	}
}

func validHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}
