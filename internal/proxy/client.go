// Package proxy makes the HTTP requests of functions: it builds the URL and the
// headers from the catalogue and the connection, attaches credentials, follows
// redirects without leaking them, decodes and bounds the answer, and retries
// as the function asked and the external API says.
//
// Where it may connect is the policy of package outbound. It does not open
// sealed credentials (it gets template variables), store anything, or know what
// a function does with an answer. No credential is ever in an error, nor in the
// URL that it returns.
package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy/outbound"
)

// Config sets up a client. Zero fields take the default.
type Config struct {
	Policy outbound.Policy
	// Timeout bounds one attempt from the start to the last byte of the body,
	// redirects included; default 5 minutes.
	Timeout time.Duration
	// ConnectTimeout bounds the TCP connect and the TLS handshake, each; default 10 s.
	ConnectTimeout time.Duration
	// HeaderTimeout bounds the wait for a response's headers; default Timeout.
	HeaderTimeout time.Duration
	// MaxResponseBody bounds a decoded response body in bytes; default 100 MiB.
	MaxResponseBody int64
	// MaxRequestBody bounds a request body in bytes; default 100 MiB.
	MaxRequestBody int64
	// MaxRetries caps the retries that a request may ask for; default 20.
	MaxRetries int
	// RetryBase is the first wait between attempts, which doubles up to
	// RetryCap; defaults 3 s and 10 minutes. An API that asks to wait longer
	// than RetryCap is not waited for.
	RetryBase, RetryCap time.Duration
	// UserAgent is sent when neither the catalogue nor the function sets one;
	// default "Syncline".
	UserAgent string
	// Clock times retries; default the system's.
	Clock clock.Clock
	// Resolver and TLS go to the transport; default the machine's.
	Resolver *net.Resolver
	TLS      *tls.Config
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&c.Timeout, 5*time.Minute)
	def(&c.ConnectTimeout, 10*time.Second)
	def(&c.HeaderTimeout, c.Timeout)
	def(&c.RetryBase, 3*time.Second)
	def(&c.RetryCap, 10*time.Minute)
	if c.MaxResponseBody <= 0 {
		c.MaxResponseBody = 100 << 20
	}
	if c.MaxRequestBody <= 0 {
		c.MaxRequestBody = 100 << 20
	}
	if c.MaxRetries <= 0 {
		c.MaxRetries = 20
	}
	if c.UserAgent == "" {
		c.UserAgent = "Syncline"
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	return c
}

// Client makes requests. It is safe for concurrent use and keeps connections
// alive; [Client.Close] lets go of them.
type Client struct {
	conf      Config
	transport *http.Transport
}

// New returns a client.
func New(c Config) *Client {
	c = c.withDefaults()
	return &Client{conf: c, transport: c.Policy.Transport(outbound.Options{
		ConnectTimeout: c.ConnectTimeout,
		TLSTimeout:     c.ConnectTimeout,
		HeaderTimeout:  c.HeaderTimeout,
		Resolver:       c.Resolver,
		TLS:            c.TLS,
	})}
}

// Close closes idle connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Request is one request of a function, or of a caller of the HTTP API.
type Request struct {
	// Provider says how to call the API.
	Provider *provider.Provider
	// BaseURL replaces the provider's base URL when not "": the integration's
	// Config.ProxyBaseURL. Args.BaseURLOverride replaces both.
	BaseURL string
	// Connection gives the templates their connection_config and metadata.
	Connection *syncline.Connection
	// Credentials are the template variables that carry credentials
	// (connect.Credentials.Variables).
	Credentials map[string]string
	Args        fn.HTTPArgs
}

// Response is an answer with its body read and decoded.
type Response struct {
	Status     int
	StatusText string // "Not Found"
	Header     http.Header
	Body       []byte
	// URL is the final one, after redirects, without credentials.
	URL string
	// Attempts is how many requests were made, at least 1; redirects do not count.
	Attempts int
	// RateLimited says that the API refused for now: a 429, or a 403 that its
	// headers call a rate limit. RetryAt is when it said to come back; zero when it did not say.
	RateLimited bool
	RetryAt     time.Time
}

// Do makes a request and returns the answer, whatever its status. Attempts
// after the first are made as r.Args asks, for network errors, 429, 5xx, the
// statuses of RetryOn and what the provider calls a rate limit. A wait that
// ctx's deadline or Config.RetryCap does not leave room for is not begun: the
// last answer or error is returned at once.
//
// An error is ctx's own when ctx ended, and a [*fn.HostError] otherwise: code
// invalid_request (the request cannot be built), forbidden (the outbound
// policy), too_large (a limit, named) or upstream_error (no answer, with NetCode
// as in Node).
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	p, err := c.prepare(r)
	if err != nil {
		return nil, err
	}
	retries := min(max(r.Args.Retries, 0), c.conf.MaxRetries)
	for attempt := 1; ; attempt++ {
		resp, herr := c.attempt(ctx, p)
		if herr != nil && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		now := c.conf.Clock.Now()
		var v verdict
		if herr != nil {
			v.retry = retryableNet(herr.NetCode)
		} else {
			v = judge(resp.Status, resp.Header, p.retry, r.Args.RetryOn, now)
			resp.Attempts, resp.RateLimited, resp.RetryAt = attempt, v.limited, v.at
		}
		wait := c.wait(attempt, v, now)
		if !v.retry || attempt > retries || wait > c.conf.RetryCap || !leavesRoom(ctx, wait) {
			if herr != nil {
				return nil, herr
			}
			return resp, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.conf.Clock.After(wait):
		}
	}
}

// leavesRoom reports whether ctx is still alive after wait.
func leavesRoom(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > wait
}
