package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"syncline"
)

//go:embed migrations/*.sql
var embedded embed.FS

// applicationID marks the file as an inbox of ours ("SYNI" in ASCII).
const applicationID = 0x53594E49

// checkOwner marks an empty file as ours and refuses somebody else's, the main
// store's among them.
func checkOwner(ctx context.Context, db *sql.DB, path string) error {
	var id, tables int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return unavailable(path, err)
	}
	if id == applicationID {
		return nil
	}
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return unavailable(path, err)
	}
	if id != 0 || tables > 0 {
		return syncline.Errorf(syncline.CodeConflict, "%s is not an inbox, but another database", path).
			WithHint("choose another data directory")
	}
	if _, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id=%d", applicationID)); err != nil {
		return unavailable(path, err)
	}
	return nil
}

// migrate brings the schema up to date, and refuses one of a newer version.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	if err := checkOwner(ctx, db, path); err != nil {
		return err
	}
	steps, err := fs.Sub(embedded, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(database.DialectSQLite3, db, steps,
		goose.WithTableName("schema_versions"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the inbox's migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return unavailable(path, err)
	}
	if current > target {
		return syncline.Errorf(syncline.CodeConflict, "the inbox %s has schema version %d; this version of syncline knows up to %d", path, current, target).
			WithHint("run the newer version of syncline that wrote it, or restore a backup made before the upgrade")
	}
	if _, err := p.Up(ctx); err != nil {
		return unavailable(path, err)
	}
	return nil
}
