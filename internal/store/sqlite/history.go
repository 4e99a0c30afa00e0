package sqlite

import (
	"time"

	"syncline"
)

const historyColumns = `collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at, last_action,
	writer_lineage, writer_lane_id, writer_event_id, writer_run_id, version, payload_key_id`

func scanHistory(r *row) *syncline.Record {
	return &syncline.Record{
		CollectionID: r.int64(), ID: r.text(), Seq: r.int64(), Hash: r.bytes(), Payload: r.bytes(),
		FirstSeenAt: r.time(), LastModifiedAt: r.time(), DeletedAt: r.time(), PrunedAt: r.time(), LastAction: syncline.Action(r.text()),
		Writer:  syncline.Writer{Lineage: r.int64(), LaneID: r.int64(), EventID: r.int64(), RunID: r.int64()},
		Version: r.text(), PayloadKeyID: r.text(),
	}
}

func (r *reader) History(env, collectionID int64, id string, before int64, n int) ([]syncline.Superseded, error) {
	query, args := `SELECT `+historyColumns+`, superseded_at FROM record_history
		WHERE environment_id = ? AND collection_id = ? AND external_id = ?`, []any{env, collectionID, id}
	if before > 0 {
		query, args = query+` AND seq < ?`, append(args, before)
	}
	return all(r, query+` ORDER BY seq DESC LIMIT ?`, func(r *row) syncline.Superseded {
		return syncline.Superseded{Record: *scanHistory(r), At: r.time()}
	}, append(args, limit(n))...)
}

func (r *reader) ScanAsOf(env, collectionID int64, at time.Time, afterID string, n int, fn func(*syncline.Record) bool) error {
	if n <= 0 {
		n = -1
	}
	return r.query(`SELECT `+historyColumns+` FROM records
			WHERE environment_id = ?1 AND collection_id = ?2 AND external_id > ?3 AND last_modified_at <= ?4 AND deleted_at IS NULL
		UNION ALL SELECT `+historyColumns+` FROM record_history
			WHERE environment_id = ?1 AND collection_id = ?2 AND external_id > ?3 AND last_modified_at <= ?4 AND superseded_at > ?4 AND deleted_at IS NULL
		ORDER BY external_id LIMIT ?5`, func(row *row) error {
		rec := scanHistory(row)
		if row.err == nil && !fn(rec) {
			return errStop
		}
		return nil
	}, env, collectionID, afterID, at, n)
}

func (t *tx) PutHistory(env, collectionID int64, versions []*syncline.Superseded) error {
	for _, v := range versions {
		_, _, err := t.exec(`INSERT OR IGNORE INTO record_history (environment_id, `+historyColumns+`, superseded_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			env, collectionID, v.ID, v.Seq, v.Hash, []byte(v.Payload), v.FirstSeenAt, v.LastModifiedAt, v.DeletedAt, v.PrunedAt, string(v.LastAction),
			v.Writer.Lineage, v.Writer.LaneID, v.Writer.EventID, v.Writer.RunID, v.Version, v.PayloadKeyID, v.At)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) PurgeHistory(env, collectionID int64, before time.Time, n int) (int, error) {
	// By its key: the table has no row ids.
	purged, _, err := t.exec(`DELETE FROM record_history WHERE environment_id = ?1 AND collection_id = ?2 AND (external_id, seq) IN
		(SELECT external_id, seq FROM record_history WHERE environment_id = ?1 AND collection_id = ?2 AND superseded_at < ?3
			ORDER BY superseded_at LIMIT ?4)`, env, collectionID, before, limit(n))
	return int(purged), err
}
