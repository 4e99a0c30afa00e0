-- What records need beyond their payload: versions for keep_newest, sealed
-- payloads, history, delete-tracking windows that can be held, retention.

-- +goose Up

ALTER TABLE environments ADD COLUMN retention TEXT;                       -- JSON, syncline.Retention
ALTER TABLE sync_instances ADD COLUMN reconcile TEXT;                     -- JSON, syncline.Reconcile
ALTER TABLE runs ADD COLUMN mode TEXT NOT NULL DEFAULT '';
ALTER TABLE collections ADD COLUMN window_id INTEGER NOT NULL DEFAULT 0;  -- delete_windows.id
ALTER TABLE collections ADD COLUMN window_seq INTEGER NOT NULL DEFAULT 0; -- its start_seq
ALTER TABLE records ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN field_versions TEXT;                       -- JSON
ALTER TABLE records ADD COLUMN payload_key_id TEXT NOT NULL DEFAULT '';

-- AllCollections: retention walks through an environment's collections.
CREATE INDEX collections_by_environment ON collections (environment_id, id);
-- PurgeDeleted, in the order of deletion.
CREATE INDEX records_deleted ON records (environment_id, collection_id, seq) WHERE deleted_at IS NOT NULL;

ALTER TABLE delete_windows ADD COLUMN instance_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN instance_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN run_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN state TEXT NOT NULL DEFAULT 'closed';
ALTER TABLE delete_windows ADD COLUMN deletes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN live INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN held_at INTEGER;
CREATE INDEX delete_windows_held ON delete_windows (environment_id, id) WHERE state = 'held'; -- HeldWindows

-- What records were before changes. It is written when a change takes a
-- record's place, so a record that never changed has none.
CREATE TABLE record_history (
  environment_id   INTEGER NOT NULL,
  collection_id    INTEGER NOT NULL,
  external_id      TEXT NOT NULL,
  seq              INTEGER NOT NULL,
  superseded_at    INTEGER NOT NULL,
  hash             BLOB,
  payload          BLOB,
  payload_key_id   TEXT NOT NULL,
  first_seen_at    INTEGER,
  last_modified_at INTEGER,
  deleted_at       INTEGER,
  pruned_at        INTEGER,
  last_action      TEXT NOT NULL,
  writer_lineage   INTEGER NOT NULL,
  writer_lane_id   INTEGER NOT NULL,
  writer_event_id  INTEGER NOT NULL,
  writer_run_id    INTEGER NOT NULL,
  version          TEXT NOT NULL,
  PRIMARY KEY (environment_id, collection_id, external_id, seq) -- History, ScanAsOf
) WITHOUT ROWID;
CREATE INDEX record_history_superseded ON record_history (environment_id, collection_id, superseded_at); -- PurgeHistory
