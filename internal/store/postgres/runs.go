package postgres

import (
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

const runColumns = `id, uuid, environment_id, connection_id, instance_id, function_id, version_id, kind, status, lineage, event_id,
	attempt, sync_type, error_code, error, models, warnings, started_at, finished_at, mode, parent`

func scanRun(r *row) syncline.Run {
	run := syncline.Run{
		ID: r.int64(), UUID: r.text(), EnvironmentID: r.int64(), ConnectionID: r.int64(), InstanceID: r.int64(), FunctionID: r.int64(),
		VersionID: r.int64(), Kind: syncline.RunKind(r.text()), Status: syncline.RunStatus(r.text()), Lineage: r.int64(), EventID: r.int64(),
		Attempt: r.int(), SyncType: syncline.SyncType(r.text()), ErrorCode: syncline.Code(r.text()), Error: r.text(),
	}
	r.json(&run.Models)
	r.json(&run.Warnings)
	run.StartedAt, run.FinishedAt, run.Mode, run.Parent = r.time(), r.time(), syncline.RunMode(r.text()), r.text()
	return run
}

func (r *reader) Run(env, id int64) (syncline.Run, error) {
	return one(r, missing{"run", id}, `SELECT `+runColumns+` FROM runs WHERE id = $1 AND environment_id = $2`, scanRun, id, env)
}

func (r *reader) RunByUUID(env int64, uuid string) (syncline.Run, error) {
	return one(r, missing{"run", uuid}, `SELECT `+runColumns+` FROM runs WHERE environment_id = $1 AND uuid = $2`, scanRun, env, uuid)
}

func (r *reader) Runs(env int64, f store.RunFilter) ([]syncline.Run, error) {
	w := where(`SELECT `+runColumns+` FROM runs WHERE environment_id = $1`, env)
	if f.ConnectionID != 0 {
		w.add(` AND connection_id = ?`, f.ConnectionID)
	}
	if f.InstanceID != 0 {
		w.add(` AND instance_id = ?`, f.InstanceID)
	}
	if f.FunctionID != 0 {
		w.add(` AND function_id = ?`, f.FunctionID)
	}
	if f.Kind != "" {
		w.add(` AND kind = ?`, string(f.Kind))
	}
	if f.Status != "" {
		w.add(` AND status = ?`, string(f.Status))
	}
	if f.Before != 0 {
		w.add(` AND id < ?`, f.Before)
	}
	w.add(` ORDER BY id DESC`)
	w.page(f.Page)
	return all(r, w.sql.String(), scanRun, w.args...)
}

func (r *reader) Logs(env, runID, after int64, n int) ([]syncline.LogLine, error) {
	return all(r, `SELECT id, run_id, at, level, message, data FROM run_logs
		WHERE environment_id = $1 AND run_id = $2 AND id > $3 ORDER BY id LIMIT $4`, func(r *row) syncline.LogLine {
		return syncline.LogLine{ID: r.int64(), RunID: r.int64(), At: r.time(), Level: syncline.LogLevel(r.text()), Message: r.text(), Data: r.bytes()}
	}, env, runID, after, limit(n))
}

func (r *reader) RunningRuns(n int) ([]syncline.Run, error) {
	return all(r, `SELECT `+runColumns+` FROM runs WHERE status = 'running' ORDER BY id LIMIT $1`, scanRun, limit(n))
}

func (t *tx) CreateRun(r *syncline.Run) (err error) {
	t.stamp(&r.StartedAt)
	if r.UUID == "" {
		r.UUID = syncline.NewUUID()
	}
	r.ID, err = t.insert("run", r.UUID, `INSERT INTO runs (`+runColumns+`)
		SELECT n, $1, $2, $3, $4, $5, $6, $7, $8, coalesce(nullif($9::bigint, 0), n), $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20
		FROM nextval('runs_id_seq') AS n ON CONFLICT DO NOTHING RETURNING id`,
		r.UUID, r.EnvironmentID, r.ConnectionID, r.InstanceID, r.FunctionID, r.VersionID, string(r.Kind), string(r.Status), r.Lineage, r.EventID,
		r.Attempt, string(r.SyncType), string(r.ErrorCode), r.Error, jsonValue{r.Models}, jsonValue{r.Warnings}, r.StartedAt, r.FinishedAt, string(r.Mode), r.Parent)
	if err == nil && r.Lineage == 0 {
		r.Lineage = r.ID
	}
	return err
}

func (t *tx) UpdateRun(r *syncline.Run) error {
	return t.exec1(missing{"run", r.UUID}, `UPDATE runs SET status = $1, lineage = $2, event_id = $3, attempt = $4, sync_type = $5,
		error_code = $6, error = $7, models = $8, warnings = $9, started_at = $10, finished_at = $11
		WHERE id = $12 AND environment_id = $13`,
		string(r.Status), r.Lineage, r.EventID, r.Attempt, string(r.SyncType),
		string(r.ErrorCode), r.Error, jsonValue{r.Models}, jsonValue{r.Warnings}, r.StartedAt, r.FinishedAt, r.ID, r.EnvironmentID)
}

// AppendLogs locks the run, so that its lines become visible in the order of
// their ids: readers keep the last one that they saw.
func (t *tx) AppendLogs(env, runID int64, lines []syncline.LogLine) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := one(&t.reader, missing{"run", runID}, `SELECT id FROM runs WHERE id = $1 AND environment_id = $2 FOR NO KEY UPDATE`, (*row).int64, runID, env)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(lines, 1000) {
		if err := t.insertLogs(env, runID, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) insertLogs(env, runID int64, lines []syncline.LogLine) error {
	ids, err := all(&t.reader, `SELECT nextval('run_logs_id_seq') FROM generate_series(1, $1::bigint)`, (*row).int64, len(lines))
	if err != nil {
		return err
	}
	slices.Sort(ids)
	var (
		at             = make([]*time.Time, len(lines))
		level, message = make([]string, len(lines)), make([]string, len(lines))
		data           = make([]*string, len(lines))
	)
	for i := range lines {
		l := &lines[i]
		l.ID, l.RunID = ids[i], runID
		at[i], level[i], message[i] = orNull(l.At), string(l.Level), l.Message
		if len(l.Data) > 0 {
			text := string(l.Data)
			data[i] = &text
		}
	}
	_, err = t.exec(`INSERT INTO run_logs (environment_id, run_id, id, at, level, message, data)
		SELECT $1::bigint, $2::bigint, * FROM unnest($3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::text[])`,
		env, runID, ids, at, level, message, data)
	return err
}
