package sdk

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"syncline/internal/fn"
)

// Request is a request to the external API with the connection's credentials.
type Request struct {
	Method string // "" is GET
	// Endpoint is a path below the provider's base URL. A full URL, such as the next
	// link of a page, gets the credentials only at the same origin.
	Endpoint string
	Query    url.Values
	Header   http.Header // wins over the provider's
	// Body is nil, a []byte, a string, an [io.Reader], a [url.Values] (a form) or
	// anything else (JSON).
	Body any
	// Retries is how often it is tried again after a network error, 429, 5xx or a 403
	// that is a rate limit, as long as the API asks to wait: 0 to 20.
	Retries int
	// RetryOn are further statuses to retry.
	RetryOn []int
	// BaseURL is used instead of the provider's.
	BaseURL string
	// Timeout bounds one attempt; 0 is the server's own.
	Timeout time.Duration
	// Compressed gives the body as the API encoded it.
	Compressed bool
	// Integration and Connection name another connection of the environment: the
	// integration's unique key and the connection's id. "" is the run's own.
	Integration, Connection string
}

// Response is an answer with a status of 2xx.
type Response struct {
	StatusCode int
	Status     string // such as "200 OK"
	Header     http.Header
	Body       []byte
	URL        string // after redirects, without credentials
}

// JSON decodes the body into v.
func (r *Response) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("the answer of %s is not what was expected: %w", r.URL, err)
	}
	return nil
}

// Decode decodes an answer's body: issue, err := sdk.Decode[Issue](h.Get(ctx, "/issues/1", nil)).
func Decode[T any](r *Response, err error) (v T, _ error) {
	if err != nil {
		return v, err
	}
	return v, r.JSON(&v)
}

// Get requests an endpoint. A status outside 2xx is an [*HTTPError], no answer an
// [*HostError]; so it is for all requests.
func (h *Handle) Get(ctx context.Context, endpoint string, query url.Values) (*Response, error) {
	return h.Do(ctx, Request{Endpoint: endpoint, Query: query})
}

// Post sends a body; see [Request] for what it may be.
func (h *Handle) Post(ctx context.Context, endpoint string, body any) (*Response, error) {
	return h.Do(ctx, Request{Method: http.MethodPost, Endpoint: endpoint, Body: body})
}

// Put sends a body.
func (h *Handle) Put(ctx context.Context, endpoint string, body any) (*Response, error) {
	return h.Do(ctx, Request{Method: http.MethodPut, Endpoint: endpoint, Body: body})
}

// Patch sends a body.
func (h *Handle) Patch(ctx context.Context, endpoint string, body any) (*Response, error) {
	return h.Do(ctx, Request{Method: http.MethodPatch, Endpoint: endpoint, Body: body})
}

// Delete deletes what is at an endpoint of the external API.
func (h *Handle) Delete(ctx context.Context, endpoint string) (*Response, error) {
	return h.Do(ctx, Request{Method: http.MethodDelete, Endpoint: endpoint})
}

// Do makes a request.
func (h *Handle) Do(ctx context.Context, r Request) (*Response, error) {
	args, err := r.args()
	if err != nil {
		return nil, err
	}
	result, err := h.http(ctx, args)
	if err != nil {
		return nil, err
	}
	body, err := result.bytes()
	if err != nil {
		return nil, err
	}
	status := fmt.Sprintf("%d %s", result.Status, result.StatusText)
	if result.Status/100 != 2 {
		return nil, &HTTPError{
			Method: args.Method, URL: result.URL, StatusCode: result.Status, Status: status, Header: result.header(), Body: body, RateLimited: result.RateLimited,
		}
	}
	return &Response{StatusCode: result.Status, Status: status, Header: result.header(), Body: body, URL: result.URL}, nil
}

func (r *Request) args() (*fn.HTTPArgs, error) {
	a := &fn.HTTPArgs{
		Method: strings.ToUpper(r.Method), Endpoint: r.Endpoint, Query: r.Query.Encode(), Headers: joined(r.Header), Retries: r.Retries, RetryOn: r.RetryOn,
		BaseURLOverride: r.BaseURL, TimeoutMS: r.Timeout.Milliseconds(), ProviderConfigKey: r.Integration, ConnectionID: r.Connection,
	}
	if a.Method == "" {
		a.Method = http.MethodGet
	}
	if r.Compressed {
		a.Decompress, a.ResponseType = new(false), "arraybuffer"
	}
	switch body := r.Body.(type) {
	case nil:
	case []byte:
		setBody(a, body)
		a.ContentType = "application/octet-stream"
	case string:
		a.Body = &body
	case url.Values:
		a.Body, a.ContentType = new(body.Encode()), "application/x-www-form-urlencoded"
	case io.Reader:
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: read the body: %w", a.Method, r.Endpoint, err)
		}
		setBody(a, b)
	default:
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: the body cannot be written as JSON: %w", a.Method, r.Endpoint, err)
		}
		a.Body, a.ContentType = new(string(b)), "application/json"
	}
	return a, nil
}

func setBody(a *fn.HTTPArgs, b []byte) {
	if utf8.Valid(b) {
		a.Body = new(string(b))
		return
	}
	a.Body, a.BodyEncoding = new(base64.StdEncoding.EncodeToString(b)), "base64"
}

func joined(h http.Header) map[string]string {
	if len(h) == 0 {
		return nil
	}
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[name] = strings.Join(values, ", ")
	}
	return out
}

// result is an answer as the host gives it.
type result struct{ fn.HTTPResult }

func (r *result) bytes() ([]byte, error) {
	if r.Encoding != "base64" {
		return []byte(r.Body), nil
	}
	return base64.StdEncoding.DecodeString(r.Body)
}

func (r *result) header() http.Header {
	h := make(http.Header, len(r.Headers))
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	return h
}

func (h *Handle) http(ctx context.Context, args *fn.HTTPArgs) (*result, error) {
	var r result
	return &r, h.callAs(ctx, args.Method+" "+args.Endpoint, fn.MethodHTTP, args, &r.HTTPResult)
}

// Transport is an [http.RoundTripper] that sends requests through Syncline's
// proxy, with the connection's credentials.
type Transport struct {
	h *Handle
	// BaseURL, if it is set, is a prefix of URLs that stands for the connection's own
	// base URL: a client that insists on "https://api.github.com/" also reaches an
	// enterprise server, or a stand-in, that the integration is configured with.
	BaseURL string
	// Retries and RetryOn are as in [Request].
	Retries int
	RetryOn []int

	fetch bool // without credentials
}

// HTTPClient returns a client for libraries that take one: their requests go
// through Syncline's proxy, with the connection's credentials, retries and
// outbound policy. Every status is an answer, as net/http has it. Requests to
// another origin than the connection's get no credentials; baseURL is a prefix of
// URLs that stands for the connection's own (see [Transport]), "" for none.
//
//	client := github.NewClient(h.HTTPClient("https://api.github.com/"))
//
// Bodies are not streamed. Errors of the client that keep the *http.Response are
// known for what they are: 429 and 5xx wait and are tried again.
func (h *Handle) HTTPClient(baseURL string) *http.Client {
	return &http.Client{Transport: h.Transport(Transport{BaseURL: baseURL}), CheckRedirect: lastResponse}
}

// lastResponse leaves redirects to the proxy, which follows them.
func lastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Transport returns what [Handle.HTTPClient] uses, with options.
func (h *Handle) Transport(o Transport) http.RoundTripper {
	o.h = h
	return &o
}

// UncontrolledFetch makes a request that has nothing to do with the connection:
// without credentials and retries. The outbound policy holds.
func (h *Handle) UncontrolledFetch(r *http.Request) (*http.Response, error) {
	return (&Transport{h: h, fetch: true}).RoundTrip(r)
}

// answered is the key under which a response's request tells that it is ours;
// the value is whether the API refused by a rate limit.
type answered struct{}

// RoundTrip sends one request.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
	}
	if t.h == nil {
		return nil, fmt.Errorf("the transport belongs to no run: make it with Handle.Transport")
	}
	ctx := r.Context()
	got, err := t.send(ctx, r, body)
	if err != nil {
		return nil, err
	}
	content, err := got.bytes()
	if err != nil {
		return nil, err
	}
	header := got.header()
	header.Del("Content-Encoding") // it was decoded
	header.Del("Content-Length")
	if r.Method == http.MethodHead {
		content = nil
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", got.Status, got.StatusText), StatusCode: got.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(content)), ContentLength: int64(len(content)), Uncompressed: true,
		Request: r.WithContext(context.WithValue(ctx, answered{}, got.RateLimited)),
	}, nil
}

func (t *Transport) send(ctx context.Context, r *http.Request, body []byte) (*result, error) {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	if t.fetch {
		args := fn.FetchArgs{URL: r.URL.String(), Method: method, Headers: joined(r.Header)}
		if body != nil {
			args.Body, args.BodyEncoding = new(base64.StdEncoding.EncodeToString(body)), "base64"
		}
		var got result
		return &got, t.h.callAs(ctx, method+" "+r.URL.Redacted(), fn.MethodUncontrolledFetch, args, &got.HTTPResult)
	}
	endpoint := r.URL.String()
	if base := strings.TrimRight(t.BaseURL, "/"); base != "" {
		if rest, below := strings.CutPrefix(endpoint, base); below && (rest == "" || rest[0] == '/' || rest[0] == '?') {
			endpoint = "/" + strings.TrimLeft(rest, "/")
		}
	}
	args := &fn.HTTPArgs{
		Method: method, Endpoint: endpoint, Headers: joined(r.Header), Retries: t.Retries, RetryOn: t.RetryOn, ResponseType: "arraybuffer",
	}
	if body != nil {
		setBody(args, body)
	}
	return t.h.http(ctx, args)
}
