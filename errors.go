package syncline

import (
	"errors"
	"fmt"
)

// Code is a stable, machine-readable name of a kind of error. Codes are mapped
// to HTTP statuses in internal/api and to exit codes in internal/cli, and
// nowhere else.
type Code string

// The codes. A new failure takes the closest one of these; the message and the
// hint carry what is special about it.
const (
	CodeInvalid      Code = "invalid_request" // the caller's input is wrong; it must change before a retry
	CodeUnauthorized Code = "unauthorized"    // no valid key, or a signature that does not verify
	CodeForbidden    Code = "forbidden"       // known caller, not allowed (outbound policy, wrong scope)
	CodeNotFound     Code = "not_found"       // the thing named does not exist in this environment
	CodeConflict     Code = "conflict"        // it exists already, or its state forbids the operation
	CodeTooLarge     Code = "too_large"       // a size limit was hit; the message names the limit
	CodeMethod       Code = "method_not_allowed"
	CodeLimited      Code = "rate_limited"   // too many; retry later
	CodeUnavailable  Code = "unavailable"    // we cannot take it now (disk, backlog, shutdown); retry later
	CodeFenced       Code = "fenced"         // the lease or epoch under which this work ran is no longer current
	CodeUpstream     Code = "upstream_error" // the external API failed or is unreachable
	CodeScript       Code = "script_error"   // the user's function threw
	CodeLimit        Code = "limit_exceeded" // a run hit one of its limits; the message names it
	CodeStalled      Code = "stalled"        // polls are cut at a limit again and again and do not get on
	CodeWorkerLost   Code = "worker_lost"    // the worker process died while the run was in it
	CodeInternal     Code = "internal"       // a defect of ours
)

// Error is an error with a code, a message for people and, where there is one,
// a hint that says what to do. Message and Hint never hold secrets.
type Error struct {
	Code    Code
	Message string
	Hint    string // optional: what the reader can do about it
	Field   string // optional: the input that is wrong (a JSON path, a header, a flag)
	Err     error  // optional: the cause
}

// Error returns the message, the cause and the hint on one line.
func (e *Error) Error() string {
	s := e.Message
	var inMessage hidden
	if e.Err != nil && !errors.As(e.Err, &inMessage) {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error]; a %w verb in format becomes its cause for
// errors.Is, and stays part of the message.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	if cause := errors.Unwrap(err); cause != nil {
		return &Error{Code: code, Message: err.Error(), Err: hidden{cause}}
	}
	return &Error{Code: code, Message: err.Error()}
}

// hidden keeps a cause for errors.Is and errors.As when its text is part of
// the message already.
type hidden struct{ error }

func (h hidden) Unwrap() error { return h.error }

// WithHint returns e with a hint that says what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// WithField returns e naming the input that is wrong.
func (e *Error) WithField(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// CodeOf returns the code of err: that of the first [Error] in its chain,
// [CodeInternal] when there is none, and "" when err is nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
