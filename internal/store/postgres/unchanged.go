package postgres

import (
	"syncline"
	"syncline/internal/store"
)

// Rows that are read whole, changed and written back whole, must not have been
// changed by somebody else in between: a transaction remembers the version of
// such a row (xmin) when it reads it, and an update of another version runs the
// whole closure again. It need not wait for others only because it reads.

// rowOf names a row of a table.
type rowOf struct {
	table string
	id    int64
}

// errStale says that a row has changed since this transaction read it.
var errStale = syncline.Errorf(syncline.CodeUnavailable, "the store is too contended: a row was changed by others each time").WithHint("try again")

const versionColumn = `, xmin::text::bigint`

// versioned reads one row with its version, which comes after its columns.
func versioned[T any](t *tx, table string, idOf func(*T) int64, m missing, columns, where string, scan func(*row) T, args ...any) (T, error) {
	var xmin int64
	v, err := one(&t.reader, m, `SELECT `+columns+versionColumn+where, func(r *row) T {
		v := scan(r)
		xmin = r.int64()
		return v
	}, args...)
	if err == nil {
		if t.seen == nil {
			t.seen = map[rowOf]int64{}
		}
		t.seen[rowOf{table, idOf(&v)}] = xmin
	}
	return v, err
}

// unchanged locks a row that is about to be written back, and fails when it is
// not the version that was read, unless this transaction itself wrote it since.
func (t *tx) unchanged(table string, id int64) error {
	xmin, read := t.seen[rowOf{table, id}]
	if !read {
		return nil
	}
	fresh, found, err := maybe(&t.reader, `SELECT xmin::text::bigint = $2 OR xmin = pg_current_xact_id()::xid FROM `+table+`
		WHERE id = $1 FOR NO KEY UPDATE`, (*row).bool, id, xmin)
	if err == nil && found && !fresh {
		return t.stale()
	}
	return err
}

func (t *tx) stale() error {
	t.c.broken = errStale
	return errStale
}

func (t *tx) Environment(id int64) (syncline.Environment, error) {
	return versioned(t, "environments", func(e *syncline.Environment) int64 { return e.ID }, missing{"environment", id},
		environmentColumns, ` FROM environments WHERE id = $1`, scanEnvironment, id)
}

func (t *tx) Integration(env, id int64) (syncline.Integration, error) {
	return versioned(t, "integrations", func(i *syncline.Integration) int64 { return i.ID }, missing{"integration", id},
		integrationColumns, ` FROM integrations WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanIntegration, id, env)
}

func (t *tx) IntegrationByKey(env int64, uniqueKey string) (syncline.Integration, error) {
	return versioned(t, "integrations", func(i *syncline.Integration) int64 { return i.ID }, missing{"integration", uniqueKey},
		integrationColumns, ` FROM integrations WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL`, scanIntegration, env, uniqueKey)
}

func (t *tx) Connection(env, id int64) (syncline.Connection, error) {
	return versioned(t, "connections", func(c *syncline.Connection) int64 { return c.ID }, missing{"connection", id},
		connectionColumns, ` FROM connections WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanConnection, id, env)
}

func (t *tx) ConnectionByKey(env, integrationID int64, connectionID string) (syncline.Connection, error) {
	return versioned(t, "connections", func(c *syncline.Connection) int64 { return c.ID }, missing{"connection", connectionID},
		connectionColumns, ` FROM connections WHERE environment_id = $1 AND integration_id = $2 AND connection_key = $3 AND deleted_at IS NULL`,
		scanConnection, env, integrationID, keyOf(connectionID))
}

func (t *tx) Instance(env, id int64) (syncline.SyncInstance, error) {
	return versioned(t, "sync_instances", func(i *syncline.SyncInstance) int64 { return i.ID }, missing{"sync instance", id},
		instanceColumns, ` FROM sync_instances WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanInstance, id, env)
}

// Instances are listed to be changed one by one.
func (t *tx) Instances(env int64, f store.InstanceFilter) ([]syncline.SyncInstance, error) {
	list, err := t.reader.Instances(env, f)
	if err != nil {
		return nil, err
	}
	fresh := make([]syncline.SyncInstance, 0, len(list))
	for _, i := range list {
		one, err := t.Instance(env, i.ID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			continue // deleted since
		}
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, one)
	}
	return fresh, nil
}
