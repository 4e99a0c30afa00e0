package dispatch

import (
	"context"
	"time"

	"syncline"
	"syncline/internal/crash"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// handled is one event that ran, with what it came to.
type handled struct {
	event *syncline.Event
	run   *syncline.Run
	host  *host.Event
	lines []syncline.LogLine
	err   error
}

// drain runs events from a lane's head back to back over one overlay and
// commits them together. It stops at the first that fails: its effects are
// discarded, those before it are kept. released tells that the lane was given
// back.
func (l *Lanes) drain(ctx context.Context, lane *syncline.Lane, limit int) (released bool, err error) {
	s, events, raw, err := l.load(ctx, lane, limit)
	if err != nil {
		return false, err
	}
	if len(events) == 0 {
		l.release(ctx, lane)
		return true, nil
	}
	if !l.runsHere(&s.Function.Active) && l.leave(ctx, lane, s) {
		return true, nil
	}
	d := host.NewDrain(l.Host, s, lane.Lease)
	began := l.Clock.Now()
	var done []*handled
	for i := range events {
		h := l.handle(ctx, s, d, &events[i], raw[events[i].Position])
		if h.err != nil && (ctx.Err() != nil || fenced(h.err)) {
			l.unlock(ctx, h.host)
			break // stopped from outside: as if it had not begun
		}
		done = append(done, h)
		if h.err != nil {
			break
		}
		if h.host.Locked() {
			break // its locks are held until what it did is there for all
		}
		records, bytes := d.Size()
		if records > microBatchRecords || bytes > microBatchBytes || l.Clock.Now().Sub(began) > microBatchTime {
			break
		}
	}
	if len(done) == 0 {
		select {
		case <-ctx.Done():
			l.release(ctx, lane)
			return true, nil
		default:
			return false, errMoved
		}
	}
	crash.Point(crash.AfterRun)
	defer func() {
		if err != nil {
			l.unlock(ctx, done[len(done)-1].host)
		}
	}()
	released, err = l.commit(ctx, lane, s, d, done)
	if len(done) == 1 && done[0].err == nil && uncommittable(err) {
		// What this event wants cannot be written, now or later: that is a
		// failure of the event, not of the lane.
		h := done[0]
		h.host.Discard()
		h.err = err
		now := l.Clock.Now()
		fail(h.run, syncline.RunFailed, err, now)
		h.lines = append(h.lines, errorLine(err, now))
		return l.commit(ctx, lane, s, d, done)
	}
	return released, err
}

// unlock frees the locks of a run whose end is not committed.
func (l *Lanes) unlock(ctx context.Context, h *host.Event) {
	if !h.Locked() {
		return
	}
	if err := l.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, h.ReleaseLocks); err != nil {
		l.Log.Error("free the locks of a run", "err", err) // they end by themselves
	}
}

// uncommittable reports whether a commit failed for what it held.
func uncommittable(err error) bool {
	switch syncline.CodeOf(err) {
	case "", syncline.CodeFenced, syncline.CodeNotFound, syncline.CodeUnavailable:
		return false
	}
	return true
}

// handle runs one event.
func (l *Lanes) handle(ctx context.Context, s *host.Subject, d *host.Drain, e *syncline.Event, raw *syncline.Delivery) *handled {
	run := newRun(s, syncline.RunWebhook, l.Clock.Now())
	h := &handled{event: e, run: run, host: d.Begin(e, run)}
	h.run.SyncType = syncline.SyncWebhook
	h.run.EventID = e.ID
	h.run.Attempt = e.Attempts + 1
	if h.err = l.call(ctx, s, h, raw); h.err != nil {
		h.host.Discard()
	} else {
		h.host.Keep()
	}
	h.lines = h.host.TakeLogs()
	now := l.Clock.Now()
	if h.err != nil {
		fail(h.run, syncline.RunFailed, h.err, now)
		h.lines = append(h.lines, errorLine(h.err, now))
	} else {
		h.run.Status, h.run.FinishedAt = syncline.RunSuccess, now
	}
	return h
}

func (l *Lanes) call(ctx context.Context, s *host.Subject, h *handled, raw *syncline.Delivery) error {
	if raw == nil {
		return syncline.Errorf(syncline.CodeNotFound, "the raw delivery %d is no longer in the inbox", h.event.Position).
			WithHint("raise the inbox's retention if deliveries wait longer than they are kept")
	}
	payload, info, err := l.Payloads.Payload(&s.Integration, raw, h.event)
	if err != nil {
		return err
	}
	call := l.newCall(s, h.run, fn.EntryOnWebhook)
	call.Input = payload
	call.Context.Webhook = info
	call.WarmKey = warmKey(s)
	call.Limits = l.limits(s, l.Wall, l.MostWall)
	_, err = l.Runner.Run(ctx, call, h.host)
	return err
}

// commit writes everything that the events did, in one transaction: records,
// metadata, checkpoint, runs, logs, notifications, and that they are done.
func (l *Lanes) commit(ctx context.Context, lane *syncline.Lane, s *host.Subject, d *host.Drain, done []*handled) (released bool, err error) {
	now := l.Clock.Now()
	after := *lane
	settle(&after)
	last := done[len(done)-1]
	if last.err != nil {
		if len(done) == 1 {
			after = *lane // it failed before too: the waiting goes on
		}
		l.Retry.next(last.event, &after, last.err, now)
		if last.event.Status == syncline.EventPending {
			last.run.Status = syncline.RunRetrying
		}
	}
	after.ServedAt = now
	// The commit is made also while shutting down: the events have run.
	err = l.Host.Store.Update(context.WithoutCancel(ctx), store.Durable, func(tx store.Tx) error {
		released = false
		if err := tx.FenceLane(lane.EnvironmentID, lane.ID, s.Instance.Epoch, lane.Lease.Epoch); err != nil {
			return err
		}
		if err := d.Lock(tx, now); err != nil {
			return err
		}
		for _, h := range done {
			if err := l.commitOne(tx, s, h, now); err != nil {
				return err
			}
			if h.host.Locked() {
				if err := h.host.ReleaseLocks(tx); err != nil {
					return err
				}
			}
		}
		fresh, err := tx.Lane(lane.EnvironmentID, lane.ID)
		if err != nil {
			return err
		}
		if fresh.Pending == 0 || after.NotBefore.After(now) {
			released = true
			if err := tx.ReleaseLane(&after); err != nil {
				return err
			}
		}
		crash.Point(crash.BeforeCommit)
		return nil
	})
	if err != nil {
		return false, err
	}
	crash.Point(crash.AfterCommit)
	*lane = after
	l.Announced()
	d.Committed()
	if d.ChangedMetadata() {
		l.Host.ConnectionsChanged(s.Environment.ID, s.Integration.ID)
	}
	return released, nil
}

func (l *Lanes) commitOne(tx store.Tx, s *host.Subject, h *handled, now time.Time) error {
	run := *h.run // the closure may run again
	if err := tx.CreateRun(&run); err != nil {
		return err
	}
	event := *h.event
	event.RunID, event.UpdatedAt = run.ID, now
	if h.err == nil {
		if err := h.host.Commit(tx, &run, now); err != nil {
			return err
		}
		if len(run.Models) > 0 || len(run.Warnings) > 0 {
			if err := tx.UpdateRun(&run); err != nil {
				return err
			}
		}
		for model := range s.Function.Active.Manifest.Models {
			if r := run.Models[model]; r.Changed() {
				if err := l.Announcer.Announce(tx, s, &run, model, &r, now); err != nil {
					return err
				}
			}
		}
		event.Status, event.LastError = syncline.EventDone, ""
	} else if event.Status == syncline.EventDead {
		if err := l.announceFailure(tx, s, &run, now); err != nil {
			return err
		}
	}
	if len(h.lines) > 0 {
		if err := tx.AppendLogs(s.Environment.ID, run.ID, h.lines); err != nil {
			return err
		}
	}
	return tx.UpdateEvent(&event)
}
