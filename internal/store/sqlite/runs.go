package sqlite

import (
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
	return one(r, missing{"run", id}, `SELECT `+runColumns+` FROM runs WHERE id = ? AND environment_id = ?`, scanRun, id, env)
}

func (r *reader) RunByUUID(env int64, uuid string) (syncline.Run, error) {
	return one(r, missing{"run", uuid}, `SELECT `+runColumns+` FROM runs WHERE environment_id = ? AND uuid = ?`, scanRun, env, uuid)
}

func (r *reader) Runs(env int64, f store.RunFilter) ([]syncline.Run, error) {
	where, args := ` FROM runs WHERE environment_id = ?`, []any{env}
	if f.ConnectionID != 0 {
		where, args = where+` AND connection_id = ?`, append(args, f.ConnectionID)
	}
	if f.InstanceID != 0 {
		where, args = where+` AND instance_id = ?`, append(args, f.InstanceID)
	}
	if f.FunctionID != 0 {
		where, args = where+` AND function_id = ?`, append(args, f.FunctionID)
	}
	if f.Kind != "" {
		where, args = where+` AND kind = ?`, append(args, string(f.Kind))
	}
	if f.Status != "" {
		where, args = where+` AND status = ?`, append(args, string(f.Status))
	}
	if f.Before != 0 {
		where, args = where+` AND id < ?`, append(args, f.Before)
	}
	return all(r, `SELECT `+runColumns+where+` ORDER BY id DESC LIMIT ? OFFSET ?`, scanRun,
		append(args, limit(f.Page.Limit), f.Page.Offset)...)
}

func (r *reader) Logs(env, runID, after int64, n int) ([]syncline.LogLine, error) {
	return all(r, `SELECT id, run_id, at, level, message, data FROM run_logs
		WHERE environment_id = ? AND run_id = ? AND id > ? ORDER BY id LIMIT ?`, func(r *row) syncline.LogLine {
		return syncline.LogLine{ID: r.int64(), RunID: r.int64(), At: r.time(), Level: syncline.LogLevel(r.text()), Message: r.text(), Data: r.bytes()}
	}, env, runID, after, limit(n))
}

func (r *reader) RunningRuns(n int) ([]syncline.Run, error) {
	return all(r, `SELECT `+runColumns+` FROM runs WHERE status = 'running' ORDER BY id LIMIT ?`, scanRun, limit(n))
}

func (t *tx) CreateRun(r *syncline.Run) error {
	t.stamp(&r.StartedAt)
	if r.UUID == "" {
		r.UUID = syncline.NewUUID()
	}
	_, id, err := t.exec(`INSERT INTO runs (uuid, environment_id, connection_id, instance_id, function_id, version_id, kind, status, lineage, event_id,
		attempt, sync_type, error_code, error, models, warnings, started_at, finished_at, mode, parent)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.UUID, r.EnvironmentID, r.ConnectionID, r.InstanceID, r.FunctionID, r.VersionID, string(r.Kind), string(r.Status), r.Lineage, r.EventID,
		r.Attempt, string(r.SyncType), string(r.ErrorCode), r.Error, jsonValue{r.Models}, jsonValue{r.Warnings}, r.StartedAt, r.FinishedAt, string(r.Mode), r.Parent)
	if err != nil {
		return written(err, "run", r.UUID, "")
	}
	r.ID = id
	if r.Lineage == 0 {
		r.Lineage = id
		_, _, err = t.exec(`UPDATE runs SET lineage = id WHERE id = ?`, id)
	}
	return err
}

func (t *tx) UpdateRun(r *syncline.Run) error {
	return t.exec1(missing{"run", r.UUID}, `UPDATE runs SET status = ?, lineage = ?, event_id = ?, attempt = ?, sync_type = ?,
		error_code = ?, error = ?, models = ?, warnings = ?, started_at = ?, finished_at = ?
		WHERE id = ? AND environment_id = ?`,
		string(r.Status), r.Lineage, r.EventID, r.Attempt, string(r.SyncType),
		string(r.ErrorCode), r.Error, jsonValue{r.Models}, jsonValue{r.Warnings}, r.StartedAt, r.FinishedAt, r.ID, r.EnvironmentID)
}

func (t *tx) AppendLogs(env, runID int64, lines []syncline.LogLine) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := t.Run(env, runID); err != nil {
		return err
	}
	for i := range lines {
		l := &lines[i]
		_, id, err := t.exec(`INSERT INTO run_logs (environment_id, run_id, at, level, message, data) VALUES (?, ?, ?, ?, ?, ?)`,
			env, runID, l.At, string(l.Level), l.Message, l.Data)
		if err != nil {
			return err
		}
		l.ID, l.RunID = id, runID
	}
	return nil
}
