package postgres

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"syncline"
)

const jobColumns = `id, uuid, environment_id, connection_id, function_id, kind, attended, connection_key, integration_key, input, input_key_id,
	status, max_retries, attempts, not_before, lease_owner, lease_epoch, lease_until, run_id, result, result_key_id, created_at, finished_at`

func scanJob(r *row) syncline.Job {
	return syncline.Job{
		ID: r.int64(), UUID: r.text(), EnvironmentID: r.int64(), ConnectionID: r.int64(), FunctionID: r.int64(), Kind: syncline.RunKind(r.text()),
		Attended: r.bool(), ConnectionKey: r.text(), IntegrationKey: r.text(), Input: r.bytes(), InputKeyID: r.text(),
		Status: syncline.JobStatus(r.text()), MaxRetries: r.int(), Attempts: r.int(), NotBefore: r.time(), Lease: scanLease(r), RunID: r.int64(),
		Result: r.bytes(), ResultKeyID: r.text(), CreatedAt: r.time(), FinishedAt: r.time(),
	}
}

func (r *reader) Job(env, id int64) (syncline.Job, error) {
	return one(r, missing{"job", id}, `SELECT `+jobColumns+` FROM jobs WHERE id = $1 AND environment_id = $2`, scanJob, id, env)
}

func (r *reader) JobByUUID(env int64, uuid string) (syncline.Job, error) {
	return one(r, missing{"job", uuid}, `SELECT `+jobColumns+` FROM jobs WHERE environment_id = $1 AND uuid = $2`, scanJob, env, uuid)
}

// pendingJobs is the condition of jobs of environment e that nobody holds at $1.
const pendingJobs = `environment_id = e.id AND status = 'pending' AND (lease_owner = '' OR lease_until <= $1)`

// busyJobs counts the jobs of environment e that are under way at $1.
const busyJobs = `(SELECT count(*) FROM jobs WHERE environment_id = e.id AND lease_owner <> '' AND NOT attended AND lease_until > $1)`

func (r *reader) NextJob(now time.Time, perEnvironment int) (time.Time, error) {
	at, _, err := maybe(r, `SELECT CASE WHEN min(at) IS NOT NULL THEN greatest(min(at), $1::timestamptz) END
		FROM (SELECT (SELECT not_before FROM jobs WHERE `+pendingJobs+` ORDER BY not_before, id LIMIT 1) AS at
			FROM environments AS e WHERE `+busyJobs+` < $2) AS next`, (*row).time, now, perEnvironment)
	return at, err
}

func (r *reader) LostJobs(now time.Time, n int) ([]syncline.Job, error) {
	return all(r, `SELECT `+jobColumns+` FROM jobs WHERE status = 'running' AND (lease_owner = '' OR lease_until <= $1) ORDER BY id LIMIT $2`,
		scanJob, now, limit(n))
}

// holdConnection keeps a connection from being deleted until the transaction ends.
func (t *tx) holdConnection(env, id int64) error {
	_, err := one(&t.reader, missing{"connection", id}, `SELECT id FROM connections
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL FOR SHARE`, (*row).int64, id, env)
	return err
}

func (t *tx) CreateJob(j *syncline.Job) (err error) {
	if err := t.holdConnection(j.EnvironmentID, j.ConnectionID); err != nil {
		return err
	}
	if err := t.holdFunction(j.EnvironmentID, j.FunctionID); err != nil {
		return err
	}
	t.stamp(&j.CreatedAt)
	if j.UUID == "" {
		j.UUID = syncline.NewUUID()
	}
	if j.Status == "" {
		j.Status = syncline.JobPending
	}
	if j.NotBefore.IsZero() {
		j.NotBefore = j.CreatedAt
	}
	if j.Lease.Owner != "" {
		j.Lease.Epoch = 1
	}
	j.ID, err = t.insert("job", j.UUID, `INSERT INTO jobs (uuid, environment_id, connection_id, function_id, kind, attended, connection_key, integration_key,
		input, input_key_id, status, max_retries, attempts, not_before, lease_owner, lease_epoch, lease_until, run_id, result, result_key_id, created_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) ON CONFLICT DO NOTHING RETURNING id`,
		j.UUID, j.EnvironmentID, j.ConnectionID, j.FunctionID, string(j.Kind), j.Attended, j.ConnectionKey, j.IntegrationKey, []byte(j.Input),
		j.InputKeyID, string(j.Status), j.MaxRetries, j.Attempts, j.NotBefore, j.Lease.Owner, j.Lease.Epoch, j.Lease.Until, j.RunID,
		[]byte(j.Result), j.ResultKeyID, j.CreatedAt, j.FinishedAt)
	return err
}

// ClaimJobs passes over environments in which another process is claiming: the
// lock on the environment makes that what is under way is counted right.
func (t *tx) ClaimJobs(owner string, now, until time.Time, perEnvironment, n int) ([]syncline.Job, error) {
	if n <= 0 {
		return nil, nil
	}
	envs, err := all(&t.reader, `SELECT id FROM environments AS e
		WHERE EXISTS (SELECT 1 FROM jobs WHERE `+pendingJobs+` AND not_before <= $1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED`, (*row).int64, now)
	if err != nil || len(envs) == 0 {
		return nil, err
	}
	// These statements' snapshots are taken after the locks.
	var due [][]int64 // by environment
	for _, env := range envs {
		busy, err := t.number(`SELECT `+busyJobs+` FROM environments AS e WHERE id = $2`, now, env)
		if err != nil {
			return nil, err
		}
		room := min(int64(perEnvironment)-busy, int64(n))
		if room <= 0 {
			continue
		}
		ids, err := all(&t.reader, `SELECT id FROM jobs WHERE environment_id = $2 AND status = 'pending' AND not_before <= $1
			AND (lease_owner = '' OR lease_until <= $1) ORDER BY not_before, id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED`, (*row).int64, now, env, room)
		if err != nil {
			return nil, err
		}
		due = append(due, ids)
	}
	ids := inTurns(due, n)
	if len(ids) == 0 {
		return nil, nil
	}
	jobs, err := all(&t.reader, `UPDATE jobs SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = $2 WHERE id = ANY ($3::bigint[])
		RETURNING `+jobColumns, scanJob, owner, until, ids)
	// RETURNING promises no order.
	slices.SortFunc(jobs, func(a, b syncline.Job) int { return cmp.Or(a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.ID, b.ID)) })
	return jobs, err
}

// inTurns takes up to n of lists, one from each in turn.
func inTurns(lists [][]int64, n int) (out []int64) {
	for place := 0; len(out) < n; place++ {
		more := false
		for _, ids := range lists {
			if place < len(ids) && len(out) < n {
				out, more = append(out, ids[place]), true
			}
		}
		if !more {
			break
		}
	}
	return out
}

func (t *tx) TakeJob(env, id int64, owner string, now, until time.Time) (lease syncline.Lease, ok bool, err error) {
	if _, err := t.Job(env, id); err != nil {
		return lease, false, err
	}
	return maybe(&t.reader, `UPDATE jobs SET lease_owner = $1, lease_epoch = lease_epoch + 1, lease_until = $2
		WHERE id = $3 AND environment_id = $4 AND status IN ('pending', 'running') AND (lease_owner = '' OR lease_until <= $5)
		RETURNING lease_owner, lease_epoch, lease_until`, scanLease, owner, until, id, env, now)
}

// ofJob runs a statement that must change the job that is held under an epoch.
func (t *tx) ofJob(env, id int64, sql string, args ...any) error {
	n, err := t.exec(sql, args...)
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Job(env, id); err != nil {
		return err
	}
	return fenced("lease of job", id)
}

func (t *tx) ExtendJob(env, id, leaseEpoch int64, until time.Time) error {
	return t.ofJob(env, id, `UPDATE jobs SET lease_until = $1 WHERE id = $2 AND environment_id = $3 AND lease_epoch = $4 AND lease_owner <> ''`,
		until, id, env, leaseEpoch)
}

func (t *tx) FenceJob(env, id, leaseEpoch int64) error {
	lease, err := one(&t.reader, missing{"job", id}, `SELECT lease_owner, lease_epoch, lease_until FROM jobs
		WHERE id = $1 AND environment_id = $2 FOR NO KEY UPDATE`, scanLease, id, env)
	if err == nil && (lease.Epoch != leaseEpoch || lease.Owner == "") {
		err = fenced("lease of job", id)
	}
	return err
}

func (t *tx) UpdateJob(j *syncline.Job) error {
	owner, until := j.Lease.Owner, j.Lease.Until
	if j.Status != syncline.JobRunning {
		owner, until = "", time.Time{}
	}
	err := t.ofJob(j.EnvironmentID, j.ID, `UPDATE jobs SET status = $1, attempts = $2, not_before = $3, run_id = $4, result = $5, result_key_id = $6,
		finished_at = $7, lease_owner = CASE WHEN $8 THEN lease_owner ELSE '' END, lease_until = CASE WHEN $8 THEN lease_until END
		WHERE id = $9 AND environment_id = $10 AND lease_epoch = $11 AND lease_owner <> ''`,
		string(j.Status), j.Attempts, j.NotBefore, j.RunID, []byte(j.Result), j.ResultKeyID, j.FinishedAt, owner != "", j.ID, j.EnvironmentID, j.Lease.Epoch)
	if err == nil {
		j.Lease.Owner, j.Lease.Until = owner, until
	}
	return err
}

func (t *tx) DeleteJob(env, id, leaseEpoch int64) error {
	return t.ofJob(env, id, `DELETE FROM jobs WHERE id = $1 AND environment_id = $2 AND lease_epoch = $3 AND lease_owner <> ''`, id, env, leaseEpoch)
}

func (t *tx) PurgeJobs(before time.Time, n int) (int, error) {
	purged, err := t.exec(`DELETE FROM jobs WHERE id IN (SELECT id FROM jobs
		WHERE finished_at IS NOT NULL AND finished_at < $1 ORDER BY finished_at LIMIT $2)`, before, limit(n))
	return int(purged), err
}

func (r *reader) Checkpoint(env, connectionID, functionID int64) (json.RawMessage, error) {
	c, _, err := maybe(r, `SELECT checkpoint FROM function_checkpoints WHERE environment_id = $1 AND connection_id = $2 AND function_id = $3`,
		func(r *row) json.RawMessage { return r.bytes() }, env, connectionID, functionID)
	return c, err
}

func (t *tx) SetCheckpoint(env, connectionID, functionID int64, c json.RawMessage) error {
	if err := t.holdConnection(env, connectionID); err != nil {
		return err
	}
	if c == nil {
		_, err := t.exec(`DELETE FROM function_checkpoints WHERE environment_id = $1 AND connection_id = $2 AND function_id = $3`, env, connectionID, functionID)
		return err
	}
	_, err := t.exec(`INSERT INTO function_checkpoints (environment_id, connection_id, function_id, checkpoint) VALUES ($1, $2, $3, $4)
		ON CONFLICT (environment_id, connection_id, function_id) DO UPDATE SET checkpoint = excluded.checkpoint`, env, connectionID, functionID, string(c))
	return err
}
