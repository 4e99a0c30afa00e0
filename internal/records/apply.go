package records

import (
	"time"

	"syncline"
	"syncline/internal/store"
)

// Target is a collection to write to.
type Target struct {
	EnvironmentID int64
	ConnectionID  int64
	Model         string // with the variant, see syncline.CollectionModel
}

// Apply runs a batch through the merge kernel under the collection's lock and
// writes what changes, each change at a position of its own. now stamps the
// changes, never before the collection's newest stamp.
func Apply(tx store.Tx, t Target, b *Batch, g Guard, now time.Time) (syncline.ModelResult, error) {
	var result syncline.ModelResult
	if len(b.Items) == 0 {
		return result, nil
	}
	id, err := tx.EnsureCollection(t.EnvironmentID, t.ConnectionID, t.Model, now)
	if err != nil {
		return result, err
	}
	coll, err := tx.LockCollection(t.EnvironmentID, id)
	if err != nil {
		return result, err
	}
	ids := make([]string, 0, len(b.Items))
	last := make(map[string]int, len(b.Items))
	for i, item := range b.Items {
		if _, seen := last[item.ID]; !seen {
			ids = append(ids, item.ID)
		}
		last[item.ID] = i
	}
	existing, err := tx.RecordsByID(t.EnvironmentID, coll.ID, ids)
	if err != nil {
		return result, err
	}
	if now.Before(coll.LastModifiedAt) {
		now = coll.LastModifiedAt
	}
	changed := make([]*syncline.Record, 0, len(ids))
	for i, item := range b.Items {
		if b.Op != OpUpdate && last[item.ID] != i {
			continue // a later duplicate counts
		}
		before := existing[item.ID]
		d, err := Decide(before, b.Op, item, g)
		if err != nil {
			return result, err
		}
		count(&result, d.Outcome)
		if !d.Changes() {
			continue
		}
		r := next(before, item.ID, d, g.Writer, now)
		if before != nil && before.Seq == 0 {
			*before = *r // an update of a record that this batch updated already
			result.Updated--
			continue
		}
		r.CollectionID = coll.ID
		existing[item.ID] = r
		changed = append(changed, r)
	}
	if len(changed) == 0 {
		return result, nil
	}
	seq, err := tx.NextSeq(len(changed))
	if err != nil {
		return result, err
	}
	for i, r := range changed {
		r.Seq = seq + int64(i)
	}
	return result, tx.PutRecords(t.EnvironmentID, coll.ID, changed)
}

// next is the record that a decision makes of before. Its Seq is 0 until the
// change has a position.
func next(before *syncline.Record, id string, d Decision, w syncline.Writer, now time.Time) *syncline.Record {
	r := &syncline.Record{ID: id, FirstSeenAt: now}
	if before != nil {
		*r = *before
		r.Seq = 0
	}
	r.Payload, r.Hash = d.Payload, d.Hash
	r.LastModifiedAt = now
	r.Writer = w
	switch d.Outcome {
	case Added:
		r.LastAction, r.DeletedAt, r.PrunedAt = syncline.ActionAdded, time.Time{}, time.Time{}
	case Updated:
		r.LastAction, r.PrunedAt = syncline.ActionUpdated, time.Time{}
	case Deleted:
		r.LastAction, r.DeletedAt = syncline.ActionDeleted, now
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
	case Unknown:
		m.Unknown++
	}
}
