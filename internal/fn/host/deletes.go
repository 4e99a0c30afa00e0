package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store"
)

// trackDeletesStart begins a window: records that stand now, and that nobody
// touches until it ends, are gone.
func (p *Poll) trackDeletesStart(ctx context.Context, raw json.RawMessage) error {
	model, err := p.modelArgs(raw)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commit(ctx, func(tx store.Tx) error {
		i, err := tx.Instance(p.subject.Environment.ID, p.subject.Instance.ID)
		if err != nil {
			return err
		}
		owner := p.owner(i.PollCheckpoint != nil)
		owner.Partial = p.run.Mode == syncline.ModeRewind && owner.Midway
		_, err = records.StartTracking(tx, p.target(model), owner, p.deps.Clock.Now())
		return err
	})
}

// trackDeletesEnd stages the window's end: it comes with the run's success.
func (p *Poll) trackDeletesEnd(ctx context.Context, raw json.RawMessage) error {
	model, err := p.modelArgs(raw)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var window int64
	err = p.deps.Store.View(ctx, func(r store.Reader) (err error) {
		window, err = records.OpenWindow(r, p.target(model), p.owner(false))
		return err
	})
	if err != nil {
		return err
	}
	if window == 0 {
		return syncline.Errorf(syncline.CodeInvalid, "trackDeletesEnd(%s): deletes are not tracked: trackDeletesStart was not called, or its window was closed by a reset or by another sync of the same model", model).
			WithHint("call trackDeletesStart('%s') before the first request", model)
	}
	p.ends[model] = window
	return nil
}

func (p *Poll) owner(midway bool) records.WindowOwner {
	return records.WindowOwner{
		InstanceID: p.subject.Instance.ID, InstanceEpoch: p.subject.Instance.Epoch, Lineage: p.run.Lineage, RunID: p.run.ID, Midway: midway,
	}
}

// CommitDeletes deletes what the run's windows did not see; too many at once are
// held to be confirmed. It belongs to the commit of the run's success. run is
// filled with what was done: it is the caller's copy, as the commit may run again.
func (p *Poll) CommitDeletes(tx store.Tx, run *syncline.Run, now time.Time) error {
	if len(p.ends) == 0 {
		return nil
	}
	models := slices.Sorted(maps.Keys(p.ends))
	env := p.subject.Environment.ID
	collections := make([]string, len(models))
	for i, model := range models {
		collections[i] = p.collection(model)
	}
	if err := records.LockAll(tx, env, p.subject.Connection.ID, collections, now); err != nil {
		return err
	}
	for _, model := range models {
		g := records.Guard{Strategy: syncline.StrategyOverride, Writer: p.writer(), Rules: p.rules(model)}
		result, held, err := records.EndTracking(tx, env, p.ends[model], g, p.deps.MassDelete, now)
		if err != nil {
			return err
		}
		run.Models = WithResult(run.Models, model, result)
		if held != nil {
			run.Warnings = append(run.Warnings[:len(run.Warnings):len(run.Warnings)], fmt.Sprintf(
				"%s: %d of %d records were not seen by this poll; so many deletes at once are held (id %d): look at them, then confirm or discard them (syncline deletes)",
				model, held.Deletes, held.Live, held.ID))
		}
	}
	return nil
}
