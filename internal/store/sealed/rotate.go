package sealed

import (
	"context"
	"log/slog"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Rotator moves the payloads that are stored to the key that seals now, or to
// plain text when none does. Records stay where they are: no reader is told of
// anything. Superseded versions stay as they are until they are old enough to be
// removed; the key that they are sealed with is needed until then.
//
// One process of those that share a store should run it.
type Rotator struct {
	Store *Store
	Clock clock.Clock
	Log   *slog.Logger
	// Pause is how long it waits between two batches, so that others get to
	// write; default 50 ms. Every is how long it sleeps when there was nothing to
	// do; default one hour.
	Pause, Every time.Duration

	// done is, by collection, the position up to which nothing is left to do.
	done map[int64]int64
}

// Progress is what became of payloads.
type Progress struct {
	Moved int // to the key that seals now, or to plain text
	Left  int // could not be opened
}

const (
	// maxBatch is how many records one transaction takes, maxBytes about how many
	// bytes of payload: others wait for it.
	maxBatch = 200
	maxBytes = 4 << 20
	// collectionsPage is how many collections are listed at once.
	collectionsPage = 100
	// progressEvery is how often a long pass tells how far it is.
	progressEvery = time.Minute
)

// Run moves payloads until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	every := r.Every
	if every == 0 {
		every = time.Hour
	}
	told := !r.Store.vault.seal // where nothing is sealed, there is nothing to tell
	for {
		p, err := r.Pass(ctx)
		wait := every
		switch {
		case ctx.Err() != nil:
		case err != nil:
			wait = min(every, time.Minute)
			r.Log.Error("cannot move payloads of records to the current key", "err", err)
		case p.Moved > 0:
			// Others may have written with another key meanwhile.
			wait, told = r.pause(), false
			r.Log.Info("payloads of records were moved to the current key", r.progress(p)...)
		case p.Left > 0:
			r.Log.Warn("payloads of records cannot be moved to the current key, since they do not open", r.progress(p)...)
		case !told:
			told = true
			r.Log.Info("all payloads of records are under the current key; superseded versions may not be", r.progress(p)...)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.Clock.After(wait):
		}
	}
}

func (r *Rotator) pause() time.Duration {
	if r.Pause == 0 {
		return 50 * time.Millisecond
	}
	return r.Pause
}

func (r *Rotator) progress(p Progress) []any {
	key := r.Store.vault.keyID()
	if key == "" {
		key = "none: they are stored as they are"
	}
	return []any{"key", key, "moved", p.Moved, "left", p.Left}
}

// Pass goes once over all records of all environments. It is for one caller at
// a time.
func (r *Rotator) Pass(ctx context.Context) (Progress, error) {
	pass := &pass{Rotator: r, ctx: ctx, told: r.Clock.Now(), lost: map[string]bool{}}
	if r.done == nil {
		r.done = map[int64]int64{}
	}
	err := pass.run()
	return pass.Progress, err
}

// pass is one pass of a rotator.
type pass struct {
	*Rotator
	Progress
	ctx  context.Context
	told time.Time       // when the progress was last logged
	lost map[string]bool // keys whose payloads did not open, which were told of
}

func (p *pass) run() error {
	var environments []syncline.Environment
	err := p.Store.Store.View(p.ctx, func(r store.Reader) (err error) {
		environments, err = r.Environments()
		return err
	})
	if err != nil {
		return err
	}
	for i := range environments {
		for after := int64(0); ; {
			var page []syncline.Collection
			err := p.Store.Store.View(p.ctx, func(r store.Reader) (err error) {
				page, err = r.AllCollections(environments[i].ID, after, collectionsPage)
				return err
			})
			if err != nil {
				return err
			}
			for i := range page {
				if err := p.collection(&page[i]); err != nil {
					return err
				}
				after = page[i].ID
			}
			if len(page) < collectionsPage {
				break
			}
		}
	}
	return nil
}

// collection moves the payloads of one collection. What is written at positions
// beyond those that it has now is under the current key: writers see to that.
func (p *pass) collection(c *syncline.Collection) error {
	after, left := p.done[c.ID], p.Left
	if after >= c.LastSeq {
		return nil
	}
	for size := maxBatch / 10; ; {
		// As they are stored: the payloads are not opened here.
		var found []*syncline.Record
		err := p.Store.Store.View(p.ctx, func(r store.Reader) (err error) {
			found, err = r.ForeignPayloads(c.EnvironmentID, c.ID, p.Store.vault.keyID(), after, size)
			return err
		})
		if err != nil {
			return err
		}
		if len(found) > 0 {
			if err := p.batch(c, found); err != nil {
				return err
			}
			after = found[len(found)-1].Seq
		}
		if len(found) < size {
			break
		}
		bytes := 0
		for _, rec := range found {
			bytes += len(rec.Payload)
		}
		size = max(1, min(maxBatch, 4*size, maxBytes/(bytes/len(found)+1)))
	}
	if p.Left == left {
		p.done[c.ID] = c.LastSeq
	}
	return nil
}

// batch moves the payloads of records that were found, as they are by now.
func (p *pass) batch(c *syncline.Collection, found []*syncline.Record) error {
	ids := make([]string, len(found))
	for i, rec := range found {
		ids[i] = rec.ID
	}
	var done Progress
	var failed []failure
	err := p.Store.Store.Update(p.ctx, store.Relaxed, func(tx store.Tx) error {
		done, failed = Progress{}, nil
		if _, err := tx.LockCollection(c.EnvironmentID, c.ID); err != nil {
			return err
		}
		records, err := tx.RecordsByID(c.EnvironmentID, c.ID, ids)
		if err != nil {
			return err
		}
		var moved []*syncline.Record
		for _, id := range ids {
			rec := records[id]
			if rec == nil || len(rec.Payload) == 0 || rec.PayloadKeyID == p.Store.vault.keyID() {
				continue // it went, or was written since
			}
			if err := p.Store.vault.open(c.EnvironmentID, c.ID, rec); err != nil {
				failed = append(failed, failure{rec.PayloadKeyID, err})
				done.Left++
				continue
			}
			if err := p.Store.vault.close(c.EnvironmentID, c.ID, rec); err != nil {
				return err
			}
			moved = append(moved, rec)
		}
		done.Moved = len(moved)
		if len(moved) == 0 {
			return nil
		}
		return tx.RestateRecords(c.EnvironmentID, c.ID, moved)
	})
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil // the collection went
	}
	if err != nil {
		return err
	}
	p.Moved += done.Moved
	p.Left += done.Left
	p.tell(c, failed)
	select {
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-p.Clock.After(p.pause()):
		return nil
	}
}

// failure is a payload that does not open.
type failure struct {
	keyID string
	err   error
}

// tell logs what did not open, once for each key, and how far a long pass is.
func (p *pass) tell(c *syncline.Collection, failed []failure) {
	for _, f := range failed {
		if !p.lost[f.keyID] {
			p.lost[f.keyID] = true
			p.Log.Warn("a payload cannot be moved to the current key", "environment", c.EnvironmentID, "collection", c.ID, "err", f.err)
		}
	}
	if now := p.Clock.Now(); now.Sub(p.told) >= progressEvery {
		p.told = now
		p.Log.Info("payloads of records are being moved to the current key", p.progress(p.Progress)...)
	}
}
