package mem

import (
	"cmp"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (r *reader) Lane(env, id int64) (l syncline.Lane, err error) {
	if err := r.open(); err != nil {
		return l, err
	}
	found, ok := r.lanes.Get(id)
	if !ok || found.deleted || found.v.EnvironmentID != env {
		return l, notFound("lane", id)
	}
	return found.v, nil
}

func (r *reader) Event(env, id int64) (e syncline.Event, err error) {
	if err := r.open(); err != nil {
		return e, err
	}
	e, ok := r.events.Get(id)
	if !ok || e.EnvironmentID != env {
		return syncline.Event{}, notFound("event", id)
	}
	return e, nil
}

func (r *reader) PendingEvents(env, laneID int64, n int) ([]syncline.Event, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	var list []syncline.Event
	r.pending.Ascend(pair{laneID, 0}, func(p pair) bool {
		if e, _ := r.events.Get(p.b); p.a == laneID && e.EnvironmentID == env {
			list = append(list, e)
		}
		return p.a == laneID && len(list) < limit(n)
	})
	return list, nil
}

func (r *reader) EventsOf(env, position int64) ([]syncline.Event, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	var list []syncline.Event
	r.byPosition.Ascend(pair{position, 0}, func(p pair) bool {
		if e, _ := r.events.Get(p.b); p.a == position && e.EnvironmentID == env {
			list = append(list, e)
		}
		return p.a == position
	})
	return list, nil
}

func (r *reader) Backlog() (int, error) {
	if err := r.open(); err != nil {
		return 0, err
	}
	return r.pending.Len(), nil
}

func (r *reader) NextLane(now time.Time) (next time.Time, err error) {
	if err := r.open(); err != nil {
		return next, err
	}
	r.lanes.Scan(func(_ int64, l row[syncline.Lane]) bool {
		if l.v.Pending == 0 {
			return true
		}
		at := now
		if l.v.NotBefore.After(at) {
			at = l.v.NotBefore
		}
		if l.v.Lease.Owner != "" && l.v.Lease.Until.After(at) {
			at = l.v.Lease.Until
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
		return true
	})
	return next, nil
}

func (t *tx) movePending(lane int64, by int) {
	l, _ := t.lanes.Get(lane)
	l.v.Pending += by
	t.lanes.Set(lane, l)
}

func (t *tx) AppendEvents(events []*syncline.Event) error {
	for _, e := range events {
		if _, err := t.Lane(e.EnvironmentID, e.LaneID); err != nil {
			return err
		}
	}
	for _, e := range events {
		if e.Status == "" {
			e.Status = syncline.EventPending
		}
		t.stamp(&e.UpdatedAt)
		e.ID = t.next("events")
		t.events.Set(e.ID, *e)
		t.byPosition.Set(pair{e.Position, e.ID})
		if e.Status == syncline.EventPending {
			t.pending.Set(pair{e.LaneID, e.ID})
			t.movePending(e.LaneID, 1)
		}
	}
	return nil
}

func (t *tx) ClaimLanes(owner string, now, until time.Time, n int) ([]syncline.Lane, error) {
	if err := t.open(); err != nil || n <= 0 {
		return nil, err
	}
	var list []syncline.Lane
	t.lanes.Scan(func(_ int64, l row[syncline.Lane]) bool {
		if l.v.Pending > 0 && free(l.v.Lease, now) && !l.v.NotBefore.After(now) {
			list = append(list, l.v)
		}
		return true
	})
	slices.SortFunc(list, func(a, b syncline.Lane) int { return cmp.Or(a.ServedAt.Compare(b.ServedAt), cmp.Compare(a.ID, b.ID)) })
	list = list[:min(n, len(list))]
	for i := range list {
		l := &list[i]
		l.Lease = syncline.Lease{Owner: owner, Epoch: l.Lease.Epoch + 1, Until: until}
		t.lanes.Set(l.ID, row[syncline.Lane]{v: *l})
	}
	return list, nil
}

func (t *tx) ExtendLane(env, laneID, leaseEpoch int64, until time.Time) error {
	l, err := t.Lane(env, laneID)
	if err != nil || l.Lease.Epoch != leaseEpoch || l.Lease.Owner == "" {
		return fenced("the lease of lane %d is no longer held", laneID)
	}
	l.Lease.Until = until
	t.lanes.Set(laneID, row[syncline.Lane]{v: l})
	return nil
}

func (t *tx) ReleaseLane(l *syncline.Lane) error {
	if err := t.open(); err != nil {
		return err
	}
	now, ok := t.lanes.Get(l.ID)
	if !ok || now.v.EnvironmentID != l.EnvironmentID || now.v.Lease.Epoch != l.Lease.Epoch {
		return nil
	}
	now.v.Lease.Owner, now.v.Lease.Until = "", time.Time{}
	now.v.NotBefore, now.v.WaitingSince, now.v.Backoff, now.v.Reason, now.v.ServedAt = l.NotBefore, l.WaitingSince, l.Backoff, l.Reason, l.ServedAt
	t.lanes.Set(l.ID, now)
	return nil
}

func (t *tx) FenceLane(env, laneID, instanceEpoch, leaseEpoch int64) error {
	if err := t.open(); err != nil {
		return err
	}
	i, ok := t.instances.Get(laneID)
	l, _ := t.lanes.Get(laneID)
	return t.fence(env, laneID, i, ok, instanceEpoch, l.v.Lease, leaseEpoch)
}

func (t *tx) UpdateEvent(e *syncline.Event) error {
	t.stamp(&e.UpdatedAt)
	was, err := t.Event(e.EnvironmentID, e.ID)
	if err != nil {
		return err
	}
	fresh := was
	fresh.Status, fresh.Attempts, fresh.LastError, fresh.RunID, fresh.UpdatedAt = e.Status, e.Attempts, e.LastError, e.RunID, e.UpdatedAt
	t.events.Set(e.ID, fresh)
	if was.Status == e.Status {
		return nil
	}
	count := func(s syncline.EventStatus) int {
		n := 0
		if fresh.Status == s {
			n++
		}
		if was.Status == s {
			n--
		}
		return n
	}
	open, dead := count(syncline.EventPending), count(syncline.EventDead)
	if open != 0 {
		t.movePending(was.LaneID, open)
		if open > 0 {
			t.pending.Set(pair{was.LaneID, e.ID})
		} else {
			t.pending.Delete(pair{was.LaneID, e.ID})
		}
	}
	t.countEvents(was.EnvironmentID, was.Position, open, dead, e.LastError, e.UpdatedAt)
	return nil
}

// dropEvents ends what is pending in a lane.
func (t *tx) dropEvents(lane int64, at time.Time, reason string) {
	var waiting []int64
	t.pending.Ascend(pair{lane, 0}, func(p pair) bool {
		if p.a == lane {
			waiting = append(waiting, p.b)
		}
		return p.a == lane
	})
	for _, id := range waiting {
		e, _ := t.events.Get(id)
		e.Status, e.LastError, e.UpdatedAt = syncline.EventDropped, reason, at
		t.events.Set(id, e)
		t.pending.Delete(pair{lane, id})
		t.movePending(lane, -1)
		t.countEvents(e.EnvironmentID, e.Position, -1, 0, reason, at)
	}
}

// countEvents moves a delivery's counts and, with them, its status and reason.
func (t *tx) countEvents(env, position int64, open, dead int, reason string, at time.Time) {
	d, err := t.DeliveryState(env, position)
	if err != nil {
		return // without a state it is left without
	}
	d.OpenEvents += open
	d.DeadEvents += dead
	d.UpdatedAt = at
	switch {
	case d.OpenEvents > 0:
		d.Status = syncline.DeliveryRouted
	case d.DeadEvents > 0:
		d.Status = syncline.DeliveryDead
	default:
		d.Status = syncline.DeliveryProcessed
	}
	switch {
	case dead > 0: // one died now
		d.Reason = reason
	case d.DeadEvents > 0: // one died before
	case d.OpenEvents > 0:
		d.Reason = ""
	default:
		d.Reason = ""
		events, _ := t.EventsOf(env, position)
		if !slices.ContainsFunc(events, func(e syncline.Event) bool { return e.Status != syncline.EventDropped }) {
			d.Reason = reason
		}
	}
	t.deliveries.Set(position, d)
}

func (r *reader) DeliveryState(env, position int64) (d syncline.DeliveryState, err error) {
	if err := r.open(); err != nil {
		return d, err
	}
	d, ok := r.deliveries.Get(position)
	if !ok || d.EnvironmentID != env {
		return syncline.DeliveryState{}, notFound("delivery", position)
	}
	return d, nil
}

func delivered(env int64, f store.DeliveryFilter) func(syncline.DeliveryState) bool {
	return func(d syncline.DeliveryState) bool {
		return d.EnvironmentID == env && (f.IntegrationID == 0 || d.IntegrationID == f.IntegrationID) &&
			(f.Status == "" || d.Status == f.Status) && d.Position > f.After
	}
}

func (r *reader) Deliveries(env int64, f store.DeliveryFilter) ([]syncline.DeliveryState, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return newest(&r.deliveries, f.Page, delivered(env, f)), nil
}

func (r *reader) CountDeliveries(env int64, f store.DeliveryFilter) (int, error) {
	if err := r.open(); err != nil {
		return 0, err
	}
	return len(each(&r.deliveries, delivered(env, f))), nil
}

func (r *reader) Parked(env, integrationID int64, n int) ([]syncline.DeliveryState, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.deliveries, func(d syncline.DeliveryState) bool {
		return d.EnvironmentID == env && d.IntegrationID == integrationID && d.Status == syncline.DeliveryParked
	})
	return list[:min(len(list), limit(n))], nil
}

func (r *reader) OpenDeliveries(positions []int64) ([]int64, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	open := []int64{}
	for _, p := range positions {
		d, known := r.deliveries.Get(p)
		switch d.Status {
		case syncline.DeliveryReceived, syncline.DeliveryRouted, syncline.DeliveryParked:
			open = append(open, p)
		case "":
			if !known && p > r.router {
				open = append(open, p)
			}
		default:
		}
	}
	return open, nil
}

func (r *reader) RouterPosition() (int64, error) {
	if err := r.open(); err != nil {
		return 0, err
	}
	return r.router, nil
}

func (t *tx) PutDeliveryState(d *syncline.DeliveryState) error {
	if err := t.open(); err != nil {
		return err
	}
	t.stamp(&d.UpdatedAt)
	fresh := *d
	fresh.ReceivedAt, fresh.UpdatedAt = utc(d.ReceivedAt), utc(d.UpdatedAt)
	t.deliveries.Set(d.Position, fresh)
	return nil
}

func (t *tx) SetRouterPosition(p int64) error {
	if err := t.open(); err != nil {
		return err
	}
	t.router = p
	return nil
}
