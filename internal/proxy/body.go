package proxy

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

// errTooLarge says that a response's body goes beyond the limit.
var errTooLarge = errors.New("too large")

// errEncoding says that a response's body is not what its Content-Encoding says.
var errEncoding = errors.New("bad content encoding")

// maxEncodings bounds how often a body may be encoded; each one multiplies the
// work that few bytes can cause.
const maxEncodings = 2

// readBody reads and decodes the body, and removes the headers that no longer
// hold. It never holds more than the limit, nor more than memory has: a length
// that is declared is judged before a byte is read, and one that is not ends the
// read. Decoding streams, so that a bomb is cut off like any long body.
func (c *Client) readBody(x *exchange, memory *share) ([]byte, error) {
	limit, declared := c.conf.MaxResponseBody, x.resp.ContentLength
	if bodiless(x) {
		return nil, nil
	}
	if declared > limit {
		return nil, errTooLarge
	}
	body, err := x.decoded()
	if err != nil {
		return nil, err
	}
	size := int64(8 << 10)
	if declared > 0 {
		// A declared length is only a claim: memory follows what arrives.
		size = min(declared+1, 1<<20)
	}
	size = min(size, limit+1)
	if err := x.reserve(memory, size); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, size)
	for {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			size = min(2*int64(cap(buf)), limit+1)
			if err := x.reserve(memory, size-int64(cap(buf))); err != nil {
				return nil, err
			}
			buf = append(make([]byte, 0, size), buf...)
		}
	}
}

func (x *exchange) reserve(memory *share, n int64) error {
	x.waiting = true
	err := memory.grow(x.ctx, n)
	x.waiting = err != nil
	return err
}

// bodiless reports whether an answer has no body, whatever its headers say.
func bodiless(x *exchange) bool {
	r := x.resp
	return r.Request != nil && r.Request.Method == http.MethodHead || r.StatusCode == http.StatusNoContent || r.StatusCode == http.StatusNotModified
}

// decoded is the body without its content encodings; the headers that no longer
// hold are removed. It is the body as it comes when the request asks for that,
// or when an encoding is not known.
func (x *exchange) decoded() (io.Reader, error) {
	h := x.resp.Header
	encodings := h.Values("Content-Encoding")
	if len(encodings) == 0 || x.resp.ContentLength == 0 || x.p.raw {
		return x, nil
	}
	body, ok, err := decode(x, strings.Join(encodings, ","))
	if err != nil || !ok {
		return x, err
	}
	h.Del("Content-Encoding")
	h.Del("Content-Length")
	return body, nil
}

// decode undoes the content encodings of a body, last one first. ok is false,
// and the body the same, when one of them is not known. Nothing is read before
// the first read.
func decode(body io.Reader, encodings string) (out io.Reader, ok bool, err error) {
	var names []string
	for name := range strings.SplitSeq(encodings, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "", "identity":
		case "gzip", "x-gzip", "deflate", "br", "zstd":
			names = append(names, name)
		default:
			return body, false, nil
		}
	}
	if len(names) > maxEncodings {
		return nil, false, fmt.Errorf("%w: %d encodings", errEncoding, len(names))
	}
	wire := &source{r: body}
	body = wire
	for i := len(names) - 1; i >= 0; i-- {
		body = &encoded{name: names[i], in: body, wire: wire}
	}
	return body, true, nil
}

// open begins to decode.
func (e *encoded) open() (io.Reader, error) {
	in := bufio.NewReader(e.in)
	if _, err := in.Peek(1); err == io.EOF {
		return in, nil // an empty body, whatever its encoding
	}
	switch e.name {
	case "deflate":
		// The name means zlib's format; some servers send it bare.
		if head, _ := in.Peek(2); len(head) == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			return zlib.NewReader(in)
		}
		return flate.NewReader(in), nil
	case "br":
		return brotli.NewReader(in), nil
	case "zstd":
		// The window is what RFC 8878 has decoders support at least; more is a bomb's.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return gzip.NewReader(in)
}

// source is the body as it arrives; it remembers how it ended.
type source struct {
	r   io.Reader
	end error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil {
		s.end = err
	}
	return n, err
}

// explain tells a broken encoding from a broken connection beneath it.
func (s *source) explain(err error) error {
	if s.end != nil && !errors.Is(s.end, io.EOF) {
		return s.end
	}
	return fmt.Errorf("%w: %w", errEncoding, err)
}

// encoded is a decoder's output.
type encoded struct {
	name string
	in   io.Reader
	wire *source
	out  io.Reader // nil before the first read
	err  error     // that ended it
}

func (e *encoded) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := 0, error(nil)
	if e.out == nil {
		e.out, err = e.open()
	}
	if err == nil {
		n, err = e.out.Read(p)
	}
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		err = e.wire.explain(err)
	}
	if e.err = err; e.out != nil {
		if c, ok := e.out.(io.Closer); ok && e.name == "zstd" {
			_ = c.Close() // gives its memory back
		}
	}
	return n, err
}
