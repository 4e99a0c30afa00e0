package api

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
	"syncline/internal/proxy"
	"syncline/internal/store"
)

// Upstream makes requests to external APIs with the credentials of a connection.
type Upstream interface {
	// Stream makes one request. body, of length bytes (-1: not known), is not
	// held in memory; nor is the answer's. Errors are those of [proxy.Client.Stream],
	// and unauthorized when the connection has no credentials that can be used.
	Stream(ctx context.Context, i *syncline.Integration, c *syncline.Connection, args fn.HTTPArgs, body io.Reader, length int64) (*proxy.Stream, error)
}

const (
	proxyPrefix = "/proxy"
	// forwardPrefix begins the headers that go to the external API, without it.
	forwardPrefix = "Nango-Proxy-"
)

// KeepProxyPaths sends requests for /proxy straight to handler, and all others
// to next: a ServeMux redirects paths that it finds unclean, while those behind
// /proxy/ are the external API's.
func KeepProxyPaths(handler, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isProxy(r) {
			handler.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isProxy(r *http.Request) bool {
	return r.URL.Path == proxyPrefix || strings.HasPrefix(r.URL.Path, proxyPrefix+"/")
}

// serveProxy makes the caller's request to an external API and streams the
// answer back, status and headers included.
func (s *server) serveProxy(w http.ResponseWriter, r *http.Request) {
	if err := s.proxied(w, r); err != nil {
		s.fail(w, r, err)
	}
}

func (s *server) proxied(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	env, err := s.auth.environment(ctx, r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE")
		return syncline.Errorf(syncline.CodeMethod, "%s requests are not passed on", r.Method).WithHint("the methods are GET, HEAD, POST, PUT, PATCH and DELETE")
	}
	args, err := proxyArgs(r)
	if err != nil {
		return as(badHeaders, err)
	}
	var i syncline.Integration
	var k syncline.Connection
	err = s.Store.View(ctx, func(reader store.Reader) (err error) {
		i, k, err = connection(reader, env.ID, args.ProviderConfigKey, args.ConnectionID, http.StatusNotFound)
		return err
	})
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	body := &unhurried{r: r.Body, control: control, each: s.Stall}
	if err := body.free(); err != nil {
		return err
	}
	answer, err := s.Upstream.Stream(ctx, &i, &k, args, body, r.ContentLength)
	if err != nil {
		var e *fn.HostError
		if errors.As(err, &e) {
			return upstreamProblem(e)
		}
		if syncline.CodeOf(err) == syncline.CodeUnauthorized {
			// Not a 401: the caller's own key is good.
			return &problem{Status: http.StatusFailedDependency, Code: "invalid_credentials", Message: err.Error(), cause: err}
		}
		return err
	}
	defer answer.Reader.Close()
	copyHeaders(w.Header(), answer.Header)
	w.WriteHeader(answer.Status)
	if r.Method == http.MethodHead {
		return nil
	}
	if w.Header().Get("Content-Length") == "" {
		// An event stream has begun although there is no event yet.
		if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return nil // the caller has gone away
		}
	}
	if err := pass(&parts{w: w, control: control, each: s.Stall}, control, answer.Reader); err != nil {
		s.Log.Debug("an answer of an external API was not passed on in full", "request", requestID(ctx), "url", answer.URL, "err", err)
		// The status is out: a connection that breaks is the only way left to say
		// that the body is not whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// upstreamProblem is a failed request as the API answers it.
func upstreamProblem(e *fn.HostError) error {
	p := &problem{Status: statuses[e.Code], Code: string(e.Code), Message: e.Message, cause: e}
	if e.Code == syncline.CodeUpstream && (e.NetCode == "ECONNABORTED" || e.NetCode == "ETIMEDOUT") {
		p.Status = http.StatusGatewayTimeout
	}
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	return p
}

// pass copies a body, each part as it comes: an event stream's reader waits for
// what was sent and not for what fills a buffer.
func pass(to io.Writer, control *http.ResponseController, from io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
			if n < len(buf) {
				if err := control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
					return err
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unhurried reads a request's body with a time for each part of it, instead of
// the server's for the whole.
type unhurried struct {
	r       io.Reader
	control *http.ResponseController
	each    time.Duration
}

func (u *unhurried) Read(b []byte) (int, error) {
	if err := u.deadline(time.Now().Add(u.each)); err != nil {
		return 0, err
	}
	n, err := u.r.Read(b)
	if err != nil {
		// The server reads on, to notice that the caller goes away; that has no
		// deadline, or an answer that takes long would be cut off.
		if freed := u.free(); freed != nil && errors.Is(err, io.EOF) {
			err = freed
		}
		return n, err
	}
	return n, nil
}

// free takes the deadline of reads off.
func (u *unhurried) free() error { return u.deadline(time.Time{}) }

func (u *unhurried) deadline(t time.Time) error {
	if err := u.control.SetReadDeadline(t); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// proxyArgs reads what the caller asks for, from the path and from headers in
// Nango's shape. Its errors name the header.
func proxyArgs(r *http.Request) (fn.HTTPArgs, error) {
	h := r.Header
	args := fn.HTTPArgs{
		Method: r.Method, Endpoint: endpointOf(r), ProviderConfigKey: h.Get("Provider-Config-Key"), ConnectionID: h.Get("Connection-Id"),
		BaseURLOverride: h.Get("Base-Url-Override"), ContentType: h.Get("Content-Type"), Headers: map[string]string{},
	}
	for name, value := range map[string]string{"provider-config-key": args.ProviderConfigKey, "connection-id": args.ConnectionID} {
		if value == "" {
			return args, invalid(name, "the header %s is missing", http.CanonicalHeaderKey(name)).WithHint("it names the connection whose credentials are used")
		}
	}
	if text := h.Get("Retries"); text != "" {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 0 {
			return args, invalid("retries", "the header Retries is not a number")
		}
		args.Retries = n
	}
	if text := h.Get("Retry-On"); text != "" {
		for code := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(code))
			if err != nil || n < 100 || n > 599 {
				return args, invalid("retry-on", "the header Retry-On is not a list of statuses such as 409,425")
			}
			args.RetryOn = append(args.RetryOn, n)
		}
	}
	if text := args.BaseURLOverride; text != "" {
		if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return args, invalid("base-url-override", "the header Base-Url-Override is not an http or https URL")
		}
	}
	if text := h.Get("Decompress"); text != "" {
		on, err := strconv.ParseBool(strings.ToLower(text))
		if err != nil {
			return args, invalid("decompress", "the header Decompress is not true or false")
		}
		args.Decompress = &on
	}
	for name, values := range h {
		if forwarded, ok := strings.CutPrefix(name, forwardPrefix); ok && forwarded != "" {
			args.Headers[forwarded] = strings.Join(values, ", ")
		}
	}
	return args, nil
}

// endpointOf is the path behind /proxy with its query, as the caller wrote it.
func endpointOf(r *http.Request) string {
	path := strings.TrimPrefix(r.URL.EscapedPath(), proxyPrefix)
	// An absolute URL as endpoint comes as /proxy/https://….
	if rest := strings.TrimPrefix(path, "/"); strings.HasPrefix(rest, "https://") || strings.HasPrefix(rest, "http://") {
		path = rest
	}
	if r.URL.RawQuery != "" {
		path += "?" + r.URL.RawQuery
	}
	return path
}

// withheld are the headers of an answer that belong to the connection to the
// external API, and not to the answer.
var withheld = map[string]bool{
	"Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true, "Proxy-Connection": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Alt-Svc": true, "Strict-Transport-Security": true,
}

func copyHeaders(to, from http.Header) {
	for name, values := range from {
		if !withheld[name] && !strings.HasPrefix(name, "Access-Control-") {
			to[name] = values
		}
	}
}
