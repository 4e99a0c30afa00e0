package dispatch

import (
	"context"

	"syncline"
	"syncline/internal/fn/host"
	"syncline/internal/records"
	"syncline/internal/store"
)

// Deletes carries out what is decided about deletes that are held because they
// are too many at once.
type Deletes struct{ *Engine }

// Confirm deletes what the window did not see and nobody touched since, and
// tells the app. Errors: not_found, conflict when it is not held any more.
func (d *Deletes) Confirm(ctx context.Context, env, windowID int64) (result syncline.ModelResult, err error) {
	now := d.Clock.Now()
	err = d.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		w, err := tx.DeleteWindow(env, windowID)
		if err != nil {
			return err
		}
		s, err := loadSubject(tx, env, w.InstanceID)
		if err != nil {
			return err
		}
		run, err := tx.Run(env, w.RunID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			run = *newRun(s, syncline.RunPoll, now) // its run was purged: the notification speaks of a new one
			run.Status, run.FinishedAt, run.SyncType = syncline.RunSuccess, now, syncline.SyncIncremental
			err = tx.CreateRun(&run)
		}
		if err != nil {
			return err
		}
		coll, err := tx.CollectionByID(env, w.CollectionID)
		if err != nil {
			return err
		}
		model, _ := syncline.SplitModel(coll.Model)
		_, history := s.Function.Active.Manifest.History[model]
		g := records.Guard{
			Strategy: syncline.StrategyOverride, Writer: syncline.Writer{Lineage: run.Lineage, RunID: run.ID}, Rules: records.Rules{History: history},
		}
		if _, result, err = records.ConfirmWindow(tx, env, windowID, g, now); err != nil {
			return err
		}
		run.Models = host.WithResult(run.Models, model, result)
		if err := tx.UpdateRun(&run); err != nil {
			return err
		}
		if !result.Changed() {
			return nil
		}
		return d.Announcer.Announce(tx, s, &run, model, &result, now)
	})
	if err == nil {
		d.Announced()
	}
	return result, err
}

// Discard gives up deletes that are held: the records stay. Errors: as of Confirm.
func (d *Deletes) Discard(ctx context.Context, env, windowID int64) error {
	return d.Host.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		_, err := records.DiscardWindow(tx, env, windowID, d.Clock.Now())
		return err
	})
}
