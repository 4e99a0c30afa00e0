package sqlite

import (
	"syncline"
	"syncline/internal/store"
)

const deliveryColumns = `environment_id, position, integration_id, status, reason, type, delivery_id,
	events, open_events, dead_events, duplicates, received_at, updated_at`

func scanDelivery(r *row) syncline.DeliveryState {
	return syncline.DeliveryState{
		EnvironmentID: r.int64(), Position: r.int64(), IntegrationID: r.int64(), Status: syncline.DeliveryStatus(r.text()),
		Reason: r.text(), Type: r.text(), DeliveryID: r.text(),
		Events: r.int(), OpenEvents: r.int(), DeadEvents: r.int(), Duplicates: r.int(), ReceivedAt: r.time(), UpdatedAt: r.time(),
	}
}

func (r *reader) DeliveryState(env, position int64) (syncline.DeliveryState, error) {
	return one(r, missing{"delivery", position}, `SELECT `+deliveryColumns+` FROM delivery_states
		WHERE environment_id = ? AND position = ?`, scanDelivery, env, position)
}

func deliveryWhere(env int64, f store.DeliveryFilter) (string, []any) {
	where, args := ` FROM delivery_states WHERE environment_id = ?`, []any{env}
	if f.IntegrationID != 0 {
		where, args = where+` AND integration_id = ?`, append(args, f.IntegrationID)
	}
	if f.Status != "" {
		where, args = where+` AND status = ?`, append(args, string(f.Status))
	}
	if f.After != 0 {
		where, args = where+` AND position > ?`, append(args, f.After)
	}
	return where, args
}

func (r *reader) Deliveries(env int64, f store.DeliveryFilter) ([]syncline.DeliveryState, error) {
	where, args := deliveryWhere(env, f)
	return all(r, `SELECT `+deliveryColumns+where+` ORDER BY position DESC LIMIT ? OFFSET ?`, scanDelivery,
		append(args, limit(f.Page.Limit), f.Page.Offset)...)
}

func (r *reader) CountDeliveries(env int64, f store.DeliveryFilter) (int, error) {
	where, args := deliveryWhere(env, f)
	n, err := r.number(`SELECT count(*)`+where, args...)
	return int(n), err
}

func (r *reader) Parked(env, integrationID int64, n int) ([]syncline.DeliveryState, error) {
	return all(r, `SELECT `+deliveryColumns+` FROM delivery_states
		WHERE environment_id = ? AND integration_id = ? AND status = 'parked' ORDER BY position LIMIT ?`,
		scanDelivery, env, integrationID, limit(n))
}

// OpenDeliveries: a position without a state was either not routed yet, or its
// state was purged after it ended; the router's position tells which.
func (r *reader) OpenDeliveries(positions []int64) ([]int64, error) {
	routed, err := r.RouterPosition()
	if err != nil {
		return nil, err
	}
	open := []int64{}
	for _, p := range positions {
		// Positions are the inbox's, so at most one environment has it.
		var known bool
		var status syncline.DeliveryStatus
		err := r.query(`SELECT status FROM delivery_states WHERE environment_id IN (SELECT id FROM environments) AND position = ?`,
			func(row *row) error {
				known, status = true, syncline.DeliveryStatus(row.text())
				return nil
			}, p)
		if err != nil {
			return nil, err
		}
		switch status {
		case syncline.DeliveryReceived, syncline.DeliveryRouted, syncline.DeliveryParked:
			open = append(open, p)
		case "":
			if !known && p > routed {
				open = append(open, p)
			}
		}
	}
	return open, nil
}

func (r *reader) RouterPosition() (int64, error) {
	if r.c == nil {
		return 0, errFinished
	}
	return readCounter(r.c, counterRouterPosition)
}

func (t *tx) PutDeliveryState(d *syncline.DeliveryState) error {
	t.stamp(&d.UpdatedAt)
	_, _, err := t.exec(`INSERT INTO delivery_states (`+deliveryColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (environment_id, position) DO UPDATE SET integration_id = excluded.integration_id, status = excluded.status,
			reason = excluded.reason, type = excluded.type, delivery_id = excluded.delivery_id, events = excluded.events,
			open_events = excluded.open_events, dead_events = excluded.dead_events, duplicates = excluded.duplicates,
			received_at = excluded.received_at, updated_at = excluded.updated_at`,
		d.EnvironmentID, d.Position, d.IntegrationID, string(d.Status), d.Reason, d.Type, d.DeliveryID,
		d.Events, d.OpenEvents, d.DeadEvents, d.Duplicates, d.ReceivedAt, d.UpdatedAt)
	return err
}

func (t *tx) SetRouterPosition(p int64) error {
	_, _, err := t.exec(`UPDATE counters SET value = ? WHERE name = 'router_position'`, p)
	return err
}

// The store's counters.
const (
	counterSeq            = "seq"
	counterRouterPosition = "router_position"
)

func readCounter(c *conn, name string) (v int64, err error) {
	_, err = c.get(`SELECT value FROM counters WHERE name = ?`, func(r *row) error {
		v = r.int64()
		return nil
	}, name)
	return v, err
}
