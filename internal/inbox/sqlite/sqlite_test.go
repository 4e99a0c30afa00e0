package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/inbox/inboxtest"
	"syncline/internal/inbox/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	inboxtest.Run(t, func(t *testing.T) inboxtest.Open {
		path := filepath.Join(t.TempDir(), "inbox.db")
		return func(t *testing.T) inbox.Log { return open(t, path, sqlite.Options{}) }
	})
}

func open(t *testing.T, path string, o sqlite.Options) *sqlite.Log {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestALimitRefusesAndIsNamed(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]sqlite.Options{
		"--inbox-max-bytes":     {MaxBytes: 200 << 10},
		"--inbox-min-free-disk": {MinFreeDisk: 1 << 60},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, filepath.Join(t.TempDir(), "inbox.db"), o)
			var err error
			stored := int64(0)
			for err == nil && stored < 100 {
				if _, err = l.Append(t.Context(), &syncline.Delivery{EnvironmentID: 1, Body: make([]byte, 50<<10)}, inbox.Key{}); err == nil {
					stored++
				}
			}
			if syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), name) {
				t.Errorf("after %d: %v; want unavailable, naming %s", stored, err, name)
			}
			if last, _ := l.Last(t.Context()); last != stored {
				t.Errorf("%d entries; %d were acknowledged", last, stored)
			}
			if err := l.Ping(t.Context()); err != nil {
				t.Errorf("a full inbox can still be read: %v", err)
			}
		})
	}
}

func TestSpaceComesBackWithAPurge(t *testing.T) {
	t.Parallel()
	l := open(t, filepath.Join(t.TempDir(), "inbox.db"), sqlite.Options{MaxBytes: 300 << 10})
	d := func() *syncline.Delivery { return &syncline.Delivery{EnvironmentID: 1, Body: make([]byte, 200<<10)} }
	if _, err := l.Append(t.Context(), d(), inbox.Key{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), d(), inbox.Key{}); err == nil {
		t.Fatal("the limit was not met")
	}
	found, err := l.Read(t.Context(), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if found[0].ReceivedAt.IsZero() {
		t.Error("the time of receipt was not stamped")
	}
	if _, err := l.Purge(t.Context(), found[0].ReceivedAt.Add(1e9), func([]int64) ([]int64, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), d(), inbox.Key{}); err != nil {
		t.Errorf("after the purge: %v", err)
	}
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inbox.db")
	if err := open(t, path, sqlite.Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, path, `INSERT INTO schema_versions (version_id, is_applied) VALUES (99999, 1)`)
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	if syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "99999") {
		t.Errorf("%v; want a conflict that names the version", err)
	}
}

func TestAnotherDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.db")
	execute(t, path, `CREATE TABLE customers (id INTEGER)`)
	if _, err := sqlite.Open(t.Context(), path, sqlite.Options{}); syncline.CodeOf(err) != syncline.CodeConflict {
		t.Errorf("%v; want a conflict", err)
	}
	text := filepath.Join(t.TempDir(), "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database. ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), text, sqlite.Options{}); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Errorf("%v; want unavailable", err)
	}
}

func execute(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}
