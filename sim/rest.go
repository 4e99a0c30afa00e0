package sim

import (
	"context"

	"syncline"
	"syncline/internal/store"
)

// rest lets everything come to rest, and checks what must hold then.
func (w *world) rest(ctx context.Context) {
	w.resting, w.fault, w.choices = true, 0, 1
	w.tell("everything comes to rest")
	w.settle(ctx)
	if w.bad == nil {
		w.explain(ctx)
	}
	w.tell("a full poll reconciles")
	for _, in := range w.instances {
		w.lastPoll(ctx, in, true)
	}
	w.operate(ctx, true)
	if w.bad != nil {
		return
	}
	for _, c := range w.colls {
		for id := range c.seen {
			if c.differs(id) {
				w.fail("rest", "after a full poll that nothing disturbed %s; upstream: %s", &c.seen[id], w.up.objects[c.model][id].snap)
			}
		}
		for _, r := range c.readers {
			r.readAll(ctx)
		}
	}
	for _, in := range w.instances {
		in.counted(w.instanceNow(ctx, in.id).WebhookCheckpoint, w)
	}
	w.checkRuns(ctx)
}

// settle lets everyone finish: workers, what is on its way, lanes.
func (w *world) settle(ctx context.Context) {
	busy := true
	for range 100_000 {
		if w.bad != nil || !busy {
			return
		}
		busy = false
		w.each(func(k *worker) *worker { busy = true; return w.step(k) })
		if len(w.mail) > 0 {
			busy = true
			w.deliverMail(ctx)
		}
		busy = w.route(ctx) || busy
		if busy {
			continue
		}
		// Who hung has lost its lease by now.
		w.clock.Advance(leaseTime * 10)
		w.stepLane(ctx, 0)
		busy = w.lanes[0] != nil || w.backlog(ctx) > 0 || w.revive(ctx)
	}
	w.fail("error", "it does not come to rest")
}

func (w *world) backlog(ctx context.Context) (n int) {
	w.view(ctx, func(r store.Reader) (err error) {
		n, err = r.Backlog()
		return err
	})
	return n
}

// revive delivers once more what is dead.
func (w *world) revive(ctx context.Context) bool {
	if w.o.Fail == 0 {
		return false
	}
	var dead []syncline.DeliveryState
	w.view(ctx, func(r store.Reader) (err error) {
		dead, err = r.Deliveries(w.subj.Environment.ID, store.DeliveryFilter{Status: syncline.DeliveryDead, Page: store.Page{Limit: 10_000}})
		return err
	})
	for i := len(dead) - 1; i >= 0; i-- {
		w.receive(ctx, w.received[dead[i].Position])
	}
	return len(dead) > 0
}

// lastPoll runs a poll that nothing disturbs.
func (w *world) lastPoll(ctx context.Context, in *instance, full bool) {
	if w.bad != nil {
		return
	}
	polls := w.o.Polls
	if full {
		w.o.Polls = FullPolls
		// It begins at the beginning.
		err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
			i, err := tx.Instance(w.subj.Environment.ID, in.id)
			if err != nil {
				return err
			}
			i.PollCheckpoint, i.Reconcile.Rewind = nil, nil
			return tx.UpdateInstance(&i)
		})
		if err != nil {
			w.fail("error", "reconcile: %v", err)
		}
	}
	w.clock.Advance(leaseTime * 10)
	k := w.spawnPoll(ctx, in, 0, full)
	done := w.instanceNow(ctx, in.id).LastPollRunID
	for k != nil && w.bad == nil {
		k = w.step(k)
	}
	w.o.Polls = polls
	i := w.instanceNow(ctx, in.id)
	if i.LastPollRunID == done {
		w.fail("error", "the last poll of %s did not run", in.variant)
		return
	}
	w.view(ctx, func(r store.Reader) error {
		run, err := r.Run(w.subj.Environment.ID, i.LastPollRunID)
		if err == nil && run.Status != syncline.RunSuccess {
			w.fail("error", "the last poll of %s ended as %s: %s", in.variant, run.Status, run.Error)
		}
		return err
	})
}

// explain checks what must hold before everything is fetched once more.
func (w *world) explain(ctx context.Context) {
	if w.o.Polls == Incremental {
		for _, in := range w.instances {
			w.lastPoll(ctx, in, false) // it may go on in the middle
			w.lastPoll(ctx, in, false)
			for w.bad == nil && w.instanceNow(ctx, in.id).Reconcile.Rewind != nil {
				w.lastPoll(ctx, in, false)
			}
		}
	}
	if !w.promised() || w.bad != nil {
		return
	}
	for _, c := range w.colls {
		for id := range c.seen {
			if !c.differs(id) {
				continue
			}
			s, o := &c.seen[id], &w.up.objects[c.model][id]
			if why := w.excuse(s, o); why != "" {
				w.counts[Differences]++
				w.tell("%s differs from upstream: %s (%s)", s, o.snap, why)
				continue
			}
			w.fail("difference", "%s, and upstream has %s: nothing was counted that explains it (refused %d, lost %d, not there %d)", s, o.snap, s.refused, s.lost, s.unknown)
		}
	}
}

// promised reports whether the cache equals the upstream, but for what was
// counted, without a full poll at the end.
func (w *world) promised() bool {
	switch {
	case w.o.Gap == GapBareDeletes:
		return false // not even a full poll does
	case w.o.Polls == Incremental:
		return w.o.monotone()
	case w.o.Empties || w.o.Lose > 0:
		return false // nothing but a full poll brings it back
	case w.o.keepNewest():
		return true
	}
	return w.o.Polls == NoPolls && w.o.monotone()
}

// excuse is why a record may differ: the newest version did not get into the
// cache, and that was counted.
func (w *world) excuse(s *seen, o *object) string {
	switch {
	case s.refused == o.version && s.refused > 0:
		return "contested"
	case !o.deleted && w.o.Polls != Incremental && (s.refusedA == o.a && s.snap.a != o.a || s.refusedB == o.b && s.snap.b != o.b):
		return "a part was contested"
	case o.deleted && s.lost == o.version:
		return "the webhook of its deletion was lost"
	case o.deleted && s.unknown == o.version:
		return "it was not there when its deletion came"
	case !o.deleted && s.part > 0 && w.o.Polls != Incremental:
		return "a part came when it was not there"
	}
	return ""
}

// checkRuns checks that the results of runs are what they did.
func (w *world) checkRuns(ctx context.Context) {
	for before := int64(0); ; {
		var runs []syncline.Run
		w.view(ctx, func(r store.Reader) (err error) {
			runs, err = r.Runs(w.subj.Environment.ID, store.RunFilter{Before: before, Page: store.Page{Limit: 1000}})
			return err
		})
		for i := range runs {
			run := &runs[i]
			var told, did [3]int
			for _, r := range run.Models {
				told[0], told[1], told[2] = told[0]+r.Added, told[1]+r.Updated, told[2]+r.Deleted
			}
			if o := w.observed[run.ID]; o != nil {
				did = *o
			}
			if told != did && w.counts[Ambiguous] == 0 {
				w.fail("counts", "run %d (%s, %s) tells of %v records added, updated and deleted; it was %v", run.ID, run.Kind, run.Status, told, did)
			}
			before = run.ID
		}
		if len(runs) < 1000 {
			return
		}
	}
}
