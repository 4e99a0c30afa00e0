package postgres

import "time"

// ReleaseLeases frees the leases of every process that has the store open; it
// is for a store that only one process opens.
func (t *tx) ReleaseLeases() error {
	if _, err := t.exec(`UPDATE sync_instances SET poll_lease_owner = '', poll_lease_until = NULL WHERE poll_lease_owner <> ''`); err != nil {
		return err
	}
	if _, err := t.exec(`UPDATE jobs SET lease_owner = '', lease_until = NULL WHERE lease_owner <> ''`); err != nil {
		return err
	}
	_, err := t.exec(`UPDATE lanes SET lease_owner = '', lease_until = NULL WHERE lease_owner <> ''`)
	return err
}

// purge deletes what the query selects (environment and id, locked) with the
// statements, which take the two as arrays, and returns how many there were.
func (t *tx) purge(query string, before time.Time, n int, statements ...string) (int, error) {
	var envs, ids []int64
	err := t.query(query, func(r *row) error {
		envs, ids = append(envs, r.int64()), append(ids, r.int64())
		return nil
	}, before, limit(n))
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	for _, s := range statements {
		if _, err := t.exec(s, envs, ids); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}

func (t *tx) PurgeRuns(before time.Time, n int) (int, error) {
	return t.purge(`SELECT environment_id, id FROM runs
		WHERE finished_at IS NOT NULL AND finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED`, before, n,
		`DELETE FROM run_logs USING unnest($1::bigint[], $2::bigint[]) AS gone (e, r) WHERE environment_id = e AND run_id = r`,
		`DELETE FROM runs USING unnest($1::bigint[], $2::bigint[]) AS gone (e, r) WHERE environment_id = e AND id = r`)
}

func (t *tx) PurgeLocks(before time.Time, n int) (int, error) {
	purged, err := t.exec(`DELETE FROM function_locks WHERE (environment_id, key) IN (SELECT environment_id, key FROM function_locks
		WHERE until < $1 LIMIT $2)`, before, limit(n))
	return int(purged), err
}

func (t *tx) PurgeNotifications(before time.Time, n int) (int, error) {
	purged, err := t.exec(`DELETE FROM notifications WHERE id IN (SELECT id FROM notifications
		WHERE status <> 'pending' AND created_at < $1 ORDER BY created_at LIMIT $2)`, before, limit(n))
	return int(purged), err
}

func (t *tx) PurgeDeliveries(before time.Time, n int) (int, error) {
	return t.purge(`SELECT environment_id, position FROM delivery_states
		WHERE status IN ('processed', 'ignored', 'expired', 'dead') AND received_at < $1 ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED`, before, n,
		`DELETE FROM events USING unnest($1::bigint[], $2::bigint[]) AS gone (e, p) WHERE environment_id = e AND position = p`,
		`DELETE FROM delivery_states USING unnest($1::bigint[], $2::bigint[]) AS gone (e, p) WHERE environment_id = e AND position = p`)
}
