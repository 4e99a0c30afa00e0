package sqlite

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var update = flag.Bool("update", false, "write testdata/v<N>.sql, the dump of a small store of the current schema")

// TestUpdateDump writes the dump that later versions are tested from. A dump of
// a version that was released must not change any more.
func TestUpdateDump(t *testing.T) {
	if !*update {
		t.Skip("only with -update")
	}
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(t.Context(), store.Durable, sample); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dump, version, err := dumpFile(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fmt.Sprintf("testdata/v%d.sql", version), []byte(dump), 0o644); err != nil {
		t.Fatal(err)
	}
}

// dumpFile turns a store into statements that make it again.
func dumpFile(ctx context.Context, path string) (dump string, version int64, err error) {
	c, err := openConn(ctx, path, true)
	if err != nil {
		return "", 0, err
	}
	defer c.close()
	if _, err := c.get("SELECT max(version_id) FROM schema_versions", func(r *row) error { version = r.int64(); return nil }); err != nil {
		return "", 0, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "PRAGMA application_id=%d;\nPRAGMA journal_mode=WAL;\nBEGIN;\n", applicationID)
	var tables []string
	err = c.query("SELECT name, type, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid", func(r *row) error {
		name, kind, sql := r.text(), r.text(), r.text()
		if kind == "table" {
			tables = append(tables, name)
		}
		if name != "sqlite_sequence" { // made with the first AUTOINCREMENT
			b.WriteString(sql + ";\n")
		}
		return nil
	})
	if err != nil {
		return "", 0, err
	}
	b.WriteString("DELETE FROM sqlite_sequence;\n")
	for _, table := range tables {
		var columns []string
		err := c.query("SELECT name FROM pragma_table_info(?)", func(r *row) error {
			columns = append(columns, "quote("+r.text()+")")
			return nil
		}, table)
		if err != nil {
			return "", 0, err
		}
		err = c.query("SELECT "+strings.Join(columns, " || ', ' || ")+" FROM "+table, func(r *row) error {
			fmt.Fprintf(&b, "INSERT INTO %s VALUES (%s);\n", table, r.text())
			return nil
		})
		if err != nil {
			return "", 0, err
		}
	}
	b.WriteString("COMMIT;\n")
	return b.String(), version, nil
}

// sample writes a row into every table that the store writes.
func sample(tx store.Tx) error {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := syncline.Environment{Name: "dev", UUID: "11111111-1111-4111-8111-111111111111", SigningKey: syncline.Sealed{KeyID: "k1", Data: []byte("sealed")}, CreatedAt: at}
	if err := tx.CreateEnvironment(&e); err != nil {
		return err
	}
	if err := tx.CreateAPIKey(&syncline.APIKey{EnvironmentID: e.ID, Name: "default", Hash: []byte("hash"), Hint: "abcd", CreatedAt: at}); err != nil {
		return err
	}
	i := syncline.Integration{EnvironmentID: e.ID, UniqueKey: "github", Provider: "github", CreatedAt: at}
	if err := tx.CreateIntegration(&i); err != nil {
		return err
	}
	c := syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "customer", Credentials: syncline.Sealed{KeyID: "k1", Data: []byte("token")},
		Metadata: map[string]any{"team": 42}, Tags: map[string]string{"plan": "pro"}, CreatedAt: at}
	if err := tx.CreateConnection(&c); err != nil {
		return err
	}
	gone := syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "gone", CreatedAt: at}
	if err := tx.CreateConnection(&gone); err != nil {
		return err
	}
	if err := tx.DeleteConnection(e.ID, gone.ID, at); err != nil {
		return err
	}
	if err := tx.PutBundle(e.ID, "b1", []byte("var x;")); err != nil {
		return err
	}
	f := syncline.Function{EnvironmentID: e.ID, IntegrationID: i.ID, Type: syncline.FunctionSync, Name: "issues"}
	for range 2 {
		err := tx.DeployFunction(&f, &syncline.FunctionVersion{BundleHash: "b1", DeployedAt: at,
			Manifest: syncline.Manifest{Type: syncline.FunctionSync, Name: "issues", Frequency: "every hour"}})
		if err != nil {
			return err
		}
	}
	in := syncline.SyncInstance{UUID: "22222222-2222-4222-8222-222222222222", EnvironmentID: e.ID, ConnectionID: c.ID, FunctionID: f.ID,
		State: syncline.InstanceStarted, NextDueAt: at, PollCheckpoint: json.RawMessage(`{"page":2}`), CreatedAt: at}
	if _, err := tx.EnsureInstance(&in); err != nil {
		return err
	}
	if err := sampleEvents(tx, in, i.ID, at); err != nil {
		return err
	}
	return sampleRun(tx, in, f, at)
}

func sampleEvents(tx store.Tx, in syncline.SyncInstance, integration int64, at time.Time) error {
	var events []*syncline.Event
	for p := range int64(2) {
		events = append(events, &syncline.Event{EnvironmentID: in.EnvironmentID, LaneID: in.ID, Position: p + 1, Type: "issues", ReceivedAt: at, UpdatedAt: at})
		err := tx.PutDeliveryState(&syncline.DeliveryState{EnvironmentID: in.EnvironmentID, IntegrationID: integration, Position: p + 1,
			Status: syncline.DeliveryRouted, Type: "issues", Events: 1, OpenEvents: 1, ReceivedAt: at, UpdatedAt: at})
		if err != nil {
			return err
		}
	}
	if err := tx.AppendEvents(events); err != nil {
		return err
	}
	events[0].Status = syncline.EventDone
	if err := tx.UpdateEvent(events[0]); err != nil {
		return err
	}
	return tx.SetRouterPosition(2)
}

func sampleRun(tx store.Tx, in syncline.SyncInstance, f syncline.Function, at time.Time) error {
	env := in.EnvironmentID
	r := syncline.Run{UUID: "33333333-3333-4333-8333-333333333333", EnvironmentID: env, ConnectionID: in.ConnectionID, InstanceID: in.ID,
		FunctionID: f.ID, VersionID: f.Active.ID, Kind: syncline.RunPoll, Status: syncline.RunSuccess, Attempt: 1, SyncType: syncline.SyncInitial,
		Models: map[string]syncline.ModelResult{"Issue": {Added: 2}}, StartedAt: at, FinishedAt: at}
	if err := tx.CreateRun(&r); err != nil {
		return err
	}
	if err := tx.AppendLogs(env, r.ID, []syncline.LogLine{{At: at, Level: syncline.LogInfo, Message: "hello", Data: json.RawMessage(`{"n":1}`)}}); err != nil {
		return err
	}
	id, err := tx.EnsureCollection(env, in.ConnectionID, "Issue", at)
	if err != nil {
		return err
	}
	for _, rec := range []syncline.Record{
		{ID: "a", Payload: json.RawMessage(`{"id":"a","n":1}`), LastAction: syncline.ActionAdded},
		{ID: "a", Payload: json.RawMessage(`{"id":"a","n":2}`), LastAction: syncline.ActionUpdated},
		{ID: "b", Payload: json.RawMessage(`{"id":"b"}`), LastAction: syncline.ActionDeleted, DeletedAt: at},
	} {
		if rec.Seq, err = tx.NextSeq(1); err != nil {
			return err
		}
		rec.FirstSeenAt, rec.LastModifiedAt, rec.Hash, rec.Writer.RunID = at, at, []byte("hash"), r.ID
		if err := tx.PutRecords(env, id, []*syncline.Record{&rec}); err != nil {
			return err
		}
	}
	return tx.CreateNotification(&syncline.Notification{UUID: "44444444-4444-4444-8444-444444444444", EnvironmentID: env, ConnectionID: in.ConnectionID,
		RunID: r.ID, Target: "primary", Type: "sync", Payload: json.RawMessage(`{"from":"nango"}`), CreatedAt: at})
}
