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
)

// errTooLarge says that a response's body goes beyond the limit.
var errTooLarge = errors.New("too large")

// errEncoding says that a response's body is not what its Content-Encoding says.
var errEncoding = errors.New("bad content encoding")

// maxEncodings bounds how often a body may be encoded; each one multiplies the
// work that few bytes can cause.
const maxEncodings = 2

// readBody reads and decodes the body, and removes the headers that no longer
// hold. It never holds more than the limit: a length that is declared is judged
// before a byte is read, and one that is not ends the read. Decoding streams, so
// that a bomb is cut off like any long body.
func (c *Client) readBody(resp *http.Response) ([]byte, error) {
	limit := c.conf.MaxResponseBody
	if resp.Request != nil && resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified {
		return nil, nil
	}
	if resp.ContentLength > limit {
		return nil, errTooLarge
	}
	body := io.Reader(resp.Body)
	if encodings := resp.Header.Values("Content-Encoding"); len(encodings) > 0 && resp.ContentLength != 0 {
		decoded, ok, err := decode(body, strings.Join(encodings, ","))
		if err != nil {
			return nil, err
		}
		if ok {
			body = decoded
			resp.Header.Del("Content-Encoding")
			resp.Header.Del("Content-Length")
		}
	}
	size := int64(32 << 10)
	if resp.ContentLength > 0 {
		// A declared length is only a claim: memory follows what arrives.
		size = min(resp.ContentLength+1, 1<<20)
	}
	buf := make([]byte, 0, size)
	for {
		n, err := body.Read(buf[len(buf):min(int64(cap(buf)), limit+1)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, errTooLarge
		}
		switch {
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return nil, err
		case len(buf) == cap(buf):
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// decode undoes the content encodings of a body, last one first. ok is false,
// and the body the same, when one of them is not known.
func decode(body io.Reader, encodings string) (out io.Reader, ok bool, err error) {
	var names []string
	for name := range strings.SplitSeq(encodings, ",") {
		switch name = strings.ToLower(strings.TrimSpace(name)); name {
		case "", "identity":
		case "gzip", "x-gzip", "deflate", "br":
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
		in := bufio.NewReader(body)
		if _, err := in.Peek(1); err == io.EOF {
			return in, true, nil // an empty body, whatever its encoding
		}
		switch names[i] {
		case "gzip", "x-gzip":
			z, err := gzip.NewReader(in)
			if err != nil {
				return nil, false, wire.explain(err)
			}
			body = encoded{z, wire}
		case "deflate":
			// The name means zlib's format; some servers send it bare.
			if head, _ := in.Peek(2); len(head) == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
				z, err := zlib.NewReader(in)
				if err != nil {
					return nil, false, wire.explain(err)
				}
				body = encoded{z, wire}
			} else {
				body = encoded{flate.NewReader(in), wire}
			}
		case "br":
			body = encoded{brotli.NewReader(in), wire}
		}
	}
	return body, true, nil
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
	r    io.Reader
	wire *source
}

func (e encoded) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = e.wire.explain(err)
	}
	return n, err
}
