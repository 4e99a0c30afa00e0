package postgres

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
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanConnection, id, env)
}

func (r *reader) ConnectionByKey(env, integrationID int64, connectionID string) (syncline.Connection, error) {
	return one(r, missing{"connection", connectionID}, `SELECT `+connectionColumns+` FROM connections
		WHERE environment_id = $1 AND integration_id = $2 AND connection_key = $3 AND deleted_at IS NULL`,
		scanConnection, env, integrationID, keyOf(connectionID))
}

// connectionWhere makes the conditions of a filter.
func connectionWhere(selected string, env int64, f store.ConnectionFilter) *filter {
	w := where(`SELECT `+selected+` FROM connections WHERE environment_id = $1 AND deleted_at IS NULL`, env)
	if f.IntegrationID != 0 {
		w.add(` AND integration_id = ?`, f.IntegrationID)
	}
	if f.ConnectionID != "" {
		w.add(` AND connection_key = ?`, keyOf(f.ConnectionID))
	}
	if f.Search != "" {
		w.add(` AND position(? IN search) > 0`, strings.ToLower(f.Search))
	}
	if len(f.Tags) > 0 {
		w.add(` AND tag_pairs @> ?`, tagPairs(f.Tags))
	}
	return w
}

func (r *reader) Connections(env int64, f store.ConnectionFilter) ([]syncline.Connection, error) {
	w := connectionWhere(connectionColumns, env, f)
	w.add(` ORDER BY id DESC`)
	w.page(f.Page)
	return all(r, w.sql.String(), scanConnection, w.args...)
}

func (r *reader) CountConnections(env int64, f store.ConnectionFilter) (int, error) {
	w := connectionWhere(`count(*)`, env, f)
	n, err := r.number(w.sql.String(), w.args...)
	return int(n), err
}

func (r *reader) ConnectionsMatching(env, integrationID int64, key syncline.MatchKey) ([]syncline.Connection, error) {
	return all(r, `SELECT `+connectionColumns+` FROM connections
		WHERE environment_id = $1 AND deleted_at IS NULL AND deleting_at IS NULL AND id IN (SELECT connection_id FROM connection_match
			WHERE environment_id = $1 AND integration_id = $2 AND property = $3 AND value = $4)
		ORDER BY id`, scanConnection, env, integrationID, matchText(key.Property), matchText(key.Value))
}

// matchText keeps the keys of connection_match short: values are often pasted
// documents in metadata, that nothing is routed by.
func matchText(v string) string {
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

// tagPairs is what ConnectionFilter.Tags looks into. The NUL keeps a key apart
// from its value.
func tagPairs(tags map[string]string) []string {
	pairs := make([]string, 0, len(tags))
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		pairs = append(pairs, tag+"\x00="+tags[tag])
	}
	return pairs
}

func objectOf[V any](m map[string]V) jsonValue {
	if m == nil {
		m = map[string]V{}
	}
	return jsonValue{m}
}

func (t *tx) CreateConnection(c *syncline.Connection) (err error) {
	if err := t.holdIntegration(c.EnvironmentID, c.IntegrationID); err != nil {
		return err
	}
	t.stamp(&c.CreatedAt)
	if c.UpdatedAt.IsZero() {
		c.UpdatedAt = c.CreatedAt
	}
	c.ID, err = t.insert("connection", c.ConnectionID, `INSERT INTO connections (environment_id, integration_id, connection_id, connection_key,
		credentials_key_id, credentials_data, connection_config, metadata, tags, tag_pairs, search, created_at, updated_at, last_fetched_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING RETURNING id`,
		c.EnvironmentID, c.IntegrationID, c.ConnectionID, keyOf(c.ConnectionID), c.Credentials.KeyID, c.Credentials.Data,
		objectOf(c.ConnectionConfig), objectOf(c.Metadata), objectOf(c.Tags), tagPairs(c.Tags), searchText(c), c.CreatedAt, c.UpdatedAt, c.LastFetchedAt)
	if err != nil {
		return err
	}
	return t.putMatchKeys(c, nil)
}

func (t *tx) UpdateConnection(c *syncline.Connection) error {
	if err := t.unchanged("connections", c.ID); err != nil {
		return err
	}
	t.stamp(&c.UpdatedAt)
	// Locked: of two that change the match keys, one waits.
	was, err := one(&t.reader, missing{"connection", c.ConnectionID}, `SELECT connection_key FROM connections
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE`, (*row).stored, c.ID, c.EnvironmentID)
	if err != nil {
		return err
	}
	m, args := missing{"connection", c.ConnectionID}, []any{
		c.ConnectionID, keyOf(c.ConnectionID), c.Credentials.KeyID, c.Credentials.Data, objectOf(c.ConnectionConfig), objectOf(c.Metadata), objectOf(c.Tags),
		tagPairs(c.Tags), searchText(c), c.UpdatedAt, c.LastFetchedAt, c.DeletingAt, c.ID, c.EnvironmentID}
	const update = `UPDATE connections SET connection_id = $1, connection_key = $2, credentials_key_id = $3, credentials_data = $4,
		connection_config = $5, metadata = $6, tags = $7, tag_pairs = $8, search = $9, updated_at = $10, last_fetched_at = $11, deleting_at = $12
		WHERE id = $13 AND environment_id = $14 AND deleted_at IS NULL`
	if keyOf(c.ConnectionID) == key(was) {
		err = t.exec1(m, update, args...)
	} else {
		err = t.rename("connection", c.ConnectionID, m, update, args...)
	}
	if err != nil {
		return err
	}
	have, err := all(&t.reader, `SELECT property, value FROM connection_match WHERE connection_id = $1`, func(r *row) syncline.MatchKey {
		return syncline.MatchKey{Property: r.text(), Value: r.text()}
	}, c.ID)
	if err != nil {
		return err
	}
	return t.putMatchKeys(c, have)
}

// putMatchKeys brings connection_match, where c has these keys, in step with c.
// Only differences are written: most updates are of credentials and change none.
func (t *tx) putMatchKeys(c *syncline.Connection, have []syncline.MatchKey) error {
	want := map[syncline.MatchKey]bool{}
	for _, k := range c.MatchKeys() {
		want[syncline.MatchKey{Property: matchText(k.Property), Value: matchText(k.Value)}] = true
	}
	var gone, added [2][]string // properties and values
	for _, k := range have {
		if want[k] {
			delete(want, k)
			continue
		}
		gone[0], gone[1] = append(gone[0], k.Property), append(gone[1], k.Value)
	}
	for k := range want {
		added[0], added[1] = append(added[0], k.Property), append(added[1], k.Value)
	}
	if len(gone[0]) > 0 {
		_, err := t.exec(`DELETE FROM connection_match USING unnest($2::text[], $3::text[]) AS gone (p, v)
			WHERE connection_id = $1 AND property = p AND value = v`, c.ID, gone[0], gone[1])
		if err != nil {
			return err
		}
	}
	if len(added[0]) == 0 {
		return nil
	}
	_, err := t.exec(`INSERT INTO connection_match (environment_id, integration_id, property, value, connection_id)
		SELECT c.environment_id, c.integration_id, p, v, c.id
		FROM connections AS c, unnest($2::text[], $3::text[]) AS added (p, v) WHERE c.id = $1`, c.ID, added[0], added[1])
	return err
}

func (t *tx) DeleteConnection(env, id int64, at time.Time) error {
	err := t.exec1(missing{"connection", id}, `UPDATE connections SET deleted_at = $1
		WHERE id = $2 AND environment_id = $3 AND deleted_at IS NULL`, at, id, env)
	if err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM connection_match WHERE connection_id = $1`, id); err != nil {
		return err
	}
	if _, err := t.exec(`DELETE FROM function_checkpoints WHERE environment_id = $1 AND connection_id = $2`, env, id); err != nil {
		return err
	}
	instances, err := all(&t.reader, `SELECT id FROM sync_instances
		WHERE environment_id = $1 AND connection_id = $2 AND deleted_at IS NULL ORDER BY id`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	return t.deleteInstances(env, instances, at, "the connection was deleted")
}
