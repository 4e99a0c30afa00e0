package records

import (
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// The limits of one webhook run: what it may write.
const (
	MaxOverlayRecords = 10_000
	MaxOverlayBytes   = 32 << 20
)

// Overlay holds writes back until they commit together. Reads through it see
// them. It is used by one goroutine at a time.
type Overlay struct {
	env, connection int64
	writes          []write
	records, bytes  int
}

type write struct {
	model string
	batch *Batch
	guard Guard
}

// NewOverlay makes an empty overlay for writes to collections of a connection.
func NewOverlay(env, connection int64) *Overlay {
	return &Overlay{env: env, connection: connection}
}

// Mark is a place in an overlay to come back to.
type Mark struct{ writes, records, bytes int }

// Mark returns the current place.
func (o *Overlay) Mark() Mark { return Mark{len(o.writes), o.records, o.bytes} }

// Rollback forgets what was staged after m.
func (o *Overlay) Rollback(m Mark) {
	clear(o.writes[m.writes:])
	o.writes, o.records, o.bytes = o.writes[:m.writes], m.records, m.bytes
}

// Size is how many records and bytes are staged.
func (o *Overlay) Size() (records, bytes int) { return o.records, o.bytes }

// Stage adds a batch of the run that began at the mark since. The error names
// the limit when one is hit; nothing is staged then.
func (o *Overlay) Stage(since Mark, model string, b *Batch, g Guard) error {
	const hint = "save less in one webhook run, or trigger the sync and let a poll fetch the rest"
	if n := o.records - since.records + len(b.Items); n > MaxOverlayRecords {
		return syncline.Errorf(syncline.CodeLimit, "a webhook run may write %d records; this one wrote %d", MaxOverlayRecords, n).WithHint(hint)
	}
	if n := o.bytes - since.bytes + b.Bytes; n > MaxOverlayBytes {
		return syncline.Errorf(syncline.CodeLimit, "a webhook run may write %d bytes (32 MiB); this one wrote %d", MaxOverlayBytes, n).WithHint(hint)
	}
	if len(b.Items) == 0 {
		return nil
	}
	o.writes = append(o.writes, write{model, b, g})
	o.records += len(b.Items)
	o.bytes += b.Bytes
	return nil
}

// Read returns the records of a collection by id as they will be after the
// commit, were it made now. Ids that will not be there are absent.
func (o *Overlay) Read(r store.Reader, model string, ids []string) (map[string]*syncline.Record, error) {
	records, err := readCommitted(r, o.env, o.connection, model, ids)
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	for _, w := range o.writes {
		if w.model != model {
			continue
		}
		for _, item := range w.batch.Items {
			if !wanted[item.ID] {
				continue
			}
			before := records[item.ID]
			d, err := Decide(before, w.batch.Op, item, w.guard)
			if err != nil {
				return nil, err
			}
			switch {
			case d.Changes() || d.Outcome == Marked:
				r := next(before, item.ID, d, w.guard.Writer, time.Time{})
				if d.Outcome == Deleted || d.Outcome == Marked {
					r.DeletedAt = time.Unix(0, 1) // when is known at the commit
				}
				records[item.ID] = r
			case d.Restate:
				r := *before
				r.Payload, r.Version, r.FieldVersions = d.Payload, d.Version, d.FieldVersions
				records[item.ID] = &r
			}
		}
	}
	return records, nil
}

func readCommitted(r store.Reader, env, connection int64, model string, ids []string) (map[string]*syncline.Record, error) {
	coll, err := r.Collection(env, connection, model)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return map[string]*syncline.Record{}, nil
	}
	if err != nil {
		return nil, err
	}
	return r.RecordsByID(env, coll.ID, ids)
}

// Commit applies what an event staged between two marks, merging it again with
// what the store holds now. runID is the run's id, known only in the commit.
// The results are by model, with the variant.
func (o *Overlay) Commit(tx store.Tx, from, to Mark, runID int64, now time.Time) (map[string]syncline.ModelResult, error) {
	results := map[string]syncline.ModelResult{}
	for _, w := range o.writes[from.writes:to.writes] {
		w.guard.Writer.RunID = runID
		result, err := Apply(tx, Target{o.env, o.connection, w.model}, w.batch, w.guard, now)
		if err != nil {
			return nil, err
		}
		results[w.model] = results[w.model].Add(result)
	}
	return results, nil
}

// Writes reports whether writes to a collection are staged.
func (o *Overlay) Writes(model string) bool {
	return slices.ContainsFunc(o.writes, func(w write) bool { return w.model == model })
}

// IDs lists the records of a collection that staged writes are about.
func (o *Overlay) IDs(model string) []string {
	var ids []string
	seen := map[string]bool{}
	for _, w := range o.writes {
		if w.model != model {
			continue
		}
		for _, item := range w.batch.Items {
			if !seen[item.ID] {
				seen[item.ID] = true
				ids = append(ids, item.ID)
			}
		}
	}
	return ids
}

// Models lists the collections that have staged writes.
func (o *Overlay) Models() []string {
	var models []string
	seen := map[string]bool{}
	for _, w := range o.writes {
		if !seen[w.model] {
			seen[w.model] = true
			models = append(models, w.model)
		}
	}
	return models
}

// LockAll makes the overlay's collections and locks them in ascending id, so that
// commits that touch several cannot wait for each other in a circle.
func (o *Overlay) LockAll(tx store.Tx, now time.Time) error {
	return LockAll(tx, o.env, o.connection, o.Models(), now)
}

// LockAll makes and locks a connection's collections in ascending id.
func LockAll(tx store.Tx, env, connection int64, models []string, now time.Time) error {
	ids := make([]int64, 0, len(models))
	for _, m := range models {
		id, err := tx.EnsureCollection(env, connection, m, now)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if _, err := tx.LockCollection(env, id); err != nil {
			return err
		}
	}
	return nil
}
