package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"syncline"
)

// The advisory locks of the inbox, by their second number. That of appenders is
// the number of the table, see inbox_append in the migrations.
const (
	advisoryClass     = 0x53594E49 // "SYNI" in ASCII, 1398361673
	advisoryMigration = 0
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

// versionsTable is where goose notes what was applied; storeTable is where the
// main store has it noted.
const (
	versionsTable = "inbox_migrations"
	storeTable    = "schema_versions"
)

// migrate brings the tables of the inbox up to date. While there is something
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
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox's database cannot be reached: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close(context.WithoutCancel(ctx))) }() // and with it, the lock
	current, err := checkVersion(ctx, c, target)
	if err != nil || current == target {
		return err
	}
	if _, err := c.Exec(ctx, `SELECT pg_advisory_lock($1, $2)`, advisoryClass, advisoryMigration); err != nil {
		return inboxError(err)
	}
	// Again: another one may have done it, and further than we can.
	if current, err = checkVersion(ctx, c, target); err != nil || current == target {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the inbox in the database %s from version %d to %d: %w", config.Database, current, target, inboxError(err))
	}
	log.Info("inbox schema brought up to date", slog.Int64("from", current), slog.Int64("to", target))
	return nil
}

// checkVersion returns the version of the inbox's tables, 0 when there are none,
// and refuses a database that is somebody else's, or newer than target. The main
// store may be in it.
func checkVersion(ctx context.Context, c *pgx.Conn, target int64) (version int64, err error) {
	var major int
	var versioned, store, tables bool
	err = c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int / 10000,
		coalesce(bool_or(tablename = $1), false), coalesce(bool_or(tablename = $2), false), count(*) > 0
		FROM pg_catalog.pg_tables WHERE schemaname = current_schema()`, versionsTable, storeTable).Scan(&major, &versioned, &store, &tables)
	switch {
	case err != nil:
		return 0, inboxError(err)
	case major < oldestServer:
		return 0, syncline.Errorf(syncline.CodeInvalid, "the server runs Postgres %d; the inbox needs %d or newer", major, oldestServer)
	case !versioned && !store && tables:
		return 0, syncline.Errorf(syncline.CodeConflict, "the database %s has the tables of another program", c.Config().Database).
			WithHint("choose another database, or another schema with search_path in the connection string")
	case !versioned:
		return 0, nil
	}
	if err := c.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM `+versionsTable+` WHERE is_applied`).Scan(&version); err != nil {
		return 0, inboxError(err)
	}
	if version > target {
		return 0, syncline.Errorf(syncline.CodeConflict, "the inbox in the database %s has schema version %d; this version of syncline knows up to %d",
			c.Config().Database, version, target).
			WithHint("run the newer version of syncline that wrote it, or restore a backup made before the upgrade")
	}
	return version, nil
}

// oldestServer is the oldest major version that the inbox runs on.
const oldestServer = 13
