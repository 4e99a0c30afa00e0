package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"

	"syncline"
	"syncline/internal/fn"
)

// replayLimit is up to which size, in bytes, a body that comes in as a stream is
// kept, so that the request can be made again.
const replayLimit = 1 << 20

// payload is a request's body: bytes, or a stream that can be sent once.
type payload struct {
	data   []byte    // nil: none, unless there is a stream
	stream io.Reader // nil: data is all; otherwise data comes first
	length int64     // of all of a stream; -1: not known
	limit  int64     // of a stream

	mu    sync.Mutex
	taken bool  // the stream was begun
	read  int64 // of the stream
	err   *fn.HostError
}

// newPayload reads as much of a stream as is kept. length is -1 when it is not known.
func newPayload(ctx context.Context, r io.Reader, length, limit int64) (*payload, error) {
	if r == nil || length == 0 {
		return &payload{}, nil
	}
	if length > limit {
		return nil, tooLargeToSend(limit)
	}
	p := &payload{stream: r, length: length, limit: limit}
	if length > replayLimit {
		return p, nil
	}
	head, err := io.ReadAll(io.LimitReader(r, replayLimit+1))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, endedEarly()
	case len(head) <= replayLimit:
		return &payload{data: head}, nil
	}
	p.data, p.read = head, int64(len(head))
	return p, nil
}

func tooLargeToSend(limit int64) *fn.HostError {
	return &fn.HostError{Code: syncline.CodeTooLarge, Name: "AxiosError", NetCode: "ERR_FR_MAX_BODY_LENGTH_EXCEEDED",
		Message: sizeMessage("the request's body", limit)}
}

func endedEarly() *fn.HostError {
	return &fn.HostError{Code: syncline.CodeInvalid, Name: "AxiosError", NetCode: "ERR_BAD_REQUEST", Message: "the request's body ended before it was complete"}
}

func (p *payload) empty() bool { return p == nil || p.data == nil && p.stream == nil }

// replayable reports whether the body can be sent (again).
func (p *payload) replayable() bool {
	if p == nil || p.stream == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.taken
}

// failure is what went wrong with the body itself while it was sent.
func (p *payload) failure() *fn.HostError {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// attach makes p the body of a request.
func (p *payload) attach(r *http.Request) {
	switch {
	case p.empty():
	case p.stream == nil && len(p.data) == 0:
		r.Body = http.NoBody
	case p.stream == nil:
		// With GetBody the transport itself repeats what was written to a
		// connection that the server was closing just then.
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.data)), nil }
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(p.data)), int64(len(p.data))
	default:
		r.Body, r.ContentLength = io.NopCloser(io.MultiReader(bytes.NewReader(p.data), (*rest)(p))), p.length
	}
}

// rest is the part of a stream that is not kept.
type rest payload

func (s *rest) Read(b []byte) (int, error) {
	p := (*payload)(s)
	p.mu.Lock()
	p.taken = true
	p.mu.Unlock()
	n, err := p.stream.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.read += int64(n); p.read > p.limit {
		p.err = tooLargeToSend(p.limit)
		return 0, p.err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		p.err = endedEarly()
	}
	return n, err
}
