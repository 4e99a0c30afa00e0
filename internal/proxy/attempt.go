package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// MaxRedirects is how many redirects one attempt follows.
const MaxRedirects = 10

// The causes of an attempt's context that ran out.
var (
	errTimeout = errors.New("the attempt took too long")
	errIdle    = errors.New("nothing came for too long")
)

// travelling are the headers that follow a redirect to another origin. Any
// other may carry a credential: APIs use dozens of names for their keys.
var travelling = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Language", "Range", "User-Agent",
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// attempt makes the request once, follows its redirects, and reads the answer.
func (c *Client) attempt(ctx context.Context, p *prepared) (*Response, *fn.HostError) {
	x, herr := c.open(ctx, p)
	if herr != nil {
		return nil, herr
	}
	// Closing an unfinished body drops its connection.
	defer x.close()
	memory := &share{m: c.memory}
	body, err := c.readBody(x, memory)
	if err != nil {
		memory.free()
		return nil, c.netError(x, err)
	}
	resp := x.response()
	resp.Body, resp.memory = body, memory
	return resp, nil
}

// exchange is one attempt, answered as far as the headers.
type exchange struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	whole  *time.Timer // ends the attempt
	idle   *time.Timer // ends a read of the body; nil: none was made
	wait   time.Duration
	p      *prepared
	url    *url.URL // of the last hop
	resp   *http.Response
	// waiting says that the attempt waits for memory of ours, not for the API.
	waiting bool
}

// open makes the request and follows its redirects. The caller closes what it returns.
func (c *Client) open(ctx context.Context, p *prepared) (*exchange, *fn.HostError) {
	x := &exchange{p: p, wait: c.conf.IdleTimeout, url: p.url}
	x.ctx, x.cancel = context.WithCancelCause(ctx)
	x.whole = time.AfterFunc(p.timeout, func() { x.cancel(errTimeout) })
	fail := func(e *fn.HostError) (*exchange, *fn.HostError) {
		x.close()
		return nil, e
	}
	hop := hop{method: p.method, url: p.url, header: p.header, body: p.body}
	for redirects := 0; ; redirects++ {
		x.url = hop.url
		resp, err := c.roundTrip(x.ctx, hop)
		if err != nil {
			return fail(c.netError(x, err))
		}
		x.resp = resp
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			return x, nil
		}
		// A short rest is read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, x, 4<<10)
		_ = resp.Body.Close()
		if redirects == MaxRedirects {
			return fail(&fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: "ERR_FR_TOO_MANY_REDIRECTS",
				Message: "the request to " + p.host() + " was redirected more than " + strconv.Itoa(MaxRedirects) + " times"})
		}
		next, err := hop.url.Parse(location)
		if err != nil {
			return fail(&fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: "ERR_FR_REDIRECTION_FAILURE",
				Message: hop.url.Host + " redirected to something that is not a URL"})
		}
		if err := c.conf.Policy.CheckURL(next); err != nil {
			return fail(redirectRefused(hop.url, err, p.secrets))
		}
		hop = hop.redirected(resp.StatusCode, next, p.credentialParams)
		if !hop.body.replayable() {
			return fail(&fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: "ERR_FR_REDIRECTION_FAILURE",
				Message: p.host() + " redirected the request with its body, which was sent while it came in and is not there any more; " +
					"send it to the final URL, or send at most " + sizeText(replayLimit)})
		}
	}
}

// close ends the exchange. It may be called again.
func (x *exchange) close() {
	x.whole.Stop()
	if x.idle != nil {
		x.idle.Stop()
	}
	if x.resp != nil {
		_ = x.resp.Body.Close()
	}
	x.cancel(nil)
}

// Read reads the body as it comes, which ends when nothing comes for too long.
func (x *exchange) Read(b []byte) (int, error) {
	if x.idle == nil {
		x.idle = time.AfterFunc(x.wait, func() { x.cancel(errIdle) })
	} else {
		x.idle.Reset(x.wait)
	}
	n, err := x.resp.Body.Read(b)
	x.idle.Stop()
	return n, err
}

// response is the answer without its body.
func (x *exchange) response() *Response {
	return &Response{Status: x.resp.StatusCode, StatusText: statusText(x.resp), Header: x.resp.Header, URL: x.p.shownURL(x.url)}
}

// hop is one request of an attempt.
type hop struct {
	method string
	url    *url.URL
	header http.Header
	body   *payload
}

// redirected is the next hop, by the rules of the Fetch standard for methods.
// Credentials that were dropped once stay dropped, also when a later hop comes
// back to the first host.
func (h hop) redirected(status int, next *url.URL, credentialParams []string) hop {
	next.Fragment, next.RawFragment = "", ""
	header := h.header.Clone()
	if !sameOrigin(h.url, next) {
		next.RawQuery = dropParams(next.RawQuery, credentialParams) // some servers copy them over
		header = http.Header{}
		for _, name := range travelling {
			if v, ok := h.header[name]; ok {
				header[name] = v
			}
		}
	}
	out := hop{method: h.method, url: next, header: header, body: h.body}
	if status == http.StatusSeeOther && h.method != http.MethodHead && h.method != http.MethodGet ||
		(status == http.StatusMovedPermanently || status == http.StatusFound) && h.method == http.MethodPost {
		out.method, out.body = http.MethodGet, nil
		for name := range header {
			if strings.HasPrefix(name, "Content-") {
				delete(header, name)
			}
		}
	}
	return out
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

func (c *Client) roundTrip(ctx context.Context, h hop) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, h.method, h.url.String(), nil)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the request cannot be made: its URL is not valid")
	}
	req.Header = h.header.Clone()
	h.body.attach(req)
	return c.transport.RoundTrip(req)
}

// statusText is the reason that the server gave, or the usual one.
func statusText(resp *http.Response) string {
	if _, reason, ok := strings.Cut(resp.Status, " "); ok && reason != "" {
		return reason
	}
	return http.StatusText(resp.StatusCode)
}
