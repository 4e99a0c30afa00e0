package notify

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"syncline"
	"syncline/internal/store"
)

// How many due notifications a pass looks at: more, when those of busy
// destinations fill the first page.
const (
	page    = 500
	maxPage = 10_000
	// maxBatch is how many of one lane are taken at once.
	maxBatch = 50
	// stepAside is for how long notifications of busy destinations make room
	// when they fill even the largest page.
	stepAside = 10 * time.Second
)

// batch is what one send goroutine takes: one lane's notifications, in order.
type batch struct {
	lane  lane
	items []syncline.Notification
}

// delayed is a notification that is put off without an attempt.
type delayed struct {
	n     syncline.Notification
	until time.Time
}

// pass looks at what is due at now once, and starts sends. progress says that
// another pass may find more to do at once. ctx is for the store; sending ends
// the sends that the pass starts.
func (s *Sender) pass(ctx, sending context.Context, sends *sync.WaitGroup, now time.Time) (progress bool, err error) {
	if err := s.noteAgain(ctx); err != nil {
		return false, err
	}
	for limit := page; ; limit = min(4*limit, maxPage) {
		var due []syncline.Notification
		if err := s.conf.Store.View(ctx, func(r store.Reader) (err error) {
			due, err = r.DueNotifications(now, limit)
			return err
		}); err != nil {
			return false, err
		}
		// Ids are in the order of the commits that the notifications speak of.
		slices.SortFunc(due, func(a, b syncline.Notification) int { return cmp.Compare(a.ID, b.ID) })

		batches, put, blocked := s.plan(due, now)
		for _, b := range batches {
			sends.Go(func() { s.send(sending, b) })
		}
		if len(batches) == 0 && len(put) == 0 && len(due) == maxPage {
			// Busy destinations fill the view; the newest of their
			// notifications step aside, so that others are seen.
			for _, n := range blocked[min(page, len(blocked)):] {
				put = append(put, delayed{n, now.Add(stepAside)})
			}
		}
		if err := s.putOff(ctx, put, now); err != nil {
			return false, err
		}
		if len(batches) > 0 || len(put) > 0 {
			return true, nil
		}
		if len(due) < limit || limit == maxPage || s.full() {
			return false, nil
		}
	}
}

func (s *Sender) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running >= s.conf.Concurrency
}

// plan divides due notifications into those to send now, which it counts as
// under way, those to put off because their destination is held, and those that
// wait for a place.
func (s *Sender) plan(due []syncline.Notification, now time.Time) (batches []batch, put []delayed, blocked []syncline.Notification) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make(map[lane]int) // lane → its batch in this pass
	for _, n := range due {
		l := laneOf(&n)
		if i, ok := fresh[l]; ok {
			if len(batches[i].items) < maxBatch {
				batches[i].items = append(batches[i].items, n)
			}
			continue
		}
		d := s.destinations[l.place]
		if d == nil {
			d = &destination{}
			s.destinations[l.place] = d
		}
		switch {
		case s.lanes[l]:
			blocked = append(blocked, n)
		case d.until.After(now):
			put = append(put, delayed{n, d.until})
		case d.running >= d.slots(s.conf.PerDestination) || s.running >= s.conf.Concurrency:
			blocked = append(blocked, n)
		default:
			s.lanes[l] = true
			d.running++
			s.running++
			fresh[l] = len(batches)
			batches = append(batches, batch{lane: l, items: []syncline.Notification{n}})
		}
	}
	return batches, put, blocked
}

// putOff moves the next attempt of notifications without counting one.
func (s *Sender) putOff(ctx context.Context, put []delayed, now time.Time) error {
	for chunk := range slices.Chunk(put, page) {
		err := s.conf.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
			for _, p := range chunk {
				n, err := tx.Notification(p.n.EnvironmentID, p.n.ID)
				if syncline.CodeOf(err) == syncline.CodeNotFound {
					continue
				}
				if err != nil {
					return err
				}
				if n.Status != syncline.NotificationPending || n.NextAttemptAt.After(now) {
					continue
				}
				n.NextAttemptAt = p.until
				if err := tx.UpdateNotification(&n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// send sends a batch, one after another, and gives its place back.
func (s *Sender) send(ctx context.Context, b batch) {
	defer func() {
		s.mu.Lock()
		delete(s.lanes, b.lane)
		s.destinations[b.lane.place].running--
		s.running--
		close(s.freed)
		s.freed = make(chan struct{})
		s.mu.Unlock()
	}()
	for _, n := range b.items {
		if ctx.Err() != nil || s.heldUp(b.lane.place) {
			return
		}
		o, sent := s.deliver(ctx, &n)
		if !sent {
			continue
		}
		o.at = s.conf.Clock.Now()
		s.judge(ctx, b.lane.place, o)
		// The app has been told, so this is noted also while shutting down.
		if err := s.note(context.WithoutCancel(ctx), o); err != nil {
			s.mu.Lock()
			s.unnoted = append(s.unnoted, o)
			s.mu.Unlock()
			return
		}
	}
}

// heldUp reports whether nothing more may be sent to p now: it is held, or the
// store takes no outcomes.
func (s *Sender) heldUp(p place) bool {
	now := s.conf.Clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unnoted) > 0 || s.destinations[p].until.After(now)
}

// judge learns from an outcome about its destination.
func (s *Sender) judge(ctx context.Context, p place, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.destinations[p]
	switch {
	case o.final: // says nothing of the destination
	case o.delivered || !o.down:
		if d.holds > 0 {
			s.conf.Logger.InfoContext(ctx, "notifications arrive again", "environment_id", p.env, "target", p.target)
		}
		d.succeeded()
	case d.failed(o.at, o.retryAfter) && d.holds == 1:
		s.conf.Logger.WarnContext(ctx, "notifications do not arrive; sending slows down until they do",
			"environment_id", p.env, "target", p.target, "error", o.reason)
	}
}
