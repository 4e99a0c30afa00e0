package outbound_test

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/proxy/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// refused are hosts that must never be reached under the zero policy, in every
// spelling that some client would understand.
var refused = []string{
	// loopback
	"127.0.0.1", "127.0.0.2", "127.255.255.254", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1",
	"0177.0.0.1", "017700000001", "0177.1", "127.0.0.01", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "api.localhost",
	"[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]",
	"[::ffff:0:127.0.0.1]",
	// private
	"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "0xa000001", "167772161", "012.0.0.1",
	"[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::10.0.0.1]", "[fc00::1]", "[fd12:3456::1]", "[fec0::1]",
	// carrier-grade NAT, benchmarking
	"100.64.0.1", "100.127.255.255", "198.18.0.1", "198.19.255.255",
	// link-local and metadata
	"169.254.169.254", "169.254.0.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]",
	"[64:ff9b::169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[fe80::1]", "[fd00:ec2::254]", "[fd00:0ec2:0:0:0:0:0:0254]", "[fd20:ce::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192",
	// unspecified, "this network"
	"0.0.0.0", "0", "0x0", "00000000000", "0.0.0.1", "[::]", "[::ffff:0.0.0.0]",
	// multicast, broadcast, reserved, documentation
	"224.0.0.1", "239.255.255.250", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.0.8", "192.88.99.1",
	"[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[100::1]", "[5f00::1]", "[4000::1]",
	// tunnels that carry other addresses
	"[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2001:0:4136:e378:8000:63bf:3fff:fdd2]",
}

func TestAddressesThatAreRefusedInEverySpelling(t *testing.T) {
	t.Parallel()
	var p outbound.Policy
	tr := p.Transport(outbound.Options{})
	t.Cleanup(tr.CloseIdleConnections)
	for _, host := range refused {
		u, err := url.Parse("http://" + host + "/")
		if err != nil {
			continue // a URL that cannot be parsed cannot be called
		}
		if err := p.CheckURL(u); syncline.CodeOf(err) != syncline.CodeForbidden {
			t.Errorf("CheckURL(%s) = %v; want forbidden", u, err)
		}
		// The dialer alone must refuse it too, without the check of the form.
		if addr, perr := netip.ParseAddr(strings.Trim(host, "[]")); perr == nil {
			_, err := tr.DialContext(t.Context(), "tcp", net.JoinHostPort(addr.String(), "80"))
			if syncline.CodeOf(err) != syncline.CodeForbidden {
				t.Errorf("dial %s = %v; want forbidden", host, err)
			}
		}
	}
	if len(refused) < 40 {
		t.Errorf("only %d hosts", len(refused))
	}
}

func TestURLsWithAFormThatIsRefused(t *testing.T) {
	t.Parallel()
	p := outbound.Policy{AllowPrivateNetworks: true}
	for _, raw := range []string{
		"file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "//example.com/", "http:///path", "javascript:alert(1)", "unix:///var/run/docker.sock",
		"http://user:pw@example.com/", "https://example.com@127.0.0.1/", "http://user@example.com/", "http://:@example.com/",
		"http://exa%20mple.com/", "http://ex%2fample.com/", "http://１２７.0.0.1/", "http://127。0。0。1/", "http://ⓔxample.com/",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			continue
		}
		if err := p.CheckURL(u); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("CheckURL(%q) = %v; want invalid_request", raw, err)
		} else if strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows the user information: %v", err)
		}
	}
}

func TestAddressesThatAreAllowed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		private bool
		hosts   []string
	}{
		{false, []string{"8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "169.253.255.255", "[2606:4700::1111]", "[2a00:1450::1]", "[64:ff9b::8.8.8.8]", "[::ffff:8.8.8.8]", "api.github.com", "example.com.", "1e100.net", "xn--bcher-kva.example"}},
		{true, []string{"127.0.0.1", "10.1.2.3", "192.168.1.1", "localhost", "[::1]", "[fd12::1]", "100.64.1.1", "[::ffff:127.0.0.1]"}},
	} {
		p := outbound.Policy{AllowPrivateNetworks: tc.private}
		for _, host := range tc.hosts {
			u, err := url.Parse("https://" + host + ":8443/x")
			if err != nil {
				t.Fatal(err)
			}
			if err := p.CheckURL(u); err != nil {
				t.Errorf("private networks %v: CheckURL(%s) = %v", tc.private, u, err)
			}
		}
	}
}

func TestMetadataAddressesStayRefusedInPrivateNetworks(t *testing.T) {
	t.Parallel()
	p := outbound.Policy{AllowPrivateNetworks: true}
	for _, host := range []string{"169.254.169.254", "169.254.170.2", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
		"100.100.100.200", "168.63.129.16", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255"} {
		if err := p.CheckAddr(host, netip.MustParseAddr(host)); syncline.CodeOf(err) != syncline.CodeForbidden {
			t.Errorf("CheckAddr(%s) = %v; want forbidden", host, err)
		}
	}
	if err := p.CheckAddr("fe80::1%eth0", netip.MustParseAddr("fe80::1%eth0")); err == nil {
		t.Error("an address with a zone passed")
	}
}

func TestARefusalNamesTheHostAndTheFlag(t *testing.T) {
	t.Parallel()
	var p outbound.Policy
	err := p.CheckAddr("intranet.example.com", netip.MustParseAddr("10.0.0.5"))
	for _, want := range []string{"intranet.example.com", "10.0.0.5", "private", outbound.Flag} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

func TestANetworkCanBeOpenedByItself(t *testing.T) {
	t.Parallel()
	p := outbound.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	if err := p.CheckAddr("gw", netip.MustParseAddr("::ffff:10.1.2.3")); err != nil {
		t.Error(err)
	}
	if err := p.CheckAddr("gw", netip.MustParseAddr("10.2.2.3")); err == nil {
		t.Error("an address outside of the opened network passed")
	}
}

// A name server that the test answers for: each lookup of an A record gets what
// answer says.
func fakeDNS(t *testing.T, answer func(name string) []netip.Addr) *net.Resolver {
	t.Helper()
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			// A pipe is a stream: messages have a length in front, as over TCP.
			var size [2]byte
			for {
				if _, err := readFull(server, size[:]); err != nil {
					return
				}
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := readFull(server, q); err != nil {
					return
				}
				r := reply(q, answer)
				if _, err := server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...)); err != nil {
					return
				}
			}
		}()
		return client, nil
	}}
}

func readFull(c net.Conn, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		m, err := c.Read(b[n:])
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func reply(q []byte, answer func(name string) []netip.Addr) []byte {
	var name []string
	i := 12
	for q[i] != 0 {
		name = append(name, string(q[i+1:i+1+int(q[i])]))
		i += 1 + int(q[i])
	}
	qtype := binary.BigEndian.Uint16(q[i+1:])
	question := q[12 : i+5]
	var addrs []netip.Addr
	for _, a := range answer(strings.Join(name, ".")) {
		if a.Is4() && qtype == 1 || a.Is6() && qtype == 28 {
			addrs = append(addrs, a)
		}
	}
	r := append([]byte{}, q[0], q[1], 0x81, 0x80, 0, 1, 0, byte(len(addrs)), 0, 0, 0, 0)
	r = append(r, question...)
	for _, a := range addrs {
		r = append(r, 0xc0, 12)
		r = binary.BigEndian.AppendUint16(r, qtype)
		r = append(r, 0, 1, 0, 0, 0, 0, 0, byte(len(a.AsSlice())))
		r = append(r, a.AsSlice()...)
	}
	return r
}

func TestANameThatChangesItsAddressIsJudgedWhenItIsDialled(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())

	var lookups atomic.Int32
	resolver := fakeDNS(t, func(name string) []netip.Addr {
		if lookups.Add(1) == 1 {
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")} // what a check before the call would see
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	if got, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.com"); err != nil || got[0].Unmap().String() != "8.8.8.8" {
		t.Fatalf("first lookup: %v, %v", got, err)
	}
	tr := outbound.Policy{}.Transport(outbound.Options{Resolver: resolver})
	t.Cleanup(tr.CloseIdleConnections)
	_, err := (&http.Client{Transport: tr}).Get("http://rebind.example.com:" + port + "/")
	var refused *syncline.Error
	if !errors.As(err, &refused) || refused.Code != syncline.CodeForbidden || !strings.Contains(refused.Message, "rebind.example.com") {
		t.Errorf("error = %v; want forbidden, naming the host", err)
	}
	if hits.Load() != 0 {
		t.Error("the private server was reached")
	}
}

func TestANameWithManyAddressesReachesNoneThatIsRefused(t *testing.T) {
	t.Parallel()
	var hits atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	resolver := fakeDNS(t, func(string) []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("::1")}
	})
	tr := outbound.Policy{}.Transport(outbound.Options{Resolver: resolver})
	t.Cleanup(tr.CloseIdleConnections)
	_, err := (&http.Client{Transport: tr}).Get("http://many.example.com:" + port + "/")
	if syncline.CodeOf(err) != syncline.CodeForbidden || hits.Load() != 0 {
		t.Errorf("error = %v, hits %d", err, hits.Load())
	}
}

func TestNoHTTPProxyIsUsed(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	if (outbound.Policy{}).Transport(outbound.Options{}).Proxy != nil {
		t.Error("the transport uses an HTTP proxy, behind which addresses cannot be judged")
	}
}
