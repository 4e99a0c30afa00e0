package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"syncline"
)

// statuses maps the codes of errors to HTTP statuses. It is the only such map.
var statuses = map[syncline.Code]int{
	syncline.CodeInvalid:      http.StatusBadRequest,
	syncline.CodeUnauthorized: http.StatusUnauthorized,
	syncline.CodeForbidden:    http.StatusForbidden,
	syncline.CodeNotFound:     http.StatusNotFound,
	syncline.CodeConflict:     http.StatusConflict,
	syncline.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	syncline.CodeMethod:       http.StatusMethodNotAllowed,
	syncline.CodeLimited:      http.StatusTooManyRequests,
	syncline.CodeUnavailable:  http.StatusServiceUnavailable,
	syncline.CodeFenced:       http.StatusConflict,
	syncline.CodeUpstream:     http.StatusBadGateway,
	syncline.CodeScript:       http.StatusFailedDependency,
	syncline.CodeLimit:        http.StatusFailedDependency,
	syncline.CodeStalled:      http.StatusFailedDependency,
	syncline.CodeWorkerLost:   http.StatusServiceUnavailable,
	syncline.CodeInternal:     http.StatusInternalServerError,
}

// problem is an error as the API answers it. Endpoints that Nango has use it
// to answer with Nango's code and status.
type problem struct {
	Status  int     `json:"-"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Errors  []issue `json:"errors,omitempty"`
	cause   error
}

// issue is one thing that is wrong with a request.
type issue struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Path    []string `json:"path"`
}

func (p *problem) Error() string { return p.Message }
func (p *problem) Unwrap() error { return p.cause }

// Nango's codes for what part of a request is wrong.
const (
	badBody    = "invalid_body"
	badQuery   = "invalid_query_params"
	badHeaders = "invalid_headers"
	badPath    = "invalid_uri_params"
)

// as answers err under Nango's code when err says that the input is wrong, and
// leaves other errors as they are. nil stays nil.
func as(code string, err error) error {
	if syncline.CodeOf(err) != syncline.CodeInvalid {
		return err
	}
	if p := (*problem)(nil); errors.As(err, &p) {
		return err
	}
	return &problem{Status: http.StatusBadRequest, Code: code, Message: err.Error(), Errors: issues(err), cause: err}
}

// invalid is an error about one input.
func invalid(field, format string, args ...any) *syncline.Error {
	return syncline.Errorf(syncline.CodeInvalid, format, args...).WithField(field)
}

// unknown answers with a status and code of Nango's that say what is unknown.
func unknown(status int, code, format string, args ...any) *problem {
	err := syncline.Errorf(syncline.CodeNotFound, format, args...)
	return &problem{Status: status, Code: code, Message: err.Message, cause: err}
}

// issues lists the inputs that err names: one, or those of a joined error.
func issues(err error) []issue {
	var list []issue
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			list = append(list, issues(e)...)
		}
		return list
	}
	var e *syncline.Error
	if !errors.As(err, &e) || e.Field == "" {
		return nil
	}
	return []issue{{Code: string(e.Code), Message: e.Error(), Path: strings.Split(e.Field, ".")}}
}

// problemOf is what to answer for err.
func problemOf(err error, request string) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return &problem{Status: http.StatusRequestEntityTooLarge, Code: string(syncline.CodeTooLarge), cause: err,
			Message: syncline.Errorf(syncline.CodeTooLarge, "the request body is larger than %d bytes, the limit of this endpoint", tooLarge.Limit).Message}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &problem{Status: http.StatusServiceUnavailable, Code: string(syncline.CodeUnavailable), Message: "the server took too long; try again later", cause: err}
	}
	var e *syncline.Error
	if !errors.As(err, &e) {
		// What it says may be of our inside; the log has it under the request's id.
		return &problem{Status: http.StatusInternalServerError, Code: string(syncline.CodeInternal), Message: "the server failed on this request (request id " + request + ")", cause: err}
	}
	p = &problem{Status: statuses[e.Code], Code: string(e.Code), Message: err.Error(), Errors: issues(err), cause: err}
	if p.Status == 0 {
		p.Status = http.StatusInternalServerError
	}
	if e.Code == syncline.CodeInternal {
		shown := *e
		shown.Err = nil
		p.Message = shown.Error()
	}
	return p
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return // the caller has gone away
	}
	id := requestID(r.Context())
	p := problemOf(err, id)
	if p.Status >= http.StatusInternalServerError {
		s.Log.Error("a request failed", "request", id, "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
	}
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="syncline"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "1")
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(map[string]*problem{"error": p}) != nil { // only strings: it does not fail
		return
	}
	writeJSON(w, p.Status, bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}
