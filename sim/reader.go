package sim

import (
	"context"
	"maps"

	"syncline"
	"syncline/internal/feed"
)

// reader keeps a copy of a collection by cursor, as the user's app does.
type reader struct {
	c      *collection
	query  feed.Query
	cursor string
	seq    int64
	began  int64 // up to where positions had been removed when it began
	copy   map[string]snap

	// What it keeps for good: it goes back to it when it fails.
	kept struct {
		cursor     string
		seq, began int64
		copy       map[string]snap
	}
}

func newReader(c *collection) *reader {
	s := &c.w.subj
	return &reader{c: c, copy: map[string]snap{}, query: feed.Query{
		EnvironmentID: s.Environment.ID, IntegrationID: s.Integration.ID, ConnectionID: s.Connection.ID, Model: modelNames[c.model], Variant: c.in.variant,
	}}
}

// read takes one page; more tells that there is another. A reader whose cursor
// is refused starts over, as the error tells it to.
func (r *reader) read(ctx context.Context, limit int) (more bool) {
	w := r.c.w
	w.counts[Reads]++
	q := r.query
	q.Cursor, q.Limit = r.cursor, limit
	if r.cursor == "" {
		coll, _ := r.c.row(ctx)
		r.began = coll.PurgedSeq
	}
	page, err := feed.Read(ctx, w.store, q)
	if syncline.CodeOf(err) == syncline.CodeInvalid && r.cursor != "" {
		switch coll, _ := r.c.row(ctx); {
		case r.seq >= coll.PurgedSeq:
			w.fail("reader", "the cursor of a reader of %s at %d is refused, and nothing beyond it was removed: %v", r.c.key, r.seq, err)
		case r.began == coll.PurgedSeq:
			w.fail("reader", "the cursor of a reader of %s at %d is refused, and nothing was removed since it began: it can never read to the end", r.c.key, r.seq)
		}
		w.counts[Restarts]++
		w.tell("a reader of %s at %d starts over", r.c.key, r.seq)
		r.cursor, r.seq = "", 0
		clear(r.copy)
		return true
	}
	if err != nil {
		w.fail("error", "read %s: %v", r.c.key, err)
		return false
	}
	for i := range page.Changes {
		ch := &page.Changes[i]
		if ch.Seq <= r.seq {
			w.fail("reader", "a reader of %s gets position %d after %d", r.c.key, ch.Seq, r.seq)
		}
		r.seq, r.cursor = ch.Seq, ch.Cursor
		s, _ := r.c.parse(&ch.Record)
		r.copy[ch.ID] = s
		w.tell("a reader of %s reads %d: %s", r.c.key, ch.Seq, s)
	}
	if len(page.Changes) > 0 && w.choices.pick(3) == 0 {
		r.kept.cursor, r.kept.seq, r.kept.began, r.kept.copy = r.cursor, r.seq, r.began, maps.Clone(r.copy)
	}
	return page.NextCursor != ""
}

// forget goes back to what was kept.
func (r *reader) forget() {
	r.c.w.counts[Replays]++
	r.cursor, r.seq, r.began, r.copy = r.kept.cursor, r.kept.seq, r.kept.began, maps.Clone(r.kept.copy)
	if r.copy == nil {
		r.copy = map[string]snap{}
	}
}

// readAll reads to the end: then its copy is the collection.
func (r *reader) readAll(ctx context.Context) {
	w := r.c.w
	limit := 1 + w.choices.pick(7)
	for r.read(ctx, limit) {
		if w.bad != nil {
			return
		}
	}
	rows := 0
	r.c.scan(ctx, 0, func(rec *syncline.Record) {
		s, _ := r.c.parse(rec)
		if !s.deleted {
			rows++
		}
		if got, there := r.copy[rec.ID]; !there || got != s {
			w.fail("reader", "a reader of %s that kept its cursor and read to the end has %s of the record %s; the cache has %s (position %d)", r.c.key, copied(got, there), rec.ID, s, rec.Seq)
		}
	})
	for _, s := range r.copy {
		if !s.deleted {
			rows--
		}
	}
	if rows != 0 {
		w.fail("reader", "a reader of %s has %d records more than the cache", r.c.key, -rows)
	}
}

func copied(s snap, there bool) string {
	if !there {
		return "nothing"
	}
	return s.String()
}
