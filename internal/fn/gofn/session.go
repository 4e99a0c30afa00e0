package gofn

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// Session is one call as its handler sees it. It may be used by many goroutines
// at a time, until the handler returns: then it refuses.
type Session struct {
	Context fn.Context
	Input   json.RawMessage

	ctx    context.Context // the call's; host calls end with it
	cancel context.CancelCauseFunc
	limits fn.Limits
	host   fn.Host

	mu       sync.Mutex
	returned bool // the handler has: no further calls
	underWay int
	idle     chan struct{} // closed when returned and nothing is under way
	calls    int
	lines    int
	exceeded error // the limit that was hit
	late     error // the first failure of a call that was under way when the handler returned
}

// maxLogLine is how many bytes of a message, or of its data, go to the host,
// which keeps less.
const maxLogLine = 1 << 20

func newSession(ctx context.Context, cancel context.CancelCauseFunc, call *fn.Call, limits fn.Limits, host fn.Host) *Session {
	return &Session{Context: call.Context, Input: call.Input, ctx: ctx, cancel: cancel, limits: limits, host: host, idle: make(chan struct{})}
}

// Call makes one host call. args is encoded as JSON; nil is {}.
func (s *Session) Call(ctx context.Context, method string, args any) (json.RawMessage, error) {
	raw := json.RawMessage("{}")
	if args != nil {
		var err error
		if raw, err = encodeJSON(args); err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s: the arguments cannot be written as JSON: %w", method, err)
		}
	}
	if err := s.enter(method); err != nil {
		return nil, err
	}
	// A caller's context may outlive the call that it was made in.
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })
	var out json.RawMessage
	err := context.Cause(ctx)
	if err == nil {
		out, err = s.host.Call(ctx, method, raw)
	}
	stop()
	cancel(nil)
	s.leave(err)
	return out, err
}

// encodeJSON writes text as it is: <, > and & are not escaped.
func encodeJSON(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

func (s *Session) enter(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.returned:
		return syncline.Errorf(syncline.CodeFenced, "%s was called after the function had returned", method).
			WithHint("wait for every goroutine that uses the handle before you return")
	case s.exceeded != nil:
		return s.exceeded
	case s.calls >= s.limits.HostCalls:
		s.exceeded = syncline.Errorf(syncline.CodeLimit, "the run made more than %d host calls", s.limits.HostCalls).WithField(fn.LimitHostCalls).
			WithHint("look for an endless loop, and save records in batches")
		s.cancel(s.exceeded)
		return s.exceeded
	}
	s.calls++
	s.underWay++
	return nil
}

func (s *Session) leave(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay--
	if s.returned {
		if s.late == nil {
			s.late = err
		}
		if s.underWay == 0 {
			close(s.idle)
		}
	}
}

// close refuses further calls and waits for those that are under way. It
// returns the limit that was hit, and how one of those failed of which the
// handler cannot know.
func (s *Session) close() (exceeded, late error) {
	s.mu.Lock()
	s.returned = true
	if s.underWay == 0 {
		close(s.idle)
	}
	s.mu.Unlock()
	<-s.idle
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exceeded, s.late
}

// Log adds a line to the run's log. data is JSON, or nil.
func (s *Session) Log(level syncline.LogLevel, message string, data json.RawMessage) {
	s.mu.Lock()
	s.lines++
	// The host counts what is dropped; a flood is not even handed to it.
	quiet := s.returned || s.lines > 10*s.limits.LogLines
	s.mu.Unlock()
	if quiet {
		return
	}
	if len(message) > maxLogLine {
		message = strings.ToValidUTF8(message[:maxLogLine], "")
	}
	if len(data) > maxLogLine {
		data = nil
	}
	s.host.Log(syncline.LogLine{At: time.Now().UTC(), Level: level, Message: message, Data: data})
}
