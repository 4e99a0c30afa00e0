package postgres_test

import (
	"strings"
	"sync"
	"testing"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/inbox/postgres"
	store "syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
)

func TestItStandsNextToTheMainStore(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	for range 2 {
		s, err := store.Open(t.Context(), dsn, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := open(t, dsn, postgres.Options{}).Append(t.Context(), delivery("d"), inbox.Key{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOfManyOpensAtOnceOneMakesTheTables(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			l, err := postgres.Open(t.Context(), dsn, postgres.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			if err := l.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestTablesOfANewerVersionAreRefused(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	execute(t, dsn, `INSERT INTO inbox_migrations (version_id, is_applied) VALUES (99999, true)`)
	_, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	if syncline.CodeOf(err) != syncline.CodeConflict || !strings.Contains(err.Error(), "99999") {
		t.Errorf("%v; want a conflict that names the version", err)
	}
}

func TestWhatCannotBeTheInboxIsRefused(t *testing.T) {
	t.Parallel()
	other := pgtest.Empty(t)
	execute(t, other, `CREATE TABLE customers (id integer)`)
	for name, test := range map[string]struct {
		dsn  string
		want syncline.Code
	}{
		"another program's database":                 {other, syncline.CodeConflict},
		"a database that is not there":               {strings.Replace(other, "/test_", "/missing_", 1), syncline.CodeUnavailable},
		"a server that is not there":                 {"postgres://nobody@127.0.0.1:1/none?sslmode=disable", syncline.CodeUnavailable},
		"a connection string that is not one at all": {"postgres://nobody:secret@:x/", syncline.CodeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := postgres.Open(t.Context(), test.dsn, postgres.Options{})
			if syncline.CodeOf(err) != test.want || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v; want %s", err, test.want)
			}
		})
	}
}
