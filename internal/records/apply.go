package records

import (
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// Target is the collection that a write goes to.
type Target struct {
	EnvironmentID int64
	ConnectionID  int64
	Model         string // with the variant, see syncline.CollectionModel
}

// Apply merges one batch into a collection within tx: a locked read of the
// batch's rows, the kernel's decision on each, and one write of those that
// change. It does no I/O besides the store.
//
// Results are by record, not by item: of several items of one id, save and
// delete count the last; updates of one id are merged one after another.
func Apply(tx store.Tx, t Target, b *Batch, g Guard, now time.Time) (syncline.ModelResult, error) {
	if len(b.Items) == 0 {
		return syncline.ModelResult{}, nil
	}
	id, err := tx.EnsureCollection(t.EnvironmentID, t.ConnectionID, t.Model, now)
	if err != nil {
		return syncline.ModelResult{}, err
	}
	coll, err := tx.LockCollection(t.EnvironmentID, id)
	if err != nil {
		return syncline.ModelResult{}, err
	}
	w := newWriting(t, coll, g, now)
	ids, last := make([]string, 0, len(b.Items)), make(map[string]int, len(b.Items))
	for i, item := range b.Items {
		if _, seen := last[item.ID]; !seen {
			ids = append(ids, item.ID)
		}
		last[item.ID] = i
	}
	// A save needs no payload to compare with, nor to replace, but to keep it, or
	// fields of it.
	rows := tx.RecordsByID
	if b.Op == OpSave && !g.Rules.History && g.Strategy != syncline.StrategyKeepNewest {
		rows = tx.RecordHeads
	}
	if w.rows, err = rows(t.EnvironmentID, coll.ID, ids); err != nil {
		return syncline.ModelResult{}, err
	}
	for i, item := range b.Items {
		if b.Op != OpUpdate && last[item.ID] != i {
			continue // a later duplicate counts
		}
		d, err := Decide(w.rows[item.ID], b.Op, item, g)
		if err != nil {
			return syncline.ModelResult{}, err
		}
		w.take(item.ID, d)
	}
	return w.result, w.put(tx)
}

// writing gathers what a transaction does to the records of one collection.
type writing struct {
	target Target
	coll   syncline.Collection
	guard  Guard
	now    time.Time
	rows   map[string]*syncline.Record // as they are, or will be

	changed, restated []*syncline.Record
	superseded        []*syncline.Superseded
	touched           []string
	result            syncline.ModelResult
}

func newWriting(t Target, coll syncline.Collection, g Guard, now time.Time) *writing {
	if now.Before(coll.LastModifiedAt) {
		now = coll.LastModifiedAt // the clock went back; times must not
	}
	return &writing{target: t, coll: coll, guard: g, now: now}
}

// take notes what the kernel decided for a record.
func (w *writing) take(id string, d Decision) {
	before := w.rows[id]
	again := before != nil && before.Seq == 0 // this batch changed it already
	if !again || !d.Changes() {
		count(&w.result, d.Outcome)
	}
	switch {
	case d.Changes() || d.Outcome == Marked:
		r := next(before, id, d, w.guard.Writer, w.now)
		r.CollectionID, r.TouchedBy = w.coll.ID, max(r.TouchedBy, w.coll.WindowID)
		if again {
			r.LastAction = before.LastAction
			*before = *r
			return
		}
		if before != nil && before.LastAction != "" && w.guard.Rules.History {
			w.superseded = append(w.superseded, &syncline.Superseded{Record: *before, At: w.now})
		}
		w.rows[id] = r
		w.changed = append(w.changed, r)
	case d.Restate && again:
		before.Payload, before.Version, before.FieldVersions = d.Payload, d.Version, d.FieldVersions
	case d.Restate:
		r := *before
		r.Payload, r.Version, r.FieldVersions, r.TouchedBy = d.Payload, d.Version, d.FieldVersions, max(r.TouchedBy, w.coll.WindowID)
		w.rows[id] = &r
		w.restated = slices.DeleteFunc(w.restated, func(o *syncline.Record) bool { return o.ID == id })
		w.restated = append(w.restated, &r)
	case before != nil && !again && !before.Deleted() && before.Seq <= w.coll.WindowSeq && before.TouchedBy < w.coll.WindowID:
		w.touched = append(w.touched, id)
	}
}

// put writes what was taken.
func (w *writing) put(tx store.Tx) error {
	env := w.target.EnvironmentID
	if len(w.touched) > 0 {
		if err := tx.TouchRecords(env, w.coll.ID, w.coll.WindowID, w.touched); err != nil {
			return err
		}
	}
	if len(w.superseded) > 0 {
		if err := tx.PutHistory(env, w.coll.ID, w.superseded); err != nil {
			return err
		}
	}
	// A record that was restated first and changed then is among the changed.
	restated := slices.DeleteFunc(w.restated, func(r *syncline.Record) bool { return w.rows[r.ID] != r })
	if len(restated) > 0 {
		if err := tx.RestateRecords(env, w.coll.ID, restated); err != nil {
			return err
		}
	}
	if len(w.changed) == 0 {
		return nil
	}
	seq, err := tx.NextSeq(len(w.changed))
	if err != nil {
		return err
	}
	for i, r := range w.changed {
		r.Seq = seq + int64(i)
	}
	return tx.PutRecords(env, w.coll.ID, w.changed)
}

// next is the record after a decision that changes it; its position is not
// known yet.
func next(before *syncline.Record, id string, d Decision, w syncline.Writer, now time.Time) *syncline.Record {
	r := &syncline.Record{ID: id, FirstSeenAt: now}
	if before != nil {
		firstSeen := before.FirstSeenAt
		if before.LastAction == "" {
			firstSeen = now // a marker: it was never there
		}
		*r = *before
		r.Seq, r.FirstSeenAt = 0, firstSeen
	}
	r.Payload, r.Hash, r.Version, r.FieldVersions = d.Payload, d.Hash, d.Version, d.FieldVersions
	r.LastModifiedAt = now
	r.Writer = w
	switch d.Outcome {
	case Added:
		r.LastAction, r.DeletedAt, r.PrunedAt = syncline.ActionAdded, time.Time{}, time.Time{}
	case Updated:
		r.LastAction, r.PrunedAt = syncline.ActionUpdated, time.Time{}
	case Deleted:
		r.LastAction, r.DeletedAt = syncline.ActionDeleted, now
	case Marked:
		r.DeletedAt = now
	}
	return r
}

func count(m *syncline.ModelResult, o Outcome) {
	switch o {
	case Added:
		m.Added++
	case Updated:
		m.Updated++
	case Deleted:
		m.Deleted++
	case Unchanged:
		m.Unchanged++
	case Skipped:
		m.Skipped++
	case Contested:
		m.Skipped++
		m.Contested++
	case Older:
		m.Skipped++
		m.Older++
	case Unknown, Marked:
		m.Unknown++
	}
}
