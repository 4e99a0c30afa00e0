package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// crash reports whether the process crashes here.
func (w *world) crash(where string) error {
	if !w.o.Crashes || w.random.IntN(25) != 0 {
		return nil
	}
	w.counts.Crashes++
	w.tell("the process crashes %s", where)
	return errCrash
}

func (w *world) subject(ctx context.Context) (*host.Subject, error) {
	s := w.subj
	err := w.store.View(ctx, func(r store.Reader) (err error) {
		s.Instance, err = r.Instance(s.Environment.ID, s.Instance.ID)
		return err
	})
	return &s, err
}

// poll is one poll: it pages through the upstream and saves each page.
func (w *world) poll(ctx context.Context) error {
	w.polling = true
	defer func() { w.polling = false }()
	s, err := w.subject(ctx)
	if err != nil {
		return err
	}
	now := w.clock.Now()
	run := &syncline.Run{
		UUID: syncline.NewUUID(), EnvironmentID: s.Environment.ID, ConnectionID: s.Connection.ID, InstanceID: s.Instance.ID,
		Kind: syncline.RunPoll, Status: syncline.RunRunning, StartedAt: now,
	}
	var lease syncline.Lease
	err = w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		if err := tx.ReleasePoll(s.Environment.ID, s.Instance.ID, s.Instance.PollLease.Epoch); err != nil {
			return err
		}
		var ok bool
		if lease, ok, err = tx.ClaimPoll(s.Environment.ID, s.Instance.ID, "sim", now, now.Add(time.Hour)); err != nil || !ok {
			return fmt.Errorf("claim: %t, %w", ok, err)
		}
		return tx.CreateRun(run)
	})
	if err != nil {
		return err
	}
	position, err := w.store.Position(ctx)
	if err != nil {
		return err
	}
	w.counts.Polls++
	w.lastPoll = run.ID
	h := host.NewPoll(w.deps, s, lease, run, position)
	w.tell("a poll begins")
	err = w.pages(ctx, h)
	for _, r := range run.Models {
		w.counts.Skipped += r.Skipped
		w.counts.Contested += r.Contested
	}
	run.Status, run.FinishedAt = syncline.RunSuccess, w.clock.Now()
	if errors.Is(err, errCrash) || syncline.CodeOf(err) == syncline.CodeFenced {
		run.Status, err = syncline.RunReaped, nil
	}
	if err != nil {
		return err
	}
	w.tell("the poll ends: %s", run.Status)
	return w.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.UpdateRun(run) })
}

func (w *world) pages(ctx context.Context, h *host.Poll) error {
	if _, err := h.Call(ctx, fn.MethodSetMergingStrategy, args(map[string]any{"model": w.model, "strategy": "ignore_if_modified_after"})); err != nil {
		return err
	}
	after := ""
	var held []object // fetched and not yet saved
	for {
		out, err := h.Call(ctx, fn.MethodHTTP, args(map[string]any{"method": "GET", "endpoint": "/things", "query": after}))
		if err != nil {
			return err
		}
		w.counts.Pages++
		var r fn.HTTPResult
		var page []object
		if err := errors.Join(json.Unmarshal(out, &r), json.Unmarshal([]byte(r.Body), &page)); err != nil {
			return err
		}
		if w.o.Prefetch && len(page) > 0 && w.random.IntN(2) == 0 {
			held = append(held, page...)
			after = page[len(page)-1].ID
			continue
		}
		if err := w.save(ctx, h, append(held, page...)); err != nil {
			return err
		}
		held = nil
		if len(page) == 0 {
			return nil
		}
		after = page[len(page)-1].ID
	}
}

func (w *world) save(ctx context.Context, h *host.Poll, objects []object) error {
	if err := w.others(ctx); err != nil {
		return err
	}
	if err := w.crash("before a poll saves"); err != nil {
		return err
	}
	if len(objects) == 0 {
		return nil
	}
	w.tell("the poll saves %+v", objects)
	if _, err := h.Call(ctx, fn.MethodBatchSave, w.batch(objects)); err != nil {
		return err
	}
	return w.checkVisible(ctx)
}

func (w *world) batch(objects []object) json.RawMessage {
	records := make([]json.RawMessage, len(objects))
	for i, o := range objects {
		records[i] = o.payload()
	}
	return args(fn.BatchArgs{Model: w.model, Records: records})
}

func args(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the simulation's own values
	}
	return b
}

// drain runs some events of the lane over one overlay and commits them, as the
// dispatcher does.
func (w *world) drain(ctx context.Context) error {
	s, err := w.subject(ctx)
	if err != nil {
		return err
	}
	d := host.NewDrain(w.deps, s)
	var done []*host.Event
	n := 1 + w.random.IntN(min(3, len(w.lane)))
	for i := range n {
		e := w.lane[i]
		h := d.Begin(&e)
		o := w.hooks[e.ID].object
		if _, err := h.Call(ctx, fn.MethodSetMergingStrategy, args(map[string]any{"model": w.model, "strategy": "ignore_if_modified_after"})); err != nil {
			return err
		}
		method := fn.MethodBatchSave
		if o.deleted {
			method = fn.MethodBatchDelete
		}
		if _, err := h.Call(ctx, method, w.batch([]object{o})); err != nil {
			return err
		}
		h.Keep()
		done = append(done, h)
		// Others go on between two events of a lane, but not with the lane itself.
	}
	if errors.Is(w.crash("before a lane commits"), errCrash) {
		return nil
	}
	now := w.clock.Now()
	err = w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		if err := d.Lock(tx, now); err != nil {
			return err
		}
		for i, h := range done {
			e := w.lane[i]
			run := &syncline.Run{
				UUID: syncline.NewUUID(), EnvironmentID: s.Environment.ID, InstanceID: s.Instance.ID, Kind: syncline.RunWebhook,
				Status: syncline.RunSuccess, EventID: e.ID, StartedAt: now, FinishedAt: now,
			}
			if err := tx.CreateRun(run); err != nil {
				return err
			}
			if err := h.Commit(tx, run, now); err != nil {
				return err
			}
			for _, r := range run.Models {
				w.counts.Skipped += r.Skipped
				w.counts.Contested += r.Contested
				if o := w.hooks[e.ID].object; o.deleted && r.Contested > 0 {
					w.contested[o.ID] = true
				}
			}
			e.Status = syncline.EventDone
			if err := tx.UpdateEvent(&e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range n {
		w.tell("a lane commits %+v", w.hooks[w.lane[i].ID].object)
		delete(w.hooks, w.lane[i].ID)
	}
	w.lane = w.lane[n:]
	w.counts.Events += n
	w.counts.Commits++
	return w.checkVisible(ctx)
}

// reset empties the cache, as a trigger with reset and emptyCache does.
func (w *world) reset(ctx context.Context) error {
	w.counts.Resets++
	w.tell("the cache is emptied")
	w.emptied = w.lastPoll
	clear(w.visible)
	return w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		i, err := tx.Instance(w.subj.Environment.ID, w.subj.Instance.ID)
		if err != nil {
			return err
		}
		i.Epoch++
		if err := tx.UpdateInstance(&i); err != nil {
			return err
		}
		c, err := tx.Collection(i.EnvironmentID, i.ConnectionID, w.model)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.EmptyCollection(i.EnvironmentID, c.ID)
	})
}
