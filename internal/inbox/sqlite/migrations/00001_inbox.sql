-- The inbox: one log in which deliveries, and notes that one was delivered
-- again, are entries in the order of their commit.

-- +goose Up
CREATE TABLE entries (
  position       INTEGER PRIMARY KEY AUTOINCREMENT, -- Read, Get; never reused
  environment_id INTEGER NOT NULL,
  integration_id INTEGER NOT NULL,
  connection_id  TEXT NOT NULL, -- named in the URL; '' when none is
  redelivered    INTEGER NOT NULL, -- position of the original; 0 for a delivery
  delivery_id    TEXT NOT NULL, -- the provider's
  dedupe_key     TEXT, -- NULL: never a duplicate
  body_hash      BLOB, -- SHA-256
  method         TEXT NOT NULL,
  path           TEXT NOT NULL,
  headers        TEXT NOT NULL, -- JSON, in the order received
  body           BLOB,
  received_at    INTEGER NOT NULL, -- microseconds since 1970, UTC
  watermark      INTEGER NOT NULL -- the main store's position at receipt
);
-- Append looks for an earlier delivery of the same key and body.
CREATE INDEX entries_dedupe ON entries (environment_id, integration_id, connection_id, dedupe_key, body_hash, received_at)
  WHERE dedupe_key IS NOT NULL AND redelivered = 0;
CREATE INDEX entries_by_time ON entries (received_at); -- Purge
