-- What functions share with their environment: variables and locks; how they
-- run; and how polls get on that are cut at a limit.

-- +goose Up

ALTER TABLE environments ADD COLUMN run_settings text COLLATE "C"; -- JSON, syncline.RunSettings
ALTER TABLE functions ADD COLUMN run_settings text COLLATE "C";    -- JSON, syncline.RunSettings
ALTER TABLE sync_instances ADD COLUMN progress text COLLATE "C";   -- JSON, syncline.Progress

CREATE TABLE variables (
  environment_id bigint NOT NULL,
  name           text COLLATE "C" NOT NULL,
  value_key_id   text COLLATE "C" NOT NULL,
  value_data     bytea,
  updated_at     timestamptz NOT NULL,
  PRIMARY KEY (environment_id, name) -- Variables
);

CREATE TABLE function_locks (
  environment_id bigint NOT NULL,
  key            text COLLATE "C" NOT NULL,
  owner          text COLLATE "C" NOT NULL, -- runs.uuid
  until          timestamptz NOT NULL,
  kind           text COLLATE "C" NOT NULL, -- of the owner's lease
  instance_id    bigint NOT NULL,
  lease_epoch    bigint NOT NULL,
  PRIMARY KEY (environment_id, key) -- Lock
);
CREATE INDEX function_locks_owner ON function_locks (environment_id, owner); -- ReleaseLocks
CREATE INDEX function_locks_until ON function_locks (until);                 -- PurgeLocks
