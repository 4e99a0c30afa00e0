package sqlite

import "time"

func (t *tx) ReleaseLeases() error {
	if _, _, err := t.exec(`UPDATE sync_instances SET poll_lease_owner = '', poll_lease_until = NULL WHERE poll_lease_owner <> ''`); err != nil {
		return err
	}
	if _, _, err := t.exec(`UPDATE jobs SET lease_owner = '', lease_until = NULL WHERE lease_owner <> ''`); err != nil {
		return err
	}
	_, _, err := t.exec(`UPDATE lanes SET lease_owner = '', lease_until = NULL WHERE lease_owner <> ''`)
	return err
}

// rowKey is the key of a row that is purged.
type rowKey struct{ env, id int64 }

func scanKey(r *row) rowKey { return rowKey{r.int64(), r.int64()} }

func (t *tx) PurgeRuns(before time.Time, n int) (int, error) {
	runs, err := all(&t.reader, `SELECT environment_id, id FROM runs
		WHERE finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?`, scanKey, before, limit(n))
	if err != nil {
		return 0, err
	}
	for _, k := range runs {
		if _, _, err := t.exec(`DELETE FROM run_logs WHERE environment_id = ? AND run_id = ?`, k.env, k.id); err != nil {
			return 0, err
		}
		if _, _, err := t.exec(`DELETE FROM runs WHERE id = ?`, k.id); err != nil {
			return 0, err
		}
	}
	return len(runs), nil
}

func (t *tx) PurgeLocks(before time.Time, n int) (int, error) {
	purged, _, err := t.exec(`DELETE FROM function_locks WHERE (environment_id, key) IN (SELECT environment_id, key FROM function_locks
		WHERE until < ? LIMIT ?)`, before, limit(n))
	return int(purged), err
}

func (t *tx) PurgeNotifications(before time.Time, n int) (int, error) {
	purged, _, err := t.exec(`DELETE FROM notifications WHERE id IN (SELECT id FROM notifications
		WHERE status <> 'pending' AND created_at < ? ORDER BY created_at LIMIT ?)`, before, limit(n))
	return int(purged), err
}

func (t *tx) PurgeDeliveries(before time.Time, n int) (int, error) {
	ended, err := all(&t.reader, `SELECT environment_id, position FROM delivery_states
		WHERE status IN ('processed', 'ignored', 'expired', 'dead') AND received_at < ? ORDER BY received_at LIMIT ?`, scanKey, before, limit(n))
	if err != nil {
		return 0, err
	}
	for _, k := range ended {
		if _, _, err := t.exec(`DELETE FROM events WHERE environment_id = ? AND position = ?`, k.env, k.id); err != nil {
			return 0, err
		}
		if _, _, err := t.exec(`DELETE FROM delivery_states WHERE environment_id = ? AND position = ?`, k.env, k.id); err != nil {
			return 0, err
		}
	}
	return len(ended), nil
}
