package postgres

import (
	"cmp"
	"slices"
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
	return one(r, missing{"event", id}, `SELECT `+eventColumns+` FROM events WHERE id = $1 AND environment_id = $2`, scanEvent, id, env)
}

func (r *reader) PendingEvents(env, laneID int64, n int) ([]syncline.Event, error) {
	return all(r, `SELECT `+eventColumns+` FROM events
		WHERE environment_id = $1 AND lane_id = $2 AND status = 'pending' ORDER BY id LIMIT $3`, scanEvent, env, laneID, limit(n))
}

func (r *reader) EventsOf(env, position int64) ([]syncline.Event, error) {
	return all(r, `SELECT `+eventColumns+` FROM events WHERE environment_id = $1 AND position = $2 ORDER BY id`, scanEvent, env, position)
}

func (t *tx) AppendEvents(events []*syncline.Event) error {
	type lane struct{ env, id int64 }
	pending := map[lane]int{}
	var lanes []lane
	for _, e := range events {
		if e.Status == "" {
			e.Status = syncline.EventPending
		}
		l := lane{e.EnvironmentID, e.LaneID}
		if _, ok := pending[l]; !ok {
			lanes = append(lanes, l)
		}
		pending[l] += count(e.Status == syncline.EventPending)
	}
	// The lanes are locked before events get their ids: within a lane ids become
	// visible in order. All callers lock in the same order.
	slices.SortFunc(lanes, func(a, b lane) int { return cmp.Compare(a.id, b.id) })
	for _, l := range lanes {
		err := t.exec1(missing{"lane", l.id}, `UPDATE lanes SET pending = pending + $1
			WHERE id = $2 AND environment_id = $3 AND deleted_at IS NULL`, pending[l], l.id, l.env)
		if err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(events, 1000) {
		if err := t.insertEvents(chunk); err != nil {
			return err
		}
	}
	return nil
}

// insertEvents gives ids in the order of events.
func (t *tx) insertEvents(events []*syncline.Event) error {
	ids, err := all(&t.reader, `SELECT nextval('events_id_seq') FROM generate_series(1, $1::bigint)`, (*row).int64, len(events))
	if err != nil {
		return err
	}
	slices.Sort(ids)
	n := len(events)
	var (
		env, lane, position, item, watermark    = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		replay, attempts, run                   = make([]int64, n), make([]int64, n), make([]int64, n)
		kind, order, delivery, status, lastSaid = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		received, updated                       = make([]*time.Time, n), make([]*time.Time, n)
	)
	for i, e := range events {
		t.stamp(&e.UpdatedAt)
		e.ID = ids[i]
		env[i], lane[i], position[i], item[i], watermark[i] = e.EnvironmentID, e.LaneID, e.Position, int64(e.Item), e.Watermark
		replay[i], attempts[i], run[i] = int64(e.Replay), int64(e.Attempts), e.RunID
		kind[i], order[i], delivery[i], status[i], lastSaid[i] = e.Type, e.OrderKey, e.DeliveryID, string(e.Status), e.LastError
		received[i], updated[i] = orNull(e.ReceivedAt), orNull(e.UpdatedAt)
	}
	_, err = t.exec(`INSERT INTO events (`+eventColumns+`) SELECT * FROM unnest(
		$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[],
		$11::bigint[], $12::text[], $13::bigint[], $14::text[], $15::bigint[], $16::timestamptz[])`,
		ids, env, lane, position, item, kind, order, delivery, received, watermark, replay, status, attempts, lastSaid, run, updated)
	return err
}

// orNull is an element of an array of times; the zero time is NULL.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func (t *tx) UpdateEvent(e *syncline.Event) error {
	t.stamp(&e.UpdatedAt)
	// The lane is locked before the event, as by those who drop events.
	lane, err := one(&t.reader, missing{"event", e.ID}, `SELECT id FROM lanes
		WHERE id = (SELECT lane_id FROM events WHERE id = $1 AND environment_id = $2) FOR NO KEY UPDATE`, (*row).int64, e.ID, e.EnvironmentID)
	if err != nil {
		return err
	}
	type known struct {
		status   syncline.EventStatus
		position int64
	}
	was, err := one(&t.reader, missing{"event", e.ID}, `SELECT status, position FROM events WHERE id = $1 AND environment_id = $2 FOR NO KEY UPDATE`,
		func(r *row) known { return known{syncline.EventStatus(r.text()), r.int64()} }, e.ID, e.EnvironmentID)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE events SET status = $1, attempts = $2, last_error = $3, run_id = $4, updated_at = $5 WHERE id = $6`,
		string(e.Status), e.Attempts, e.LastError, e.RunID, e.UpdatedAt, e.ID)
	if err != nil || was.status == e.Status {
		return err
	}
	open := count(e.Status == syncline.EventPending) - count(was.status == syncline.EventPending)
	dead := count(e.Status == syncline.EventDead) - count(was.status == syncline.EventDead)
	if open != 0 {
		if _, err := t.exec(`UPDATE lanes SET pending = pending + $1 WHERE id = $2`, open, lane); err != nil {
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

// dropEvents ends what is pending in a lane, which is locked. Each delivery's
// counts follow.
func (t *tx) dropEvents(env, lane int64, at time.Time, reason string) error {
	type part struct {
		position int64
		events   int
	}
	parts, err := all(&t.reader, `SELECT position, count(*) FROM events
		WHERE environment_id = $1 AND lane_id = $2 AND status = 'pending' GROUP BY position ORDER BY position`,
		func(r *row) part { return part{r.int64(), r.int()} }, env, lane)
	if err != nil || len(parts) == 0 {
		return err
	}
	if _, err := t.exec(`UPDATE lanes SET pending = 0 WHERE id = $1`, lane); err != nil {
		return err
	}
	_, err = t.exec(`UPDATE events SET status = 'dropped', last_error = $1, updated_at = $2
		WHERE environment_id = $3 AND lane_id = $4 AND status = 'pending'`, reason, at, env, lane)
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
	type counts struct {
		open, dead int
		reason     string
	}
	// From here on the delivery is locked, and with it the counts of its events.
	now, known, err := maybe(&t.reader, `UPDATE delivery_states SET open_events = open_events + $1, dead_events = dead_events + $2, updated_at = $3
		WHERE environment_id = $4 AND position = $5 RETURNING open_events, dead_events, reason`,
		func(r *row) counts { return counts{r.int(), r.int(), r.text()} }, open, dead, at, env, position)
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
	_, err = t.exec(`UPDATE delivery_states SET status = $1, reason = $2 WHERE environment_id = $3 AND position = $4`,
		string(status), reason, env, position)
	return err
}

func (t *tx) allDropped(env, position int64) (bool, error) {
	others, _, err := maybe(&t.reader, `SELECT EXISTS (SELECT 1 FROM events WHERE environment_id = $1 AND position = $2 AND status <> 'dropped')`,
		(*row).bool, env, position)
	return !others, err
}
