package feed

import (
	"context"
	"errors"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// The limits of one call of [Pruner.Prune].
const (
	DefaultPruneLimit = 1000
	MaxPruneLimit     = 10_000
	// pruneStep is how many records one transaction prunes, so that others do
	// not wait.
	pruneStep = 500
)

// PruneQuery names records whose payloads are not needed any more.
type PruneQuery struct {
	EnvironmentID int64
	IntegrationID int64
	ConnectionID  int64 // internal id
	Model         string
	Variant       string
	// Until is the cursor of the last change to prune. Of one that was persisted
	// from Nango its time counts: changes made before it are pruned.
	Until string
	Limit int // 0: [DefaultPruneLimit]; the most is [MaxPruneLimit]
}

// Pruned is what [Pruner.Prune] did.
type Pruned struct {
	Count int
	// More says that there may be more records to prune up to the cursor.
	More bool
}

// Pruner prunes. It is safe for concurrent use.
type Pruner struct {
	Store store.Store
	Clock clock.Clock // default: the system's

	mu sync.Mutex
	// upTo is, by collection, the position up to which no payloads are left: they
	// do not come back where they were, so it need not be looked there again.
	upTo map[int64]int64
}

// maxRemembered bounds [Pruner.upTo].
const maxRemembered = 10_000

// Prune removes the payloads of the oldest records up to a cursor, the record of
// the cursor included. Their positions and metadata stay, and what is written to
// them later is compared as if their payloads were there. Errors:
// invalid_request as those of [Source.Read]; a cursor may be older than what was
// removed for good.
func (p *Pruner) Prune(ctx context.Context, q PruneQuery) (Pruned, error) {
	switch {
	case q.Limit < 0 || q.Limit > MaxPruneLimit:
		return Pruned{}, syncline.Errorf(syncline.CodeInvalid, "limit is %d; it must be between 1 and %d", q.Limit, MaxPruneLimit).WithField("limit")
	case q.Limit == 0:
		q.Limit = DefaultPruneLimit
	case q.Until == "":
		return Pruned{}, syncline.Errorf(syncline.CodeInvalid, "until_cursor is missing").WithField("until_cursor")
	}
	c, err := parseCursor(q.Until)
	if err != nil {
		return Pruned{}, atUntil(err)
	}
	now := time.Now
	if p.Clock != nil {
		now = p.Clock.Now
	}
	var coll syncline.Collection
	var after int64
	err = p.Store.View(ctx, func(r store.Reader) error {
		if coll, err = q.find(r, c); err != nil || coll.ID == 0 {
			return err
		}
		after, err = p.first(r, &coll, c)
		return err
	})
	if err != nil || coll.ID == 0 {
		return Pruned{}, atUntil(err)
	}
	var done Pruned
	for {
		step := min(pruneStep, q.Limit-done.Count)
		var n int
		var last int64
		err := p.Store.Update(ctx, store.Durable, func(tx store.Tx) (err error) {
			done.More = false
			if _, err := tx.LockCollection(q.EnvironmentID, coll.ID); err != nil {
				return err
			}
			if n, last, err = tx.PruneRecords(q.EnvironmentID, coll.ID, after, c.seq, c.at, step, now()); err != nil || n < step {
				return err
			}
			rest := store.RecordQuery{After: last, Until: c.seq, Limit: 1}
			return tx.ScanRecords(q.EnvironmentID, coll.ID, rest, func(rec *syncline.Record) bool {
				done.More = c.at.IsZero() || rec.LastModifiedAt.Before(c.at)
				return false
			})
		})
		if err != nil {
			return done, err
		}
		if n > 0 {
			after = last
			p.remember(coll.ID, last)
		}
		if done.Count += n; !done.More || done.Count == q.Limit {
			return done, nil
		}
	}
}

// first is the position after which there is the first payload. What was pruned
// is passed over here and not in a write, which others would wait for.
func (p *Pruner) first(r store.Reader, coll *syncline.Collection, c cursor) (after int64, err error) {
	p.mu.Lock()
	after = p.upTo[coll.ID]
	p.mu.Unlock()
	pruned := after
	err = r.ScanRecords(coll.EnvironmentID, coll.ID, store.RecordQuery{After: after, Until: c.seq}, func(rec *syncline.Record) bool {
		if len(rec.Payload) == 0 {
			pruned = rec.Seq
		}
		return len(rec.Payload) == 0
	})
	if err == nil {
		p.remember(coll.ID, pruned)
	}
	return pruned, err
}

func (p *Pruner) remember(coll, upTo int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.upTo == nil || len(p.upTo) >= maxRemembered {
		p.upTo = map[int64]int64{}
	}
	p.upTo[coll] = max(p.upTo[coll], upTo)
}

// find finds the collection, and checks that the cursor is one of it. Its id is
// 0 when there is nothing to prune.
func (q *PruneQuery) find(r store.Reader, c cursor) (syncline.Collection, error) {
	read := Query{EnvironmentID: q.EnvironmentID, IntegrationID: q.IntegrationID, ConnectionID: q.ConnectionID, Model: q.Model, Variant: q.Variant}
	coll, err := r.Collection(q.EnvironmentID, q.ConnectionID, syncline.CollectionModel(q.Model, q.Variant))
	switch {
	case syncline.CodeOf(err) == syncline.CodeNotFound && c.collection != 0:
		return coll, errOtherCollection(read)
	case syncline.CodeOf(err) == syncline.CodeNotFound:
		return syncline.Collection{}, declared(r, read)
	case err != nil:
		return coll, err
	case c.collection != 0 && c.collection != coll.ID:
		return coll, errOtherCollection(read)
	case c.seq > coll.LastSeq:
		return coll, errBeyond(read)
	case c.collection != 0 && c.seq == 0:
		return syncline.Collection{}, nil // the beginning: nothing comes before it
	}
	return coll, nil
}

// atUntil names the input that an error about a cursor is about.
func atUntil(err error) error {
	var e *syncline.Error
	if syncline.CodeOf(err) == syncline.CodeInvalid && errors.As(err, &e) && e.Field == "cursor" {
		return e.WithField("until_cursor")
	}
	return err
}
