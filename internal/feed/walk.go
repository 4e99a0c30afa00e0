package feed

import (
	"cmp"
	"context"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// The bounds of a chunk: what is read on one snapshot, and held at a time. It
// ends with the record that makes it this large.
const (
	chunkRows  = 500
	chunkBytes = 256 << 10
	// idGroup is how many records that were asked for by id are read at a time.
	idGroup = 8
)

// walk reads one page, chunk by chunk, each on a snapshot of its own. It goes on
// by position and no further than the newest one at its beginning: a record
// that changes while the page is read comes with a later page, not twice in
// this one.
type walk struct {
	from *Source
	on   store.Store // where the chunks are read
	q    Query
	coll syncline.Collection // as it was when the page began
	// scan is what is still to be read: After is the position of the last
	// change given, or where the page begins.
	scan store.RecordQuery
	// began is up to where tombstones had been removed when the reader began.
	began int64
	// ids are those of the query in the order of their positions, when they are
	// too many to be read at once; groups has them in one group otherwise.
	ids     []located
	ordered bool
	// left and budget are what the page may still have, in changes and bytes;
	// rows is what the next chunk may have.
	left, budget, rows int
	given              int
	// behind says that the primary has more than the snapshots that are read.
	behind bool
	done   bool
	next   string                 // the page's next cursor, once it is done
	buf    []byte                 // the JSON of the chunk
	keep   func(*syncline.Change) // gets the changes too; nil: nobody does
}

type located struct {
	id  string
	seq int64
}

// begin reads the first chunk. Its errors are those of the query.
func (s *Source) begin(ctx context.Context, q Query, keep func(*syncline.Change)) (*walk, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	c, err := parseCursor(q.Cursor)
	if err != nil {
		return nil, err
	}
	w := &walk{from: s, on: s.Store, q: q, keep: keep, buf: append(make([]byte, 0, 4096), `{"records":[`...)}
	if replica := s.replica(); replica != nil {
		if ok, err := w.beginOnReplica(ctx, replica, c); ok || err != nil {
			return w, err
		}
	}
	return w, s.Store.View(ctx, func(r store.Reader) error {
		if err := w.find(r, c); err != nil || w.done {
			return err
		}
		return w.chunk(r)
	})
}

// beginOnReplica asks the primary where the page begins, and the replica for
// what is there. ok is false when the primary has to give it.
func (w *walk) beginOnReplica(ctx context.Context, replica store.Store, c cursor) (ok bool, err error) {
	err = w.from.Store.View(ctx, func(r store.Reader) error { return w.find(r, c) })
	if err != nil || w.done {
		return true, err
	}
	err = w.from.viewReplica(ctx, replica, &w.coll, w.scan.After, func(r store.Reader, lagging *syncline.Collection) error {
		if lagging.PurgedSeq != w.coll.PurgedSeq {
			return errBehind // not it, but what the primary said of the cursor
		}
		w.behind = lagging.LastSeq < w.coll.LastSeq
		w.scan.Until = lagging.LastSeq
		w.on = replica
		return w.chunk(r)
	})
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err == nil && (w.given > 0 || !w.behind):
		return true, nil
	case w.given > 0: // it failed in the middle: the primary goes on
		w.on = w.from.Store
		return true, nil
	}
	w.on, w.behind, w.done, w.next = w.from.Store, false, false, ""
	w.ids, w.ordered = nil, false
	return false, nil
}

// find finds the collection and where the page begins and ends in it.
func (w *walk) find(r store.Reader, c cursor) (err error) {
	q := w.q
	w.coll, err = r.Collection(q.EnvironmentID, q.ConnectionID, syncline.CollectionModel(q.Model, q.Variant))
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		w.done = true
		if c.collection != 0 {
			return errOtherCollection(q)
		}
		return declared(r, q)
	}
	if err != nil {
		return err
	}
	w.left, w.budget, w.rows = q.Limit, q.Budget, chunkRows
	w.scan = q.selection(c)
	if w.scan.After, err = start(r, q, &w.coll, c); err != nil {
		return err
	}
	w.began = w.coll.PurgedSeq // it begins now, or is beyond them
	if c.collection != 0 {
		w.began = c.began
	}
	w.scan.Until = w.coll.LastSeq
	w.done = w.scan.After >= w.coll.LastSeq // nothing new; also: nothing ever
	return nil
}

// selection is what the query selects, without its bounds.
func (q *Query) selection(c cursor) store.RecordQuery {
	scan := store.RecordQuery{ModifiedAfter: q.ModifiedAfter, Actions: q.Actions, IDs: q.IDs}
	if c.collection == 0 && c.at.After(scan.ModifiedAfter) {
		scan.ModifiedAfter = c.at
	}
	if !scan.ModifiedAfter.IsZero() {
		// Inclusive: times have microseconds, and more than one change may share one.
		scan.ModifiedAfter = scan.ModifiedAfter.Add(-time.Microsecond)
	}
	return scan
}

// step reads the next chunk into buf. What it has read before it fails counts
// as given.
func (w *walk) step(ctx context.Context) error {
	read := func(r store.Reader, c *syncline.Collection) error {
		// What was removed for good meanwhile may have been of this page. The
		// page ends before it, and the page after it is refused if it must be.
		if c.PurgedSeq > w.coll.PurgedSeq && c.PurgedSeq > w.scan.After {
			w.cut()
			return nil
		}
		return w.chunk(r)
	}
	if w.on != w.from.Store {
		before := w.given
		// Behind one address there may be several replicas: another one must
		// have as much, or the page would end too early.
		err := w.from.viewReplica(ctx, w.on, &w.coll, w.scan.Until-1, read)
		if err == nil || ctx.Err() != nil {
			return err
		}
		w.on = w.from.Store
		if w.given > before {
			return nil
		}
	}
	return w.on.View(ctx, func(r store.Reader) error {
		c, err := r.CollectionByID(w.q.EnvironmentID, w.coll.ID)
		if err != nil {
			return err
		}
		return read(r, &c)
	})
}

// chunk reads on, to the end of the chunk, the page or the collection.
func (w *walk) chunk(r store.Reader) error {
	n, full := 0, false
	limit := min(w.left+1, w.rows) // one more than fits tells whether there is more
	take := func(rec *syncline.Record) bool {
		c := syncline.Change{Record: *rec, Cursor: cursorWithin(w.coll.ID, rec.Seq, w.began)}
		before := len(w.buf)
		if w.given > 0 {
			w.buf = append(w.buf, ',')
		}
		w.buf = AppendChange(w.buf, &c)
		size := len(w.buf) - before
		if w.left == 0 || w.given > 0 && size > w.budget {
			w.buf = w.buf[:before]
			w.cut()
			return false
		}
		if w.keep != nil {
			w.keep(&c)
		}
		n++
		w.given++
		w.left--
		w.budget -= size
		// Times do not decrease with positions: beyond this one, all are in.
		w.scan.After, w.scan.ModifiedAfter = rec.Seq, time.Time{}
		full = len(w.buf) >= chunkBytes
		return !full
	}
	err := w.records(r, limit, take)
	if err != nil || w.done || full {
		w.rows = w.fitting(n)
		return err
	}
	if w.q.IDs == nil && n == limit {
		w.rows = w.fitting(n)
		return nil
	}
	w.end()
	return nil
}

// fitting is how many records like the n of this chunk make a chunk, so that
// a store that reads ahead does not read much more.
func (w *walk) fitting(n int) int {
	if n == 0 || len(w.buf) == 0 {
		return chunkRows
	}
	return min(max(chunkBytes/(len(w.buf)/n+1), 1), chunkRows)
}

// records gives what is still to be read to fn, at most limit unless by id.
func (w *walk) records(r store.Reader, limit int, fn func(*syncline.Record) bool) error {
	q := w.scan
	if q.IDs == nil {
		q.Limit = limit
		return r.ScanRecords(w.q.EnvironmentID, w.coll.ID, q, fn)
	}
	if err := w.order(r); err != nil {
		return err
	}
	for stopped := false; len(w.ids) > 0 && !stopped; {
		group := w.ids[:min(idGroup, len(w.ids))]
		q.IDs = q.IDs[:0:0]
		for _, l := range group {
			q.IDs = append(q.IDs, l.id)
		}
		err := r.ScanRecords(w.q.EnvironmentID, w.coll.ID, q, func(rec *syncline.Record) bool {
			stopped = !fn(rec)
			return !stopped
		})
		if err != nil {
			return err
		}
		if !stopped {
			w.ids = w.ids[len(group):]
		}
		q.After = w.scan.After
	}
	return nil
}

// order puts the ids that were asked for in the order of their positions, once.
// Their payloads are looked at a few at a time, since together they may be large.
func (w *walk) order(r store.Reader) error {
	if w.ordered {
		return nil
	}
	ids := slices.Compact(slices.Sorted(slices.Values(w.q.IDs)))
	w.ids = w.ids[:0]
	if len(ids) <= idGroup {
		for _, id := range ids {
			w.ids = append(w.ids, located{id: id})
		}
		w.ordered = true
		return nil
	}
	for group := range slices.Chunk(ids, idGroup) {
		q := w.scan
		q.IDs = group
		err := r.ScanRecords(w.q.EnvironmentID, w.coll.ID, q, func(rec *syncline.Record) bool {
			w.ids = append(w.ids, located{rec.ID, rec.Seq})
			return true
		})
		if err != nil {
			return err
		}
	}
	slices.SortFunc(w.ids, func(a, b located) int { return cmp.Compare(a.seq, b.seq) })
	w.ordered = true
	return nil
}

// cut ends the page after the last change given; there is more.
func (w *walk) cut() {
	w.done, w.next = true, cursorWithin(w.coll.ID, w.scan.After, w.began)
}

// end ends the page with the last change there is. Where the primary has more
// than the snapshot that was read, a next page has that.
func (w *walk) end() {
	if w.behind && w.given > 0 {
		w.cut()
		return
	}
	w.done, w.next = true, ""
}
