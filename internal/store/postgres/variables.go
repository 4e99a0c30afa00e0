package postgres

import (
	"time"

	"syncline"
)

func scanVariable(r *row) syncline.Variable {
	return syncline.Variable{EnvironmentID: r.int64(), Name: r.text(), Value: r.sealed(), UpdatedAt: r.time()}
}

func (r *reader) Variables(env int64) ([]syncline.Variable, error) {
	return all(r, `SELECT environment_id, name, value_key_id, value_data, updated_at FROM variables WHERE environment_id = $1 ORDER BY name`,
		scanVariable, env)
}

func (t *tx) PutVariable(v *syncline.Variable) error {
	if err := t.holdEnvironment(v.EnvironmentID, "variable", v.Name); err != nil {
		return err
	}
	t.stamp(&v.UpdatedAt)
	_, err := t.exec(`INSERT INTO variables (environment_id, name, value_key_id, value_data, updated_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (environment_id, name) DO UPDATE SET value_key_id = excluded.value_key_id, value_data = excluded.value_data,
			updated_at = excluded.updated_at`,
		v.EnvironmentID, v.Name, v.Value.KeyID, v.Value.Data, v.UpdatedAt)
	return err
}

func (t *tx) DeleteVariable(env int64, name string) error {
	return t.exec1(missing{"variable", name}, `DELETE FROM variables WHERE environment_id = $1 AND name = $2`, env, name)
}

const lockColumns = `environment_id, key, owner, until, kind, instance_id, lease_epoch`

func scanLock(r *row) syncline.Lock {
	return syncline.Lock{
		EnvironmentID: r.int64(), Key: r.text(), Owner: r.text(), Until: r.time(), Kind: syncline.RunKind(r.text()), InstanceID: r.int64(), LeaseEpoch: r.int64(),
	}
}

func (r *reader) Lock(env int64, key string) (syncline.Lock, error) {
	return one(r, missing{"lock", key}, `SELECT `+lockColumns+` FROM function_locks WHERE environment_id = $1 AND key = $2`, scanLock, env, key)
}

func (t *tx) AcquireLock(l *syncline.Lock, now time.Time) (ok bool, err error) {
	if err := t.holdEnvironment(l.EnvironmentID, "lock", l.Key); err != nil {
		return false, err
	}
	n, err := t.exec(`INSERT INTO function_locks AS l (`+lockColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (environment_id, key) DO UPDATE SET owner = excluded.owner, until = excluded.until, kind = excluded.kind,
			instance_id = excluded.instance_id, lease_epoch = excluded.lease_epoch
		WHERE l.owner = excluded.owner OR l.until <= $8`,
		l.EnvironmentID, l.Key, l.Owner, l.Until, string(l.Kind), l.InstanceID, l.LeaseEpoch, now)
	return n > 0, err
}

func (t *tx) ReleaseLock(env int64, key, owner string, now time.Time) (bool, error) {
	until, held, err := maybe(&t.reader, `DELETE FROM function_locks WHERE environment_id = $1 AND key = $2 AND owner = $3 RETURNING until`,
		(*row).time, env, key, owner)
	return held && until.After(now), err
}

func (t *tx) ReleaseLocks(env int64, owner string) (int, error) {
	n, err := t.exec(`DELETE FROM function_locks WHERE environment_id = $1 AND owner = $2`, env, owner)
	return int(n), err
}
