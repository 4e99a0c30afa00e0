package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"syncline"
)

// The advisory locks of the store, by their second number.
const (
	advisoryClass     = 0x53594E43 // "SYNC" in ASCII, 1398361667
	advisoryMigration = 0
	// 1 is that of next_positions, in the migrations.
)

//go:embed migrations/*.sql
var embedded embed.FS

var migrations = func() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}()

// versionsTable is where goose notes what was applied.
const versionsTable = "schema_versions"

// migrate brings the schema of a database up to date. While there is something
// to do it holds a lock: of several that start at once, one does it, the others
// wait and find nothing to do.
func migrate(ctx context.Context, config *pgx.ConnConfig, steps fs.FS, log *slog.Logger) (err error) {
	db := stdlib.OpenDB(*config) // connects when it is first used
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := goose.NewProvider(database.DialectPostgres, db, steps,
		goose.WithTableName(versionsTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	sources := p.ListSources()
	target := sources[len(sources)-1].Version

	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return syncline.Errorf(syncline.CodeUnavailable, "the store's database cannot be reached: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }() // and with it, the lock
	current, err := checkVersion(ctx, c, target)
	if err != nil || current == target {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, advisoryClass, advisoryMigration); err != nil {
		return storageError(err)
	}
	// Again: another one may have done it, and further than we can.
	if current, err = checkVersion(ctx, c, target); err != nil || current == target {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema of the database %s from version %d to %d: %w", config.Database, current, target, storageError(err))
	}
	log.Info("schema brought up to date", slog.Int64("from", current), slog.Int64("to", target))
	return nil
}

// checkVersion returns the schema's version, 0 for an empty one, and refuses a
// database that is somebody else's, newer than target, or cannot hold the store.
func checkVersion(ctx context.Context, c *pgx.Conn, target int64) (version int64, err error) {
	var encoding string
	var major int
	if err := c.QueryRow(ctx, `SELECT current_setting('server_encoding'), current_setting('server_version_num')::int / 10000`).Scan(&encoding, &major); err != nil {
		return 0, storageError(err)
	}
	if encoding != "UTF8" {
		return 0, syncline.Errorf(syncline.CodeInvalid, "the database %s has encoding %s; the store needs UTF8", c.Config().Database, encoding).
			WithHint("make it with: createdb --encoding=UTF8 --template=template0")
	}
	if major < oldestServer {
		return 0, syncline.Errorf(syncline.CodeInvalid, "the server runs Postgres %d; the store needs %d or newer", major, oldestServer)
	}
	var versioned, tables bool
	err = c.QueryRow(ctx, `SELECT
		EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema() AND tablename = $1),
		EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = current_schema())`, versionsTable).Scan(&versioned, &tables)
	switch {
	case err != nil:
		return 0, storageError(err)
	case !versioned && tables:
		return 0, syncline.Errorf(syncline.CodeConflict, "the database %s has the tables of another program", c.Config().Database).
			WithHint("choose another database, or another schema with search_path in the connection string")
	case !versioned:
		return 0, nil
	}
	if err := c.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionsTable+` WHERE is_applied`).Scan(&version); err != nil {
		return 0, storageError(err)
	}
	if version > target {
		return 0, syncline.Errorf(syncline.CodeConflict, "the database %s has schema version %d; this version of syncline knows up to %d",
			c.Config().Database, version, target).
			WithHint("run the newer version of syncline that wrote it, or restore a backup made before the upgrade")
	}
	return version, nil
}

// checkReadable refuses a connection to a database whose schema is older than
// what this version reads. A newer one can be read: what an older version needs
// stays for as long as it may run.
func checkReadable(ctx context.Context, c *pgx.Conn) error {
	names, err := fs.Glob(migrations, "*.sql")
	if err != nil {
		return err
	}
	target, err := goose.NumericComponent(slices.Max(names))
	if err != nil {
		return err
	}
	var current int64
	err = c.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionsTable+` WHERE is_applied`).Scan(&current)
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == undefinedTable:
	case err != nil:
		return storageError(err)
	}
	if current < target {
		return syncline.Errorf(syncline.CodeUnavailable, "the replica %s has schema version %d; this version of syncline reads %d", c.Config().Database, current, target).
			WithHint("it has not caught up with the primary yet, or it is not a replica of it")
	}
	return nil
}

// oldestServer is the oldest major version that the store runs on.
const oldestServer = 13
