PRAGMA application_id=1398361667;
PRAGMA journal_mode=WAL;
BEGIN;
CREATE TABLE schema_versions (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
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
CREATE INDEX api_keys_by_environment ON api_keys (environment_id);
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
CREATE UNIQUE INDEX connections_live ON connections (environment_id, integration_id, connection_id) WHERE deleted_at IS NULL;
CREATE TABLE connection_match (
  environment_id INTEGER NOT NULL,
  integration_id INTEGER NOT NULL,
  property       TEXT NOT NULL,
  value          TEXT NOT NULL,
  connection_id  INTEGER NOT NULL, -- connections.id
  PRIMARY KEY (environment_id, integration_id, property, value, connection_id)
) WITHOUT ROWID;
CREATE INDEX connection_match_by_connection ON connection_match (connection_id);
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
CREATE UNIQUE INDEX sync_instances_live ON sync_instances (environment_id, connection_id, function_id, variant) WHERE deleted_at IS NULL;
CREATE INDEX sync_instances_epochs ON sync_instances (environment_id, connection_id, function_id, variant, epoch);
CREATE INDEX sync_instances_by_function ON sync_instances (environment_id, function_id);
CREATE INDEX sync_instances_due ON sync_instances (next_due_at)
  WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL;
CREATE INDEX sync_instances_triggered ON sync_instances (trigger_pending)
  WHERE deleted_at IS NULL AND trigger_pending = 1;
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
CREATE INDEX lanes_waiting ON lanes (served_at) WHERE pending > 0;
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
CREATE INDEX events_pending ON events (environment_id, lane_id, id) WHERE status = 'pending';
CREATE INDEX events_by_delivery ON events (environment_id, position);
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
CREATE INDEX delivery_states_by_integration ON delivery_states (environment_id, integration_id, position);
CREATE INDEX delivery_states_by_status ON delivery_states (environment_id, status, position);
CREATE INDEX delivery_states_parked ON delivery_states (environment_id, integration_id, position) WHERE status = 'parked';
CREATE INDEX delivery_states_ended ON delivery_states (received_at)
  WHERE status IN ('processed', 'ignored', 'expired', 'dead');
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
CREATE UNIQUE INDEX runs_by_uuid ON runs (environment_id, uuid);
CREATE INDEX runs_by_environment ON runs (environment_id);
CREATE INDEX runs_by_connection ON runs (environment_id, connection_id);
CREATE INDEX runs_by_instance ON runs (environment_id, instance_id);
CREATE INDEX runs_by_function ON runs (environment_id, function_id);
CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX runs_running ON runs (id) WHERE status = 'running';
CREATE TABLE run_logs (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL,
  run_id         INTEGER NOT NULL,
  at             INTEGER,
  level          TEXT NOT NULL,
  message        TEXT NOT NULL,
  data           TEXT
);
CREATE INDEX run_logs_by_run ON run_logs (environment_id, run_id);
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
CREATE INDEX records_by_seq ON records (environment_id, collection_id, seq, deleted_at);
CREATE TABLE delete_windows (
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  environment_id INTEGER NOT NULL,
  collection_id  INTEGER NOT NULL,
  lineage        INTEGER NOT NULL, -- of the run that began it
  start_seq      INTEGER NOT NULL,
  started_at     INTEGER NOT NULL,
  closed_at      INTEGER
);
CREATE INDEX delete_windows_open ON delete_windows (environment_id, collection_id) WHERE closed_at IS NULL;
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
CREATE INDEX notifications_due ON notifications (next_attempt_at) WHERE status = 'pending';
CREATE INDEX notifications_by_environment ON notifications (environment_id);
CREATE INDEX notifications_by_status ON notifications (environment_id, status);
CREATE INDEX notifications_by_run ON notifications (environment_id, run_id);
CREATE INDEX notifications_ended ON notifications (created_at) WHERE status <> 'pending';
DELETE FROM sqlite_sequence;
INSERT INTO schema_versions VALUES (1, 0, 1, '2026-11-23 11:31:17');
INSERT INTO schema_versions VALUES (2, 1, 1, '2026-11-23 11:31:17');
INSERT INTO sqlite_sequence VALUES ('schema_versions', 2);
INSERT INTO sqlite_sequence VALUES ('environments', 1);
INSERT INTO sqlite_sequence VALUES ('api_keys', 1);
INSERT INTO sqlite_sequence VALUES ('integrations', 1);
INSERT INTO sqlite_sequence VALUES ('connections', 2);
INSERT INTO sqlite_sequence VALUES ('bundles', 1);
INSERT INTO sqlite_sequence VALUES ('functions', 2);
INSERT INTO sqlite_sequence VALUES ('function_versions', 2);
INSERT INTO sqlite_sequence VALUES ('sync_instances', 1);
INSERT INTO sqlite_sequence VALUES ('events', 2);
INSERT INTO sqlite_sequence VALUES ('runs', 1);
INSERT INTO sqlite_sequence VALUES ('run_logs', 1);
INSERT INTO sqlite_sequence VALUES ('collections', 1);
INSERT INTO sqlite_sequence VALUES ('notifications', 1);
INSERT INTO counters VALUES ('router_position', 2);
INSERT INTO counters VALUES ('seq', 3);
INSERT INTO environments VALUES (1, '11111111-1111-4111-8111-111111111111', 'dev', 'k1', X'7365616C6564', '', '', 1772366400000000);
INSERT INTO api_keys VALUES (1, 1, 'default', X'68617368', 'abcd', 1772366400000000);
INSERT INTO integrations VALUES (1, 1, 'github', 'github', '', 0, '', NULL, '{}', '', NULL, 1772366400000000, 1772366400000000, NULL);
INSERT INTO connections VALUES (1, 1, 1, 'customer', 'k1', X'746F6B656E', '{}', '{"team":42}', '{"plan":"pro"}', 'customer
pro', 1772366400000000, 1772366400000000, NULL, NULL);
INSERT INTO connections VALUES (2, 1, 1, 'gone', '', NULL, '{}', '{}', '{}', 'gone', 1772366400000000, 1772366400000000, NULL, 1772366400000000);
INSERT INTO connection_match VALUES (1, 1, 'connection_id', 'customer', 1);
INSERT INTO connection_match VALUES (1, 1, 'metadata.team', '42', 1);
INSERT INTO connection_match VALUES (1, 1, 'tags.plan', 'pro', 1);
INSERT INTO functions VALUES (1, 1, 1, 'sync', 'issues', 1, 2, 1772366400000000, NULL);
INSERT INTO function_versions VALUES (1, 1, 1, 1, '{"type":"sync","name":"issues","integration":"","frequency":"every hour","auto_start":false}', 'b1', 1772366400000000);
INSERT INTO function_versions VALUES (2, 1, 1, 2, '{"type":"sync","name":"issues","integration":"","frequency":"every hour","auto_start":false}', 'b1', 1772366400000000);
INSERT INTO bundles VALUES (1, 1, 'b1', X'76617220783B', 1795433477851037);
INSERT INTO sync_instances VALUES (1, '22222222-2222-4222-8222-222222222222', 1, 1, 1, 'base', 'started', '', 1, 1772366400000000, 0, '', 0, NULL, 0, 0, NULL, 0, '{"page":2}', NULL, 1772366400000000, NULL);
INSERT INTO lanes VALUES (1, 1, '', 0, NULL, 1, NULL, NULL, 0, '', NULL, NULL);
INSERT INTO events VALUES (1, 1, 1, 1, 0, 'issues', '', '', 1772366400000000, 0, 0, 'done', 0, '', 0, 1772366400000000);
INSERT INTO events VALUES (2, 1, 1, 2, 0, 'issues', '', '', 1772366400000000, 0, 0, 'pending', 0, '', 0, 1772366400000000);
INSERT INTO delivery_states VALUES (1, 1, 1, 'processed', '', 'issues', '', 1, 0, 0, 0, 1772366400000000, 1772366400000000);
INSERT INTO delivery_states VALUES (1, 2, 1, 'routed', '', 'issues', '', 1, 1, 0, 0, 1772366400000000, 1772366400000000);
INSERT INTO runs VALUES (1, '33333333-3333-4333-8333-333333333333', 1, 1, 1, 1, 2, 'poll', 'success', 1, 0, 1, 'INITIAL', '', '', '{"Issue":{"added":2,"updated":0,"deleted":0}}', 'null', 1772366400000000, 1772366400000000);
INSERT INTO run_logs VALUES (1, 1, 1, 1772366400000000, 'info', 'hello', '{"n":1}');
INSERT INTO collections VALUES (1, 1, 1, 'Issue', 3, 1772366400000000, 0, 1772366400000000);
INSERT INTO records VALUES (1, 1, 1, 'a', 2, X'68617368', X'7B226964223A2261222C226E223A327D', 1772366400000000, 1772366400000000, NULL, NULL, 'UPDATED', 0, 0, 0, 1, 0);
INSERT INTO records VALUES (2, 1, 1, 'b', 3, X'68617368', X'7B226964223A2262227D', 1772366400000000, 1772366400000000, 1772366400000000, NULL, 'DELETED', 0, 0, 0, 1, 0);
INSERT INTO notifications VALUES (1, '44444444-4444-4444-8444-444444444444', 1, 1, 1, 'primary', 'sync', '{"from":"nango"}', 'pending', 0, 1772366400000000, '', 1772366400000000, NULL);
COMMIT;
