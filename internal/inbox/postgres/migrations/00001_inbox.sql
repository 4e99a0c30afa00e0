-- The inbox: one log in which deliveries, and notes that one was delivered
-- again, are entries in the order of their commit. The tables may stand next to
-- those of the main store.
--
-- Rows are appended and purged, never updated: what has to be known of the whole
-- log, its newest position and its size, stands in its newest entry. A row that
-- every append would update grows dead versions for as long as anybody has an
-- old snapshot, a backup for example, and every append would wade through them.
--
-- What senders say is bytea: an id may be anything, NUL included.

-- +goose Up
CREATE TABLE inbox_entries (
  position       bigint PRIMARY KEY, -- Read, Get; dense, never reused
  -- The sizes of all entries ever appended, this one included.
  total          bigint NOT NULL,
  size           bigint NOT NULL, -- what the entry counts for in total, bytes
  environment_id bigint NOT NULL,
  integration_id bigint NOT NULL,
  connection_id  bytea NOT NULL, -- named in the URL; empty when none is
  redelivered    bigint NOT NULL, -- position of the original; 0 for a delivery
  delivery_id    bytea NOT NULL, -- the provider's
  -- SHA-256 of all that tells a redelivery; NULL: never a duplicate. A hash,
  -- since an entry of an index is bounded and ids are not.
  dedupe         bytea,
  method         bytea NOT NULL,
  path           bytea NOT NULL,
  headers        bytea NOT NULL, -- JSON, in the order received
  body           bytea NOT NULL,
  received_at    timestamptz NOT NULL,
  watermark      bigint NOT NULL -- the main store's position at receipt
);
-- Bodies are not compressed: that would take its time while all appenders wait.
ALTER TABLE inbox_entries ALTER COLUMN body SET STORAGE EXTERNAL;
-- inbox_append looks for an earlier delivery of the same key and body.
CREATE INDEX inbox_entries_dedupe ON inbox_entries (dedupe, received_at) WHERE dedupe IS NOT NULL AND redelivered = 0;
CREATE INDEX inbox_entries_by_time ON inbox_entries (received_at, position); -- Purge

-- What was purged, in one row: the newest position, its total, and the sum of
-- sizes.
CREATE TABLE inbox_purged (
  id       integer PRIMARY KEY CHECK (id = 1),
  position bigint NOT NULL,
  total    bigint NOT NULL,
  size     bigint NOT NULL
);
INSERT INTO inbox_purged VALUES (1, 0, 0, 0);

-- Appends a batch. Every argument has one element for each delivery. keys are
-- NULL where there is none, since where a key counts forever; firsts are the
-- index of the first delivery in the batch that has the same key (its own when
-- there is none). It returns the position before the batch, for each delivery the
-- position of its original or 0, and the size of the log with the batch.
--
-- It is one function so that the lock is taken when all that is to be
-- written has arrived, and does not last for a journey or for a slow client.
-- It must run in READ COMMITTED: each statement then sees what was committed
-- before the lock was taken.
-- +goose StatementBegin
CREATE FUNCTION inbox_append(
  environments bigint[], integrations bigint[], connections bytea[], delivery_ids bytea[], methods bytea[], paths bytea[],
  headers bytea[], bodies bytea[], received timestamptz[], watermarks bigint[], sizes bigint[], note_size bigint,
  keys bytea[], since timestamptz[], firsts bigint[],
  OUT base bigint, OUT originals bigint[], OUT used bigint)
LANGUAGE plpgsql
-- Plans are kept, and the first may be made of an empty table.
SET enable_seqscan = off SET jit = off
SET work_mem = '64MB' -- a batch in memory
AS $$
DECLARE
  running bigint;
  purged bigint;
  totals bigint[];
BEGIN
  -- Appenders take turns, until they have committed: positions are given in the
  -- order of commits, so that whoever sees one sees all before it. Locks are
  -- released after the commit is visible. The lock is that of this table.
  PERFORM pg_advisory_xact_lock(1398361673, 'inbox_entries'::regclass::oid::integer); -- advisoryClass

  SELECT greatest(p.position, e.position), greatest(p.total, e.total), p.size INTO base, running, purged
    FROM inbox_purged p LEFT JOIN LATERAL (SELECT position, total FROM inbox_entries ORDER BY position DESC LIMIT 1) e ON true
    WHERE p.id = 1;

  -- The sum keeps the planner from walking positions in their order.
  SELECT array_agg(coalesce(o.position, 0) ORDER BY k.n) INTO originals
    FROM unnest(keys, since) WITH ORDINALITY AS k (key, since, n)
    LEFT JOIN LATERAL (SELECT min(e.position + 0) AS position FROM inbox_entries e
      WHERE e.dedupe = k.key AND e.redelivered = 0 AND e.received_at >= coalesce(k.since, '-infinity')) o ON true;

  totals := firsts; -- of the right length
  FOR i IN 1 .. cardinality(firsts) LOOP
    IF originals[i] = 0 AND firsts[i] < i THEN
      FOR j IN firsts[i] .. i - 1 LOOP
        IF firsts[j] = firsts[i] AND originals[j] = 0 AND (since[i] IS NULL OR received[j] >= since[i]) THEN
          originals[i] := base + j;
          EXIT;
        END IF;
      END LOOP;
    END IF;
    running := running + CASE WHEN originals[i] = 0 THEN sizes[i] ELSE note_size END;
    totals[i] := running;
  END LOOP;

  -- A note has neither headers nor a body: the original has them.
  INSERT INTO inbox_entries (position, total, size, environment_id, integration_id, connection_id, redelivered, delivery_id, dedupe,
      method, path, headers, body, received_at, watermark)
    SELECT base + b.n, totals[b.n], CASE WHEN originals[b.n] = 0 THEN b.size ELSE note_size END, b.environment, b.integration, b.connection,
      originals[b.n], b.delivery_id, b.key, b.method, b.path,
      CASE WHEN originals[b.n] = 0 THEN b.headers ELSE '' END, CASE WHEN originals[b.n] = 0 THEN b.body ELSE '' END, b.received, b.watermark
    FROM unnest(environments, integrations, connections, delivery_ids, methods, paths, headers, bodies, received, watermarks, sizes, keys)
      WITH ORDINALITY AS b (environment, integration, connection, delivery_id, method, path, headers, body, received, watermark, size, key, n);
  used := running - purged;
END
$$;
-- +goose StatementEnd

-- Removes entries; it returns how many there were, and the newest position and
-- the size of the log without them. Appenders do not wait for it: they read the log's newest entry
-- and inbox_purged in one snapshot, which has both from before or from after.
-- +goose StatementBegin
CREATE FUNCTION inbox_remove(positions bigint[], OUT removed bigint, OUT newest bigint, OUT used bigint)
LANGUAGE plpgsql AS $$
DECLARE
  newest_total bigint;
  bytes bigint;
BEGIN
  WITH gone AS (DELETE FROM inbox_entries e WHERE e.position = ANY (positions) RETURNING e.position, e.total, e.size)
    SELECT count(*), coalesce(max(g.position), 0), coalesce(max(g.total), 0), coalesce(sum(g.size), 0)
    INTO removed, newest, newest_total, bytes FROM gone g;
  UPDATE inbox_purged p SET position = greatest(p.position, newest), total = greatest(p.total, newest_total), size = p.size + bytes
    WHERE p.id = 1;
  SELECT greatest(p.position, e.position), greatest(p.total, e.total) - p.size INTO newest, used
    FROM inbox_purged p LEFT JOIN LATERAL (SELECT position, total FROM inbox_entries ORDER BY position DESC LIMIT 1) e ON true
    WHERE p.id = 1;
END
$$;
-- +goose StatementEnd
