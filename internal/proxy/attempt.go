package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// MaxRedirects is how many redirects one attempt follows.
const MaxRedirects = 10

// errTimeout is the cause of an attempt's context that ran out.
var errTimeout = errors.New("timeout")

// travelling are the headers that follow a redirect to another origin. Any
// other may carry a credential: APIs use dozens of names for their keys.
var travelling = []string{"Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Content-Language", "Range", "User-Agent",
	"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"}

// attempt makes the request once and follows its redirects.
func (c *Client) attempt(ctx context.Context, p *prepared) (*Response, *fn.HostError) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.conf.Timeout, errTimeout)
	defer cancel()
	hop := hop{method: p.method, url: p.url, header: p.header, body: p.body}
	for redirects := 0; ; redirects++ {
		resp, err := c.roundTrip(ctx, hop)
		if err != nil {
			return nil, c.netError(ctx, hop.url, err, p.secrets)
		}
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			body, err := c.readBody(resp)
			// Closing an unfinished body drops its connection.
			_ = resp.Body.Close()
			if err != nil {
				return nil, c.netError(ctx, hop.url, err, p.secrets)
			}
			return &Response{
				Status:     resp.StatusCode,
				StatusText: statusText(resp),
				Header:     resp.Header,
				Body:       body,
				URL:        p.secrets.url(hop.url, p.credentialParams),
			}, nil
		}
		// A short rest is read so that the connection can be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
		_ = resp.Body.Close()
		if redirects == MaxRedirects {
			return nil, &fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: "ERR_FR_TOO_MANY_REDIRECTS",
				Message: "the request to " + p.url.Host + " was redirected more than " + strconv.Itoa(MaxRedirects) + " times"}
		}
		next, err := hop.url.Parse(location)
		if err != nil {
			return nil, &fn.HostError{Code: syncline.CodeUpstream, Name: "AxiosError", NetCode: "ERR_FR_REDIRECTION_FAILURE",
				Message: hop.url.Host + " redirected to something that is not a URL"}
		}
		if err := c.conf.Policy.CheckURL(next); err != nil {
			return nil, redirectRefused(hop.url, err, p.secrets)
		}
		hop = hop.redirected(resp.StatusCode, next, p.credentialParams)
	}
}

// hop is one request of an attempt.
type hop struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
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
	var body io.Reader
	if h.body != nil {
		body = bytes.NewReader(h.body)
	}
	req, err := http.NewRequestWithContext(ctx, h.method, h.url.String(), body)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the request cannot be made: its URL is not valid")
	}
	req.Header = h.header.Clone()
	return c.transport.RoundTrip(req)
}

// statusText is the reason that the server gave, or the usual one.
func statusText(resp *http.Response) string {
	if _, reason, ok := strings.Cut(resp.Status, " "); ok && reason != "" {
		return reason
	}
	return http.StatusText(resp.StatusCode)
}
