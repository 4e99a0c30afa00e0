// Package outbound is the policy of Syncline's outgoing connections: which
// addresses may be reached, and the HTTP transport that enforces it. Everything
// that calls a URL which a user, a customer or an external API chose goes
// through it.
//
// Addresses are judged when a connection is made, after the name was resolved,
// so that neither an unusual spelling of an address nor a name that changes its
// address between check and use can pass. It knows nothing of HTTP requests,
// credentials or retries.
package outbound

import (
	"net/netip"
	"net/url"
	"strings"

	"syncline"
)

// Flag is the setting that opens private networks, for messages.
const Flag = "--allow-private-networks"

// Policy says which addresses may be reached. The zero Policy allows public
// addresses only.
type Policy struct {
	// AllowPrivateNetworks opens loopback, private, carrier-grade NAT and
	// unique local addresses, for development and for services of one's own
	// network. Link-local addresses, where clouds serve machine credentials,
	// stay refused.
	AllowPrivateNetworks bool
	// Allow lists networks that are open in any case.
	Allow []netip.Prefix
	// DenyHosts lists hosts that are never called, in lower case; one that begins
	// with a dot stands for all hosts below it.
	DenyHosts []string
}

// DenyFlag is the setting that closes hosts, for messages.
const DenyFlag = "--deny-hosts"

// class is what kind of address one is, as far as the policy cares.
type class int

const (
	public  class = iota
	private       // opened by AllowPrivateNetworks
	never         // never a service that one means to call
)

type network struct {
	prefix netip.Prefix
	class  class
	name   string // "a … address"
}

// networks lists the special ranges (IANA's special-purpose registries and the
// well-known metadata services); the first that holds an address decides.
var networks = []network{
	// Metadata services outside of the link-local ranges.
	{netip.MustParsePrefix("fd00:ec2::254/128"), never, "cloud metadata"},
	{netip.MustParsePrefix("fd20:ce::254/128"), never, "cloud metadata"},
	{netip.MustParsePrefix("100.100.100.200/32"), never, "cloud metadata"},
	{netip.MustParsePrefix("168.63.129.16/32"), never, "cloud metadata"},
	{netip.MustParsePrefix("192.0.0.192/32"), never, "cloud metadata"},

	{netip.MustParsePrefix("0.0.0.0/8"), never, "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), private, "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), private, "carrier-grade NAT"},
	{netip.MustParsePrefix("127.0.0.0/8"), private, "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), never, "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), private, "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), never, "reserved"},
	{netip.MustParsePrefix("192.0.2.0/24"), never, "documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), never, "6to4 relay"},
	{netip.MustParsePrefix("192.168.0.0/16"), private, "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), private, "benchmarking"},
	{netip.MustParsePrefix("198.51.100.0/24"), never, "documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), never, "documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), never, "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), never, "reserved"},

	{netip.MustParsePrefix("::/128"), never, "unspecified"},
	{netip.MustParsePrefix("::1/128"), private, "loopback"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), private, "local NAT64"},
	{netip.MustParsePrefix("100::/64"), never, "discard"},
	{netip.MustParsePrefix("2001::/23"), never, "protocol assignment or Teredo"},
	{netip.MustParsePrefix("2001:db8::/32"), never, "documentation"},
	{netip.MustParsePrefix("2002::/16"), never, "6to4"},
	{netip.MustParsePrefix("3fff::/20"), never, "documentation"},
	{netip.MustParsePrefix("5f00::/16"), never, "segment routing"},
	{netip.MustParsePrefix("fc00::/7"), private, "unique local"},
	{netip.MustParsePrefix("fe80::/10"), never, "link-local"},
	{netip.MustParsePrefix("fec0::/10"), private, "site-local"},
	{netip.MustParsePrefix("ff00::/8"), never, "multicast"},
}

// carriers are the IPv6 ranges whose last 32 bits are an IPv4 address: such an
// address is what its IPv4 address is.
var carriers = []netip.Prefix{
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64, how IPv6-only networks reach IPv4
	netip.MustParsePrefix("::ffff:0:0:0/96"), // SIIT
	netip.MustParsePrefix("::/96"),           // IPv4-compatible
}

func classify(addr netip.Addr) (class, string) {
	addr = addr.WithZone("").Unmap()
	for _, n := range networks {
		if n.prefix.Contains(addr) {
			return n.class, n.name
		}
	}
	if addr.Is6() {
		for _, p := range carriers {
			if p.Contains(addr) {
				b := addr.As16()
				return classify(netip.AddrFrom4([4]byte(b[12:])))
			}
		}
		// Only 2000::/3 is given out for the internet.
		if b := addr.As16(); b[0]&0xe0 != 0x20 {
			return never, "reserved"
		}
	}
	return public, ""
}

// CheckAddr reports whether addr may be reached, as an error with code
// forbidden that names host and the kind of address. host is the name that
// resolved to addr; it is used in the message only.
func (p Policy) CheckAddr(host string, addr netip.Addr) error {
	plain := addr.WithZone("").Unmap()
	for _, allowed := range p.Allow {
		if allowed.Contains(plain) {
			return nil
		}
	}
	kind, name := classify(addr)
	if kind == public || kind == private && p.AllowPrivateNetworks {
		return nil
	}
	what := "it is"
	if literal, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil || literal != addr {
		what = "it resolves to " + plain.String() + ","
	}
	err := syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed: %s %s %s address", host, what, article(name), name)
	if kind == private {
		return err.WithHint("start Syncline with %s to allow private networks", Flag)
	}
	return err.WithHint("such addresses stay refused, also with %s", Flag)
}

func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}

// CheckURL reports whether u has a form that may be called at all: http or
// https, with a host, without user information, and a host that is not a
// disguised address. Errors have code invalid_request, or forbidden for hosts
// that the policy refuses by name. It does not resolve names: the transport
// judges addresses.
func (p Policy) CheckURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return syncline.Errorf(syncline.CodeInvalid, "URLs with the scheme %q cannot be called", u.Scheme).WithHint("use http or https")
	}
	if u.User != nil {
		// Credentials in URLs leak, and "https://api.example.com@10.0.0.1" deceives.
		return syncline.Errorf(syncline.CodeInvalid, "the URL of %s holds user information", u.Hostname()).
			WithHint("send credentials in a header")
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if host == "" {
		return syncline.Errorf(syncline.CodeInvalid, "the URL has no host")
	}
	for _, denied := range p.DenyHosts {
		if host == strings.Trim(denied, "[]") || strings.HasPrefix(denied, ".") && strings.HasSuffix(host, denied) {
			return syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed on this server", host).WithHint("the server's setting %s names it", DenyFlag)
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.CheckAddr(u.Hostname(), addr)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"#%/:<>?@[\]^|`, r) }) {
		return syncline.Errorf(syncline.CodeInvalid, "the host %q holds characters that a host cannot have", host)
	}
	if endsInNumber(host) {
		return syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed: it is an address in an unusual spelling", host).
			WithHint("write IPv4 addresses as four decimal numbers")
	}
	if !p.AllowPrivateNetworks && len(p.Allow) == 0 && (host == "localhost" || strings.HasSuffix(host, ".localhost")) {
		return syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed: it is this machine", host).
			WithHint("start Syncline with %s to allow private networks", Flag)
	}
	return nil
}

// endsInNumber is the URL standard's test for hosts that browsers and C
// libraries read as IPv4 addresses (2130706433, 0x7f.1, 0177.0.0.1): no
// top-level domain is a number.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if last == "" {
		return false
	}
	if strings.HasPrefix(last, "0x") {
		return strings.Trim(last[2:], "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}
