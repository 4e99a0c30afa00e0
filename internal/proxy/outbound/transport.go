package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"syncline"
)

// Options set up a transport. Zero fields take the default.
type Options struct {
	ConnectTimeout time.Duration // TCP connect, names included; default 10 s
	TLSTimeout     time.Duration // TLS handshake; default 10 s
	HeaderTimeout  time.Duration // from the request sent to the response's headers; default none
	// MaxHeaderBytes bounds the response's headers; default 256 KiB.
	MaxHeaderBytes int64
	// MaxConnsPerHost bounds connections to one host; default none.
	MaxConnsPerHost int
	// Resolver resolves names; default the machine's.
	Resolver *net.Resolver
	// TLS is the base of the TLS configuration; default the machine's roots.
	TLS *tls.Config
}

// Transport returns a transport that connects only where the policy allows. It
// keeps connections alive, speaks HTTP/2 where the server does, follows no
// redirects and decodes no content encodings.
//
// It uses no HTTP proxy, whatever the environment says: behind a proxy the
// addresses could not be judged.
func (p Policy) Transport(o Options) *http.Transport {
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 10 * time.Second
	}
	if o.TLSTimeout == 0 {
		o.TLSTimeout = 10 * time.Second
	}
	if o.MaxHeaderBytes == 0 {
		o.MaxHeaderBytes = 256 << 10
	}
	conf := o.TLS.Clone()
	if conf == nil {
		conf = &tls.Config{}
	}
	if conf.MinVersion == 0 {
		conf.MinVersion = tls.VersionTLS12
	}
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            p.dialer(o),
		TLSClientConfig:        conf,
		TLSHandshakeTimeout:    o.TLSTimeout,
		ResponseHeaderTimeout:  o.HeaderTimeout,
		MaxResponseHeaderBytes: o.MaxHeaderBytes,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		MaxConnsPerHost:        o.MaxConnsPerHost,
		IdleConnTimeout:        90 * time.Second,
		ExpectContinueTimeout:  time.Second,
	}
}

// dialer judges each address at the moment of connecting to it, so that what is
// checked is what is used, however many addresses the name has.
func (p Policy) dialer(o Options) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		d := net.Dialer{
			Timeout:   o.ConnectTimeout,
			KeepAlive: 30 * time.Second,
			Resolver:  o.Resolver,
			Control: func(network, address string, _ syscall.RawConn) error {
				if network != "tcp4" && network != "tcp6" {
					return syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed over %s", host, network)
				}
				ap, err := netip.ParseAddrPort(address)
				if err != nil {
					return syncline.Errorf(syncline.CodeForbidden, "calls to %s are not allowed: its address cannot be judged", host)
				}
				return p.CheckAddr(host, ap.Addr())
			},
		}
		return d.DialContext(ctx, network, address)
	}
}
