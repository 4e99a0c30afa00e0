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

// migrate brings the schema up to date, and refuses one of a newer version.
func migrate(ctx context.Context, db *sql.DB, path string) error {
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
