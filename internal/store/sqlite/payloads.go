package sqlite

import (
	"time"

	"syncline"
)

func (r *reader) ForeignPayloads(env, collectionID int64, keyID string, after int64, n int) ([]*syncline.Record, error) {
	return all(r, `SELECT `+recordColumns+` FROM records WHERE environment_id = ? AND collection_id = ? AND seq > ?
		AND payload_key_id <> ? AND payload IS NOT NULL ORDER BY seq LIMIT ?`, scanRecord, env, collectionID, after, keyID, limit(n))
}

func (t *tx) PruneRecords(env, collectionID, after, until int64, before time.Time, n int, now time.Time) (count int, last int64, err error) {
	if !before.IsZero() {
		older, err := t.lastBefore(env, collectionID, after, before.Add(-time.Microsecond))
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
	query, args := `SELECT id, seq FROM records WHERE environment_id = ? AND collection_id = ? AND seq > ? AND payload IS NOT NULL`, []any{env, collectionID, after}
	if until > 0 {
		query, args = query+` AND seq <= ?`, append(args, until)
	}
	rows, err := all(&t.reader, query+` ORDER BY seq LIMIT ?`, func(r *row) [2]int64 { return [2]int64{r.int64(), r.int64()} }, append(args, limit(n))...)
	if err != nil {
		return 0, 0, err
	}
	for _, r := range rows {
		if _, _, err := t.exec(`UPDATE records SET payload = NULL, payload_key_id = '', pruned_at = ? WHERE id = ?`, now, r[0]); err != nil {
			return 0, 0, err
		}
		last = r[1]
	}
	return len(rows), last, nil
}

func (t *tx) PurgeDeleted(env, collectionID int64, before time.Time, n int) (int, error) {
	rows, err := all(&t.reader, `SELECT id, seq FROM records WHERE environment_id = ? AND collection_id = ? AND deleted_at IS NOT NULL
		AND deleted_at < ? ORDER BY seq LIMIT ?`, func(r *row) [2]int64 { return [2]int64{r.int64(), r.int64()} }, env, collectionID, before, limit(n))
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	for _, r := range rows {
		if _, _, err := t.exec(`DELETE FROM records WHERE id = ?`, r[0]); err != nil {
			return 0, err
		}
	}
	return len(rows), t.exec1(missing{"collection", collectionID}, `UPDATE collections SET purged_seq = max(purged_seq, ?)
		WHERE id = ? AND environment_id = ?`, rows[len(rows)-1][1], collectionID, env)
}
