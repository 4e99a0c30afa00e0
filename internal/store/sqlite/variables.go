package sqlite

import (
	"time"

	"syncline"
)

func scanVariable(r *row) syncline.Variable {
	return syncline.Variable{EnvironmentID: r.int64(), Name: r.text(), Value: r.sealed(), UpdatedAt: r.time()}
}

func (r *reader) Variables(env int64) ([]syncline.Variable, error) {
	return all(r, `SELECT environment_id, name, value_key_id, value_data, updated_at FROM variables WHERE environment_id = ? ORDER BY name`,
		scanVariable, env)
}

func (t *tx) PutVariable(v *syncline.Variable) error {
	t.stamp(&v.UpdatedAt)
	_, _, err := t.exec(`INSERT INTO variables (environment_id, name, value_key_id, value_data, updated_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (environment_id, name) DO UPDATE SET value_key_id = excluded.value_key_id, value_data = excluded.value_data,
			updated_at = excluded.updated_at`,
		v.EnvironmentID, v.Name, v.Value.KeyID, v.Value.Data, v.UpdatedAt)
	return written(err, "variable", v.Name, "an environment")
}

func (t *tx) DeleteVariable(env int64, name string) error {
	return t.exec1(missing{"variable", name}, `DELETE FROM variables WHERE environment_id = ? AND name = ?`, env, name)
}

const lockColumns = `environment_id, key, owner, until, kind, instance_id, lease_epoch`

func scanLock(r *row) syncline.Lock {
	return syncline.Lock{
		EnvironmentID: r.int64(), Key: r.text(), Owner: r.text(), Until: r.time(), Kind: syncline.RunKind(r.text()), InstanceID: r.int64(), LeaseEpoch: r.int64(),
	}
}

func (r *reader) Lock(env int64, key string) (syncline.Lock, error) {
	return one(r, missing{"lock", key}, `SELECT `+lockColumns+` FROM function_locks WHERE environment_id = ? AND key = ?`, scanLock, env, key)
}

func (t *tx) AcquireLock(l *syncline.Lock, now time.Time) (ok bool, err error) {
	n, _, err := t.exec(`INSERT INTO function_locks AS l (`+lockColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (environment_id, key) DO UPDATE SET owner = excluded.owner, until = excluded.until, kind = excluded.kind,
			instance_id = excluded.instance_id, lease_epoch = excluded.lease_epoch
		WHERE l.owner = excluded.owner OR l.until <= ?`,
		l.EnvironmentID, l.Key, l.Owner, l.Until, string(l.Kind), l.InstanceID, l.LeaseEpoch, now)
	return n > 0, written(err, "lock", l.Key, "an environment")
}

func (t *tx) ReleaseLock(env int64, key, owner string, now time.Time) (bool, error) {
	freed, err := all(&t.reader, `DELETE FROM function_locks WHERE environment_id = ? AND key = ? AND owner = ? RETURNING until`,
		(*row).time, env, key, owner)
	return len(freed) > 0 && freed[0].After(now), err
}

func (t *tx) ReleaseLocks(env int64, owner string) (int, error) {
	n, _, err := t.exec(`DELETE FROM function_locks WHERE environment_id = ? AND owner = ?`, env, owner)
	return int(n), err
}
