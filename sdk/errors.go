package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// HTTPError is an answer of the external API with a status outside 2xx.
type HTTPError struct {
	Method, URL string
	StatusCode  int
	Status      string // such as "404 Not Found"
	Header      http.Header
	Body        []byte
	// RateLimited says that the API refuses for now, also where the status alone
	// (403) does not tell.
	RateLimited bool
}

// maxShownBody is how much of a body an error shows, in bytes.
const maxShownBody = 300

func (e *HTTPError) Error() string {
	body := string(e.Body)
	if len(body) > maxShownBody {
		body = strings.ToValidUTF8(body[:maxShownBody], "") + "…"
	}
	if body != "" {
		body = ": " + body
	}
	return fmt.Sprintf("%s %s: %s%s", e.Method, e.URL, e.Status, body)
}

// maxAnswer is how much of a body callers of actions are shown, in bytes.
const maxAnswer = 64 << 10

// answer is what callers of actions are told of the answer.
func (e *HTTPError) answer() *syncline.UpstreamAnswer {
	a := &syncline.UpstreamAnswer{Status: e.StatusCode, Headers: map[string]string{}, Body: json.RawMessage("{}")}
	for name := range e.Header {
		if key := strings.ToLower(name); key == "content-type" || strings.HasPrefix(key, "x-rate") {
			a.Headers[key] = e.Header.Get(name)
		}
	}
	switch body := bytes.TrimSpace(e.Body); {
	case len(body) == 0:
	case len(body) <= maxAnswer && body[0] == '{' && json.Valid(body):
		a.Body = body
	default:
		text := strings.ToValidUTF8(string(body[:min(len(body), maxAnswer)]), "")
		a.Body, _ = json.Marshal(map[string]string{"message": text}) // text
	}
	return a
}

// HostError is a call that Syncline refused or could not carry out: an API that
// does not answer, a record without an id, a limit.
type HostError struct {
	Op   string        // the call, such as "batchSave" or "GET /issues"
	Code syncline.Code // such as [syncline.CodeUpstream]; "" when the context of the call ended
	// NetCode says why the API did not answer, in Node's words: "ECONNREFUSED",
	// "ETIMEDOUT", "ENOTFOUND" … "" for other errors.
	NetCode string
	err     error
}

func (e *HostError) Error() string { return e.Op + ": " + e.err.Error() }

// Unwrap returns the cause.
func (e *HostError) Unwrap() error { return e.err }

// Timeout reports whether time ran out.
func (e *HostError) Timeout() bool {
	return e.NetCode == "ETIMEDOUT" || e.NetCode == "ECONNABORTED" || errors.Is(e.err, context.DeadlineExceeded)
}

func newHostError(op string, err error) *HostError {
	e := &HostError{Op: op, Code: syncline.CodeOf(err), err: err}
	var h *fn.HostError
	var own *syncline.Error
	switch {
	case errors.As(err, &h):
		e.Code, e.NetCode = h.Code, h.NetCode
	case !errors.As(err, &own) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		e.Code = "" // a context of the function's own
	}
	return e
}

// Unavailable says of err that the world is at fault and not the function: the
// run waits, without spending attempts, until it can be done. Errors of [Handle]
// and of clients that keep the *http.Response in their errors say so
// themselves. Unavailable(nil) is nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &unavailableError{err}
}

type unavailableError struct{ error }

func (e *unavailableError) Unwrap() error { return e.error }

// describe is an error as the dispatcher and the run's log know it.
func describe(err error) *fn.ScriptError {
	e := &fn.ScriptError{Name: "Error", Message: err.Error()}
	var (
		action *ActionError
		status *HTTPError
		host   *HostError
		world  *unavailableError
		own    *syncline.Error
	)
	if errors.As(err, &action) {
		e.Name, e.Payload = "ActionError", action.payload()
	}
	switch {
	case errors.As(err, &world):
		e.HostCode = syncline.CodeUnavailable
	case errors.As(err, &status):
		e.HostCode, e.Status = syncline.CodeUpstream, status.StatusCode
		if status.RateLimited {
			e.Status = http.StatusTooManyRequests
		}
		e.Upstream = status.answer()
	case errors.As(err, &host):
		e.HostCode = host.Code
	case errors.As(err, &own):
		e.HostCode = own.Code // a session's own, of the context's cause
	default:
		if code := statusWithin(err); code != 0 {
			e.HostCode, e.Status = syncline.CodeUpstream, code
		}
	}
	return e
}

// statusWithin is the status of a response of [Handle.HTTPClient] that an error
// in err's tree keeps in a field, as those of API clients do; 0 for none.
func statusWithin(err error) int {
	if code := responseStatus(err); code != 0 {
		return code
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked here
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return statusWithin(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if code := statusWithin(inner); code != 0 {
				return code
			}
		}
	}
	return 0
}

func responseStatus(err error) int {
	v := reflect.ValueOf(err)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return 0
	}
	for i := range v.NumField() {
		if f := v.Type().Field(i); !f.IsExported() || f.Type != reflect.TypeFor[*http.Response]() {
			continue
		}
		if r, _ := v.Field(i).Interface().(*http.Response); r != nil && r.Request != nil {
			if limited, ours := r.Request.Context().Value(answered{}).(bool); limited {
				return http.StatusTooManyRequests
			} else if ours {
				return r.StatusCode
			}
		}
	}
	return 0
}
