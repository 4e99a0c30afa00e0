package sqlite

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

const connectionColumns = `id, environment_id, integration_id, connection_id, credentials_key_id, credentials_data,
	connection_config, metadata, tags, created_at, updated_at, last_fetched_at, deleting_at`

func scanConnection(r *row) syncline.Connection {
	c := syncline.Connection{
		ID: r.int64(), EnvironmentID: r.int64(), IntegrationID: r.int64(), ConnectionID: r.text(), Credentials: r.sealed(),
		ConnectionConfig: r.object(), Metadata: r.object(), Tags: map[string]string{},
	}
	r.json(&c.Tags)
	c.CreatedAt, c.UpdatedAt, c.LastFetchedAt, c.DeletingAt = r.time(), r.time(), r.time(), r.time()
	return c
}

func (r *reader) Connection(env, id int64) (syncline.Connection, error) {
	return one(r, missing{"connection", id}, `SELECT `+connectionColumns+` FROM connections
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, scanConnection, id, env)
}

func (r *reader) ConnectionByKey(env, integrationID int64, connectionID string) (syncline.Connection, error) {
	return one(r, missing{"connection", connectionID}, `SELECT `+connectionColumns+` FROM connections
		WHERE environment_id = ? AND integration_id = ? AND connection_id = ? AND deleted_at IS NULL`,
		scanConnection, env, integrationID, connectionID)
}

// connectionWhere makes the conditions of a filter.
func connectionWhere(env int64, f store.ConnectionFilter) (string, []any) {
	where, args := ` FROM connections WHERE environment_id = ? AND deleted_at IS NULL`, []any{env}
	if f.IntegrationID != 0 {
		where, args = where+` AND integration_id = ?`, append(args, f.IntegrationID)
	}
	if f.ConnectionID != "" {
		where, args = where+` AND connection_id = ?`, append(args, f.ConnectionID)
	}
	if f.Search != "" {
		where, args = where+` AND instr(search, ?) > 0`, append(args, strings.ToLower(f.Search))
	}
	for _, tag := range slices.Sorted(maps.Keys(f.Tags)) {
		where += ` AND EXISTS (SELECT 1 FROM json_each(tags) AS tag WHERE tag.key = ? AND tag.value = ?)`
		args = append(args, tag, f.Tags[tag])
	}
	return where, args
}

func (r *reader) Connections(env int64, f store.ConnectionFilter) ([]syncline.Connection, error) {
	where, args := connectionWhere(env, f)
	return all(r, `SELECT `+connectionColumns+where+` ORDER BY id DESC LIMIT ? OFFSET ?`, scanConnection,
		append(args, limit(f.Page.Limit), f.Page.Offset)...)
}

func (r *reader) CountConnections(env int64, f store.ConnectionFilter) (int, error) {
	where, args := connectionWhere(env, f)
	n, err := r.number(`SELECT count(*)`+where, args...)
	return int(n), err
}

func (r *reader) ConnectionsMatching(env, integrationID int64, key syncline.MatchKey) ([]syncline.Connection, error) {
	return all(r, `SELECT `+connectionColumns+` FROM connections
		WHERE environment_id = ? AND deleted_at IS NULL AND deleting_at IS NULL AND id IN (SELECT connection_id FROM connection_match
			WHERE environment_id = ?1 AND integration_id = ? AND property = ? AND value = ?)
		ORDER BY id`, scanConnection, env, integrationID, key.Property, matchValue(key.Value))
}

// matchValue keeps the keys of connection_match short: values are often pasted
// documents in metadata, that nothing is routed by.
func matchValue(v string) string {
	const longest = 200
	if len(v) <= longest {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// searchText is what ConnectionFilter.Search looks into. Newlines keep a
// search from matching across two values.
func searchText(c *syncline.Connection) string {
	var b strings.Builder
	b.WriteString(c.ConnectionID)
	for _, tag := range slices.Sorted(maps.Keys(c.Tags)) {
		b.WriteByte('\n')
		b.WriteString(c.Tags[tag])
	}
	return strings.ToLower(b.String())
}

func objectOf[V any](m map[string]V) jsonValue {
	if m == nil {
		m = map[string]V{}
	}
	return jsonValue{m}
}

func (t *tx) CreateConnection(c *syncline.Connection) error {
	if _, err := t.Integration(c.EnvironmentID, c.IntegrationID); err != nil {
		return err
	}
	t.stamp(&c.CreatedAt)
	if c.UpdatedAt.IsZero() {
		c.UpdatedAt = c.CreatedAt
	}
	_, id, err := t.exec(`INSERT INTO connections (environment_id, integration_id, connection_id, credentials_key_id, credentials_data,
		connection_config, metadata, tags, search, created_at, updated_at, last_fetched_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.EnvironmentID, c.IntegrationID, c.ConnectionID, c.Credentials.KeyID, c.Credentials.Data,
		objectOf(c.ConnectionConfig), objectOf(c.Metadata), objectOf(c.Tags), searchText(c), c.CreatedAt, c.UpdatedAt, c.LastFetchedAt)
	if err != nil {
		return written(err, "connection", c.ConnectionID, "an integration")
	}
	c.ID = id
	return t.putMatchKeys(c)
}

func (t *tx) UpdateConnection(c *syncline.Connection) error {
	t.stamp(&c.UpdatedAt)
	err := t.exec1(missing{"connection", c.ConnectionID}, `UPDATE connections SET connection_id = ?, credentials_key_id = ?, credentials_data = ?,
		connection_config = ?, metadata = ?, tags = ?, search = ?, updated_at = ?, last_fetched_at = ?, deleting_at = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`,
		c.ConnectionID, c.Credentials.KeyID, c.Credentials.Data, objectOf(c.ConnectionConfig), objectOf(c.Metadata), objectOf(c.Tags),
		searchText(c), c.UpdatedAt, c.LastFetchedAt, c.DeletingAt, c.ID, c.EnvironmentID)
	if err != nil {
		return written(err, "connection", c.ConnectionID, "")
	}
	return t.putMatchKeys(c)
}

// putMatchKeys brings connection_match in step with c. Only differences are
// written: most updates are of credentials and change none.
func (t *tx) putMatchKeys(c *syncline.Connection) error {
	want := map[syncline.MatchKey]bool{}
	for _, k := range c.MatchKeys() {
		want[syncline.MatchKey{Property: k.Property, Value: matchValue(k.Value)}] = true
	}
	have, err := all(&t.reader, `SELECT property, value FROM connection_match WHERE connection_id = ?`, func(r *row) syncline.MatchKey {
		return syncline.MatchKey{Property: r.text(), Value: r.text()}
	}, c.ID)
	if err != nil {
		return err
	}
	for _, k := range have {
		if want[k] {
			delete(want, k)
			continue
		}
		if _, _, err := t.exec(`DELETE FROM connection_match WHERE connection_id = ? AND property = ? AND value = ?`, c.ID, k.Property, k.Value); err != nil {
			return err
		}
	}
	for k := range want {
		_, _, err := t.exec(`INSERT INTO connection_match (environment_id, integration_id, property, value, connection_id)
			SELECT environment_id, integration_id, ?, ?, id FROM connections WHERE id = ?`, k.Property, k.Value, c.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) DeleteConnection(env, id int64, at time.Time) error {
	err := t.exec1(missing{"connection", id}, `UPDATE connections SET deleted_at = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, at, id, env)
	if err != nil {
		return err
	}
	if _, _, err := t.exec(`DELETE FROM connection_match WHERE connection_id = ?`, id); err != nil {
		return err
	}
	if _, _, err := t.exec(`DELETE FROM function_checkpoints WHERE environment_id = ? AND connection_id = ?`, env, id); err != nil {
		return err
	}
	instances, err := all(&t.reader, `SELECT id FROM sync_instances
		WHERE environment_id = ? AND connection_id = ? AND deleted_at IS NULL`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	return t.deleteInstances(env, instances, at, "the connection was deleted")
}
