package native

import (
	"github.com/nlnwa/whatwg-url/url"
)

// record is a URL in its parts, as the class URL shows them.
type record struct {
	Href     string `json:"href"`
	Protocol string `json:"protocol"`
	Username string `json:"username"`
	Password string `json:"password"`
	Host     string `json:"host"`
	Hostname string `json:"hostname"`
	Port     string `json:"port"`
	Pathname string `json:"pathname"`
	Search   string `json:"search"`
	Hash     string `json:"hash"`
}

// parseURL is the record of href, relative to base, by the URL standard
// (https://url.spec.whatwg.org/).
func parseURL(href, base string) string {
	var u *url.Url
	var err error
	if base == "" {
		u, err = url.Parse(href)
	} else {
		u, err = url.ParseRef(base, href)
	}
	if err != nil {
		return ""
	}
	return describeURL(u)
}

// setURL is the record of href after one of its parts was set.
func setURL(href, part, value string) string {
	u, err := url.Parse(href)
	if err != nil {
		return ""
	}
	switch part {
	case "protocol":
		u.SetProtocol(value)
	case "username":
		u.SetUsername(value)
	case "password":
		u.SetPassword(value)
	case "host":
		u.SetHost(value)
	case "hostname":
		u.SetHostname(value)
	case "port":
		u.SetPort(value)
	case "pathname":
		u.SetPathname(value)
	case "search":
		u.SetSearch(value)
	case "hash":
		u.SetHash(value)
	default:
		return ""
	}
	return describeURL(u)
}

func describeURL(u *url.Url) string {
	return answer(record{
		Href: u.Href(false), Protocol: u.Protocol(), Username: u.Username(), Password: u.Password(), Host: u.Host(),
		Hostname: u.Hostname(), Port: u.Port(), Pathname: u.Pathname(), Search: u.Search(), Hash: u.Hash(),
	})
}
