package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"syncline"
)

// chunk is how much of a body is made room for at first, and at least at a time.
const chunk = 32 << 10

// read reads the body within the limits. Its bytes count as in flight, as they
// arrive, until release: a sender that promises much and sends little holds
// nothing.
func (h *handler) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	held := int64(0)
	release = func() { h.inFlight.Add(-held) }
	if r.ContentLength > h.MaxBody {
		return nil, release, h.tooLarge(w)
	}
	// Not every ResponseWriter has deadlines; the server's own does.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(h.ReadTimeout)) // of the network: real time
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()

	for {
		if len(body) == cap(body) {
			grown := max(chunk, int64(cap(body)))
			if left := r.ContentLength - int64(len(body)); left > 0 {
				grown = min(grown, left+1) // one more, to meet the end
			}
			held += grown
			if h.inFlight.Add(grown) > h.MaxInFlight {
				w.Header().Set("Connection", "close")
				return nil, release, syncline.Errorf(syncline.CodeUnavailable, "too many webhooks arrive at once: their bodies have %d bytes, the limit", h.MaxInFlight)
			}
			bigger := make([]byte, len(body), int64(cap(body))+grown)
			copy(bigger, body)
			body = bigger
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > h.MaxBody:
			return nil, release, h.tooLarge(w)
		case errors.Is(err, io.EOF):
			return body, release, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.Header().Set("Connection", "close")
			return nil, release, &syncline.Error{Code: syncline.CodeInvalid, Message: fmt.Sprintf("the body did not arrive within %s", h.ReadTimeout), Err: err}
		case err != nil:
			w.Header().Set("Connection", "close")
			return nil, release, &syncline.Error{Code: syncline.CodeInvalid, Message: "the body did not arrive whole", Err: err}
		}
	}
}

// tooLarge refuses a body. What is left of it is not read.
func (h *handler) tooLarge(w http.ResponseWriter) error {
	w.Header().Set("Connection", "close")
	return syncline.Errorf(syncline.CodeTooLarge, "the body is larger than %d bytes", h.MaxBody).
		WithHint("the limit is --webhook-body-limit")
}
