-- The first schema, made to last.
--
-- Every table names the environment, and the keys of the large ones lead with
-- it. Ids are AUTOINCREMENT: never reused, also after the rows are gone.
-- Times are INTEGER microseconds since 1970 (UTC); NULL where there is none.
-- Sealed values are two columns: <name>_key_id, the key that sealed it, and
-- <name>_data. JSON is TEXT, or a BLOB of the same bytes where it is large.
-- Users' things are deleted softly (deleted_at) and purged later.
--
-- Foreign keys are on the small tables only, and name the environment, so that
-- a row cannot refer into another one. The large tables have none: they are
-- written all the time and purged in an order of their own.

-- +goose Up

-- seq: the newest position of any record, see syncline.Record.Seq. It lives
-- apart from the records, so that it never restarts when they are all deleted.
-- router_position: the inbox position up to which routing is done.
CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('seq', 0), ('router_position', 0);

CREATE TABLE environments (
  id                    INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid                  TEXT NOT NULL UNIQUE, -- EnvironmentByUUID: each webhook URL
  name                  TEXT NOT NULL UNIQUE, -- EnvironmentByName
  signing_key_key_id    TEXT NOT NULL,
  signing_key_data      BLOB,
  webhook_url           TEXT NOT NULL,
  webhook_url_secondary TEXT NOT NULL,
  created_at            INTEGER NOT NULL
);

CREATE TABLE api_keys (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  name           TEXT NOT NULL,
  hash           BLOB NOT NULL UNIQUE, -- APIKeyByHash: each API request
  hint           TEXT NOT NULL,
  created_at     INTEGER NOT NULL
);
CREATE INDEX api_keys_by_environment ON api_keys (environment_id); -- APIKeys

CREATE TABLE integrations (
  id                     INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id         INTEGER NOT NULL REFERENCES environments (id),
  unique_key             TEXT NOT NULL,
  provider               TEXT NOT NULL,
  display_name           TEXT NOT NULL,
  forward_webhooks       INTEGER NOT NULL,
  credentials_key_id     TEXT NOT NULL,
  credentials_data       BLOB,
  config                 TEXT NOT NULL,
  webhook_secrets_key_id TEXT NOT NULL,
  webhook_secrets_data   BLOB,
  created_at             INTEGER NOT NULL,
  updated_at             INTEGER NOT NULL,
  deleted_at             INTEGER,
  UNIQUE (environment_id, id) -- what foreign keys refer to
);
-- IntegrationByKey, Integrations; a key is free again once its integration is deleted.
CREATE UNIQUE INDEX integrations_live ON integrations (environment_id, unique_key) WHERE deleted_at IS NULL;

CREATE TABLE connections (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id     INTEGER NOT NULL,
  integration_id     INTEGER NOT NULL,
  connection_id      TEXT NOT NULL, -- the user's id
  credentials_key_id TEXT NOT NULL,
  credentials_data   BLOB,
  connection_config  TEXT NOT NULL,
  metadata           TEXT NOT NULL,
  tags               TEXT NOT NULL,
  search             TEXT NOT NULL, -- lower-case connection id and tag values, for ConnectionFilter.Search
  created_at         INTEGER NOT NULL,
  updated_at         INTEGER NOT NULL,
  last_fetched_at    INTEGER,
  deleted_at         INTEGER,
  UNIQUE (environment_id, id), -- what foreign keys refer to; Connections, newest first
  FOREIGN KEY (environment_id, integration_id) REFERENCES integrations (environment_id, id)
);
-- ConnectionByKey, Connections of an integration; an id is free again once its connection is deleted.
CREATE UNIQUE INDEX connections_live ON connections (environment_id, integration_id, connection_id) WHERE deleted_at IS NULL;

-- The properties of live connections by which deliveries are routed to them
-- (syncline.Connection.MatchKeys), kept in step by the writes of connections.
-- The key answers ConnectionsMatching; long values are kept as their hash.
CREATE TABLE connection_match (
  environment_id INTEGER NOT NULL,
  integration_id INTEGER NOT NULL,
  property       TEXT NOT NULL,
  value          TEXT NOT NULL,
  connection_id  INTEGER NOT NULL, -- connections.id
  PRIMARY KEY (environment_id, integration_id, property, value, connection_id)
) WITHOUT ROWID;
CREATE INDEX connection_match_by_connection ON connection_match (connection_id); -- UpdateConnection, DeleteConnection

CREATE TABLE functions (
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id    INTEGER NOT NULL,
  integration_id    INTEGER NOT NULL,
  type              TEXT NOT NULL,
  name              TEXT NOT NULL,
  enabled           INTEGER NOT NULL,
  active_version_id INTEGER NOT NULL, -- function_versions.id
  created_at        INTEGER NOT NULL,
  deleted_at        INTEGER,
  UNIQUE (environment_id, id), -- what foreign keys refer to
  UNIQUE (environment_id, integration_id, type, name), -- FunctionByName, Functions; deploying revives a deleted one
  FOREIGN KEY (environment_id, integration_id) REFERENCES integrations (environment_id, id)
);

CREATE TABLE function_versions (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL,
  function_id    INTEGER NOT NULL,
  number         INTEGER NOT NULL,
  manifest       TEXT NOT NULL,
  bundle_hash    TEXT NOT NULL,
  deployed_at    INTEGER NOT NULL,
  UNIQUE (environment_id, function_id, number), -- DeployFunction: the next number
  FOREIGN KEY (environment_id, function_id) REFERENCES functions (environment_id, id)
);

CREATE TABLE bundles (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL REFERENCES environments (id),
  hash           TEXT NOT NULL,
  source         BLOB,
  created_at     INTEGER NOT NULL,
  UNIQUE (environment_id, hash) -- Bundle
);

CREATE TABLE sync_instances (
  id                 INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid               TEXT NOT NULL,
  environment_id     INTEGER NOT NULL,
  connection_id      INTEGER NOT NULL, -- connections.id
  function_id        INTEGER NOT NULL,
  variant            TEXT NOT NULL,
  state              TEXT NOT NULL,
  frequency_override TEXT NOT NULL,
  epoch              INTEGER NOT NULL,
  next_due_at        INTEGER,
  trigger_pending    INTEGER NOT NULL,
  poll_lease_owner   TEXT NOT NULL, -- '' when free
  poll_lease_epoch   INTEGER NOT NULL,
  poll_lease_until   INTEGER,
  poll_run_id        INTEGER NOT NULL,
  last_poll_run_id   INTEGER NOT NULL,
  last_sync_date     INTEGER,
  poll_failures      INTEGER NOT NULL,
  poll_checkpoint    TEXT,
  webhook_checkpoint TEXT,
  created_at         INTEGER NOT NULL,
  deleted_at         INTEGER,
  FOREIGN KEY (environment_id, connection_id) REFERENCES connections (environment_id, id),
  FOREIGN KEY (environment_id, function_id) REFERENCES functions (environment_id, id)
);
-- EnsureInstance, Instances of a connection.
CREATE UNIQUE INDEX sync_instances_live ON sync_instances (environment_id, connection_id, function_id, variant) WHERE deleted_at IS NULL;
-- EnsureInstance: the newest epoch that deleted instances of the same three had.
CREATE INDEX sync_instances_epochs ON sync_instances (environment_id, connection_id, function_id, variant, epoch);
CREATE INDEX sync_instances_by_function ON sync_instances (environment_id, function_id); -- Instances, DeleteFunction
-- DueInstances, NextDue.
CREATE INDEX sync_instances_due ON sync_instances (next_due_at)
  WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL;
CREATE INDEX sync_instances_triggered ON sync_instances (trigger_pending)
  WHERE deleted_at IS NULL AND trigger_pending = 1;

-- A lane has the id of its sync instance. It is apart from it because it is
-- written with every event, and small.
CREATE TABLE lanes (
  id             INTEGER PRIMARY KEY REFERENCES sync_instances (id),
  environment_id INTEGER NOT NULL,
  lease_owner    TEXT NOT NULL, -- '' when free
  lease_epoch    INTEGER NOT NULL,
  lease_until    INTEGER,
  pending        INTEGER NOT NULL, -- count of its pending events
  not_before     INTEGER,
  waiting_since  INTEGER,
  backoff        INTEGER NOT NULL,
  reason         TEXT NOT NULL,
  served_at      INTEGER,
  deleted_at     INTEGER
);
CREATE INDEX lanes_waiting ON lanes (served_at) WHERE pending > 0; -- ClaimLanes in order; NextLane, Backlog

CREATE TABLE events (
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- also the order within a lane
  environment_id INTEGER NOT NULL,
  lane_id        INTEGER NOT NULL,
  position       INTEGER NOT NULL, -- of the delivery in the inbox
  item           INTEGER NOT NULL,
  type           TEXT NOT NULL,
  order_key      TEXT NOT NULL, -- the object that it is about
  delivery_id    TEXT NOT NULL,
  received_at    INTEGER,
  watermark      INTEGER NOT NULL, -- store position at receipt
  replay         INTEGER NOT NULL,
  status         TEXT NOT NULL,
  attempts       INTEGER NOT NULL,
  last_error     TEXT NOT NULL,
  run_id         INTEGER NOT NULL,
  updated_at     INTEGER
);
CREATE INDEX events_pending ON events (environment_id, lane_id, id) WHERE status = 'pending'; -- PendingEvents
CREATE INDEX events_by_delivery ON events (environment_id, position); -- EventsOf

-- What became of deliveries; the deliveries themselves are in the inbox.
CREATE TABLE delivery_states (
  environment_id INTEGER NOT NULL,
  position       INTEGER NOT NULL,
  integration_id INTEGER NOT NULL,
  status         TEXT NOT NULL,
  reason         TEXT NOT NULL,
  type           TEXT NOT NULL,
  delivery_id    TEXT NOT NULL,
  events         INTEGER NOT NULL,
  open_events    INTEGER NOT NULL,
  dead_events    INTEGER NOT NULL,
  duplicates     INTEGER NOT NULL,
  received_at    INTEGER,
  updated_at     INTEGER,
  PRIMARY KEY (environment_id, position) -- DeliveryState, Deliveries
) WITHOUT ROWID;
CREATE INDEX delivery_states_by_integration ON delivery_states (environment_id, integration_id, position); -- Deliveries
CREATE INDEX delivery_states_by_status ON delivery_states (environment_id, status, position); -- Deliveries, CountDeliveries
CREATE INDEX delivery_states_parked ON delivery_states (environment_id, integration_id, position) WHERE status = 'parked'; -- Parked
CREATE INDEX delivery_states_ended ON delivery_states (received_at)
  WHERE status IN ('processed', 'ignored', 'expired', 'dead'); -- PurgeDeliveries

CREATE TABLE runs (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid           TEXT NOT NULL,
  environment_id INTEGER NOT NULL,
  connection_id  INTEGER NOT NULL, -- connections.id
  instance_id    INTEGER NOT NULL, -- 0 for actions and on-event functions
  function_id    INTEGER NOT NULL,
  version_id     INTEGER NOT NULL,
  kind           TEXT NOT NULL,
  status         TEXT NOT NULL,
  lineage        INTEGER NOT NULL,
  event_id       INTEGER NOT NULL,
  attempt        INTEGER NOT NULL,
  sync_type      TEXT NOT NULL,
  error_code     TEXT NOT NULL,
  error          TEXT NOT NULL,
  models         TEXT NOT NULL,
  warnings       TEXT NOT NULL,
  started_at     INTEGER,
  finished_at    INTEGER
);
-- The row's id is the last part of each of these: they give the newest first.
CREATE UNIQUE INDEX runs_by_uuid ON runs (environment_id, uuid); -- RunByUUID
CREATE INDEX runs_by_environment ON runs (environment_id);
CREATE INDEX runs_by_connection ON runs (environment_id, connection_id);
CREATE INDEX runs_by_instance ON runs (environment_id, instance_id);
CREATE INDEX runs_by_function ON runs (environment_id, function_id);
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL; -- PurgeRuns
CREATE INDEX runs_running ON runs (id) WHERE status = 'running'; -- RunningRuns

CREATE TABLE run_logs (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL,
  run_id         INTEGER NOT NULL,
  at             INTEGER,
  level          TEXT NOT NULL,
  message        TEXT NOT NULL,
  data           TEXT
);
CREATE INDEX run_logs_by_run ON run_logs (environment_id, run_id); -- Logs

CREATE TABLE collections (
  id               INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id   INTEGER NOT NULL,
  connection_id    INTEGER NOT NULL, -- connections.id
  model            TEXT NOT NULL, -- Model, or Model::variant
  last_seq         INTEGER NOT NULL,
  last_modified_at INTEGER,
  purged_seq       INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  UNIQUE (environment_id, connection_id, model), -- Collection, Collections, EnsureCollection
  FOREIGN KEY (environment_id, connection_id) REFERENCES connections (environment_id, id)
);

-- A record's row stays where it was first put; only its seq moves. The payload
-- is a BLOB so that it is read without a conversion.
CREATE TABLE records (
  id               INTEGER PRIMARY KEY,
  environment_id   INTEGER NOT NULL,
  collection_id    INTEGER NOT NULL,
  external_id      TEXT NOT NULL,
  seq              INTEGER NOT NULL,
  hash             BLOB,
  payload          BLOB,
  first_seen_at    INTEGER,
  last_modified_at INTEGER,
  deleted_at       INTEGER, -- a tombstone
  pruned_at        INTEGER,
  last_action      TEXT NOT NULL,
  writer_lineage   INTEGER NOT NULL,
  writer_lane_id   INTEGER NOT NULL,
  writer_event_id  INTEGER NOT NULL,
  writer_run_id    INTEGER NOT NULL,
  touched_by       INTEGER NOT NULL, -- delete_windows.id
  UNIQUE (environment_id, collection_id, external_id) -- RecordsByID, PutRecords, TouchRecords
);
-- ScanRecords in the order of seq; with deleted_at it answers CountRecords by itself.
CREATE INDEX records_by_seq ON records (environment_id, collection_id, seq, deleted_at);

-- A window of delete tracking: records that stood before it began and that
-- nobody touched since are deleted when it ends. It spans resumed runs.
CREATE TABLE delete_windows (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL,
  collection_id  INTEGER NOT NULL,
  lineage        INTEGER NOT NULL, -- of the run that began it
  start_seq      INTEGER NOT NULL,
  started_at     INTEGER NOT NULL,
  closed_at      INTEGER
);
-- The open windows of a collection.
CREATE INDEX delete_windows_open ON delete_windows (environment_id, collection_id) WHERE closed_at IS NULL;

-- The outbox.
CREATE TABLE notifications (
  id              INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid            TEXT NOT NULL,
  environment_id  INTEGER NOT NULL,
  connection_id   INTEGER NOT NULL,
  run_id          INTEGER NOT NULL,
  target          TEXT NOT NULL,
  type            TEXT NOT NULL,
  payload         TEXT,
  status          TEXT NOT NULL,
  attempts        INTEGER NOT NULL,
  next_attempt_at INTEGER,
  last_error      TEXT NOT NULL,
  created_at      INTEGER NOT NULL,
  delivered_at    INTEGER
);
CREATE INDEX notifications_due ON notifications (next_attempt_at) WHERE status = 'pending'; -- DueNotifications, NextNotification
-- Notifications: the row's id is the last part of each, they give the newest first.
CREATE INDEX notifications_by_environment ON notifications (environment_id);
CREATE INDEX notifications_by_status ON notifications (environment_id, status);
CREATE INDEX notifications_by_run ON notifications (environment_id, run_id);
CREATE INDEX notifications_ended ON notifications (created_at) WHERE status <> 'pending'; -- PurgeNotifications
