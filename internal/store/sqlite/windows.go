package sqlite

import (
	"syncline"
	"syncline/internal/store"
)

const windowColumns = `id, environment_id, collection_id, instance_id, instance_epoch, lineage, run_id, start_seq, state, deletes, live,
	started_at, held_at, closed_at`

func scanWindow(r *row) syncline.DeleteWindow {
	return syncline.DeleteWindow{
		ID: r.int64(), EnvironmentID: r.int64(), CollectionID: r.int64(), InstanceID: r.int64(), InstanceEpoch: r.int64(), Lineage: r.int64(),
		RunID: r.int64(), StartSeq: r.int64(), State: syncline.DeleteWindowState(r.text()), Deletes: r.int(), Live: r.int(),
		StartedAt: r.time(), HeldAt: r.time(), ClosedAt: r.time(),
	}
}

func (r *reader) DeleteWindow(env, id int64) (syncline.DeleteWindow, error) {
	return one(r, missing{"delete-tracking window", id}, `SELECT `+windowColumns+` FROM delete_windows
		WHERE id = ? AND environment_id = ?`, scanWindow, id, env)
}

func (r *reader) HeldWindows(env int64, p store.Page) ([]syncline.DeleteWindow, error) {
	return all(r, `SELECT `+windowColumns+` FROM delete_windows
		WHERE environment_id = ? AND state = 'held' ORDER BY id DESC LIMIT ? OFFSET ?`, scanWindow, env, limit(p.Limit), p.Offset)
}

func (t *tx) OpenWindow(w *syncline.DeleteWindow) error {
	t.stamp(&w.StartedAt)
	if w.State == "" {
		w.State = syncline.WindowOpen
	}
	_, id, err := t.exec(`INSERT INTO delete_windows (environment_id, collection_id, instance_id, instance_epoch, lineage, run_id, start_seq,
		state, deletes, live, started_at, held_at, closed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		w.EnvironmentID, w.CollectionID, w.InstanceID, w.InstanceEpoch, w.Lineage, w.RunID, w.StartSeq,
		string(w.State), w.Deletes, w.Live, w.StartedAt, w.HeldAt, w.ClosedAt)
	if err != nil {
		return err
	}
	w.ID = id
	return t.exec1(missing{"collection", w.CollectionID}, `UPDATE collections SET window_id = ?, window_seq = ?
		WHERE id = ? AND environment_id = ?`, w.ID, w.StartSeq, w.CollectionID, w.EnvironmentID)
}

func (t *tx) UpdateWindow(w *syncline.DeleteWindow) error {
	if err := t.exec1(missing{"delete-tracking window", w.ID}, `UPDATE delete_windows SET lineage = ?, run_id = ?, state = ?, deletes = ?, live = ?,
		held_at = ?, closed_at = ? WHERE id = ? AND environment_id = ?`,
		w.Lineage, w.RunID, string(w.State), w.Deletes, w.Live, w.HeldAt, w.ClosedAt, w.ID, w.EnvironmentID); err != nil {
		return err
	}
	if w.State != syncline.WindowClosed {
		return nil
	}
	_, _, err := t.exec(`UPDATE collections SET window_id = 0, window_seq = 0
		WHERE id = ? AND environment_id = ? AND window_id = ?`, w.CollectionID, w.EnvironmentID, w.ID)
	return err
}
