package feed

import (
	"context"
	"io"
	"strconv"

	"syncline"
)

// Read reads one page. A reader that goes on from the cursor of the last change
// it saw misses no change, whatever writers do and however it filters.
//
// A model that was never written to is an empty page when a deployed sync
// declares it. Errors: invalid_request for limits, a cursor that is damaged, of
// another collection, or older than what was removed for good, and for a model
// that nobody declares.
func (s *Source) Read(ctx context.Context, q Query) (Page, error) {
	var page Page
	w, err := s.begin(ctx, q, func(c *syncline.Change) { page.Changes = append(page.Changes, *c) })
	for err == nil && !w.done {
		w.buf = w.buf[:0]
		err = w.step(ctx)
	}
	if err != nil {
		return Page{}, err
	}
	page.NextCursor = w.next
	return page, nil
}

// Stream is a page that is written while it is read. It holds one chunk in
// memory, and no snapshot while it is written.
type Stream struct{ w *walk }

// Open reads the first chunk of a page; its errors are those of [Source.Read].
func (s *Source) Open(ctx context.Context, q Query) (*Stream, error) {
	w, err := s.begin(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	return &Stream{w: w}, nil
}

// Whole is the JSON of the page (see [Page.AppendJSON]) when one chunk has it
// all, and nil otherwise: then it is to be written with Write.
func (p *Stream) Whole() []byte {
	if !p.w.done {
		return nil
	}
	return appendEnd(p.w.buf, p.w.next)
}

// Write writes the JSON of the page, chunk by chunk, each with one call of
// out.Write. When a later chunk cannot be read, the page ends before it, with a
// next cursor, and Write returns why.
func (p *Stream) Write(ctx context.Context, out io.Writer) error {
	w := p.w
	for !w.done {
		if _, err := out.Write(w.buf); err != nil {
			return err
		}
		if cap(w.buf) > 4*chunkBytes {
			w.buf = nil // a large record's
		}
		w.buf = w.buf[:0]
		if err := w.step(ctx); err != nil {
			w.cut()
			_, writeErr := out.Write(appendEnd(w.buf, w.next))
			if writeErr != nil {
				return writeErr
			}
			return err
		}
	}
	_, err := out.Write(appendEnd(w.buf, w.next))
	return err
}

// appendEnd appends what follows the records of a page.
func appendEnd(dst []byte, next string) []byte {
	dst = append(dst, `],"next_cursor":`...)
	if next == "" {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendQuote(dst, next) // URL-safe base64
	}
	return append(dst, '}')
}
