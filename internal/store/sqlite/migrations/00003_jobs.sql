-- Jobs: actions that wait or run, and on-event functions; checkpoints of both;
-- runs that were triggered by others; connections that are being deleted.

-- +goose Up

ALTER TABLE runs ADD COLUMN parent TEXT NOT NULL DEFAULT ''; -- runs.uuid
ALTER TABLE connections ADD COLUMN deleting_at INTEGER;

CREATE TABLE jobs (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid            TEXT NOT NULL,
  environment_id  INTEGER NOT NULL,
  connection_id   INTEGER NOT NULL, -- connections.id
  function_id     INTEGER NOT NULL,
  kind            TEXT NOT NULL,
  attended        INTEGER NOT NULL,
  connection_key  TEXT NOT NULL, -- the user's ids
  integration_key TEXT NOT NULL,
  input           BLOB,
  input_key_id    TEXT NOT NULL,
  status          TEXT NOT NULL,
  max_retries     INTEGER NOT NULL,
  attempts        INTEGER NOT NULL,
  not_before      INTEGER NOT NULL,
  lease_owner     TEXT NOT NULL,
  lease_epoch     INTEGER NOT NULL,
  lease_until     INTEGER,
  run_id          INTEGER NOT NULL,
  result          BLOB,
  result_key_id   TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  finished_at     INTEGER
);
CREATE UNIQUE INDEX jobs_by_uuid ON jobs (environment_id, uuid); -- JobByUUID
CREATE INDEX jobs_pending ON jobs (environment_id, not_before, id) WHERE status = 'pending'; -- ClaimJobs, NextJob
CREATE INDEX jobs_leased ON jobs (environment_id) WHERE lease_owner <> '';                   -- ClaimJobs, NextJob, ReleaseLeases
CREATE INDEX jobs_running ON jobs (id) WHERE status = 'running';                             -- LostJobs
CREATE INDEX jobs_ended ON jobs (finished_at) WHERE finished_at IS NOT NULL;                 -- PurgeJobs

CREATE TABLE function_checkpoints (
  environment_id INTEGER NOT NULL,
  connection_id  INTEGER NOT NULL,
  function_id    INTEGER NOT NULL,
  checkpoint     TEXT NOT NULL,
  PRIMARY KEY (environment_id, connection_id, function_id) -- Checkpoint
) WITHOUT ROWID;
CREATE INDEX function_checkpoints_by_function ON function_checkpoints (environment_id, function_id); -- DeleteFunction
