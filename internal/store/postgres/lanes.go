package postgres

import (
	"cmp"
	"slices"
	"time"

	"syncline"
)

const laneColumns = `id, environment_id, lease_owner, lease_epoch, lease_until, pending, not_before, waiting_since, backoff, reason, served_at`

func scanLane(r *row) syncline.Lane {
	return syncline.Lane{
		ID: r.int64(), EnvironmentID: r.int64(), Lease: scanLease(r), Pending: r.int(), NotBefore: r.time(),
		WaitingSince: r.time(), Backoff: r.int(), Reason: r.text(), ServedAt: r.time(),
	}
}

func (r *reader) Lane(env, id int64) (syncline.Lane, error) {
	return one(r, missing{"lane", id}, `SELECT `+laneColumns+` FROM lanes
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanLane, id, env)
}

func (r *reader) Backlog() (int, error) {
	n, err := r.number(`SELECT coalesce(sum(pending), 0)::bigint FROM lanes WHERE pending > 0`)
	return int(n), err
}

func (r *reader) NextLane(now time.Time) (time.Time, error) {
	// greatest passes over NULL.
	at, _, err := maybe(r, `SELECT min(greatest($1::timestamptz, not_before, CASE WHEN lease_owner <> '' THEN lease_until END)) FROM lanes WHERE pending > 0`,
		(*row).time, now)
	return at, err
}

// ClaimLanes passes over lanes that another transaction holds: it is claiming
// them, or appends to them, and then they come the next time.
func (t *tx) ClaimLanes(owner string, now, until time.Time, n int) ([]syncline.Lane, error) {
	if n <= 0 {
		return nil, nil
	}
	lanes, err := all(&t.reader, `WITH free AS MATERIALIZED (SELECT id AS free_id FROM lanes WHERE pending > 0 AND (lease_owner = '' OR lease_until <= $3)
			AND (not_before IS NULL OR not_before <= $3) ORDER BY served_at NULLS FIRST, id LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED)
		UPDATE lanes SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = $2 FROM free WHERE id = free_id
		RETURNING `+laneColumns, scanLane, owner, until, now, n)
	// RETURNING promises no order.
	slices.SortFunc(lanes, func(a, b syncline.Lane) int {
		return cmp.Or(a.ServedAt.Compare(b.ServedAt), cmp.Compare(a.ID, b.ID))
	})
	return lanes, err
}

func (t *tx) ExtendLane(env, laneID, leaseEpoch int64, until time.Time) error {
	n, err := t.exec(`UPDATE lanes SET lease_until = $1
		WHERE id = $2 AND environment_id = $3 AND lease_epoch = $4 AND lease_owner <> '' AND deleted_at IS NULL`, until, laneID, env, leaseEpoch)
	if err == nil && n == 0 {
		err = fenced("lease of lane", laneID)
	}
	return err
}

func (t *tx) ReleaseLane(l *syncline.Lane) error {
	_, err := t.exec(`UPDATE lanes SET lease_owner = '', lease_until = NULL, not_before = $1, waiting_since = $2, backoff = $3, reason = $4, served_at = $5
		WHERE id = $6 AND environment_id = $7 AND lease_epoch = $8`,
		l.NotBefore, l.WaitingSince, l.Backoff, l.Reason, l.ServedAt, l.ID, l.EnvironmentID, l.Lease.Epoch)
	return err
}

// FenceLane locks the instance, then the lane.
func (t *tx) FenceLane(env, laneID, instanceEpoch, leaseEpoch int64) error {
	return t.fence(`SELECT i.epoch, i.deleted_at, l.lease_epoch, l.lease_owner
		FROM lanes AS l JOIN sync_instances AS i ON i.id = l.id WHERE l.id = $1 AND l.environment_id = $2 FOR NO KEY UPDATE OF i, l`,
		env, laneID, instanceEpoch, leaseEpoch)
}
