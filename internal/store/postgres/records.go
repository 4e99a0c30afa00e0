package postgres

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
		WHERE environment_id = $1 AND connection_id = $2 AND model_key = $3`, scanCollection, env, connectionID, keyOf(model))
}

func (r *reader) Collections(env, connectionID int64) ([]syncline.Collection, error) {
	return all(r, `SELECT `+collectionColumns+` FROM collections
		WHERE environment_id = $1 AND connection_id = $2 ORDER BY model`, scanCollection, env, connectionID)
}

func (t *tx) EnsureCollection(env, connectionID int64, model string, now time.Time) (int64, error) {
	find := func() (int64, bool, error) {
		return maybe(&t.reader, `SELECT id FROM collections WHERE environment_id = $1 AND connection_id = $2 AND model_key = $3`,
			(*row).int64, env, connectionID, keyOf(model))
	}
	if id, found, err := find(); err != nil || found {
		return id, err
	}
	t.stamp(&now)
	id, made, err := maybe(&t.reader, `INSERT INTO collections (environment_id, connection_id, model, model_key, last_seq, purged_seq, created_at)
		SELECT environment_id, id, $3, $4, 0, 0, $5 FROM connections WHERE environment_id = $1 AND id = $2
		ON CONFLICT DO NOTHING RETURNING id`, (*row).int64, env, connectionID, model, keyOf(model), now)
	if err != nil || made {
		return id, err
	}
	id, found, err := find() // made by another transaction, which has committed since
	if err == nil && !found {
		err = syncline.Errorf(syncline.CodeNotFound, "collection %v names a connection that does not exist in this environment", model)
	}
	return id, err
}

func (t *tx) LockCollection(env, collectionID int64) (syncline.Collection, error) {
	return one(&t.reader, missing{"collection", collectionID}, `SELECT `+collectionColumns+` FROM collections
		WHERE id = $1 AND environment_id = $2 FOR NO KEY UPDATE`, scanCollection, collectionID, env)
}

// NextSeq: see next_positions in the migrations, and the package's comment.
func (t *tx) NextSeq(n int) (int64, error) {
	if n <= 0 {
		return 0, syncline.Errorf(syncline.CodeInternal, "NextSeq of %d positions", n)
	}
	return t.number(`SELECT next_positions($1)`, n)
}

const recordColumns = `collection_id, external_id, long_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at, last_action,
	writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by, version, field_versions, payload_key_id`

func scanRecord(r *row) *syncline.Record {
	return &syncline.Record{
		CollectionID: r.int64(), ID: scanID(r), Seq: r.int64(), Hash: r.bytes(), Payload: r.bytes(),
		FirstSeenAt: r.time(), LastModifiedAt: r.time(), DeletedAt: r.time(), PrunedAt: r.time(), LastAction: syncline.Action(r.text()),
		Writer:    syncline.Writer{Lineage: r.int64(), LaneID: r.int64(), EventID: r.int64(), RunID: r.int64()},
		TouchedBy: r.int64(), Version: r.text(), FieldVersions: r.bytes(), PayloadKeyID: r.text(),
	}
}

// scanID reads external_id and long_id.
func scanID(r *row) string {
	id, long := r.stored(), r.text()
	if isHash(id) {
		return long
	}
	return decodeText(id)
}

func keysOf(ids []string) []key {
	keys := make([]key, len(ids))
	for i, id := range ids {
		keys[i] = keyOf(id)
	}
	return keys
}

// idsChunk is how many ids one statement takes.
const idsChunk = 5000

func (r *reader) RecordsByID(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	return r.recordsByID(recordColumns, env, collectionID, ids)
}

// headColumns are recordColumns without the payload.
var headColumns = strings.Replace(recordColumns, " payload,", " NULL::bytea,", 1)

func (r *reader) RecordHeads(env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	return r.recordsByID(headColumns, env, collectionID, ids)
}

func (r *reader) recordsByID(columns string, env, collectionID int64, ids []string) (map[string]*syncline.Record, error) {
	found := make(map[string]*syncline.Record, len(ids))
	for chunk := range slices.Chunk(ids, idsChunk) {
		// One look-up for each id, whatever the planner knows of the collection: of
		// one that was filled since it last looked it thinks that it is small, and
		// would read it whole.
		err := r.query(`SELECT r.* FROM unnest($3::text[]) AS k (id) CROSS JOIN LATERAL (SELECT `+columns+` FROM records
			WHERE environment_id = $1 AND collection_id = $2 AND external_id = k.id OFFSET 0) AS r`, func(row *row) error {
			rec := scanRecord(row)
			found[rec.ID] = rec
			return nil
		}, env, collectionID, keysOf(chunk))
		if err != nil {
			return found, err
		}
	}
	return found, nil
}

// The pages of a scan: the first is small, since records may be large; the
// next ones grow with what the records turn out to be.
const (
	firstScanPage = 32
	maxScanPage   = 1000
	scanPageBytes = 4 << 20
)

// ScanRecords reads page after page and not one long result: fn may use the
// reader, and a connection carries one result at a time.
func (r *reader) ScanRecords(env, collectionID int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	if q.IDs != nil {
		return r.scanByID(env, collectionID, q, fn)
	}
	after, err := r.afterTime(env, collectionID, q)
	if err != nil {
		return err
	}
	left := q.Limit
	size := firstScanPage
	until := q.Until // where the scan ends; a transaction may write while it scans
	for {
		if q.Limit > 0 {
			size = min(size, left)
		}
		q.Until = until
		w := conditions(`SELECT `+recordColumns, env, collectionID, after, q)
		w.add(` ORDER BY seq LIMIT ?`, size)
		var page []*syncline.Record
		total, cut := 0, false
		err := r.query(w.sql.String(), func(row *row) error {
			rec := scanRecord(row)
			page = append(page, rec)
			if total += len(rec.Payload); total >= scanPageBytes && len(page) < size {
				cut = true // they are larger than was thought; no more are held
				return errStop
			}
			return nil
		}, w.args...)
		if err != nil {
			return err
		}
		more := cut || len(page) == size && (q.Limit <= 0 || left > size)
		if more && until == 0 {
			if until, err = r.number(`SELECT seq FROM records
				WHERE environment_id = $1 AND collection_id = $2 AND seq > 0 ORDER BY seq DESC LIMIT 1`, env, collectionID); err != nil {
				return err
			}
		}
		for i, rec := range page {
			if !fn(rec) {
				return nil
			}
			page[i] = nil
			after = rec.Seq
		}
		if !more {
			return nil
		}
		left -= len(page)
		size = min(maxScanPage, 4*size, max(1, scanPageBytes/(total/len(page)+1)))
	}
}

// conditions selects the records of a query that names no ids.
func conditions(sql string, env, collectionID, after int64, q store.RecordQuery) *filter {
	w := where(sql+` FROM records WHERE environment_id = $1 AND collection_id = $2 AND seq > $3 AND seq > 0 AND last_action <> ''`,
		env, collectionID, after)
	if q.Until > 0 {
		w.add(` AND seq <= ?`, q.Until)
	}
	if len(q.Actions) > 0 {
		actions := make([]string, len(q.Actions))
		for i, a := range q.Actions {
			actions[i] = string(a)
		}
		w.add(` AND last_action = ANY(?)`, actions)
	}
	if q.UntouchedBy > 0 {
		w.add(` AND deleted_at IS NULL AND touched_by < ?`, q.UntouchedBy)
	}
	return w
}

// afterTime is the position after which a query begins, its time included.
func (r *reader) afterTime(env, collectionID int64, q store.RecordQuery) (int64, error) {
	if q.ModifiedAfter.IsZero() {
		return q.After, nil
	}
	before, err := r.number(`SELECT last_before($1, $2, $3, $4)`, env, collectionID, q.After, q.ModifiedAfter)
	return max(q.After, before), err
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
	w := conditions(`SELECT count(*)`, env, collectionID, after, q)
	n, err := r.number(w.sql.String(), w.args...)
	return int(n), err
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
	n, err := r.number(`SELECT count(*) FROM records
		WHERE environment_id = $1 AND collection_id = $2 AND seq > 0 AND deleted_at IS NULL`, env, collectionID)
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

func (t *tx) put(env, collectionID int64, records []*syncline.Record) error {
	// One statement cannot write a row twice; the last one wins, as it would if
	// they were written one by one.
	last := make(map[string]int, len(records))
	for i, r := range records {
		last[r.ID] = i
	}
	var batch recordBatch
	for i, r := range records {
		if last[r.ID] != i {
			continue
		}
		batch.add(r)
		if len(batch.ids) >= maxBatchRows || batch.bytes >= maxBatchBytes {
			if err := t.putBatch(env, collectionID, &batch); err != nil {
				return err
			}
			batch = recordBatch{}
		}
	}
	if len(batch.ids) == 0 {
		return nil
	}
	return t.putBatch(env, collectionID, &batch)
}

// The bounds of one statement of PutRecords.
const (
	maxBatchRows  = 1000
	maxBatchBytes = 8 << 20
)

// recordBatch is records by column.
type recordBatch struct {
	bytes                                    int
	ids                                      []key
	longIDs                                  []*string
	seqs                                     []int64
	hashes, payloads                         [][]byte
	firstSeen, modified, deleted, pruned     []*time.Time
	actions                                  []string
	lineages, lanes, events, runs, touchedBy []int64
	versions, keyIDs                         []string
	fieldVersions                            []*string
}

func (b *recordBatch) add(r *syncline.Record) {
	k := keyOf(r.ID)
	var longID *string
	if isHash(string(k)) {
		longID = &r.ID
	}
	b.bytes += len(r.Payload) + len(r.ID)
	b.ids, b.longIDs, b.seqs = append(b.ids, k), append(b.longIDs, longID), append(b.seqs, r.Seq)
	b.hashes, b.payloads = append(b.hashes, blobOrNull(r.Hash)), append(b.payloads, blobOrNull(r.Payload))
	b.firstSeen, b.modified = append(b.firstSeen, orNull(r.FirstSeenAt)), append(b.modified, orNull(r.LastModifiedAt))
	b.deleted, b.pruned = append(b.deleted, orNull(r.DeletedAt)), append(b.pruned, orNull(r.PrunedAt))
	b.actions = append(b.actions, string(r.LastAction))
	b.lineages, b.lanes = append(b.lineages, r.Writer.Lineage), append(b.lanes, r.Writer.LaneID)
	b.events, b.runs = append(b.events, r.Writer.EventID), append(b.runs, r.Writer.RunID)
	b.touchedBy = append(b.touchedBy, r.TouchedBy)
	var fields *string
	if len(r.FieldVersions) > 0 {
		text := string(r.FieldVersions)
		fields = &text
	}
	b.versions, b.fieldVersions, b.keyIDs = append(b.versions, r.Version), append(b.fieldVersions, fields), append(b.keyIDs, r.PayloadKeyID)
}

// timeOrNull is a scalar of a time that may be missing.
func timeOrNull(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

// blobOrNull is an element of an array of blobs; an empty one is NULL.
func blobOrNull(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// uniform reports whether the records differ in id, position and content alone,
// as those of one batch do that are all new, or all changed for the first time.
func (b *recordBatch) uniform() bool {
	sameTime := func(list []*time.Time) bool {
		return same(list, func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) })
	}
	return same(b.longIDs, func(a, b *string) bool { return a == nil && b == nil }) && b.longIDs[0] == nil &&
		same(b.fieldVersions, func(a, b *string) bool { return a == nil && b == nil }) && b.fieldVersions[0] == nil &&
		sameTime(b.firstSeen) && sameTime(b.modified) && sameTime(b.deleted) && sameTime(b.pruned) &&
		equal(b.actions) && equal(b.versions) && equal(b.keyIDs) &&
		equal(b.lineages) && equal(b.lanes) && equal(b.events) && equal(b.runs) && equal(b.touchedBy)
}

func same[T any](list []T, eq func(a, b T) bool) bool {
	for _, v := range list[1:] {
		if !eq(list[0], v) {
			return false
		}
	}
	return true
}

func equal[T comparable](list []T) bool {
	return same(list, func(a, b T) bool { return a == b })
}

// onConflict replaces a record that is there.
const onConflict = ` ON CONFLICT (environment_id, collection_id, external_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
	payload = excluded.payload, first_seen_at = excluded.first_seen_at, last_modified_at = excluded.last_modified_at,
	deleted_at = excluded.deleted_at, pruned_at = excluded.pruned_at, last_action = excluded.last_action,
	writer_lineage = excluded.writer_lineage, writer_lane_id = excluded.writer_lane_id,
	writer_event_id = excluded.writer_event_id, writer_run_id = excluded.writer_run_id, touched_by = excluded.touched_by,
	version = excluded.version, field_versions = excluded.field_versions, payload_key_id = excluded.payload_key_id`

func (t *tx) putBatch(env, collectionID int64, b *recordBatch) error {
	if b.uniform() {
		// One value for all is sent once: arrays take time on both sides.
		_, err := t.exec(`INSERT INTO records (environment_id, `+recordColumns+`)
			SELECT $1::bigint, $2::bigint, r.id, NULL, r.seq, r.hash, r.payload, $7::timestamptz, $8::timestamptz, $9::timestamptz, $10::timestamptz,
				$11::text, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint, $17::text, NULL, $18::text
			FROM unnest($3::text[], $4::bigint[], $5::bytea[], $6::bytea[]) AS r (id, seq, hash, payload)`+onConflict,
			env, collectionID, b.ids, b.seqs, b.hashes, b.payloads, timeOrNull(b.firstSeen[0]), timeOrNull(b.modified[0]), timeOrNull(b.deleted[0]),
			timeOrNull(b.pruned[0]), b.actions[0], b.lineages[0], b.lanes[0], b.events[0], b.runs[0], b.touchedBy[0], b.versions[0], b.keyIDs[0])
		return err
	}
	_, err := t.exec(`INSERT INTO records (environment_id, `+recordColumns+`)
		SELECT $1::bigint, $2::bigint, * FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::bytea[],
			$8::timestamptz[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
			$13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::text[], $20::text[])`+onConflict,
		env, collectionID, b.ids, b.longIDs, b.seqs, b.hashes, b.payloads, b.firstSeen, b.modified, b.deleted, b.pruned, b.actions,
		b.lineages, b.lanes, b.events, b.runs, b.touchedBy, b.versions, b.fieldVersions, b.keyIDs)
	return err
}

// moveCollection moves the collection's newest position and time to those of
// the records. What would break the order that readers rely on is refused.
func (t *tx) moveCollection(env, collectionID int64, records []*syncline.Record) error {
	first, last := records[0], records[len(records)-1]
	inOrder := true
	for i, r := range records[1:] {
		inOrder = inOrder && r.Seq > records[i].Seq && !r.LastModifiedAt.Before(records[i].LastModifiedAt)
	}
	n, err := t.exec(`UPDATE collections SET last_seq = $1, last_modified_at = $2
		WHERE id = $3 AND environment_id = $4 AND $5 AND last_seq < $6 AND coalesce(last_modified_at, '-infinity') <= $7`,
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
	for chunk := range slices.Chunk(ids, idsChunk) {
		if _, err := t.exec(`SELECT touch_records($1, $2, $3, $4)`, env, collectionID, window, keysOf(chunk)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) EmptyCollection(env, collectionID int64) error {
	if _, err := t.LockCollection(env, collectionID); err != nil {
		return err
	}
	seq, err := t.NextSeq(1)
	if err != nil {
		return err
	}
	if err := t.exec1(missing{"collection", collectionID}, `UPDATE collections SET last_seq = $1, purged_seq = $1, window_id = 0, window_seq = 0
		WHERE id = $2 AND environment_id = $3`, seq, collectionID, env); err != nil {
		return err
	}
	var now time.Time
	t.stamp(&now)
	if _, err := t.exec(`UPDATE delete_windows SET state = 'closed', closed_at = $1
		WHERE environment_id = $2 AND collection_id = $3 AND closed_at IS NULL`, now, env, collectionID); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM record_history WHERE environment_id = $1 AND collection_id = $2`, env, collectionID); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM records WHERE environment_id = $1 AND collection_id = $2`, env, collectionID)
	return err
}

func (r *reader) CollectionByID(env, id int64) (syncline.Collection, error) {
	return one(r, missing{"collection", id}, `SELECT `+collectionColumns+` FROM collections WHERE id = $1 AND environment_id = $2`, scanCollection, id, env)
}

func (r *reader) AllCollections(env, after int64, n int) ([]syncline.Collection, error) {
	return all(r, `SELECT `+collectionColumns+` FROM collections
		WHERE environment_id = $1 AND id > $2 ORDER BY id LIMIT $3`, scanCollection, env, after, limit(n))
}
