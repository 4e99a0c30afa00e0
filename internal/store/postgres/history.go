package postgres

import (
	"slices"
	"time"

	"syncline"
)

const historyColumns = `collection_id, external_id, long_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at, last_action,
	writer_lineage, writer_lane_id, writer_event_id, writer_run_id, version, payload_key_id`

func scanHistory(r *row) *syncline.Record {
	return &syncline.Record{
		CollectionID: r.int64(), ID: scanID(r), Seq: r.int64(), Hash: r.bytes(), Payload: r.bytes(),
		FirstSeenAt: r.time(), LastModifiedAt: r.time(), DeletedAt: r.time(), PrunedAt: r.time(), LastAction: syncline.Action(r.text()),
		Writer:  syncline.Writer{Lineage: r.int64(), LaneID: r.int64(), EventID: r.int64(), RunID: r.int64()},
		Version: r.text(), PayloadKeyID: r.text(),
	}
}

func (r *reader) History(env, collectionID int64, id string, before int64, n int) ([]syncline.Superseded, error) {
	w := where(`SELECT `+historyColumns+`, superseded_at FROM record_history
		WHERE environment_id = $1 AND collection_id = $2 AND external_id = $3`, env, collectionID, keyOf(id))
	if before > 0 {
		w.add(` AND seq < ?`, before)
	}
	w.add(` ORDER BY seq DESC LIMIT ?`, limit(n))
	return all(r, w.sql.String(), func(r *row) syncline.Superseded {
		return syncline.Superseded{Record: *scanHistory(r), At: r.time()}
	}, w.args...)
}

func (r *reader) ScanAsOf(env, collectionID int64, at time.Time, afterID string, n int, fn func(*syncline.Record) bool) error {
	query, args := `(SELECT `+historyColumns+` FROM records
			WHERE environment_id = $1 AND collection_id = $2 AND external_id > $3 AND last_modified_at <= $4 AND deleted_at IS NULL)
		UNION ALL (SELECT `+historyColumns+` FROM record_history
			WHERE environment_id = $1 AND collection_id = $2 AND external_id > $3 AND last_modified_at <= $4 AND superseded_at > $4 AND deleted_at IS NULL)
		ORDER BY external_id`, []any{env, collectionID, keyOf(afterID), at}
	if n > 0 {
		query, args = query+` LIMIT $5`, append(args, n)
	}
	return r.query(query, func(row *row) error {
		rec := scanHistory(row)
		if row.err == nil && !fn(rec) {
			return errStop
		}
		return nil
	}, args...)
}

func (t *tx) PutHistory(env, collectionID int64, versions []*syncline.Superseded) error {
	for chunk := range slices.Chunk(versions, maxBatchRows) {
		var b recordBatch
		at := make([]*time.Time, len(chunk))
		for i, v := range chunk {
			b.add(&v.Record)
			at[i] = orNull(v.At)
		}
		_, err := t.exec(`INSERT INTO record_history (environment_id, `+historyColumns+`, superseded_at)
			SELECT $1::bigint, h.* FROM (SELECT $2::bigint, * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[],
				$8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
				$13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::text[], $18::text[], $19::timestamptz[])) AS h
			ON CONFLICT DO NOTHING`,
			env, collectionID, b.ids, b.longIDs, b.seqs, b.hashes, b.payloads, b.firstSeen, b.modified, b.deleted, b.pruned, b.actions,
			b.lineages, b.lanes, b.events, b.runs, b.versions, b.keyIDs, at)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) PurgeHistory(env, collectionID int64, before time.Time, n int) (int, error) {
	purged, err := t.exec(`DELETE FROM record_history WHERE environment_id = $1 AND collection_id = $2 AND (external_id, seq) IN
		(SELECT external_id, seq FROM record_history WHERE environment_id = $1 AND collection_id = $2 AND superseded_at < $3
			ORDER BY superseded_at LIMIT $4)`, env, collectionID, before, limit(n))
	return int(purged), err
}
