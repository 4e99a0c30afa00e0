package postgres

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
		WHERE id = $1 AND environment_id = $2`, scanWindow, id, env)
}

func (r *reader) HeldWindows(env int64, p store.Page) ([]syncline.DeleteWindow, error) {
	return all(r, `SELECT `+windowColumns+` FROM delete_windows
		WHERE environment_id = $1 AND state = 'held' ORDER BY id DESC LIMIT $2 OFFSET $3`, scanWindow, env, limit(p.Limit), p.Offset)
}

func (t *tx) OpenWindow(w *syncline.DeleteWindow) error {
	t.stamp(&w.StartedAt)
	if w.State == "" {
		w.State = syncline.WindowOpen
	}
	id, err := t.number(`INSERT INTO delete_windows (environment_id, collection_id, instance_id, instance_epoch, lineage, run_id, start_seq,
		state, deletes, live, started_at, held_at, closed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id`,
		w.EnvironmentID, w.CollectionID, w.InstanceID, w.InstanceEpoch, w.Lineage, w.RunID, w.StartSeq,
		string(w.State), w.Deletes, w.Live, w.StartedAt, w.HeldAt, w.ClosedAt)
	if err != nil {
		return err
	}
	w.ID = id
	return t.exec1(missing{"collection", w.CollectionID}, `UPDATE collections SET window_id = $1, window_seq = $2
		WHERE id = $3 AND environment_id = $4`, w.ID, w.StartSeq, w.CollectionID, w.EnvironmentID)
}

func (t *tx) UpdateWindow(w *syncline.DeleteWindow) error {
	if err := t.exec1(missing{"delete-tracking window", w.ID}, `UPDATE delete_windows SET lineage = $1, run_id = $2, state = $3, deletes = $4, live = $5,
		held_at = $6, closed_at = $7 WHERE id = $8 AND environment_id = $9`,
		w.Lineage, w.RunID, string(w.State), w.Deletes, w.Live, w.HeldAt, w.ClosedAt, w.ID, w.EnvironmentID); err != nil {
		return err
	}
	if w.State != syncline.WindowClosed {
		return nil
	}
	_, err := t.exec(`UPDATE collections SET window_id = 0, window_seq = 0
		WHERE id = $1 AND environment_id = $2 AND window_id = $3`, w.CollectionID, w.EnvironmentID, w.ID)
	return err
}
