package retention

import (
	"context"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

// collectionsStep is how many collections one transaction looks at.
const collectionsStep = 20

// sweepRecords applies what environments and deployed functions say of records:
// payloads that are pruned, deleted records that go for good, and history.
func (s *Sweeper) sweepRecords(ctx context.Context, now time.Time) error {
	var environments []syncline.Environment
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		environments, err = r.Environments()
		return err
	})
	if err != nil {
		return err
	}
	for i := range environments {
		if err := s.sweepEnvironment(ctx, &environments[i], now); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sweeper) sweepEnvironment(ctx context.Context, env *syncline.Environment, now time.Time) error {
	kept, err := s.history(ctx, env.ID)
	if err != nil {
		return err
	}
	for after := int64(0); ; {
		var page []syncline.Collection
		history := map[int64]time.Time{} // by collection: what was superseded before this goes
		err := s.Store.View(ctx, func(r store.Reader) (err error) {
			if page, err = r.AllCollections(env.ID, after, collectionsStep); err != nil {
				return err
			}
			for i := range page {
				if history[page[i].ID], err = kept.before(r, &page[i], now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		if keep := env.Retention.Payloads; keep > 0 {
			for i := range page {
				if err := s.prunePayloads(ctx, &page[i], now.Add(-keep), now); err != nil {
					return err
				}
			}
		}
		if keep := env.Retention.Deleted; keep > 0 {
			err := s.purge(ctx, page, func(tx store.Tx, c *syncline.Collection, limit int) (int, error) {
				return tx.PurgeDeleted(c.EnvironmentID, c.ID, now.Add(-keep), limit)
			})
			if err != nil {
				return err
			}
		}
		err = s.purge(ctx, page, func(tx store.Tx, c *syncline.Collection, limit int) (int, error) {
			return tx.PurgeHistory(c.EnvironmentID, c.ID, history[c.ID], limit)
		})
		if err != nil {
			return err
		}
	}
}

// prunePayloads prunes the records of a collection that did not change since before.
func (s *Sweeper) prunePayloads(ctx context.Context, c *syncline.Collection, before, now time.Time) error {
	after, until := s.pruned[c.ID], c.LastSeq
	if after >= until {
		return nil
	}
	// Times do not decrease with positions: what lies before the first record
	// that is young enough is old. Records that are pruned are passed over here
	// and not in a write, which others would wait for.
	err := s.Store.View(ctx, func(r store.Reader) error {
		young := store.RecordQuery{After: after, ModifiedAfter: before.Add(-time.Microsecond), Limit: 1}
		err := r.ScanRecords(c.EnvironmentID, c.ID, young, func(rec *syncline.Record) bool {
			until = min(until, rec.Seq-1)
			return false
		})
		if err != nil || until <= after {
			return err
		}
		start := until
		err = r.ScanRecords(c.EnvironmentID, c.ID, store.RecordQuery{After: after, Until: until}, func(rec *syncline.Record) bool {
			if len(rec.Payload) > 0 {
				start = rec.Seq - 1
			}
			return len(rec.Payload) == 0
		})
		after = start
		return err
	})
	for n := step; err == nil && n == step && after < until; {
		var last int64
		err = s.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
			if _, err := tx.LockCollection(c.EnvironmentID, c.ID); err != nil {
				return err
			}
			n, last, err = tx.PruneRecords(c.EnvironmentID, c.ID, after, until, time.Time{}, step, now)
			return err
		})
		if err == nil && n == step {
			after = last
		}
	}
	if err != nil {
		return err
	}
	// Payloads do not come back where they were: what was pruned need not be
	// looked at again.
	if s.pruned == nil {
		s.pruned = map[int64]int64{}
	}
	s.pruned[c.ID] = max(s.pruned[c.ID], until)
	return nil
}

// purge runs a purge of collections until there is nothing left: as many
// together as remove step rows.
func (s *Sweeper) purge(ctx context.Context, page []syncline.Collection, one func(tx store.Tx, c *syncline.Collection, limit int) (int, error)) error {
	for begin := 0; begin < len(page); {
		next := begin
		err := s.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			next = begin
			for left := step; next < len(page); next++ {
				n, err := one(tx, &page[next], left)
				if err != nil {
					return err
				}
				if left -= n; left <= 0 {
					return nil // this one may have more
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		begin = next
	}
	return nil
}

// historyKept is for how long the versions of models are kept, by integration.
type historyKept map[int64]map[string]time.Duration

// history reads what the deployed functions say. Of two that have the same
// model, the one that keeps it longer counts; what cannot be read counts as the
// longest there is, so that nothing is removed by mistake.
func (s *Sweeper) history(ctx context.Context, env int64) (historyKept, error) {
	var functions []syncline.Function
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		functions, err = r.Functions(env, 0)
		return err
	})
	kept := historyKept{}
	for i := range functions {
		f := &functions[i]
		for model, text := range f.Active.Manifest.History {
			keep, err := syncline.ParseRetention(text)
			if err != nil {
				s.Log.Warn("a function's history is kept, since its retention cannot be read", "function", f.Name, "model", model, "err", err)
				keep = syncline.MaxRetention
			}
			if kept[f.IntegrationID] == nil {
				kept[f.IntegrationID] = map[string]time.Duration{}
			}
			kept[f.IntegrationID][model] = max(kept[f.IntegrationID][model], keep)
		}
	}
	return kept, err
}

// before is until when the superseded versions of a collection go: all of them
// when no deployed function keeps its model's history, or the connection is gone.
func (h historyKept) before(r store.Reader, c *syncline.Collection, now time.Time) (time.Time, error) {
	all := now.Add(time.Hour) // clocks differ
	if len(h) == 0 {
		return all, nil
	}
	k, err := r.Connection(c.EnvironmentID, c.ConnectionID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return all, nil
	}
	model, _, _ := strings.Cut(c.Model, "::")
	if keep, found := h[k.IntegrationID][model]; found {
		return now.Add(-keep), err
	}
	return all, err
}
