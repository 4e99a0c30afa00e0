package sqlite_test

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/sqlite"
)

// writeRecord puts one record of a new position into the only collection,
// which it makes with all that it needs.
func writeRecord(t testing.TB, s *sqlite.Store, d store.Durability, id string) (position int64) {
	t.Helper()
	err := s.Update(t.Context(), d, func(tx store.Tx) error {
		env, err := tx.EnvironmentByName("dev")
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			env.Name = "dev"
			err = tx.CreateEnvironment(&env)
		}
		if err != nil {
			return err
		}
		integration, err := tx.IntegrationByKey(env.ID, "github")
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			integration = syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github"}
			err = tx.CreateIntegration(&integration)
		}
		if err != nil {
			return err
		}
		connection, err := tx.ConnectionByKey(env.ID, integration.ID, "one")
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			connection = syncline.Connection{EnvironmentID: env.ID, IntegrationID: integration.ID, ConnectionID: "one"}
			err = tx.CreateConnection(&connection)
		}
		if err != nil {
			return err
		}
		collection, err := tx.EnsureCollection(env.ID, connection.ID, "Issue", env.CreatedAt)
		if err != nil {
			return err
		}
		if position, err = tx.NextSeq(1); err != nil {
			return err
		}
		return tx.PutRecords(env.ID, collection, []*syncline.Record{{ID: id, Seq: position, LastModifiedAt: env.CreatedAt, LastAction: syncline.ActionAdded}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return position
}

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func records(t *testing.T, s *sqlite.Store) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	err := s.View(t.Context(), func(r store.Reader) error {
		env, err := r.EnvironmentByName("dev")
		if err != nil {
			return err
		}
		collections, err := r.Collections(env.ID, 1)
		if err != nil {
			return err
		}
		return r.ScanRecords(env.ID, collections[0].ID, store.RecordQuery{}, func(rec *syncline.Record) bool {
			found[rec.ID] = rec.Seq
			return true
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPositionsAndIDsGoOnAfterAReopenThoughEverythingIsDeleted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path)
	writeRecord(t, s, store.Durable, "a")
	last := writeRecord(t, s, store.Relaxed, "b")
	var run syncline.Run
	err := s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		if err := tx.EmptyCollection(1, 1); err != nil { // a change of its own
			return err
		}
		run = syncline.Run{EnvironmentID: 1, Status: syncline.RunSuccess, StartedAt: day, FinishedAt: day}
		if err := tx.CreateRun(&run); err != nil {
			return err
		}
		if err := tx.SetRouterPosition(77); err != nil {
			return err
		}
		_, err := tx.PurgeRuns(day.AddDate(0, 0, 1), 10)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	last++
	s = open(t, path)
	if p, _ := s.Position(t.Context()); p != last {
		t.Errorf("Position %d after the reopen, %d before", p, last)
	}
	if p := writeRecord(t, s, store.Durable, "c"); p <= last {
		t.Errorf("position %d after %d", p, last)
	}
	err = s.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		again := syncline.Run{EnvironmentID: 1, Status: syncline.RunRunning}
		if err := tx.CreateRun(&again); err != nil {
			return err
		}
		if again.ID <= run.ID {
			t.Errorf("run id %d after %d was purged", again.ID, run.ID)
		}
		p, err := tx.RouterPosition()
		if p != 77 {
			t.Errorf("router position %d", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestWriteUntilKilled is not a test of its own: it is what the killed process of the
// next test does.
func TestWriteUntilKilled(t *testing.T) {
	path := os.Getenv("SYNCLINE_TEST_WRITE_UNTIL_KILLED")
	if path == "" {
		t.Skip("run by TestWhatWasAcknowledgedSurvivesKill")
	}
	s := open(t, path)
	var out sync.Mutex
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d", n, i)
				p := writeRecord(t, s, store.Durability(i%2), id)
				out.Lock()
				fmt.Println("acknowledged", id, p)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

func TestWhatWasAcknowledgedSurvivesKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	acknowledged := map[string]int64{}
	var newest int64
	for round := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriteUntilKilled$", "-test.v")
		cmd.Env = append(os.Environ(), "SYNCLINE_TEST_WRITE_UNTIL_KILLED="+path)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, seen := bufio.NewScanner(stdout), 0
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) != 3 || fields[0] != "acknowledged" {
				continue
			}
			p, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				continue // the kill cut the line
			}
			acknowledged[fields[1]] = max(acknowledged[fields[1]], p)
			if seen++; seen == 100+57*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || seen < 100 {
			t.Fatalf("the process ended by itself after %d writes", seen)
		}

		s := open(t, path)
		found := records(t, s)
		for id, p := range acknowledged {
			if found[id] < p {
				t.Errorf("round %d: record %s is at %d, %d was acknowledged", round, id, found[id], p)
			}
			newest = max(newest, p)
		}
		if p := writeRecord(t, s, store.Durable, "after"); p <= newest {
			t.Errorf("round %d: position %d after %d", round, p, newest)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		var check string
		if err := db.QueryRow("PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
			t.Errorf("round %d: integrity check: %s, %v", round, check, err)
		}
		db.Close()
	}
}
