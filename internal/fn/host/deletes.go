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
// The records that it would delete now are returned; by then somebody may have
// touched some of them.
func (p *Poll) trackDeletesEnd(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	model, err := p.modelArgs(raw)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	window, deleted, err := p.missing(ctx, model)
	if err != nil {
		return nil, err
	}
	if window == 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "trackDeletesEnd(%s): deletes are not tracked: trackDeletesStart was not called, or its window was closed by a reset or by another sync of the same model", model).
			WithHint("call trackDeletesStart('%s') before the first request", model)
	}
	p.ends[model] = window
	return deletedKeys(deleted)
}

func deletedKeys(ids []string) (json.RawMessage, error) {
	if ids == nil {
		ids = []string{}
	}
	return json.Marshal(map[string][]string{"deletedKeys": ids})
}

// missing finds the run's window of a model (0: none) and what it would delete.
func (p *Poll) missing(ctx context.Context, model string) (window int64, ids []string, err error) {
	err = p.deps.Store.View(ctx, func(r store.Reader) (err error) {
		if window, err = records.OpenWindow(r, p.target(model), p.owner(false)); err != nil || window == 0 {
			return err
		}
		ids, err = records.Missing(r, p.subject.Environment.ID, window, p.deps.MassDelete)
		return err
	})
	return window, ids, err
}

// TrackPrevious begins a window of every model, for a function that may call
// deleteRecordsFromPreviousExecutions: what it deletes is what the run, from its
// beginning on, did not see.
func (p *Poll) TrackPrevious(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	models := slices.Sorted(maps.Keys(p.subject.Function.Active.Manifest.Models))
	return p.commit(ctx, func(tx store.Tx) error {
		i, err := tx.Instance(p.subject.Environment.ID, p.subject.Instance.ID)
		if err != nil {
			return err
		}
		owner := p.owner(i.PollCheckpoint != nil)
		owner.Partial = p.run.Mode == syncline.ModeRewind && owner.Midway
		collections := make([]string, len(models))
		for i, model := range models {
			collections[i] = p.collection(model)
		}
		now := p.deps.Clock.Now()
		if err := records.LockAll(tx, p.subject.Environment.ID, p.subject.Connection.ID, collections, now); err != nil {
			return err
		}
		for _, model := range models {
			if _, err := records.StartTracking(tx, p.target(model), owner, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// deletePrevious stages the end of the window that began with the run.
func (p *Poll) deletePrevious(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	model, err := p.modelArgs(raw)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	window, deleted, err := p.missing(ctx, model)
	if err != nil {
		return nil, err
	}
	if window == 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "deleteRecordsFromPreviousExecutions(%s): the run does not track deletes: its window was closed by a reset or by another sync of the same model", model).
			WithHint("use trackDeletesStart('%s') and trackDeletesEnd('%s')", model, model)
	}
	p.ends[model] = window
	return deletedKeys(deleted)
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
