package dispatch

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// Deliveries reads raw deliveries from the inbox; those purged are absent.
type Deliveries interface {
	// Sizes are the sizes of their bodies in bytes.
	Sizes(ctx context.Context, env int64, positions []int64) (map[int64]int, error)
	Get(ctx context.Context, env int64, positions []int64) (map[int64]*syncline.Delivery, error)
}

// Payloads reads, by the catalogue, what an event hands to its handler.
type Payloads interface {
	Payload(i *syncline.Integration, d *syncline.Delivery, e *syncline.Event) (json.RawMessage, *syncline.WebhookInfo, error)
}

// Lanes dispatches the events of lanes. Lanes run in parallel; within a lane one event runs
// at a time, in order.
type Lanes struct {
	*Engine
	Deliveries Deliveries
	Payloads   Payloads
	Retry      RetryPolicy
	Wall       time.Duration // limit of one webhook run
	MostWall   time.Duration // what settings may raise it to; 0: any
	Owner      string        // names this process in leases
	Max        int           // lanes at a time

	once sync.Once
	wake chan struct{}

	left leftWork

	mu      sync.Mutex
	waiting bool // some lane could not be claimed for want of a slot
}

const (
	// microBatch is how many events commit together at most, and
	// microBatchTime how long the first of them waits for the others: a lane
	// under load shares commits, an idle one does not wait.
	microBatch     = 64
	microBatchTime = 20 * time.Millisecond
	// microBatchRecords and microBatchBytes bound what is held back.
	microBatchRecords = 2000
	microBatchBytes   = 8 << 20
	// quantum is how long a lane is served while others wait for a slot.
	quantum = 250 * time.Millisecond
	// idle is the longest that the dispatcher sleeps: other processes may have
	// filled lanes without waking this one.
	idle = 2 * time.Second
)

func (l *Lanes) init() { l.wake = make(chan struct{}, 1) }

// Wake makes the dispatcher look for work at once.
func (l *Lanes) Wake() {
	l.once.Do(l.init)
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// lease is how long a claim holds: longer than any single event may run.
func (l *Lanes) lease() time.Duration { return 2*l.Wall + time.Minute }

// Run claims and serves lanes until ctx ends; then it waits for those that are
// being served. work is the context that they run under: it may outlive ctx,
// so that events that have begun can finish.
func (l *Lanes) Run(ctx, work context.Context) error {
	l.once.Do(l.init)
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, l.Max)
	for {
		free := cap(slots) - len(slots)
		claimed, next, err := l.claim(ctx, free)
		if err != nil && ctx.Err() == nil {
			l.Log.Error("cannot claim lanes", "err", err)
		}
		for _, lane := range claimed {
			slots <- struct{}{}
			running.Go(func() {
				defer func() { <-slots; l.Wake() }()
				l.serve(ctx, work, lane)
			})
		}
		if len(claimed) > 0 && len(slots) < cap(slots) {
			continue // there may be more
		}
		wait := idle
		if err == nil && len(slots) < cap(slots) && !next.IsZero() {
			wait = min(idle, max(next.Sub(l.Clock.Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
		case <-l.Clock.After(wait):
		}
	}
}

func (l *Lanes) claim(ctx context.Context, max int) (claimed []syncline.Lane, next time.Time, err error) {
	l.setWaiting(max == 0)
	if max == 0 {
		return nil, time.Time{}, nil
	}
	now := l.Clock.Now()
	// Look before writing: most wake-ups find nothing that is not served already.
	err = l.Host.Store.View(ctx, func(r store.Reader) (err error) {
		next, err = r.NextLane(now)
		return err
	})
	if err != nil || next.IsZero() || next.After(now) {
		return nil, next, err
	}
	err = l.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		claimed, err = tx.ClaimLanes(l.Owner, now, now.Add(l.lease()), max)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	l.setWaiting(len(claimed) == max)
	return claimed, next, nil
}

func (l *Lanes) setWaiting(w bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = w
}

func (l *Lanes) othersWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// serve drains a lane that was claimed until it is empty, has to wait, or
// others wait for its slot.
func (l *Lanes) serve(ctx, work context.Context, lane syncline.Lane) {
	began := l.Clock.Now()
	limit := microBatch
	for {
		released, err := l.drain(work, &lane, limit)
		switch {
		case released:
			return
		case err == nil:
			limit = microBatch
		case fenced(err) || syncline.CodeOf(err) == syncline.CodeNotFound:
			// The instance was reset or deleted while its events ran. What they
			// did is forgotten; the events that remain run again.
			l.Log.Debug("lane moved on", "lane", lane.ID, "err", err)
			if l.lost(work, &lane) {
				return
			}
		case limit > 1 && syncline.CodeOf(err) != syncline.CodeUnavailable:
			limit = 1 // find the event whose effects cannot be committed
		default:
			l.Log.Error("cannot commit the events of a lane", "lane", lane.ID, "err", err)
			lane.Backoff++
			lane.NotBefore = l.Clock.Now().Add(worldDelay(lane.Backoff))
			lane.Reason = err.Error()
			l.release(work, &lane)
			return
		}
		now := l.Clock.Now()
		if ctx.Err() != nil || work.Err() != nil || l.othersWait() && now.Sub(began) > quantum {
			l.release(work, &lane)
			return
		}
		if lane.Lease.Until.Sub(now) < l.Wall+time.Minute && !l.extend(work, &lane, now) {
			return
		}
	}
}

// lost reports whether the lane's lease is gone, and gives it back if the lane
// has nothing more to do.
func (l *Lanes) lost(ctx context.Context, lane *syncline.Lane) bool {
	var fresh syncline.Lane
	err := l.Host.Store.View(ctx, func(r store.Reader) (err error) {
		fresh, err = r.Lane(lane.EnvironmentID, lane.ID)
		return err
	})
	if err != nil || fresh.Lease.Epoch != lane.Lease.Epoch {
		return true
	}
	if fresh.Pending == 0 {
		l.release(ctx, lane)
		return true
	}
	return false
}

func (l *Lanes) extend(ctx context.Context, lane *syncline.Lane, now time.Time) bool {
	until := now.Add(l.lease())
	err := l.Host.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		return tx.ExtendLane(lane.EnvironmentID, lane.ID, lane.Lease.Epoch, until)
	})
	if err != nil {
		l.Log.Warn("cannot extend a lane's lease", "lane", lane.ID, "err", err)
		return false
	}
	lane.Lease.Until = until
	return true
}

func (l *Lanes) release(ctx context.Context, lane *syncline.Lane) {
	lane.ServedAt = l.Clock.Now()
	err := l.Host.Store.Update(context.WithoutCancel(ctx), store.Relaxed, func(tx store.Tx) error {
		return tx.ReleaseLane(lane)
	})
	if err != nil {
		l.Log.Error("cannot release a lane", "lane", lane.ID, "err", err)
	}
}

// load reads what a drain needs: the subject, and the events at the lane's head with
// their deliveries.
func (l *Lanes) load(ctx context.Context, lane *syncline.Lane, limit int) (s *host.Subject, events []syncline.Event, raw map[int64]*syncline.Delivery, err error) {
	err = l.Host.Store.View(ctx, func(r store.Reader) (err error) {
		if s, err = loadSubject(r, lane.EnvironmentID, lane.ID); err != nil {
			return err
		}
		events, err = r.PendingEvents(lane.EnvironmentID, lane.ID, limit)
		return err
	})
	if err != nil || len(events) == 0 {
		return s, nil, nil, err
	}
	positions := make([]int64, len(events))
	for i, e := range events {
		positions[i] = e.Position
	}
	if len(positions) > 1 {
		sizes, err := l.Deliveries.Sizes(ctx, lane.EnvironmentID, positions)
		if err != nil {
			return nil, nil, nil, err
		}
		events = within(events, sizes)
		positions = positions[:len(events)]
	}
	raw, err = l.Deliveries.Get(ctx, lane.EnvironmentID, positions)
	return s, events, raw, err
}

// loadBytes bounds the bodies that one lane holds at a time: there are many
// lanes, and a body may have 25 MB.
const loadBytes = 4 << 20

// within is as many events, at least one, as have bodies of loadBytes together.
func within(events []syncline.Event, sizes map[int64]int) []syncline.Event {
	sum := 0
	for i, e := range events {
		if sum += sizes[e.Position]; sum > loadBytes && i > 0 {
			return events[:i]
		}
	}
	return events
}
