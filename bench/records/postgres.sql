-- The floor on Postgres: what a program would send that only wants the rows in
-- the table. {columns} is every column of the table but the one that the reader
-- knows already, read from the table itself.

-- name: insert
INSERT INTO records (environment_id, collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at,
  last_action, writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by)
SELECT $1::bigint, $2::bigint, u.id, u.seq, u.hash, u.payload, $3::timestamptz, $3::timestamptz, $4::text, $5::bigint, 0, 0, $6::bigint, 0
FROM unnest($7::text[], $8::bigint[], $9::bytea[], $10::bytea[]) AS u (id, seq, hash, payload)

-- name: save
INSERT INTO records (environment_id, collection_id, external_id, seq, hash, payload, first_seen_at, last_modified_at,
  last_action, writer_lineage, writer_lane_id, writer_event_id, writer_run_id, touched_by)
SELECT $1::bigint, $2::bigint, u.id, u.seq, u.hash, u.payload, $3::timestamptz, $3::timestamptz, $4::text, $5::bigint, 0, 0, $6::bigint, 0
FROM unnest($7::text[], $8::bigint[], $9::bytea[], $10::bytea[]) AS u (id, seq, hash, payload)
ON CONFLICT (environment_id, collection_id, external_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash,
  payload = excluded.payload, first_seen_at = excluded.first_seen_at, last_modified_at = excluded.last_modified_at,
  deleted_at = excluded.deleted_at, pruned_at = excluded.pruned_at, last_action = excluded.last_action,
  writer_lineage = excluded.writer_lineage, writer_lane_id = excluded.writer_lane_id,
  writer_event_id = excluded.writer_event_id, writer_run_id = excluded.writer_run_id, touched_by = excluded.touched_by

-- name: delete
UPDATE records SET seq = u.seq, last_modified_at = $3, deleted_at = $3, last_action = $4
FROM unnest($5::text[], $6::bigint[]) AS u (id, seq)
WHERE environment_id = $1 AND collection_id = $2 AND external_id = u.id

-- name: columns
SELECT column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = 'records' AND column_name <> 'environment_id' ORDER BY ordinal_position

-- name: read
SELECT {columns} FROM records WHERE environment_id = $1 AND collection_id = $2 AND seq > $3 AND seq > 0 ORDER BY seq LIMIT $4
