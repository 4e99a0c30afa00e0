package sqlite

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
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, scanLane, id, env)
}

func (r *reader) Backlog() (int, error) {
	n, err := r.number(`SELECT coalesce(sum(pending), 0) FROM lanes WHERE pending > 0`)
	return int(n), err
}

func (r *reader) NextLane(now time.Time) (time.Time, error) {
	var at time.Time
	err := r.query(`SELECT min(max(?, coalesce(not_before, 0), iif(lease_owner = '', 0, lease_until))) FROM lanes WHERE pending > 0`,
		func(r *row) error {
			at = r.time()
			return nil
		}, now)
	return at, err
}

func (t *tx) ClaimLanes(owner string, now, until time.Time, n int) ([]syncline.Lane, error) {
	if n <= 0 {
		return nil, nil
	}
	lanes, err := all(&t.reader, `UPDATE lanes SET lease_owner = ?, lease_epoch = lease_epoch + 1, lease_until = ?
		WHERE id IN (SELECT id FROM lanes WHERE pending > 0 AND (lease_owner = '' OR lease_until <= ?3)
			AND (not_before IS NULL OR not_before <= ?3) ORDER BY served_at, id LIMIT ?)
		RETURNING `+laneColumns, scanLane, owner, until, now, n)
	// RETURNING promises no order.
	slices.SortFunc(lanes, func(a, b syncline.Lane) int {
		return cmp.Or(a.ServedAt.Compare(b.ServedAt), cmp.Compare(a.ID, b.ID))
	})
	return lanes, err
}

func (t *tx) ExtendLane(env, laneID, leaseEpoch int64, until time.Time) error {
	n, _, err := t.exec(`UPDATE lanes SET lease_until = ?
		WHERE id = ? AND environment_id = ? AND lease_epoch = ? AND lease_owner <> '' AND deleted_at IS NULL`, until, laneID, env, leaseEpoch)
	if err == nil && n == 0 {
		err = fenced("lease of lane", laneID)
	}
	return err
}

func (t *tx) ReleaseLane(l *syncline.Lane) error {
	_, _, err := t.exec(`UPDATE lanes SET lease_owner = '', lease_until = NULL, not_before = ?, waiting_since = ?, backoff = ?, reason = ?, served_at = ?
		WHERE id = ? AND environment_id = ? AND lease_epoch = ?`,
		l.NotBefore, l.WaitingSince, l.Backoff, l.Reason, l.ServedAt, l.ID, l.EnvironmentID, l.Lease.Epoch)
	return err
}

func (t *tx) FenceLane(env, laneID, instanceEpoch, leaseEpoch int64) error {
	return t.fence(`SELECT i.epoch, i.deleted_at, l.lease_epoch, l.lease_owner
		FROM lanes AS l JOIN sync_instances AS i ON i.id = l.id WHERE l.id = ? AND l.environment_id = ?`,
		env, laneID, instanceEpoch, leaseEpoch)
}
