// Package proxy makes the HTTP requests of functions and of callers of the
// HTTP API: it builds the URL and the headers from the catalogue and the
// connection, attaches credentials, follows redirects without leaking them,
// decodes and bounds the answer, retries as was asked and as the external API
// says, and shares out what each connection's API takes.
//
// Where it may connect is the policy of package outbound. It does not open
// sealed credentials (it gets template variables), store anything, or know what
// a function does with an answer. No credential is ever in an error, in a log
// line, nor in the URL that it returns.
package proxy

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy/outbound"
)

// Config sets up a client. Zero fields take the default.
type Config struct {
	Policy outbound.Policy
	// Overrides says where base URL overrides may lead.
	Overrides Overrides
	// Timeout bounds one attempt from the start to the last byte of the body,
	// redirects included; default 5 minutes. Of a streamed response it bounds the
	// time to the headers.
	Timeout time.Duration
	// ConnectTimeout bounds the TCP connect and the TLS handshake, each; default 10 s.
	ConnectTimeout time.Duration
	// HeaderTimeout bounds the wait for a response's headers; default Timeout.
	HeaderTimeout time.Duration
	// IdleTimeout bounds the wait for the next bytes of a response's body;
	// default 2 minutes.
	IdleTimeout time.Duration
	// MaxResponseBody bounds a decoded response body in bytes; default 100 MiB.
	MaxResponseBody int64
	// MaxRequestBody bounds a request body in bytes; default 100 MiB.
	MaxRequestBody int64
	// MaxStream bounds the body of a streamed request, and the decoded body of a
	// streamed response, in bytes; default 10 GiB.
	MaxStream int64
	// MaxMemory bounds what the bodies of all responses that are being read take
	// together, in bytes; default 256 MiB. It has to be more than MaxResponseBody.
	MaxMemory int64
	// MaxRetries caps the retries that a request may ask for; default 20.
	MaxRetries int
	// RetryBase is the first wait between attempts, which doubles up to
	// RetryCap; defaults 3 s and 10 minutes. An API that asks to wait longer
	// than RetryCap is not waited for.
	RetryBase, RetryCap time.Duration
	// ConnectionConcurrency is how many requests of one connection are under way
	// at a time; default 16.
	ConnectionConcurrency int
	// ConnectionRate is how many requests of one connection begin in a second;
	// default 0, no limit.
	ConnectionRate float64
	// Refresher replaces credentials that an API refused; nil: none can be.
	Refresher Refresher
	// UserAgent is sent when neither the catalogue nor the function sets one;
	// default "Syncline".
	UserAgent string
	// Clock times retries; default the system's.
	Clock clock.Clock
	// Rand spreads waits: it returns numbers of [0, 1); default math/rand/v2.
	Rand func() float64
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
	size := func(n *int64, v int64) {
		if *n <= 0 {
			*n = v
		}
	}
	def(&c.Timeout, 5*time.Minute)
	def(&c.ConnectTimeout, 10*time.Second)
	def(&c.HeaderTimeout, c.Timeout)
	def(&c.IdleTimeout, 2*time.Minute)
	def(&c.RetryBase, 3*time.Second)
	def(&c.RetryCap, 10*time.Minute)
	size(&c.MaxResponseBody, 100<<20)
	size(&c.MaxRequestBody, 100<<20)
	size(&c.MaxStream, 10<<30)
	size(&c.MaxMemory, 256<<20)
	if c.MaxRetries <= 0 {
		c.MaxRetries = 20
	}
	if c.ConnectionConcurrency <= 0 {
		c.ConnectionConcurrency = 16
	}
	if c.UserAgent == "" {
		c.UserAgent = "Syncline"
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	return c
}

// Client makes requests. It is safe for concurrent use and keeps connections
// alive; [Client.Close] lets go of them.
type Client struct {
	conf      Config
	transport *http.Transport
	budgets   *budgets
	memory    *memory
	refreshes singleflight.Group
}

// New returns a client.
func New(c Config) *Client {
	c = c.withDefaults()
	return &Client{conf: c, budgets: newBudgets(c), memory: newMemory(c.MaxMemory, c.MaxResponseBody), transport: c.Policy.Transport(outbound.Options{
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
	// Integration is what the Refresher gets besides the connection.
	Integration *syncline.Integration
	// Connection gives the templates their connection_config and metadata, and
	// its budget is drawn from.
	Connection *syncline.Connection
	// Credentials are the template variables that carry credentials
	// (connect.Credentials.Variables).
	Credentials map[string]string
	// Priority is who goes first when requests of the connection wait.
	Priority Priority
	// Log gets a line for each attempt and for each wait; nil: nobody does.
	Log  func(syncline.LogLine)
	Args fn.HTTPArgs
}

// Response is an answer. Its body is read and decoded, unless it is in a [Stream].
type Response struct {
	Status     int
	StatusText string // "Not Found"
	Header     http.Header
	Body       []byte
	// URL is the final one, after redirects, without credentials.
	URL string
	// Attempts is how many requests were made; redirects do not count. It is 0
	// when the API had said before that it takes none now.
	Attempts int
	// RateLimited says that the API refused for now: a 429, or another status
	// that its headers call a rate limit. RetryAt is when it said to come back;
	// zero when it did not say.
	RateLimited bool
	RetryAt     time.Time
	// Reason says why no further attempt was made although one was asked for;
	// "" when none was, or when they were used up.
	Reason string

	memory *share
	stream *bodyReader
}

// Release gives back the memory that the body counts for. It is called once,
// when the body was handed on.
func (r *Response) Release() { r.memory.free() }

// Do makes a request and returns the answer, whatever its status. Attempts
// after the first are made as r.Args asks, for network errors, 429, 5xx (or the
// provider's own list), the statuses of RetryOn and what the provider calls a
// rate limit; this holds for every method, also where a network error leaves
// open whether the API has acted on the request: who asks for retries says that
// it may be repeated. A wait that ctx's deadline or Config.RetryCap does not
// leave room for is not begun: the last answer or error is returned at once,
// and says so.
//
// An error is ctx's own when ctx ended, and a [*fn.HostError] otherwise: code
// invalid_request (the request cannot be built), forbidden (the outbound
// policy), too_large (a limit, named), rate_limited (too many requests of the
// connection wait) or upstream_error (no answer, with NetCode as in Node).
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	body, err := c.body(r.Args)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, r, &payload{data: body}, c.attempt)
}

// send makes attempts until one is final. try makes one.
func (c *Client) send(ctx context.Context, r Request, body *payload, try func(context.Context, *prepared) (*Response, *fn.HostError)) (*Response, error) {
	p, err := c.prepare(r, body)
	if err != nil {
		return nil, err
	}
	var connection int64
	if r.Connection != nil {
		connection = r.Connection.ID
	}
	retries := min(max(r.Args.Retries, 0), c.conf.MaxRetries)
	patient := r.Priority.background() || retries > 0
	arrived := c.conf.Clock.Now()
	refreshed := false
	for made, failed := 0, 0; ; {
		turn, pause, err := c.budgets.enter(ctx, connection, r.Priority, arrived, patient)
		if err != nil {
			return nil, err
		}
		if pause != nil {
			return c.paused(r, p, pause, made), nil
		}
		made++
		began := c.conf.Clock.Now()
		resp, herr := try(ctx, p)
		now := c.conf.Clock.Now()
		if herr != nil && ctx.Err() != nil {
			turn.leave(outcome{})
			return nil, ctx.Err()
		}
		var v verdict
		if herr != nil {
			v.retry = retryableNet(herr.NetCode)
			turn.leave(outcome{})
		} else {
			v = p.rules.judge(resp.Status, resp.Header, resp.Body, now)
			resp.Attempts, resp.RateLimited, resp.RetryAt = made, v.limited, v.at
			turn.leave(outcome{answered: resp.Status < 500, limited: v.limited, spent: v.spent, at: v.at})
			if !v.retry {
				resp.RetryAt = time.Time{}
			}
		}
		p.log.attempt(began, now, resp, herr, failed+1, retries+1)
		if herr == nil && resp.Status == http.StatusUnauthorized && !refreshed && body.replayable() {
			refreshed = true
			fresh, err := c.refresh(ctx, r)
			if err != nil {
				resp.close()
				return nil, err
			}
			if fresh != nil {
				resp.close()
				r.Credentials = fresh
				if p, err = c.prepare(r, body); err != nil {
					return nil, err
				}
				p.log.refreshed()
				continue
			}
		}
		failed++
		if !v.retry || failed > retries {
			return final(resp, herr, "")
		}
		wait := c.wait(failed, v, now)
		if why := c.whyNot(ctx, p, v, wait, now); why != "" {
			p.log.giveUp(now, why)
			return final(resp, herr, why)
		}
		p.log.waits(now, wait, failed, retries, resp, herr)
		resp.close()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.conf.Clock.After(wait):
		}
	}
}

// final is the last answer or error, with why there is no further attempt.
func final(resp *Response, herr *fn.HostError, why string) (*Response, error) {
	if herr != nil {
		if why != "" {
			herr.Message += "; " + why
		}
		return nil, herr
	}
	resp.Reason = why
	return resp, nil
}

// whyNot says why an attempt that is asked for is not made; "" when it is.
func (c *Client) whyNot(ctx context.Context, p *prepared, v verdict, wait time.Duration, now time.Time) string {
	told := v.at.Sub(now)
	switch {
	case !p.body.replayable():
		return "it was not tried again because its body was sent while it came in; bodies of up to " + sizeText(replayLimit) + " are kept for that"
	case !v.at.IsZero() && told > c.conf.RetryCap:
		return sprintf("%s asks to wait %s, which is longer than the %s that requests wait (--retry-max-wait)", p.host(), seconds(told), seconds(c.conf.RetryCap))
	case !leavesRoom(ctx, wait) && told > 0:
		return sprintf("%s asks to wait %s, which is longer than the run has left", p.host(), seconds(told))
	case !leavesRoom(ctx, wait):
		return sprintf("it was not tried again because the run has no time left to wait %s", seconds(wait))
	}
	return ""
}

// leavesRoom reports whether ctx is still alive after wait.
func leavesRoom(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > wait
}

// seconds is d for people.
func seconds(d time.Duration) string {
	if d > time.Second {
		d = d.Round(time.Second)
	}
	return d.String()
}
