package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// attempts is how often an event is tried before it is dead.
const attempts = 2

func (w *world) stepLane(ctx context.Context, n int) {
	k := w.lanes[n]
	if k == nil {
		l := &laneWorker{w: w, owner: fmt.Sprintf("lane worker %d", n)}
		k = w.spawn(ctx, l.owner, laneRequest, func(ctx context.Context, pass *pass) {
			l.pass = pass
			l.run(ctx)
		})
	}
	w.lanes[n] = w.step(k)
}

// laneWorker serves one lane, as dispatch.Lanes does.
type laneWorker struct {
	w     *world
	pass  *pass
	owner string
	lane  syncline.Lane
	in    *instance
	subj  host.Subject
}

// handled is one event that ran.
type handled struct {
	event  syncline.Event
	host   *host.Event
	items  []item
	failed bool
	// saw is what the handler read of a record after it had written, at the tick
	// sawAt.
	saw   json.RawMessage
	sawAt int
}

func (l *laneWorker) env() int64 { return l.w.subj.Environment.ID }

func (l *laneWorker) run(ctx context.Context) {
	w := l.w
	now := w.clock.Now()
	var next time.Time
	w.view(ctx, func(r store.Reader) (err error) {
		next, err = r.NextLane(now)
		return err
	})
	if next.IsZero() || next.After(now) {
		return
	}
	var claimed []syncline.Lane
	err := w.store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		claimed, err = tx.ClaimLanes(l.owner, now, now.Add(leaseTime), 1)
		return err
	})
	if err != nil || len(claimed) == 0 {
		l.unexpected("claim", err)
		return
	}
	l.lane = claimed[0]
	for _, in := range w.instances {
		if in.id == l.lane.ID {
			l.in = in
		}
	}
	for range 4 {
		if l.pass.at(laneClaimed) != nil {
			return
		}
		released, err := l.drain(ctx)
		switch {
		case errors.Is(err, errCrash):
			return
		case fenced(err):
			if l.lost(ctx) {
				return
			}
		case err != nil:
			l.unexpected("drain", err)
			l.release(ctx)
			return
		}
		if released {
			return
		}
	}
	if l.pass.at(laneRelease) == nil {
		l.release(ctx)
	}
}

func (l *laneWorker) unexpected(what string, err error) {
	if err != nil && !unavailable(err) {
		l.w.fail("error", "%s: %s: %v", l.owner, what, err)
	}
}

func (l *laneWorker) release(ctx context.Context) {
	l.lane.ServedAt = l.w.clock.Now()
	err := l.w.store.Update(ctx, store.Relaxed, func(tx store.Tx) error { return tx.ReleaseLane(&l.lane) })
	l.unexpected("release", err)
}

// lost reports whether the lease is gone: then another serves the lane.
func (l *laneWorker) lost(ctx context.Context) bool {
	w := l.w
	var fresh syncline.Lane
	w.view(ctx, func(r store.Reader) (err error) {
		fresh, err = r.Lane(l.env(), l.lane.ID)
		return err
	})
	if fresh.Lease.Epoch != l.lane.Lease.Epoch {
		w.counts[LeaseLosses]++
		w.tell("%s is refused: it lost its lease", l.owner)
		return true
	}
	w.counts[EpochLosses]++
	w.tell("%s is refused: the sync was reset", l.owner)
	return false
}

// drain runs events over one overlay and commits them.
func (l *laneWorker) drain(ctx context.Context) (released bool, err error) {
	w := l.w
	l.subj = w.subj
	var events []syncline.Event
	w.view(ctx, func(r store.Reader) (err error) {
		if l.subj.Instance, err = r.Instance(l.env(), l.lane.ID); err != nil {
			return err
		}
		events, err = r.PendingEvents(l.env(), l.lane.ID, 1+w.choices.pick(4))
		return err
	})
	if len(events) == 0 {
		l.release(ctx)
		return true, nil
	}
	d := host.NewDrain(w.deps, &l.subj, l.lane.Lease)
	var done []*handled
	for i := range events {
		if i > 0 {
			if err := l.pass.at(laneBetween); err != nil {
				return false, err
			}
		}
		h, err := l.handle(ctx, d, &events[i])
		if err != nil {
			return false, err
		}
		done = append(done, h)
		if h.failed {
			break
		}
	}
	if err := l.pass.at(laneCommit); err != nil {
		return false, err
	}
	return l.commit(ctx, d, done)
}

// handle runs the handler of one event.
func (l *laneWorker) handle(ctx context.Context, d *host.Drain, e *syncline.Event) (*handled, error) {
	w := l.w
	h := &handled{event: *e, host: d.Begin(e, &syncline.Run{UUID: syncline.NewUUID(), Kind: syncline.RunWebhook})}
	hook := w.received[e.Position]
	h.items = append(h.items, hook.items...)
	for m := range w.o.Models {
		if _, err := h.host.Call(ctx, fn.MethodSetMergingStrategy, strategyArgs(m, &w.o)); err != nil {
			return nil, err
		}
	}
	if err := l.count(ctx, h); err != nil {
		return nil, err
	}
	fetches := w.choices.chance(w.o.Fetch)
	for i := range h.items {
		it := &h.items[i]
		if fetches {
			page, err := w.fetch(ctx, h.host, it.model, fmt.Sprintf("id=%d", it.id))
			if err != nil {
				return nil, err
			}
			*it = item{snap: page[0]}
			if it.deleted {
				it.op = opDelete
			}
		}
		method := []string{opSave: fn.MethodBatchSave, opUpdate: fn.MethodBatchUpdate, opDelete: fn.MethodBatchDelete}[it.op]
		if _, err := h.host.Call(ctx, method, w.batch(it.model, h.items[i:i+1])); err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
	}
	last := h.items[len(h.items)-1]
	if w.choices.pick(4) == 0 {
		out, err := h.host.Call(ctx, fn.MethodGetRecordsByIDs, fmt.Appendf(nil, `{"model":%q,"ids":["%d"]}`, modelNames[last.model], last.id))
		if err != nil {
			return nil, err
		}
		var found map[string]json.RawMessage
		if err := json.Unmarshal(out, &found); err != nil {
			return nil, err
		}
		h.saw = found[fmt.Sprint(last.id)]
		h.sawAt = w.tick
	} else {
		h.sawAt = -1
	}
	if !w.resting && w.choices.chance(w.o.Fail) {
		h.failed = true
		h.host.Discard()
		return h, nil
	}
	h.host.Keep()
	return h, nil
}

// count counts the event in the handler's checkpoint.
func (l *laneWorker) count(ctx context.Context, h *handled) error {
	raw, err := h.host.Call(ctx, fn.MethodGetCheckpoint, nil)
	if err != nil {
		return err
	}
	var c struct {
		N int `json:"n"`
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &c); err != nil {
			return err
		}
	}
	_, err = h.host.Call(ctx, fn.MethodSaveCheckpoint, fmt.Appendf(nil, `{"checkpoint":{"n":%d}}`, c.N+1))
	return err
}

// commit writes what the events did and that they are done, in one transaction,
// as dispatch.Lanes.commit does.
func (l *laneWorker) commit(ctx context.Context, d *host.Drain, done []*handled) (released bool, err error) {
	w := l.w
	now := w.clock.Now()
	before := w.tick
	after := l.lane
	after.ServedAt = now
	err = w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		released = false
		if err := tx.FenceLane(l.env(), l.lane.ID, l.subj.Instance.Epoch, l.lane.Lease.Epoch); err != nil {
			return err
		}
		if err := d.Lock(tx, now); err != nil {
			return err
		}
		for i, h := range done {
			if err := l.commitOne(tx, h, now, i == 0 && h.sawAt == before); err != nil {
				return err
			}
		}
		fresh, err := tx.Lane(l.env(), l.lane.ID)
		if err != nil {
			return err
		}
		if fresh.Pending == 0 {
			released = true
			if err := tx.ReleaseLane(&after); err != nil {
				return err
			}
		}
		w.stage(func() { l.committed(ctx, done) })
		return nil
	})
	return released, err
}

func (l *laneWorker) commitOne(tx store.Tx, h *handled, now time.Time, alone bool) error {
	w := l.w
	run := syncline.Run{
		UUID: syncline.NewUUID(), EnvironmentID: l.env(), ConnectionID: l.subj.Connection.ID, InstanceID: l.in.id, FunctionID: l.subj.Function.ID,
		VersionID: l.subj.Function.Active.ID, Kind: syncline.RunWebhook, Status: syncline.RunSuccess, EventID: h.event.ID,
		Attempt: h.event.Attempts + 1, SyncType: syncline.SyncWebhook, StartedAt: now, FinishedAt: now,
	}
	e := h.event
	if h.failed {
		run.Status, run.Error = syncline.RunFailed, "the handler threw"
	}
	if err := tx.CreateRun(&run); err != nil {
		return err
	}
	e.RunID, e.UpdatedAt = run.ID, now
	if h.failed {
		if e.Attempts++; e.Attempts >= attempts {
			e.Status, e.LastError = syncline.EventDead, run.Error
		}
		w.stage(func() {
			w.counts[Failures]++
			w.tell("%s: the handler of %s fails", l.owner, w.received[e.Position])
			if e.Status == syncline.EventDead {
				w.counts[Dead]++
				w.tell("  it is dead")
			}
		})
		return tx.UpdateEvent(&e)
	}
	if err := h.host.Commit(tx, &run, now); err != nil {
		return err
	}
	if err := tx.UpdateRun(&run); err != nil {
		return err
	}
	e.Status, e.LastError = syncline.EventDone, ""
	rows, err := l.look(tx, h)
	if err != nil {
		return err
	}
	w.stage(func() { l.handledOne(h, &run, rows, alone) })
	return tx.UpdateEvent(&e)
}

// look reads what an event left of the records that it wrote; others of the
// same commit may change them again.
func (l *laneWorker) look(tx store.Tx, h *handled) ([]*syncline.Record, error) {
	rows := make([]*syncline.Record, len(h.items))
	for i, it := range h.items {
		coll, err := tx.Collection(l.env(), l.subj.Connection.ID, l.in.colls[it.model].key)
		if err != nil {
			return nil, err
		}
		id := fmt.Sprint(it.id)
		found, err := tx.RecordsByID(l.env(), coll.ID, []string{id})
		if err != nil {
			return nil, err
		}
		rows[i] = found[id]
	}
	return rows, nil
}

// handledOne looks at what an event came to, once that is committed.
func (l *laneWorker) handledOne(h *handled, run *syncline.Run, rows []*syncline.Record, alone bool) {
	w := l.w
	w.counts[Events]++
	if l.in.handled[h.event.ID] {
		w.fail("once", "event %d (%s) was handled twice", h.event.ID, w.received[h.event.Position])
	}
	l.in.handled[h.event.ID] = true
	l.in.done++
	replay := ""
	if h.event.Replay > 0 {
		replay = ", replayed"
	}
	if w.out != nil {
		list := make([]string, len(h.items))
		for i, it := range h.items {
			list[i] = it.String()
		}
		w.tell("%s commits event %d of %s (received at %d%s): %s", l.owner, h.event.ID, l.in.variant, h.event.Watermark, replay, strings.Join(list, "; "))
	}
	contested := [2]int{}
	by := writer{lane: l.in.id, event: h.event.ID, replay: h.event.Replay > 0, run: run.ID, name: l.owner}
	for i, it := range h.items {
		c := l.in.colls[it.model]
		contested[it.model] += c.outcome(it, rows[i], by)
	}
	for m := range w.o.Models {
		r := run.Models[modelNames[m]]
		w.counts[Skipped] += r.Skipped
		w.counts[Contested] += r.Contested
		w.counts[Older] += r.Older
		w.counts[Unknown] += r.Unknown
		if !w.o.keepNewest() && r.Contested != contested[m] {
			w.fail("counts", "run %d of a webhook says that %d records of %s were contested; it was %d", run.ID, r.Contested, modelNames[m], contested[m])
		}
	}
	if alone && len(rows) > 0 {
		last := rows[len(rows)-1]
		there := last != nil && !last.Deleted()
		var is, saw snap
		if there && h.saw != nil {
			m := h.items[len(h.items)-1].model
			is, _ = readSnap(m, last.Payload)
			saw, _ = readSnap(m, h.saw)
		}
		if there != (h.saw != nil) || !is.same(saw) {
			w.fail("own writes", "a handler read %s after its write; the commit left %s", orNone(h.saw), rowText(last))
		}
	}
	for _, it := range w.received[h.event.Position].items {
		s := &l.in.colls[it.model].seen[it.id]
		s.inFlight--
		s.handledAt = w.tick
	}
}

func rowText(r *syncline.Record) string {
	switch {
	case r == nil:
		return "nothing"
	case r.Deleted():
		return "a deleted record, " + string(r.Payload)
	}
	return string(r.Payload)
}

// committed looks at what a drain committed.
func (l *laneWorker) committed(ctx context.Context, done []*handled) {
	w := l.w
	w.counts[Drains]++
	n := 0
	for _, h := range done {
		if !h.failed {
			n++
		}
	}
	if n > 1 {
		w.counts[MultiDrains]++
	}
	i := w.instanceNow(ctx, l.in.id)
	var lane syncline.Lane
	w.view(ctx, func(r store.Reader) (err error) {
		lane, err = r.Lane(l.env(), l.lane.ID)
		return err
	})
	if i.Epoch != l.subj.Instance.Epoch {
		w.fail("fencing", "%s committed in epoch %d after a reset, in epoch %d", l.owner, l.subj.Instance.Epoch, i.Epoch)
	}
	if lane.Lease.Epoch != l.lane.Lease.Epoch {
		w.fail("fencing", "%s committed with lease %d after another worker had taken lease %d", l.owner, l.lane.Lease.Epoch, lane.Lease.Epoch)
	}
	l.in.counted(i.WebhookCheckpoint, w)
}

// counted checks that the handlers' checkpoint counts each event once.
func (in *instance) counted(checkpoint json.RawMessage, w *world) {
	want := fmt.Sprintf(`{"n":%d}`, in.done)
	if in.done == 0 {
		return
	}
	var c struct {
		N int `json:"n"`
	}
	if err := json.Unmarshal(checkpoint, &c); err != nil || c.N != in.done {
		w.fail("once", "the webhook checkpoint of %s is %s after %d events; it should be %s", in.variant, orNone(checkpoint), in.done, want)
	}
}
