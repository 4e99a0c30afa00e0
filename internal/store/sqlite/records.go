package sqlite

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

const collectionColumns = `id, environment_id, connection_id, model, last_seq, last_modified_at, purged_seq, window_id, window_seq, created_at`

func scanCollection(r *row) syncline.Collection {
	return syncline.Collection{
		ID: r.int64(), EnvironmentID: r.int64(), ConnectionID: r.int64(), Model: r.text(),
		LastSeq: r.int64(), LastModifiedAt: r.time(), PurgedSeq: r.int64(),
		WindowID: r.int64(), WindowSeq: r.int64(), CreatedAt: r.time(),
	}
}

func (r *reader) Collection(env, connectionID int64, model string) (syncline.Collection, error) {
	return one(r, missing{"collection", model}, `SELECT `+collectionColumns+` FROM collections
		WHERE environment_id = ? AND connection_id = ? AND model = ?`, scanCollection, env, connectionID, model)
}

func (r *reader) Collections(env, connectionID int64) ([]syncline.Collection, error) {
	return all(r, `SELECT `+collectionColumns+` FROM collections
		WHERE environment_id = ? AND connection_id = ? ORDER BY model`, scanCollection, env, connectionID)
}

func (t *tx) EnsureCollection(env, connectionID int64, model string, now time.Time) (int64, error) {
	id, err := t.number(`SELECT id FROM collections WHERE environment_id = ? AND connection_id = ? AND model = ?`, env, connectionID, model)
	if err != nil || id != 0 {
		return id, err
	}
	t.stamp(&now)
	_, id, err = t.exec(`INSERT INTO collections (environment_id, connection_id, model, last_seq, purged_seq, created_at)
		VALUES (?, ?, ?, 0, 0, ?)`, env, connectionID, model, now)
	return id, written(err, "collection", model, "a connection")
}

// LockCollection only reads: the writer runs one transaction at a time.
func (t *tx) LockCollection(env, collectionID int64) (syncline.Collection, error) {
	return one(&t.reader, missing{"collection", collectionID}, `SELECT `+collectionColumns+` FROM collections
		WHERE id = ? AND environment_id = ?`, scanCollection, collectionID, env)
}

func (t *tx) NextSeq(n int) (int64, error) {
	if n <= 0 {
		return 0, syncline.Errorf(syncline.CodeInternal, "NextSeq of %d positions", n)
	}
	first := t.w.seq + 1
	if _, _, err := t.exec(`UPDATE counters SET value = ? WHERE name = 'seq'`, t.w.seq+int64(n)); err != nil {
		return 0, err
	}
	t.w.seq += int64(n)
	return first, nil
}

const recordColumns = `collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at, last_action,
	writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by, version, field_versions, payload_key_id`

func scanRecord(r *row) *syncline.Record {
	return &syncline.Record{
		CollectionID: r.int64(), ID: r.text(), Seq: r.int64(), Hash: r.bytes(), Payload: r.bytes(),
		FirstSeenAt: r.time(), LastModifiedAt: r.time(), DeletedAt: r.time(), PrunedAt: r.time(), LastAction: syncline.Action(r.text()),
		Writer:    syncline.Writer{Lineage: r.int64(), LaneID: r.int64(), EventID: r.int64(), RunID: r.int64()},
		TouchedBy: r.int64(), Version: r.text(), FieldVersions: r.bytes(), PayloadKeyID: r.text(),
	}
}

// Ids are bound in lists of a few fixed lengths, so that a handful of prepared
// statements serve any number of them.
var inLists = []struct {
	n   int
	sql string
}{{256, inList(256)}, {32, inList(32)}, {4, inList(4)}, {1, inList(1)}}

func inList(n int) string { return "(?" + strings.Repeat(", ?", n-1) + ")" }

// inChunks calls fn with each part of ids and the list that takes its bindings,
// which come after the leading ones.
func inChunks(leading []any, ids []string, fn func(list string, args []any) error) error {
	args := make([]any, len(leading), len(leading)+inLists[0].n)
	copy(args, leading)
	for len(ids) > 0 {
		for _, l := range inLists {
			if len(ids) < l.n {
				continue
			}
			args = args[:len(leading)]
			for _, id := range ids[:l.n] {
				args = append(args, id)
			}
			if err := fn(l.sql, args); err != nil {
				return err
			}
			ids = ids[l.n:]
			break
		}
	}
	return nil
}

func (r *reader) RecordsByID(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	return r.recordsByID(recordColumns, env, collectionID, ids)
}

func (r *reader) recordsByID(columns string, env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found := make(map[string]*syncline.Record, len(ids))
	err := inChunks([]any{env, collectionID}, ids, func(list string, args []any) error {
		return r.query(`SELECT `+columns+` FROM records
			WHERE environment_id = ? AND collection_id = ? AND external_id IN `+list, func(row *row) error {
			rec := scanRecord(row)
			found[rec.ID] = rec
			return nil
		}, args...)
	})
	return found, err
}

// headColumns are recordColumns without the payload.
var headColumns = strings.Replace(recordColumns, " payload,", " NULL,", 1)

func (r *reader) RecordHeads(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	return r.recordsByID(headColumns, env, collectionID, ids)
}

func (r *reader) ScanRecords(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	if q.IDs != nil {
		return r.scanByID(env, collectionID, q, fn)
	}
	after, err := r.afterTime(env, collectionID, q)
	if err != nil {
		return err
	}
	where, args := conditions(env, collectionID, after, q)
	query := `SELECT ` + recordColumns + where + ` ORDER BY seq`
	if q.Limit > 0 {
		query, args = query+` LIMIT ?`, append(args, q.Limit)
	}
	return r.query(query, func(row *row) error {
		rec := scanRecord(row)
		if row.err == nil && !fn(rec) {
			return errStop
		}
		return nil
	}, args...)
}

// conditions selects the records of a query that names no ids.
func conditions(env, collectionID, after int64, q store.RecordQuery) (where string, args []any) {
	where, args = ` FROM records WHERE environment_id = ? AND collection_id = ? AND seq > ? AND last_action <> ''`, []any{env, collectionID, after}
	if len(q.Actions) > 0 {
		where += ` AND last_action IN ` + inList(len(q.Actions))
		for _, a := range q.Actions {
			args = append(args, string(a))
		}
	}
	if q.Until > 0 {
		where, args = where+` AND seq <= ?`, append(args, q.Until)
	}
	if q.UntouchedBy > 0 {
		where, args = where+` AND deleted_at IS NULL AND touched_by < ?`, append(args, q.UntouchedBy)
	}
	return where, args
}

// lastBefore is the position up to which records were last modified at or
// before t, or after. last_modified_at never decreases with seq, so it halves
// its way there with some twenty look-ups and needs no index of its own.
func (r *reader) lastBefore(env, collectionID, after int64, t time.Time) (int64, error) {
	high, err := r.number(`SELECT max(seq) FROM records WHERE environment_id = ? AND collection_id = ?`, env, collectionID)
	if err != nil {
		return 0, err
	}
	// Records at low and before are out, those beyond high are in.
	for low := after; ; {
		if low >= high {
			return low, nil
		}
		middle := low + (high-low)/2 + 1 // in (low, high]
		var seq int64
		var at time.Time
		err := r.query(`SELECT seq, last_modified_at FROM records
			WHERE environment_id = ? AND collection_id = ? AND seq >= ? ORDER BY seq LIMIT 1`, func(row *row) error {
			seq, at = row.int64(), row.time()
			return nil
		}, env, collectionID, middle)
		switch {
		case err != nil:
			return 0, err
		case at.After(t): // the first at or beyond middle is in
			high = middle - 1
		default:
			low = seq
		}
	}
}

// scanByID reads the records of q.IDs. They are few (a request's), so they are
// gathered and put in order here.
func (r *reader) scanByID(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	found, err := r.RecordsByID(env, collectionID, q.IDs)
	if err != nil {
		return err
	}
	var list []*syncline.Record
	for _, rec := range found {
		if rec.LastAction != "" && rec.Seq > q.After && (q.Until == 0 || rec.Seq <= q.Until) &&
			(q.UntouchedBy == 0 || !rec.Deleted() && rec.TouchedBy < q.UntouchedBy) && (q.ModifiedAfter.IsZero() || rec.LastModifiedAt.After(q.ModifiedAfter)) &&
			(len(q.Actions) == 0 || slices.Contains(q.Actions, rec.LastAction)) {
			list = append(list, rec)
		}
	}
	slices.SortFunc(list, func(a, b *syncline.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	if q.Limit > 0 && len(list) > q.Limit {
		list = list[:q.Limit]
	}
	for _, rec := range list {
		if !fn(rec) {
			return nil
		}
	}
	return nil
}

func (r *reader) CountRecords(env, collectionID int64) (int, error) {
	n, err := r.number(`SELECT count(*) FROM records WHERE environment_id = ? AND collection_id = ? AND deleted_at IS NULL`, env, collectionID)
	return int(n), err
}

func (t *tx) PutRecords(env, collectionID int64, records []*syncline.Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := t.moveCollection(env, collectionID, records); err != nil {
		return err
	}
	return t.put(env, collectionID, records)
}

func (t *tx) RestateRecords(env, collectionID int64, records []*syncline.Record) error {
	return t.put(env, collectionID, records)
}

// Rows are put in lists of a few fixed lengths, as ids are bound (inLists).
var putLists = []struct {
	n   int
	sql string
}{{100, putSQL(100)}, {10, putSQL(10)}, {1, putSQL(1)}}

func putSQL(n int) string {
	const row = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	return `INSERT INTO records (environment_id, ` + recordColumns + `) VALUES ` + row + strings.Repeat(`, `+row, n-1) + `
		ON CONFLICT (environment_id, collection_id, external_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
			payload = excluded.payload, first_seen_at = excluded.first_seen_at, last_modified_at = excluded.last_modified_at,
			deleted_at = excluded.deleted_at, pruned_at = excluded.pruned_at, last_action = excluded.last_action,
			writer_lineage = excluded.writer_lineage, writer_lane_id = excluded.writer_lane_id,
			writer_event_id = excluded.writer_event_id, writer_run_id = excluded.writer_run_id, touched_by = excluded.touched_by,
			version = excluded.version, field_versions = excluded.field_versions, payload_key_id = excluded.payload_key_id`
}

func (t *tx) put(env, collectionID int64, records []*syncline.Record) error {
	const columns = 19
	args := make([]any, 0, min(len(records), putLists[0].n)*columns)
	for len(records) > 0 {
		for _, l := range putLists {
			if len(records) < l.n {
				continue
			}
			args = args[:0]
			for _, r := range records[:l.n] {
				args = append(args, env, collectionID, r.ID, r.Seq, r.Hash, []byte(r.Payload), r.FirstSeenAt, r.LastModifiedAt, r.DeletedAt, r.PrunedAt,
					string(r.LastAction), r.Writer.Lineage, r.Writer.LaneID, r.Writer.EventID, r.Writer.RunID, r.TouchedBy,
					r.Version, r.FieldVersions, r.PayloadKeyID)
			}
			if _, _, err := t.exec(l.sql, args...); err != nil {
				return err
			}
			records = records[l.n:]
			break
		}
	}
	return nil
}

// moveCollection moves the collection's newest position and time to those of
// the records. What would break the order that readers rely on is refused.
func (t *tx) moveCollection(env, collectionID int64, records []*syncline.Record) error {
	first, last := records[0], records[len(records)-1]
	inOrder := true
	for i, r := range records[1:] {
		inOrder = inOrder && r.Seq > records[i].Seq && !r.LastModifiedAt.Before(records[i].LastModifiedAt)
	}
	n, _, err := t.exec(`UPDATE collections SET last_seq = ?, last_modified_at = ?
		WHERE id = ? AND environment_id = ? AND ? AND last_seq < ? AND coalesce(last_modified_at, 0) <= ?`,
		last.Seq, last.LastModifiedAt, collectionID, env, inOrder, first.Seq, first.LastModifiedAt)
	if err != nil || n > 0 {
		return err
	}
	c, err := t.LockCollection(env, collectionID)
	if err != nil {
		return err
	}
	return syncline.Errorf(syncline.CodeInternal, "records of collection %d must come in order, after position %d and not before %v; the first is at %d, %v",
		collectionID, c.LastSeq, c.LastModifiedAt, first.Seq, first.LastModifiedAt)
}

func (t *tx) TouchRecords(env, collectionID, window int64, ids []string) error {
	return inChunks([]any{window, env, collectionID}, ids, func(list string, args []any) error {
		_, _, err := t.exec(`UPDATE records SET touched_by = ?
			WHERE environment_id = ? AND collection_id = ? AND external_id IN `+list, args...)
		return err
	})
}

func (t *tx) EmptyCollection(env, collectionID int64) error {
	seq, err := t.NextSeq(1)
	if err != nil {
		return err
	}
	if err := t.exec1(missing{"collection", collectionID}, `UPDATE collections SET last_seq = ?, purged_seq = ?, window_id = 0, window_seq = 0
		WHERE id = ? AND environment_id = ?`, seq, seq, collectionID, env); err != nil {
		return err
	}
	var now time.Time
	t.stamp(&now)
	if _, _, err := t.exec(`UPDATE delete_windows SET state = 'closed', closed_at = ?
		WHERE environment_id = ? AND collection_id = ? AND closed_at IS NULL`, now, env, collectionID); err != nil {
		return err
	}
	if _, _, err := t.exec(`DELETE FROM record_history WHERE environment_id = ? AND collection_id = ?`, env, collectionID); err != nil {
		return err
	}
	_, _, err = t.exec(`DELETE FROM records WHERE environment_id = ? AND collection_id = ?`, env, collectionID)
	return err
}

func (r *reader) CountMatching(env, collectionID int64, q store.RecordQuery) (int, error) {
	if q.IDs != nil || q.Limit > 0 {
		n := 0
		err := r.ScanRecords(env, collectionID, q, func(*syncline.Record) bool { n++; return true })
		return n, err
	}
	after, err := r.afterTime(env, collectionID, q)
	if err != nil {
		return 0, err
	}
	where, args := conditions(env, collectionID, after, q)
	n, err := r.number(`SELECT count(*)`+where, args...)
	return int(n), err
}

// afterTime is the position after which a query begins, its time included.
func (r *reader) afterTime(env, collectionID int64, q store.RecordQuery) (int64, error) {
	if q.ModifiedAfter.IsZero() {
		return q.After, nil
	}
	before, err := r.lastBefore(env, collectionID, q.After, q.ModifiedAfter)
	return max(q.After, before), err
}

func (r *reader) CollectionByID(env, id int64) (syncline.Collection, error) {
	return one(r, missing{"collection", id}, `SELECT `+collectionColumns+` FROM collections WHERE id = ? AND environment_id = ?`, scanCollection, id, env)
}

func (r *reader) AllCollections(env, after int64, n int) ([]syncline.Collection, error) {
	return all(r, `SELECT `+collectionColumns+` FROM collections
		WHERE environment_id = ? AND id > ? ORDER BY id LIMIT ?`, scanCollection, env, after, limit(n))
}
