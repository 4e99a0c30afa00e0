-- The floor on SQLite: what a program would send that only wants the rows in
-- the table. {row} is one row of parameters; a statement has as many as were
-- fastest (floorRows in sqlite.go). {columns} is every column of the table but
-- those that the reader knows already, read from the table itself.

-- name: insert
INSERT INTO records (environment_id, collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at,
  last_action, writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by)
VALUES {row}

-- name: row
(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: save
INSERT INTO records (environment_id, collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at, deleted_at, pruned_at,
  last_action, writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by)
VALUES {row}
ON CONFLICT (environment_id, collection_id, external_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
  payload = excluded.payload, first_seen_at = excluded.first_seen_at, last_modified_at = excluded.last_modified_at,
  deleted_at = excluded.deleted_at, pruned_at = excluded.pruned_at, last_action = excluded.last_action,
  writer_lineage = excluded.writer_lineage, writer_lane_id = excluded.writer_lane_id,
  writer_event_id = excluded.writer_event_id, writer_run_id = excluded.writer_run_id, touched_by = excluded.touched_by

-- name: delete
UPDATE records SET seq = ?, last_modified_at = ?, deleted_at = ?, last_action = ?
WHERE environment_id = ? AND collection_id = ? AND external_id = ?

-- name: columns
SELECT name FROM pragma_table_info('records') WHERE name NOT IN ('id', 'environment_id') ORDER BY cid

-- name: read
SELECT {columns} FROM records WHERE environment_id = ? AND collection_id = ? AND seq > ? ORDER BY seq LIMIT ?
