package postgres

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
		WHERE environment_id = $1 AND position = $2`, scanDelivery, env, position)
}

func deliveryWhere(selected string, env int64, f store.DeliveryFilter) *filter {
	w := where(`SELECT `+selected+` FROM delivery_states WHERE environment_id = $1`, env)
	if f.IntegrationID != 0 {
		w.add(` AND integration_id = ?`, f.IntegrationID)
	}
	if f.Status != "" {
		w.add(` AND status = ?`, string(f.Status))
	}
	if f.After != 0 {
		w.add(` AND position > ?`, f.After)
	}
	return w
}

func (r *reader) Deliveries(env int64, f store.DeliveryFilter) ([]syncline.DeliveryState, error) {
	w := deliveryWhere(deliveryColumns, env, f)
	w.add(` ORDER BY position DESC`)
	w.page(f.Page)
	return all(r, w.sql.String(), scanDelivery, w.args...)
}

func (r *reader) CountDeliveries(env int64, f store.DeliveryFilter) (int, error) {
	w := deliveryWhere(`count(*)`, env, f)
	n, err := r.number(w.sql.String(), w.args...)
	return int(n), err
}

func (r *reader) Parked(env, integrationID int64, n int) ([]syncline.DeliveryState, error) {
	return all(r, `SELECT `+deliveryColumns+` FROM delivery_states
		WHERE environment_id = $1 AND integration_id = $2 AND status = 'parked' ORDER BY position LIMIT $3`,
		scanDelivery, env, integrationID, limit(n))
}

// OpenDeliveries: a position without a state was either not routed yet, or its
// state was purged after it ended; the router's position tells which.
func (r *reader) OpenDeliveries(positions []int64) ([]int64, error) {
	if len(positions) == 0 {
		return []int64{}, nil
	}
	// Positions are the inbox's, so at most one environment has it.
	return all(r, `SELECT p.position FROM unnest($1::bigint[]) WITH ORDINALITY AS p (position, n)
		LEFT JOIN LATERAL (SELECT d.status FROM environments AS e
			JOIN delivery_states AS d ON d.environment_id = e.id AND d.position = p.position LIMIT 1) AS d ON true
		WHERE d.status IN ('received', 'routed', 'parked')
			OR d.status IS NULL AND p.position > (SELECT value FROM counters WHERE name = 'router_position')
		ORDER BY p.n`, (*row).int64, positions)
}

func (r *reader) RouterPosition() (int64, error) {
	return r.number(`SELECT value FROM counters WHERE name = 'router_position'`)
}

// DeliveryState locks the row until the commit: a router that counts a duplicate
// writes back what it has read, while a lane may end the delivery's last event.
func (t *tx) DeliveryState(env, position int64) (syncline.DeliveryState, error) {
	return one(&t.reader, missing{"delivery", position}, `SELECT `+deliveryColumns+` FROM delivery_states
		WHERE environment_id = $1 AND position = $2 FOR UPDATE`, scanDelivery, env, position)
}

func (t *tx) PutDeliveryState(d *syncline.DeliveryState) error {
	t.stamp(&d.UpdatedAt)
	_, err := t.exec(`INSERT INTO delivery_states (`+deliveryColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT (environment_id, position) DO UPDATE SET integration_id = excluded.integration_id, status = excluded.status,
			reason = excluded.reason, type = excluded.type, delivery_id = excluded.delivery_id, events = excluded.events,
			open_events = excluded.open_events, dead_events = excluded.dead_events, duplicates = excluded.duplicates,
			received_at = excluded.received_at, updated_at = excluded.updated_at`,
		d.EnvironmentID, d.Position, d.IntegrationID, string(d.Status), d.Reason, d.Type, d.DeliveryID,
		d.Events, d.OpenEvents, d.DeadEvents, d.Duplicates, d.ReceivedAt, d.UpdatedAt)
	return err
}

func (t *tx) SetRouterPosition(p int64) error {
	_, err := t.exec(`UPDATE counters SET value = $1 WHERE name = 'router_position'`, p)
	return err
}
