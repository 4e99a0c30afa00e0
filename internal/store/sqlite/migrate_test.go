package sqlite

import (
	"context"
	"database/sql"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"syncline"
	"syncline/internal/store"
)

// later is the schema of a version to come.
func later(t *testing.T) fs.FS {
	t.Helper()
	steps := fstest.MapFS{"09999_later.sql": {Data: []byte("-- +goose Up\nALTER TABLE records ADD COLUMN later INTEGER NOT NULL DEFAULT 7;\n")}}
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

// restore makes a store's file from a dump.
func restore(t *testing.T, dump string) (path string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata", dump))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "store.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(string(script)); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAStoreOfEachEarlierVersionIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	dumps, err := filepath.Glob("testdata/v*.sql")
	if err != nil || len(dumps) == 0 {
		t.Fatal(dumps, err)
	}
	for _, dump := range dumps {
		t.Run(filepath.Base(dump), func(t *testing.T) {
			t.Parallel()
			s, err := Open(t.Context(), restore(t, filepath.Base(dump)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if p, _ := s.Position(t.Context()); p != 3 {
				t.Errorf("position %d, want 3", p)
			}
			err = s.View(t.Context(), func(r store.Reader) error {
				env, err := r.EnvironmentByName("dev")
				if err != nil || env.SigningKey.KeyID != "k1" || string(env.SigningKey.Data) != "sealed" {
					t.Errorf("%+v %v", env, err)
				}
				functions, err := r.Functions(env.ID, 0)
				if err != nil || len(functions) != 1 || functions[0].Active.Number != 2 || functions[0].Active.Manifest.Frequency != "every hour" {
					t.Errorf("%+v %v", functions, err)
				}
				connections, err := r.ConnectionsMatching(env.ID, functions[0].IntegrationID, syncline.MatchKey{Property: "metadata.team", Value: "42"})
				if err != nil || len(connections) != 1 {
					t.Fatalf("%+v %v", connections, err)
				}
				c, err := r.Collection(env.ID, connections[0].ID, "Issue")
				if err != nil || c.LastSeq != 3 {
					t.Errorf("%+v %v", c, err)
				}
				var ids []string
				err = r.ScanRecords(env.ID, c.ID, store.RecordQuery{}, func(rec *syncline.Record) bool {
					ids = append(ids, rec.ID+" "+string(rec.LastAction)+" "+string(rec.Payload))
					return true
				})
				if got := strings.Join(ids, "; "); err != nil || got != `a UPDATED {"id":"a","n":2}; b DELETED {"id":"b"}` {
					t.Errorf("records %s %v", got, err)
				}
				n, err := r.Backlog()
				if n != 1 {
					t.Errorf("backlog %d", n)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAStoreOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	path := restore(t, "v1.sql")
	if err := migrate(t.Context(), path, later(t), slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, Options{})
	if syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "version 9999") || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
	// Refused means untouched: the newer version can go on with it.
	if err := migrate(t.Context(), path, later(t), slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestAFailedMigrationLeavesTheStoreAsItWas(t *testing.T) {
	t.Parallel()
	path := restore(t, "v1.sql")
	broken := fstest.MapFS{"00002_broken.sql": {Data: []byte("-- +goose Up\nDROP TABLE records;\nCREATE TABLE oops (;\n")}}
	first, err := fs.ReadFile(migrations, "00001_first.sql")
	if err != nil {
		t.Fatal(err)
	}
	broken["00001_first.sql"] = &fstest.MapFile{Data: first}
	if err := migrate(t.Context(), path, broken, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal("no error")
	}
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, _ := s.Position(t.Context()); p != 3 {
		t.Errorf("position %d", p)
	}
}

func TestAFileThatIsNoStoreIsRefused(t *testing.T) {
	t.Parallel()
	other := filepath.Join(t.TempDir(), "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE theirs (x)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		code syncline.Code
	}{
		"a database of another program":    {other, syncline.CodeConflict},
		"a text file":                      {text, syncline.CodeUnavailable},
		"a directory":                      {t.TempDir(), syncline.CodeUnavailable},
		"in a directory that is not there": {filepath.Join(t.TempDir(), "none", "store.db"), syncline.CodeUnavailable},
	} {
		s, err := Open(t.Context(), c.path, Options{})
		if err == nil {
			s.Close()
		}
		if syncline.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.path) {
			t.Errorf("%s: code %q: %v", name, syncline.CodeOf(err), err)
		}
	}
}

func TestTwoThatOpenANewStoreAtOnceMakeItOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "with space ?%#&", "store.db")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := migrate(context.WithoutCancel(t.Context()), path, migrations, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
