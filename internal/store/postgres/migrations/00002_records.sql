-- What records need beyond their payload: versions for keep_newest, sealed
-- payloads, history, delete-tracking windows that can be held, retention.

-- +goose Up

ALTER TABLE environments ADD COLUMN retention text COLLATE "C";           -- JSON, syncline.Retention
ALTER TABLE sync_instances ADD COLUMN reconcile text COLLATE "C";         -- JSON, syncline.Reconcile
ALTER TABLE runs ADD COLUMN mode text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE collections ADD COLUMN window_id bigint NOT NULL DEFAULT 0;   -- delete_windows.id
ALTER TABLE collections ADD COLUMN window_seq bigint NOT NULL DEFAULT 0;  -- its start_seq
ALTER TABLE records ADD COLUMN version text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE records ADD COLUMN field_versions text COLLATE "C";           -- JSON
ALTER TABLE records ADD COLUMN payload_key_id text COLLATE "C" NOT NULL DEFAULT '';

-- AllCollections: retention walks through an environment's collections.
CREATE INDEX collections_by_environment ON collections (environment_id, id);
-- PurgeDeleted, in the order of deletion.
CREATE INDEX records_deleted ON records (environment_id, collection_id, seq) WHERE deleted_at IS NOT NULL;

ALTER TABLE delete_windows ADD COLUMN instance_id bigint NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN instance_epoch bigint NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN run_id bigint NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN state text COLLATE "C" NOT NULL DEFAULT 'closed';
ALTER TABLE delete_windows ADD COLUMN deletes bigint NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN live bigint NOT NULL DEFAULT 0;
ALTER TABLE delete_windows ADD COLUMN held_at timestamptz;
CREATE INDEX delete_windows_held ON delete_windows (environment_id, id) WHERE state = 'held'; -- HeldWindows

-- What records were before changes. It is written when a change takes a
-- record's place, so a record that never changed has none.
CREATE TABLE record_history (
  environment_id   bigint NOT NULL,
  collection_id    bigint NOT NULL,
  external_id      text COLLATE "C" NOT NULL, -- the id, or a hash of a long one
  long_id          text COLLATE "C",
  seq              bigint NOT NULL,
  hash             bytea,
  payload          bytea,
  first_seen_at    timestamptz,
  last_modified_at timestamptz,
  deleted_at       timestamptz,
  pruned_at        timestamptz,
  last_action      text COLLATE "C" NOT NULL,
  writer_lineage   bigint NOT NULL,
  writer_lane_id   bigint NOT NULL,
  writer_event_id  bigint NOT NULL,
  writer_run_id    bigint NOT NULL,
  version          text COLLATE "C" NOT NULL,
  payload_key_id   text COLLATE "C" NOT NULL,
  superseded_at    timestamptz NOT NULL,
  PRIMARY KEY (environment_id, collection_id, external_id, seq) -- History, ScanAsOf
);
CREATE INDEX record_history_superseded ON record_history (environment_id, collection_id, superseded_at); -- PurgeHistory
