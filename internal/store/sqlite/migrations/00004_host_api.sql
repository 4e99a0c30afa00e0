-- What functions share with their environment: variables and locks; how they
-- run; and how polls get on that are cut at a limit.

-- +goose Up

ALTER TABLE environments ADD COLUMN run_settings TEXT; -- JSON, syncline.RunSettings
ALTER TABLE functions ADD COLUMN run_settings TEXT;    -- JSON, syncline.RunSettings
ALTER TABLE sync_instances ADD COLUMN progress TEXT;   -- JSON, syncline.Progress

CREATE TABLE variables (
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  name           TEXT NOT NULL,
  value_key_id   TEXT NOT NULL,
  value_data     BLOB,
  updated_at     INTEGER NOT NULL,
  PRIMARY KEY (environment_id, name) -- Variables
) WITHOUT ROWID;

CREATE TABLE function_locks (
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  key            TEXT NOT NULL,
  owner          TEXT NOT NULL, -- runs.uuid
  until          INTEGER NOT NULL,
  kind           TEXT NOT NULL, -- of the owner's lease
  instance_id    INTEGER NOT NULL,
  lease_epoch    INTEGER NOT NULL,
  PRIMARY KEY (environment_id, key) -- Lock
) WITHOUT ROWID;
CREATE INDEX function_locks_owner ON function_locks (environment_id, owner); -- ReleaseLocks
CREATE INDEX function_locks_until ON function_locks (until);                 -- PurgeLocks
