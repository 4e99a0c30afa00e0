package proxy

import (
	"net/url"
	"slices"
	"strings"
)

const redacted = "[redacted]"

// minSecret is the length below which a value is not looked for in texts: it
// would be found in every other word.
const minSecret = 6

// redactor keeps the credentials of one request out of texts. Nothing should
// put them there; this is the last line.
type redactor struct{ secrets []string }

func (r *redactor) add(value string) {
	for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value)} {
		if len(form) >= minSecret && !slices.Contains(r.secrets, form) {
			r.secrets = append(r.secrets, form)
		}
	}
}

func (r *redactor) text(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, redacted)
	}
	return s
}

// url is the text of u without user information, without the query parameters
// that carry a credential, and without a fragment.
func (r *redactor) url(u *url.URL, credentialParams []string) string {
	plain := *u
	plain.User, plain.Fragment, plain.RawFragment = nil, "", ""
	plain.RawQuery = dropParams(plain.RawQuery, credentialParams)
	return r.text(plain.String())
}

// dropParams returns the query without the parameters named.
func dropParams(query string, names []string) string {
	if query == "" || len(names) == 0 {
		return query
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if !slices.Contains(names, name) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}
