package sqlite

import (
	"time"

	"syncline"
)

const eventColumns = `id, environment_id, lane_id, position, item, type, order_key, delivery_id, received_at, watermark,
	replay, status, attempts, last_error, run_id, updated_at`

func scanEvent(r *row) syncline.Event {
	return syncline.Event{
		ID: r.int64(), EnvironmentID: r.int64(), LaneID: r.int64(), Position: r.int64(), Item: r.int(), Type: r.text(),
		OrderKey: r.text(), DeliveryID: r.text(), ReceivedAt: r.time(), Watermark: r.int64(),
		Replay: r.int(), Status: syncline.EventStatus(r.text()), Attempts: r.int(), LastError: r.text(), RunID: r.int64(), UpdatedAt: r.time(),
	}
}

func (r *reader) Event(env, id int64) (syncline.Event, error) {
	return one(r, missing{"event", id}, `SELECT `+eventColumns+` FROM events WHERE id = ? AND environment_id = ?`, scanEvent, id, env)
}

func (r *reader) PendingEvents(env, laneID int64, n int) ([]syncline.Event, error) {
	return all(r, `SELECT `+eventColumns+` FROM events
		WHERE environment_id = ? AND lane_id = ? AND status = 'pending' ORDER BY id LIMIT ?`, scanEvent, env, laneID, limit(n))
}

func (r *reader) EventsOf(env, position int64) ([]syncline.Event, error) {
	return all(r, `SELECT `+eventColumns+` FROM events WHERE environment_id = ? AND position = ? ORDER BY id`, scanEvent, env, position)
}

func (t *tx) AppendEvents(events []*syncline.Event) error {
	type lane struct{ env, id int64 }
	pending := map[lane]int{}
	for _, e := range events {
		if e.Status == "" {
			e.Status = syncline.EventPending
		}
		if e.Status == syncline.EventPending {
			pending[lane{e.EnvironmentID, e.LaneID}]++
		} else {
			pending[lane{e.EnvironmentID, e.LaneID}] += 0 // the lane must be there all the same
		}
	}
	for l, n := range pending {
		err := t.exec1(missing{"lane", l.id}, `UPDATE lanes SET pending = pending + ?
			WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, n, l.id, l.env)
		if err != nil {
			return err
		}
	}
	for _, e := range events {
		t.stamp(&e.UpdatedAt)
		_, id, err := t.exec(`INSERT INTO events (environment_id, lane_id, position, item, type, order_key, delivery_id, received_at, watermark,
			replay, status, attempts, last_error, run_id, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			e.EnvironmentID, e.LaneID, e.Position, e.Item, e.Type, e.OrderKey, e.DeliveryID, e.ReceivedAt, e.Watermark,
			e.Replay, string(e.Status), e.Attempts, e.LastError, e.RunID, e.UpdatedAt)
		if err != nil {
			return err
		}
		e.ID = id
	}
	return nil
}

func (t *tx) UpdateEvent(e *syncline.Event) error {
	t.stamp(&e.UpdatedAt)
	type known struct {
		status         syncline.EventStatus
		lane, position int64
	}
	was, err := one(&t.reader, missing{"event", e.ID}, `SELECT status, lane_id, position FROM events WHERE id = ? AND environment_id = ?`,
		func(r *row) known { return known{syncline.EventStatus(r.text()), r.int64(), r.int64()} }, e.ID, e.EnvironmentID)
	if err != nil {
		return err
	}
	_, _, err = t.exec(`UPDATE events SET status = ?, attempts = ?, last_error = ?, run_id = ?, updated_at = ? WHERE id = ?`,
		string(e.Status), e.Attempts, e.LastError, e.RunID, e.UpdatedAt, e.ID)
	if err != nil || was.status == e.Status {
		return err
	}
	open := count(e.Status == syncline.EventPending) - count(was.status == syncline.EventPending)
	dead := count(e.Status == syncline.EventDead) - count(was.status == syncline.EventDead)
	if open != 0 {
		if _, _, err := t.exec(`UPDATE lanes SET pending = pending + ? WHERE id = ?`, open, was.lane); err != nil {
			return err
		}
	}
	return t.countEvents(e.EnvironmentID, was.position, open, dead, e.LastError, e.UpdatedAt)
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// dropEvents ends what is pending in a lane. Each delivery's counts follow.
func (t *tx) dropEvents(env, lane int64, at time.Time, reason string) error {
	type part struct {
		position int64
		events   int
	}
	parts, err := all(&t.reader, `SELECT position, count(*) FROM events
		WHERE environment_id = ? AND lane_id = ? AND status = 'pending' GROUP BY position`,
		func(r *row) part { return part{r.int64(), r.int()} }, env, lane)
	if err != nil || len(parts) == 0 {
		return err
	}
	if _, _, err := t.exec(`UPDATE lanes SET pending = 0 WHERE id = ?`, lane); err != nil {
		return err
	}
	_, _, err = t.exec(`UPDATE events SET status = 'dropped', last_error = ?, updated_at = ?
		WHERE environment_id = ? AND lane_id = ? AND status = 'pending'`, reason, at, env, lane)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := t.countEvents(env, p.position, -p.events, 0, reason, at); err != nil {
			return err
		}
	}
	return nil
}

// countEvents moves the counts of a delivery's open and dead events, and with
// them its status: routed while any is open, then dead when one died, else
// processed. The reason says why one died, or why all were dropped; otherwise
// there is none. A delivery without a state is left without.
func (t *tx) countEvents(env, position int64, open, dead int, reason string, at time.Time) error {
	var known bool
	var now struct {
		open, dead int
		reason     string
	}
	err := t.query(`UPDATE delivery_states SET open_events = open_events + ?, dead_events = dead_events + ?, updated_at = ?
		WHERE environment_id = ? AND position = ? RETURNING open_events, dead_events, reason`, func(r *row) error {
		known, now.open, now.dead, now.reason = true, r.int(), r.int(), r.text()
		return nil
	}, open, dead, at, env, position)
	if err != nil || !known {
		return err
	}
	status := syncline.DeliveryProcessed
	switch {
	case now.open > 0:
		status = syncline.DeliveryRouted
	case now.dead > 0:
		status = syncline.DeliveryDead
	}
	switch {
	case dead > 0: // one died now
	case now.dead > 0:
		reason = now.reason // one died before
	case now.open > 0:
		reason = ""
	default:
		if dropped, err := t.allDropped(env, position); err != nil {
			return err
		} else if !dropped {
			reason = ""
		}
	}
	_, _, err = t.exec(`UPDATE delivery_states SET status = ?, reason = ? WHERE environment_id = ? AND position = ?`,
		string(status), reason, env, position)
	return err
}

func (t *tx) allDropped(env, position int64) (bool, error) {
	n, err := t.number(`SELECT EXISTS (SELECT 1 FROM events WHERE environment_id = ? AND position = ? AND status <> 'dropped')`, env, position)
	return n == 0, err
}
