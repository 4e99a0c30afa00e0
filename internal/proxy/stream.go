package proxy

import (
	"context"
	"errors"
	"io"

	"syncline/internal/fn"
)

// Stream is an answer whose body is read while it comes.
type Stream struct {
	*Response
	// Reader is the body, decoded unless the request asks for it as it is. Its
	// errors are HostErrors, or ctx's. It has to be closed.
	Reader io.ReadCloser
}

// peeked is how much of a refusal is read before it is handed on, where the
// provider says in the body when to come back.
const peeked = 64 << 10

// Stream is [Client.Do] without holding bodies in memory. body is the request's,
// of length bytes (-1: not known; 0 or a nil body: none), instead of
// r.Args.Body. A body of up to 1 MiB is kept and sent again with each attempt; a
// longer one is sent while it is read, and there are no further attempts once
// some of it was read. The connection's budget is held until the headers came.
func (c *Client) Stream(ctx context.Context, r Request, body io.Reader, length int64) (*Stream, error) {
	p, err := newPayload(ctx, body, length, c.conf.MaxStream)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, r, p, c.attemptStream)
	if err != nil {
		return nil, err
	}
	s := &Stream{Response: resp, Reader: resp.stream}
	if resp.stream == nil { // made here
		s.Reader = io.NopCloser(&bodyReader{head: resp.Body})
	}
	resp.Body, resp.stream = nil, nil
	return s, nil
}

// attemptStream makes the request once, follows its redirects, and leaves the
// body to be read.
func (c *Client) attemptStream(ctx context.Context, p *prepared) (*Response, *fn.HostError) {
	x, herr := c.open(ctx, p)
	if herr != nil {
		return nil, herr
	}
	x.whole.Stop() // from here on the wait between reads is what is bounded
	if x.resp.ContentLength > c.conf.MaxStream {
		x.close()
		return nil, c.netErrorOf(x, errTooLarge, c.conf.MaxStream)
	}
	b := &bodyReader{c: c, x: x, left: c.conf.MaxStream}
	if bodiless(x) {
		b.in = x
	} else {
		in, err := x.decoded()
		if err != nil {
			x.close()
			return nil, c.netError(x, err)
		}
		b.in = in
	}
	if p.rules.InBody != nil && x.resp.StatusCode >= 400 {
		head, err := io.ReadAll(io.LimitReader(b.in, peeked))
		if err != nil {
			x.close()
			return nil, c.netError(x, err)
		}
		b.head = head
	}
	resp := x.response()
	resp.Body, resp.stream = b.head, b
	return resp, nil
}

// bodyReader reads the body of a streamed answer.
type bodyReader struct {
	c    *Client
	x    *exchange
	head []byte // read already
	in   io.Reader
	left int64
	err  error
}

func (b *bodyReader) Read(to []byte) (int, error) {
	if len(b.head) > 0 {
		n := copy(to, b.head)
		b.head = b.head[n:]
		return n, nil
	}
	if b.in == nil {
		return 0, io.EOF
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.in.Read(to)
	if b.left -= int64(n); b.left < 0 {
		n, err = 0, errTooLarge
	}
	switch cause := context.Cause(b.x.ctx); {
	case err == nil || errors.Is(err, io.EOF):
		b.err = err
	case cause != nil && !errors.Is(cause, errIdle) && !errors.Is(cause, errTimeout):
		b.err = cause
	default:
		b.err = b.c.netErrorOf(b.x, err, b.c.conf.MaxStream)
	}
	return n, b.err
}

func (b *bodyReader) Close() error {
	b.x.close()
	return nil
}

// close lets go of what an answer holds that is not handed on.
func (r *Response) close() {
	if r == nil {
		return
	}
	r.memory.free()
	if r.stream != nil {
		_ = r.stream.Close()
	}
}
