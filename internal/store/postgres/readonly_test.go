package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
)

func openReadOnly(t *testing.T, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.OpenReadOnly(t.Context(), dsn, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func environments(s store.Store) (names []string, err error) {
	err = s.View(context.Background(), func(r store.Reader) error {
		list, err := r.Environments()
		for _, e := range list {
			names = append(names, e.Name)
		}
		return err
	})
	return names, err
}

func TestAReplicaIsReadAndNotWritten(t *testing.T) {
	dsn := database(t)
	standby := pgtest.Standby(t)
	standby.CatchUp(t)
	primary, replica := open(t, dsn), openReadOnly(t, standby.URL(t, dsn))
	add := func(name string) {
		t.Helper()
		err := primary.Update(t.Context(), store.Relaxed, func(tx store.Tx) error { return tx.CreateEnvironment(&syncline.Environment{Name: name}) })
		if err != nil {
			t.Fatal(err)
		}
	}
	shows := func(want string) {
		t.Helper()
		if names, err := environments(replica); err != nil || strings.Join(names, " ") != want {
			t.Errorf("the replica shows %v, %v; want %s", names, err, want)
		}
	}
	add("dev")
	standby.CatchUp(t)
	shows("dev")
	if err := replica.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	err := replica.Update(t.Context(), store.Durable, func(store.Tx) error { t.Error("it was written"); return nil })
	if syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), "reading only") {
		t.Errorf("a write: %v", err)
	}

	standby.Pause(t)
	add("prod")
	shows("dev")
	standby.Resume(t)
	standby.CatchUp(t)
	shows("dev prod")

	standby.Stop(t)
	if _, err := environments(replica); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Errorf("while it is down: %v", err)
	}
	standby.Start(t)
	for ended := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		names, err := environments(replica)
		if err == nil && len(names) == 2 {
			break
		}
		if time.Now().After(ended) {
			t.Fatalf("it does not come back: %v, %v", names, err)
		}
	}
	if err := replica.Close(); err != nil {
		t.Error(err)
	}
	if _, err := environments(replica); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Errorf("closed: %v", err)
	}
}

func TestAReplicaWhoseSchemaIsOlderIsNotRead(t *testing.T) {
	t.Parallel()
	empty := pgtest.Empty(t)
	s := openReadOnly(t, empty) // it does not have to be reachable, nor ready
	if _, err := environments(s); syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), "has not caught up") {
		t.Errorf("without a schema: %v", err)
	}
	old := database(t)
	c, err := pgx.Connect(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	exec := func(sql string) {
		t.Helper()
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(`CREATE TABLE kept AS SELECT * FROM schema_versions`)
	exec(`DELETE FROM schema_versions WHERE version_id > 1`)
	s = openReadOnly(t, old)
	if _, err := environments(s); syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("with an older schema: %v", err)
	}
	exec(`INSERT INTO schema_versions SELECT * FROM kept WHERE version_id > 1`)
	if _, err := environments(s); err != nil {
		t.Errorf("once it has caught up: %v", err)
	}
	if _, err := postgres.OpenReadOnly(t.Context(), "postgres://%zz", postgres.Options{}); syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Errorf("a damaged connection string: %v", err)
	}
}
