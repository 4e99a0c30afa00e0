package sim

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"syncline"
	"syncline/internal/store"
)

// collection is one collection, with what is known of it from its commits.
type collection struct {
	w       *world
	in      *instance
	model   int
	key     string // the model with the variant
	seen    []seen // by id
	lastSeq int64
	lastAt  time.Time
	parsed  map[string]snap
	readers [2]*reader
}

// seen is what is known of a record.
type seen struct {
	name           string
	there, deleted bool
	seq            int64
	snap           snap
	deletedAt      time.Time
	by             writer // who changed it last
	touched        int    // the tick at which somebody wrote it, whatever came of it
	floor          snap   // the newest that was visible of each field
	inFlight       int    // webhooks that tell of it and were not handled yet
	handledAt      int    // the tick at which the newest of them was handled

	// Why it may differ from the upstream. Each is the newest version that did
	// not get into the cache, and the tick at which that was.
	lost, refused, unknown       int
	lostAt, refusedAt, unknownAt int
	refusedA, refusedB           int // by partial updates
	part                         int // of a partial update that came when it was not there
}

// writer is who writes, as the simulation knows it.
type writer struct {
	name        string
	run         int64
	lineage     int64 // of a poll
	lane, event int64 // of a webhook
	replay      bool
	// plain says that mark is where the cache stood when the poll's newest
	// request began, and that it held nothing fetched earlier.
	plain bool
	mark  int64
}

func newCollection(w *world, in *instance, m int) *collection {
	c := &collection{w: w, in: in, model: m, key: syncline.CollectionModel(modelNames[m], in.variant), seen: make([]seen, w.o.Objects), parsed: map[string]snap{}}
	for i := range c.seen {
		c.seen[i].name = fmt.Sprintf("%s %d", c.key, i)
	}
	for i := range c.readers {
		c.readers[i] = newReader(c)
	}
	return c
}

func (c *collection) env() int64 { return c.w.subj.Environment.ID }

// row is the collection's own row.
func (c *collection) row(ctx context.Context) (coll syncline.Collection, ok bool) {
	c.w.view(ctx, func(r store.Reader) (err error) {
		coll, err = r.Collection(c.env(), c.w.subj.Connection.ID, c.key)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		ok = err == nil
		return err
	})
	return coll, ok
}

func (c *collection) parse(rec *syncline.Record) (snap, int) {
	id, err := strconv.Atoi(rec.ID)
	if err != nil || id < 0 || id >= len(c.seen) {
		c.w.fail("records", "a record of %s has the id %q", c.key, rec.ID)
		return snap{}, 0
	}
	s, ok := c.parsed[string(rec.Payload)]
	if !ok {
		if s, err = readSnap(c.model, rec.Payload); err != nil || s.id != id {
			c.w.fail("records", "the payload of %s %d is %s: %v", c.key, id, rec.Payload, err)
			return snap{}, id
		}
		if s.a < 0 {
			c.w.fail("batches", "of two records of one id in a batch the first counted: %s", rec.Payload)
		}
		c.parsed[string(rec.Payload)] = s
	}
	s.deleted = rec.Deleted()
	return s, id
}

// scan reads all records.
func (c *collection) scan(ctx context.Context, after int64, fn func(rec *syncline.Record)) {
	c.w.view(ctx, func(r store.Reader) error {
		coll, err := r.Collection(c.env(), c.w.subj.Connection.ID, c.key)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		return r.ScanRecords(c.env(), coll.ID, store.RecordQuery{After: after}, func(rec *syncline.Record) bool {
			fn(rec)
			return true
		})
	})
}

// observe looks at what changed since the last look.
func (c *collection) observe(ctx context.Context) {
	c.observeBy(ctx, writer{name: "nobody known"})
}

func (c *collection) observeBy(ctx context.Context, by writer) {
	last, at := c.lastSeq, c.lastAt
	c.scan(ctx, c.lastSeq, func(rec *syncline.Record) {
		if rec.Seq <= last || rec.LastModifiedAt.Before(at) {
			c.w.fail("order", "%s: record %s at %d (%s) comes after %d (%s)", c.key, rec.ID, rec.Seq, rec.LastModifiedAt, last, at)
		}
		last, at = rec.Seq, rec.LastModifiedAt
		c.transition(rec, by)
	})
	c.lastSeq, c.lastAt = last, at
}

// transition looks at one change of a record: everything that holds of every
// change is checked here.
func (c *collection) transition(rec *syncline.Record, by writer) {
	w := c.w
	now, id := c.parse(rec)
	s := &c.seen[id]
	if rec.Seq == s.seq || w.bad != nil {
		return
	}
	if rec.Seq < s.seq {
		w.fail("order", "%s went back from position %d to %d", rec.ID, s.seq, rec.Seq)
	}
	run := w.observed[rec.Writer.RunID]
	if run == nil {
		run = &[3]int{}
		w.observed[rec.Writer.RunID] = run
	}
	live := s.there && !s.deleted
	switch rec.LastAction {
	case syncline.ActionAdded:
		run[0]++
		if live {
			w.fail("changes", "%s was there and is told as ADDED", s)
		}
		if s.there {
			w.counts[Resurrections]++
		}
	case syncline.ActionUpdated:
		run[1]++
		switch {
		case !live:
			w.fail("changes", "%s was not there and is told as UPDATED: %s", s, rec.Payload)
		case s.snap.same(now):
			w.fail("changes", "%s is told as UPDATED and did not change: %s", s, rec.Payload)
		}
	case syncline.ActionDeleted:
		run[2]++
		switch {
		case !s.there:
			w.fail("deletes", "%s %d is told as DELETED and was never there", c.key, id)
		case s.deleted:
			w.fail("deletes", "%s %d is told as DELETED twice", c.key, id)
		case !s.snap.same(now):
			w.fail("deletes", "the deletion of %s did not keep the payload: %s", s, rec.Payload)
		}
	}
	if !rec.Deleted() && w.o.monotone() && (now.version < s.floor.version || now.a < s.floor.a || now.b < s.floor.b) {
		w.fail("stale", "%s: version %d (a %d, b %d) is visible after version %d (a %d, b %d)", s, now.version, now.a, now.b, s.floor.version, s.floor.a, s.floor.b)
	}
	s.there, s.deleted, s.seq, s.snap, s.by = true, rec.Deleted(), rec.Seq, now, by
	s.floor.version, s.floor.a, s.floor.b = max(s.floor.version, now.version), max(s.floor.a, now.a), max(s.floor.b, now.b)
	if s.deleted {
		s.deletedAt = rec.DeletedAt
	}
	if s.deleted && !w.o.keepNewest() {
		// Under keep_newest only a deletion that tells its version is known to be
		// fresher than what comes: see outcome.
		s.floor.version = max(s.floor.version, w.up.objects[c.model][id].deletedAfter(now.version))
	}
}

func (s *seen) String() string {
	switch {
	case !s.there:
		return s.name + " (not there)"
	case s.deleted:
		return fmt.Sprintf("%s (deleted at position %d, last at version %d)", s.name, s.seq, s.snap.version)
	}
	return fmt.Sprintf("%s (at position %d, version %d)", s.name, s.seq, s.snap.version)
}

// outcome looks at what one write came to, given the record as the write left
// it. It returns 1 when it was contested.
func (c *collection) outcome(it item, rec *syncline.Record, by writer) int {
	w := c.w
	s := &c.seen[it.id]
	before := s.by
	beforeSeq := s.seq
	marker := rec != nil && rec.LastAction == ""
	if marker {
		if it.op == opDelete {
			w.counts[Markers]++
		}
		rec = nil
	}
	if rec != nil {
		c.transition(rec, by)
	}
	s.touched = w.tick
	live := rec != nil && !rec.Deleted()
	contested := false
	switch it.op {
	case opSave:
		contested = !live || !s.snap.same(it.snap)
	case opUpdate:
		switch {
		case !live:
			s.part = max(s.part, it.version)
		case it.what == changedA:
			contested = s.snap.version != it.version || s.snap.a != it.a
		default:
			contested = s.snap.version != it.version || s.snap.b != it.b
		}
	case opDelete:
		contested = live
		if !live && (s.seq == beforeSeq || marker) {
			s.unknown, s.unknownAt = max(s.unknown, it.version), w.tick // it was not there: nothing is noted
		}
		if !live && w.o.keepNewest() && !it.bare {
			s.floor.version = max(s.floor.version, it.version)
		}
	}
	if w.o.keepNewest() || !contested {
		return 0
	}
	switch {
	case it.op == opUpdate && it.what == changedA:
		s.refusedA = max(s.refusedA, it.a)
	case it.op == opUpdate:
		s.refusedB = max(s.refusedB, it.b)
	}
	s.refused, s.refusedAt = max(s.refused, it.version), w.tick
	switch {
	case by.lineage != 0 && before.lineage == by.lineage:
		w.fail("lineage", "%s gave way to its own write (run %d): %s stands, %s was refused", by.name, before.run, s, it)
	case by.lane != 0 && !by.replay && before.lane == by.lane && before.event <= by.event:
		w.fail("lineage", "%s gave way to an earlier event of its lane (%d): %s stands, %s was refused", by.name, before.event, s, it)
	case by.plain && beforeSeq <= by.mark:
		w.fail("watermark", "%s gave way to what had stood before it asked (position %d): %s stands, %s was refused", by.name, by.mark, s, it)
	}
	return 1
}

// wrote looks at what a poll's batch came to, and returns how many records were contested.
func (c *collection) wrote(ctx context.Context, p *poll, items []item) (contested int) {
	ids := make([]string, len(items))
	for i, it := range items {
		ids[i] = strconv.Itoa(it.id)
	}
	var found map[string]*syncline.Record
	c.w.view(ctx, func(r store.Reader) error {
		coll, err := r.Collection(c.env(), c.w.subj.Connection.ID, c.key)
		if err != nil {
			return err
		}
		found, err = r.RecordsByID(c.env(), coll.ID, ids)
		return err
	})
	by := writer{
		name: fmt.Sprintf("%s (run %d)", p.owner, p.row.ID), run: p.row.ID, lineage: p.row.Lineage,
		plain: p.style == plain && c.model == p.first, mark: p.marks[c.model],
	}
	for i, it := range items {
		contested += c.outcome(it, found[ids[i]], by)
	}
	return contested
}

// swept looks at what the end of a delete-tracking window came to: what nobody
// touched since it began is gone, and nothing else.
func (c *collection) swept(ctx context.Context, window int64) {
	w := c.w
	var d syncline.DeleteWindow
	w.view(ctx, func(r store.Reader) (err error) {
		d, err = r.DeleteWindow(c.env(), window)
		return err
	})
	// One that begins in the middle of a listing deletes nothing.
	partial := d.StartSeq == 0
	began, known := c.in.windows[window]
	if d.State == syncline.WindowHeld {
		w.counts[Held]++
		w.tell("  many deletes at once are held (%d)", window)
		return
	}
	if !known {
		w.fail("deletes", "a delete-tracking window of before a reset ended: %d", window)
		return
	}
	before := append([]seen(nil), c.seen...)
	c.observeBy(ctx, writer{name: "delete tracking"})
	for id := range c.seen {
		s, b := &c.seen[id], &before[id]
		object := &w.up.objects[c.model][id]
		switch {
		case !b.there || b.deleted || partial && !s.deleted:
		case partial:
			w.fail("deletes", "%s was deleted as missing by window %d, which began in the middle of a listing", b, window)
		case s.deleted && b.touched > began:
			w.fail("deletes", "%s was deleted as missing by window %d, although it was seen since that began", b, window)
		case s.deleted && !object.deleted && object.born < began:
			w.fail("deletes", "%s was deleted as missing by window %d, and it was upstream all the time", b, window)
		case s.deleted:
			w.counts[Tracked]++
			w.tell("  %s is missing: deleted", b)
		case b.touched < began:
			w.fail("deletes", "%s was not seen since window %d began, and stays", b, window)
		}
		if partial {
			continue
		}
		// Everything was fetched since the window began. Of a deletion that was not
		// noted this says nothing while older webhooks are still under way.
		if s.refusedAt < began {
			s.refused = 0
		}
		quiet := s.inFlight == 0 && s.handledAt < began
		if s.lostAt < began && quiet {
			s.lost = 0
		}
		if s.unknownAt < began && quiet {
			s.unknown = 0
		}
	}
}

// emptied forgets what was in the cache.
func (c *collection) emptied() {
	for i := range c.seen {
		s := &c.seen[i]
		s.there, s.deleted, s.seq, s.by, s.floor, s.touched = false, false, 0, writer{}, snap{}, 0
	}
}

// forgetPurged forgets tombstones that are gone.
func (c *collection) forgetPurged(ctx context.Context) {
	left := make([]bool, len(c.seen))
	c.scan(ctx, 0, func(rec *syncline.Record) {
		_, id := c.parse(rec)
		left[id] = true
	})
	for i := range c.seen {
		if s := &c.seen[i]; s.there && !left[i] {
			if !s.deleted {
				c.w.fail("deletes", "retention removed %s", s)
			}
			s.there, s.deleted, s.seq = false, false, 0
		}
	}
}

// differs reports whether the cache differs from the upstream in one record.
func (c *collection) differs(id int) bool {
	s, o := &c.seen[id], &c.w.up.objects[c.model][id]
	live := s.there && !s.deleted
	return live == o.deleted || live && !s.snap.same(o.snap)
}
