package postgres

import (
	"context"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres/pgtest"
)

// later is the schema of a version to come.
func later(t *testing.T, sql string) fs.FS {
	t.Helper()
	steps := fstest.MapFS{"09999_later.sql": {Data: []byte("-- +goose Up\n" + sql + "\n")}}
	files, err := fs.Glob(migrations, "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		data, err := fs.ReadFile(migrations, name)
		if err != nil {
			t.Fatal(err)
		}
		steps[name] = &fstest.MapFile{Data: data}
	}
	return steps
}

const addColumn = `ALTER TABLE records ADD COLUMN later bigint NOT NULL DEFAULT 7;`

func migrateTo(t *testing.T, dsn string, steps fs.FS) error {
	t.Helper()
	config, err := parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return migrate(t.Context(), config.ConnConfig, steps, slog.New(slog.DiscardHandler))
}

// run runs SQL on a connection of its own.
func run(t *testing.T, dsn, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestOfManyOpensAtOnceOneMakesTheSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := Open(t.Context(), dsn, Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAStoreOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	if err := migrateTo(t, dsn, later(t, addColumn)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dsn, Options{})
	if syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "version 9999") {
		t.Errorf("error %v", err)
	}
}

func TestAMigrationThatFailsLeavesTheSchemaAsItWas(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	s, err := Open(t.Context(), dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := migrateTo(t, dsn, later(t, addColumn+"\nALTER TABLE nothing ADD COLUMN x bigint;")); err == nil {
		t.Error("no error")
	}
	again, err := Open(t.Context(), dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// Of a cluster the processes are not upgraded at the same moment.
func TestAStoreThatIsOpenGoesOnWhileAnotherVersionMigratesIt(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	s, err := Open(t.Context(), dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	env := syncline.Environment{Name: "dev"}
	work := func(name string) {
		err := s.Update(t.Context(), store.Durable, func(tx store.Tx) error {
			env = syncline.Environment{Name: name}
			return tx.CreateEnvironment(&env)
		})
		if err != nil {
			t.Error(err)
		}
		err = s.View(t.Context(), func(r store.Reader) error {
			_, err := r.DueInstances(start, 1)
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	work("one")
	if err := migrateTo(t, dsn, later(t, addColumn+"\nALTER TABLE sync_instances ADD COLUMN later bigint;\nALTER TABLE environments ADD COLUMN later bigint;")); err != nil {
		t.Fatal(err)
	}
	work("two")
}

func TestADatabaseThatIsNotFitIsRefused(t *testing.T) {
	t.Parallel()
	t.Run("of another program", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Empty(t)
		run(t, dsn, `CREATE TABLE theirs (x int)`)
		_, err := Open(t.Context(), dsn, Options{})
		if syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "another program") {
			t.Errorf("error %v", err)
		}
		// A schema of our own next to it is fine.
		run(t, dsn, `CREATE SCHEMA ours`)
		s, err := Open(t.Context(), dsn+"&search_path=ours", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		err = s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error { _, err := tx.NextSeq(3); return err })
		if p, e := s.Position(t.Context()); err != nil || e != nil || p != 3 {
			t.Errorf("position %d: %v %v", p, err, e)
		}
	})
	t.Run("of another encoding", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Empty(t)
		run(t, dsn, `CREATE DATABASE latin_1 TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'`)
		t.Cleanup(func() {
			c, err := pgx.Connect(context.Background(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			if _, err := c.Exec(context.Background(), `DROP DATABASE latin_1`); err != nil {
				t.Error(err)
			}
		})
		u, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), strings.Replace(dsn, "/"+u.Database, "/latin_1", 1), Options{})
		if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "UTF8") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("that is not there", func(t *testing.T) {
		t.Parallel()
		dsn := pgtest.Empty(t)
		u, err := pgx.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), strings.Replace(dsn, "/"+u.Database, "/not_there", 1), Options{})
		if err == nil || !strings.Contains(err.Error(), "not_there") {
			t.Errorf("error %v", err)
		}
		_, err = Open(t.Context(), "postgres://someone:secret@127.0.0.1:1/nothing?connect_timeout=2", Options{})
		if syncline.CodeOf(err) != syncline.CodeUnavailable || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
		_, err = Open(t.Context(), "postgres://someone:secret@host:port/x", Options{})
		if syncline.CodeOf(err) != syncline.CodeInvalid || strings.Contains(err.Error(), "secret") {
			t.Errorf("error %v", err)
		}
	})
}
