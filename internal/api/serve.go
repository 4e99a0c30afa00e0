package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"syncline"
)

// call is one request to an endpoint.
type call struct {
	*http.Request
	w   http.ResponseWriter
	env environment // of the caller's key; zero on open endpoints
	id  string      // of the request
}

// reply is an endpoint's answer: a body to encode, one that is JSON already, or
// one that is written while it is made.
type reply struct {
	status int // 0: 200
	body   any
	json   []byte
	// stream writes JSON, each part with one call. It ends what it has begun as
	// valid JSON, also when it fails.
	stream func(w io.Writer) error
}

func ok(body any) (reply, error) { return reply{body: body}, nil }

// endpoint handles a call. Its error becomes the answer by [problemOf].
type endpoint func(c *call) (reply, error)

// handle registers an endpoint for callers with a key.
func (s *server) handle(pattern string, e endpoint) {
	s.open(pattern, func(c *call) (reply, error) {
		env, err := s.auth.environment(c.Context(), c.Header.Get("Authorization"))
		if err != nil {
			return reply{}, err
		}
		c.env = env
		return e(c)
	})
}

// open registers an endpoint for everybody.
func (s *server) open(pattern string, e endpoint) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, w: w, id: requestID(r.Context())}
		out, err := e(c)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		s.send(w, r, out)
	})
}

type requestIDKey struct{}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// ServeHTTP names the request, guards against panics, routes and logs.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Request-Id")
	if !saneRequestID(id) {
		id = syncline.NewUUID()
	}
	r = trimSlash(r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	w.Header().Set("X-Request-Id", id)
	rec := &recorder{ResponseWriter: w}
	begin := time.Now()
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.Log.Error("a request handler panicked", "request", id, "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
			if rec.status == 0 {
				s.fail(rec, r, syncline.Errorf(syncline.CodeInternal, "the server failed on this request (request id %s)", id))
			}
		}
		s.Log.LogAttrs(r.Context(), slog.LevelDebug, "request", slog.String("request", id), slog.String("method", r.Method), slog.String("path", r.URL.Path),
			slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes), slog.Duration("took", time.Since(begin)))
	}()
	if s.Upstream != nil && isProxy(r) {
		s.serveProxy(rec, r)
		return
	}
	if h, pattern := s.mux.Handler(r); pattern == "" {
		s.unrouted(rec, r, h)
		return
	}
	s.mux.ServeHTTP(rec, r)
}

// unrouted answers what no pattern matches, in JSON: the mux's own answer
// tells whether the path exists for other methods.
func (s *server) unrouted(w http.ResponseWriter, r *http.Request, h http.Handler) {
	probe := &discard{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		allow := probe.header.Get("Allow")
		w.Header().Set("Allow", allow)
		s.fail(w, r, syncline.Errorf(syncline.CodeMethod, "%s is not possible on %s", r.Method, r.URL.Path).WithHint("the methods are %s", allow))
		return
	}
	s.fail(w, r, syncline.Errorf(syncline.CodeNotFound, "there is no endpoint %s %s", r.Method, r.URL.Path))
}

// trimSlash takes a trailing slash off the path: Nango's clients ask for
// /records/ and mean /records.
func trimSlash(r *http.Request) *http.Request {
	if isProxy(r) || len(r.URL.Path) < 2 || !strings.HasSuffix(r.URL.Path, "/") {
		return r
	}
	u := *r.URL
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	r.URL = &u
	return r
}

func saneRequestID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// send writes an endpoint's answer.
func (s *server) send(w http.ResponseWriter, r *http.Request, out reply) {
	if out.stream != nil {
		s.sendStream(w, r, out)
		return
	}
	data := out.json
	if data == nil {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(out.body); err != nil {
			s.fail(w, r, syncline.Errorf(syncline.CodeInternal, "encode the answer: %w", err))
			return
		}
		data = bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	writeJSON(w, out.status, data)
}

// sendStream writes an answer whose length is not known yet.
func (s *server) sendStream(w http.ResponseWriter, r *http.Request, out reply) {
	if out.status == 0 {
		out.status = http.StatusOK
	}
	jsonHeaders(w.Header())
	w.WriteHeader(out.status)
	if r.Method == http.MethodHead {
		return
	}
	parts := &parts{w: w, control: http.NewResponseController(w), each: s.Stall}
	switch err := out.stream(parts); {
	case err == nil:
	case parts.err != nil || r.Context().Err() != nil: // the caller has gone away, or is too slow
		s.Log.Debug("an answer was not received in full", "request", requestID(r.Context()), "path", r.URL.Path, "err", err)
	default:
		s.Log.Error("an answer ends early", "request", requestID(r.Context()), "path", r.URL.Path, "err", err)
	}
}

// parts writes an answer part by part; each has a time in which the caller must
// have received it. The server takes the deadline off at the answer's end.
type parts struct {
	w       io.Writer
	control *http.ResponseController
	each    time.Duration
	err     error // of writing
}

func (p *parts) Write(b []byte) (n int, err error) {
	if p.err != nil {
		return 0, p.err
	}
	if err := p.control.SetWriteDeadline(time.Now().Add(p.each)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		p.err = err
		return 0, err
	}
	n, p.err = p.w.Write(b)
	return n, p.err
}

func jsonHeaders(h http.Header) {
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

func writeJSON(w http.ResponseWriter, status int, data []byte) {
	h := w.Header()
	jsonHeaders(h)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	w.Write(data) // the caller has gone away if this fails
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// discard takes an answer's status and headers only.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
