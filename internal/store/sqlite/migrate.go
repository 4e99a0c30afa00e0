package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"

	"syncline"
)

// applicationID marks the file as a store of ours ("SYNC" in ASCII).
const applicationID = 0x53594E43

// migrationLockWait is for how long an Open waits for another one that is
// migrating the same file.
const migrationLockWait = 10 * time.Second

//go:embed migrations/*.sql
var embedded embed.FS

var migrations = func() fs.FS {
	sub, err := fs.Sub(embedded, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}()

// migrate brings the schema of the file at path up to date, and makes the file
// when there is none. While there is something to do it holds the file
// exclusively: of two that start at once, one waits and finds nothing to do.
func migrate(ctx context.Context, path string, steps fs.FS, log *slog.Logger) error {
	if err := makeFile(path); err != nil {
		return err
	}
	deadline := time.Now().Add(migrationLockWait)
	for {
		err := migrateOnce(ctx, path, steps, log)
		if !isLocked(err) || time.Now().After(deadline) {
			return err
		}
		// Drawn anew each time, so that several that wait do not stay in step.
		select {
		case <-time.After(10*time.Millisecond + rand.N(20*time.Millisecond)): //nolint:gosec // no secret
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// migrateOnce does so unless another connection has the file: then it lets go
// of what it has of it. One that waited with a shared lock, which its locking
// mode keeps, and the one that it waits for would wait for each other.
func migrateOnce(ctx context.Context, path string, steps fs.FS, log *slog.Logger) (err error) {
	name, err := dsn(path, false, "busy_timeout(0)", "locking_mode(EXCLUSIVE)")
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", name) // connects when it is first used
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1) // the lock is this connection's
	defer func() {
		err = errors.Join(err, storageError(path, db.Close()))
	}()
	p, err := goose.NewProvider(database.DialectSQLite3, db, steps,
		goose.WithTableName("schema_versions"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	sources := p.ListSources()
	target := sources[len(sources)-1].Version

	current, err := checkVersion(ctx, path, target)
	if err != nil || current == target {
		return err
	}
	if err := lockFile(ctx, db); err != nil {
		return storageError(path, err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema of %s from version %d to %d: %w", path, current, target, storageError(path, err))
	}
	log.Info("schema brought up to date", slog.Int64("from", current), slog.Int64("to", target))
	return nil
}

// makeFile makes an empty file that only its owner can read; SQLite gives its
// other files the same mode.
func makeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return syncline.Errorf(syncline.CodeUnavailable, "the store cannot be opened: %w", err).
			WithHint("check that the data directory exists and can be written")
	}
	return f.Close()
}

// checkVersion returns the schema's version, 0 for an empty file, and refuses
// a file that is somebody else's or newer than target.
func checkVersion(ctx context.Context, path string, target int64) (version int64, err error) {
	c, err := openConn(ctx, path, true)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	var id, tables, versioned int64
	number := func(v *int64) func(r *row) error {
		return func(r *row) error { *v = r.int64(); return nil }
	}
	// One snapshot: another Open may be making the tables right now.
	if _, _, err := c.exec("BEGIN"); err != nil {
		return 0, err
	}
	if _, err := c.get("PRAGMA application_id", number(&id)); err != nil {
		return 0, err
	}
	if _, err := c.get("SELECT count(*) FROM sqlite_schema", number(&tables)); err != nil {
		return 0, err
	}
	if id != applicationID && (id != 0 || tables > 0) {
		return 0, syncline.Errorf(syncline.CodeConflict, "%s is a database of another program", path).
			WithHint("choose another data directory")
	}
	if _, err := c.get("SELECT count(*) FROM sqlite_schema WHERE name = 'schema_versions'", number(&versioned)); err != nil || versioned == 0 {
		return 0, err
	}
	if _, err := c.get("SELECT max(version_id) FROM schema_versions WHERE is_applied", number(&version)); err != nil {
		return 0, err
	}
	if version > target {
		return 0, syncline.Errorf(syncline.CodeConflict, "the store %s has schema version %d; this version of syncline knows up to %d", path, version, target).
			WithHint("run the newer version of syncline that wrote it, or restore a backup made before the upgrade")
	}
	return version, nil
}

// lockFile takes the file for its connection alone, marks it as ours and turns
// on WAL.
func lockFile(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf(
		"BEGIN EXCLUSIVE; PRAGMA application_id=%d; COMMIT; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL", applicationID))
	return err
}
