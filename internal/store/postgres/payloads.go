package postgres

import (
	"time"

	"syncline"
)

func (r *reader) ForeignPayloads(env, collectionID int64, keyID string, after int64, n int) ([]*syncline.Record, error) {
	return all(r, `SELECT `+recordColumns+` FROM records WHERE environment_id = $1 AND collection_id = $2 AND seq > $3 AND seq > 0
		AND payload_key_id <> $4 AND payload IS NOT NULL ORDER BY seq LIMIT $5`, scanRecord, env, collectionID, after, keyID, limit(n))
}

func (t *tx) PruneRecords(env, collectionID, after, until int64, before time.Time, n int, now time.Time) (count int, last int64, err error) {
	if !before.IsZero() {
		older, err := t.number(`SELECT last_before($1, $2, $3, $4)`, env, collectionID, after, before.Add(-time.Microsecond))
		if err != nil {
			return 0, 0, err
		}
		if until == 0 || older < until {
			until = older
		}
		if until <= after {
			return 0, 0, nil
		}
	}
	w := where(`SELECT external_id, seq FROM records
		WHERE environment_id = $1 AND collection_id = $2 AND seq > $3 AND seq > 0 AND payload IS NOT NULL`, env, collectionID, after)
	if until > 0 {
		w.add(` AND seq <= ?`, until)
	}
	w.add(` ORDER BY seq LIMIT ?`, limit(n))
	keys, last, err := t.keysAndLast(w)
	if err != nil || len(keys) == 0 {
		return 0, 0, err
	}
	_, err = t.exec(`UPDATE records SET payload = NULL, payload_key_id = '', pruned_at = $1
		WHERE environment_id = $2 AND collection_id = $3 AND external_id = ANY($4::text[]) AND seq <= $5`, now, env, collectionID, keys, last)
	return len(keys), last, err
}

// keysAndLast reads external ids and positions, in the order of these.
func (t *tx) keysAndLast(w *filter) (keys []key, last int64, err error) {
	err = t.query(w.sql.String(), func(r *row) error {
		keys = append(keys, key(r.stored()))
		last = r.int64()
		return nil
	}, w.args...)
	return keys, last, err
}

func (t *tx) PurgeDeleted(env, collectionID int64, before time.Time, n int) (int, error) {
	if _, err := t.LockCollection(env, collectionID); err != nil {
		return 0, err
	}
	w := where(`SELECT external_id, seq FROM records
		WHERE environment_id = $1 AND collection_id = $2 AND seq > 0 AND deleted_at IS NOT NULL AND deleted_at < $3`, env, collectionID, before)
	w.add(` ORDER BY seq LIMIT ?`, limit(n))
	keys, last, err := t.keysAndLast(w)
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	if _, err := t.exec(`DELETE FROM records WHERE environment_id = $1 AND collection_id = $2 AND external_id = ANY($3::text[])`,
		env, collectionID, keys); err != nil {
		return 0, err
	}
	return len(keys), t.exec1(missing{"collection", collectionID}, `UPDATE collections SET purged_seq = greatest(purged_seq, $1)
		WHERE id = $2 AND environment_id = $3`, last, collectionID, env)
}
