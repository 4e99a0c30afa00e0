package sqlite

import (
	"encoding/json"
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
	return one(r, missing{"job", id}, `SELECT `+jobColumns+` FROM jobs WHERE id = ? AND environment_id = ?`, scanJob, id, env)
}

func (r *reader) JobByUUID(env int64, uuid string) (syncline.Job, error) {
	return one(r, missing{"job", uuid}, `SELECT `+jobColumns+` FROM jobs WHERE environment_id = ? AND uuid = ?`, scanJob, env, uuid)
}

// pendingJobs is the condition of jobs of environment e that nobody holds at ?1.
const pendingJobs = `environment_id = e.id AND status = 'pending' AND (lease_owner = '' OR lease_until <= ?1)`

// busyJobs counts the jobs of environment e that are under way at ?1.
const busyJobs = `(SELECT count(*) FROM jobs WHERE environment_id = e.id AND lease_owner <> '' AND attended = 0 AND lease_until > ?1)`

func (r *reader) NextJob(now time.Time, perEnvironment int) (time.Time, error) {
	var at time.Time
	err := r.query(`SELECT max(min(at), ?1) FROM (SELECT (SELECT not_before FROM jobs WHERE `+pendingJobs+` ORDER BY not_before, id LIMIT 1) AS at
			FROM environments AS e WHERE `+busyJobs+` < ?2) WHERE at IS NOT NULL`,
		func(r *row) error {
			at = r.time()
			return nil
		}, now, perEnvironment)
	return at, err
}

func (r *reader) LostJobs(now time.Time, n int) ([]syncline.Job, error) {
	return all(r, `SELECT `+jobColumns+` FROM jobs WHERE status = 'running' AND (lease_owner = '' OR lease_until <= ?) ORDER BY id LIMIT ?`, scanJob, now, limit(n))
}

func (t *tx) CreateJob(j *syncline.Job) error {
	if _, err := t.Connection(j.EnvironmentID, j.ConnectionID); err != nil {
		return err
	}
	if _, err := t.Function(j.EnvironmentID, j.FunctionID); err != nil {
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
	_, id, err := t.exec(`INSERT INTO jobs (uuid, environment_id, connection_id, function_id, kind, attended, connection_key, integration_key, input,
		input_key_id, status, max_retries, attempts, not_before, lease_owner, lease_epoch, lease_until, run_id, result, result_key_id, created_at, finished_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.UUID, j.EnvironmentID, j.ConnectionID, j.FunctionID, string(j.Kind), j.Attended, j.ConnectionKey, j.IntegrationKey, []byte(j.Input),
		j.InputKeyID, string(j.Status), j.MaxRetries, j.Attempts, j.NotBefore, j.Lease.Owner, j.Lease.Epoch, j.Lease.Until, j.RunID,
		[]byte(j.Result), j.ResultKeyID, j.CreatedAt, j.FinishedAt)
	if err != nil {
		return written(err, "job", j.UUID, "")
	}
	j.ID = id
	return nil
}

func (t *tx) ClaimJobs(owner string, now, until time.Time, perEnvironment, n int) ([]syncline.Job, error) {
	if n <= 0 {
		return nil, nil
	}
	envs, err := all(&t.reader, `SELECT id, ?2 - `+busyJobs+` FROM environments AS e
		WHERE EXISTS (SELECT 1 FROM jobs WHERE `+pendingJobs+` AND not_before <= ?1) ORDER BY id`, scanKey, now, perEnvironment)
	if err != nil {
		return nil, err
	}
	var due [][]int64 // by environment
	for _, e := range envs {
		if e.id <= 0 {
			continue // no room
		}
		ids, err := all(&t.reader, `SELECT id FROM jobs WHERE environment_id = ?2 AND status = 'pending' AND not_before <= ?1
			AND (lease_owner = '' OR lease_until <= ?1) ORDER BY not_before, id LIMIT ?3`, (*row).int64, now, e.env, min(e.id, int64(n)))
		if err != nil {
			return nil, err
		}
		due = append(due, ids)
	}
	var jobs []syncline.Job
	for _, id := range inTurns(due, n) {
		claimed, err := all(&t.reader, `UPDATE jobs SET lease_owner = ?, lease_epoch = lease_epoch + 1, lease_until = ? WHERE id = ? RETURNING `+jobColumns,
			scanJob, owner, until, id)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, claimed...)
	}
	return jobs, nil
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
	taken, err := all(&t.reader, `UPDATE jobs SET lease_owner = ?, lease_epoch = lease_epoch + 1, lease_until = ?
		WHERE id = ? AND environment_id = ? AND status IN ('pending', 'running') AND (lease_owner = '' OR lease_until <= ?) RETURNING lease_owner, lease_epoch, lease_until`,
		scanLease, owner, until, id, env, now)
	if err != nil || len(taken) == 0 {
		return lease, false, err
	}
	return taken[0], true, nil
}

// ofJob runs a statement that must change the job that is held under an epoch.
func (t *tx) ofJob(env, id int64, sql string, args ...any) error {
	n, _, err := t.exec(sql, args...)
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Job(env, id); err != nil {
		return err
	}
	return fenced("lease of job", id)
}

func (t *tx) ExtendJob(env, id, leaseEpoch int64, until time.Time) error {
	return t.ofJob(env, id, `UPDATE jobs SET lease_until = ? WHERE id = ? AND environment_id = ? AND lease_epoch = ? AND lease_owner <> ''`,
		until, id, env, leaseEpoch)
}

func (t *tx) FenceJob(env, id, leaseEpoch int64) error {
	j, err := t.Job(env, id)
	if err == nil && (j.Lease.Epoch != leaseEpoch || j.Lease.Owner == "") {
		err = fenced("lease of job", id)
	}
	return err
}

func (t *tx) UpdateJob(j *syncline.Job) error {
	owner, until := j.Lease.Owner, j.Lease.Until
	if j.Status != syncline.JobRunning {
		owner, until = "", time.Time{}
	}
	err := t.ofJob(j.EnvironmentID, j.ID, `UPDATE jobs SET status = ?, attempts = ?, not_before = ?, run_id = ?, result = ?, result_key_id = ?,
		finished_at = ?, lease_owner = iif(?8 = '', '', lease_owner), lease_until = iif(?8 = '', NULL, lease_until)
		WHERE id = ? AND environment_id = ? AND lease_epoch = ? AND lease_owner <> ''`,
		string(j.Status), j.Attempts, j.NotBefore, j.RunID, []byte(j.Result), j.ResultKeyID, j.FinishedAt, owner, j.ID, j.EnvironmentID, j.Lease.Epoch)
	if err == nil {
		j.Lease.Owner, j.Lease.Until = owner, until
	}
	return err
}

func (t *tx) DeleteJob(env, id, leaseEpoch int64) error {
	return t.ofJob(env, id, `DELETE FROM jobs WHERE id = ? AND environment_id = ? AND lease_epoch = ? AND lease_owner <> ''`, id, env, leaseEpoch)
}

func (t *tx) PurgeJobs(before time.Time, n int) (int, error) {
	purged, _, err := t.exec(`DELETE FROM jobs WHERE id IN (SELECT id FROM jobs
		WHERE finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?)`, before, limit(n))
	return int(purged), err
}

func (r *reader) Checkpoint(env, connectionID, functionID int64) (json.RawMessage, error) {
	found, err := all(r, `SELECT checkpoint FROM function_checkpoints WHERE environment_id = ? AND connection_id = ? AND function_id = ?`,
		func(r *row) json.RawMessage { return r.bytes() }, env, connectionID, functionID)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

func (t *tx) SetCheckpoint(env, connectionID, functionID int64, c json.RawMessage) error {
	if _, err := t.Connection(env, connectionID); err != nil {
		return err
	}
	if c == nil {
		_, _, err := t.exec(`DELETE FROM function_checkpoints WHERE environment_id = ? AND connection_id = ? AND function_id = ?`, env, connectionID, functionID)
		return err
	}
	_, _, err := t.exec(`INSERT INTO function_checkpoints (environment_id, connection_id, function_id, checkpoint) VALUES (?, ?, ?, ?)
		ON CONFLICT (environment_id, connection_id, function_id) DO UPDATE SET checkpoint = excluded.checkpoint`, env, connectionID, functionID, string(c))
	return err
}
