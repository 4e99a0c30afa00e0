package e2e

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline/e2e/harness"
)

// The cache, whole: versions, complete listings, held deletes, history, counting,
// pruning, ignored fields, and payloads that are sealed at rest.
func TestTheCacheKeepsItsPromises(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary, "--seal-records", "--mass-delete-percent", "40", "--mass-delete-records", "2")
		for n := range 6 {
			w.github.Create(fmt.Sprintf("Confidential %d", n+1))
		}
		w.start("cache")
		ctx := w.context()
		poll := func() map[string]any {
			w.ok(w.client.Quiet(ctx))
			before := len(must(w.client.Runs(ctx, "kind=poll&limit=100"))(t))
			w.ok(w.client.Trigger(ctx, integration, connection, "issues"))
			for {
				runs := must(w.client.Runs(ctx, "kind=poll&limit=100"))(t)
				if len(runs) > before && runs[0]["status"] != "running" {
					return runs[0]
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
		of := map[string]string{"Provider-Config-Key": integration, "Connection-Id": connection}
		count := func(query string) int {
			var out struct{ Count int }
			w.ok(w.client.Do(ctx, http.MethodGet, "/records/count?model=Issue"+query, of, nil, &out))
			return out.Count
		}
		poll()
		if n := count(""); n != 6 {
			t.Fatalf("%d records after the first poll", n)
		}

		// Versions: the newer webhook first, the older one then.
		older := w.github.Edit(1, "Older")
		newer := w.github.Edit(1, "Newer")
		before := time.Now()
		w.send(newer)
		w.until("Issue", func(all map[string]harness.Record) bool { return all[id(newer)].Fields["title"] == "Newer" })
		w.send(older)
		w.ok(w.client.Quiet(ctx))
		all := must(w.client.All(ctx, integration, connection, "Issue"))(t)
		if got := all[id(newer)].Fields["title"]; got != "Newer" {
			t.Errorf("the late webhook won: %v", got)
		}

		// Nothing else changed: a complete listing tells nothing new.
		if run := poll(); strings.Contains(fmt.Sprint(run["models"]), "updated:1") || run["status"] != "success" {
			t.Errorf("the poll is %v", run)
		}

		// History, by API and as it was.
		var history struct {
			History  bool
			Versions []struct {
				Record map[string]any
				Cause  string
				Diff   []map[string]any
			}
		}
		w.ok(w.client.Do(ctx, http.MethodGet, "/records/"+id(newer)+"/history?model=Issue", of, nil, &history))
		if !history.History || len(history.Versions) != 2 || history.Versions[0].Cause != "webhook" || history.Versions[1].Cause != "poll" ||
			!strings.Contains(fmt.Sprint(history.Versions[0].Diff), "Confidential 1") {
			t.Errorf("the history is %+v", history)
		}
		var asOf struct{ Records []map[string]any }
		w.ok(w.client.Do(ctx, http.MethodGet, "/records/as-of?model=Issue&at="+url.QueryEscape(before.UTC().Format(time.RFC3339Nano)), of, nil, &asOf))
		if text := fmt.Sprint(asOf.Records); len(asOf.Records) != 6 || !strings.Contains(text, "Confidential 1") || strings.Contains(text, "Newer") {
			t.Errorf("as of before the webhook: %v", asOf.Records)
		}

		// A deletion that no webhook told of, and then too many of them.
		gone := w.github.Delete(2)
		poll()
		if all = must(w.client.All(ctx, integration, connection, "Issue"))(t); !all[id(gone)].Deleted || all[id(gone)].Fields["title"] != "Confidential 2" || count("&filter=deleted") != 1 {
			t.Errorf("the listing without issue 2 left %+v", all[id(gone)])
		}
		for n := 3; n <= 5; n++ {
			w.github.Delete(n)
		}
		run := poll()
		var held struct {
			Deletes []struct{ ID, Deletes, Live int }
		}
		w.ok(w.client.Do(ctx, http.MethodGet, "/records/deletes", nil, nil, &held))
		if len(held.Deletes) != 1 || held.Deletes[0].Deletes != 3 || held.Deletes[0].Live != 5 || !strings.Contains(fmt.Sprint(run["warnings"]), "held") {
			t.Fatalf("held %+v; the poll %v", held, run)
		}
		out, err := w.server.Command(ctx, "deletes", "confirm", fmt.Sprint(held.Deletes[0].ID))
		if err != nil || !strings.Contains(out, "Deleted 3 records.") {
			t.Errorf("confirm: %s, %v", out, err)
		}
		if n := count("&filter=deleted"); n != 4 {
			t.Errorf("%d deleted after they were confirmed", n)
		}
		w.ok(w.client.Quiet(ctx)) // the app is told of them too

		// At rest nothing can be read, until the payloads are pruned.
		if raw := w.stored(database); bytes.Contains(raw, []byte("Confidential")) || bytes.Contains(raw, []byte("Newer")) {
			t.Error("payloads can be read at rest")
		}
		page := must(w.client.Records(ctx, integration, connection, "Issue", "", 100))(t)
		last := page.Records[len(page.Records)-1].Cursor
		var pruned struct {
			Count   int
			HasMore bool `json:"has_more"`
		}
		w.ok(w.client.Do(ctx, http.MethodPatch, "/records/prune", of, map[string]any{"model": "Issue", "until_cursor": last}, &pruned))
		if pruned.Count != 6 || pruned.HasMore {
			t.Errorf("pruned %+v", pruned)
		}
		if run := poll(); strings.Contains(fmt.Sprint(run["models"]), "updated:") && !strings.Contains(fmt.Sprint(run["models"]), "updated:0") {
			t.Errorf("pruned records count as changed: %v", run["models"])
		}
	})
}

// must ends the test unless err is nil: must(f())(t).
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// stored is the records as the database keeps them.
func (w *world) stored(database string) []byte {
	w.t.Helper()
	var all []byte
	if database == "" {
		for _, file := range []string{"syncline.db", "syncline.db-wal"} {
			text, err := os.ReadFile(filepath.Join(w.server.DataDir, file))
			w.ok(err)
			all = append(all, text...)
		}
		return all
	}
	c, err := pgx.Connect(w.t.Context(), database)
	w.ok(err)
	defer c.Close(w.context())
	for _, table := range []string{"records", "record_history"} {
		rows, err := c.Query(w.t.Context(), `SELECT payload FROM `+table+` WHERE payload IS NOT NULL`)
		w.ok(err)
		payloads, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
		w.ok(err)
		if len(payloads) == 0 {
			w.t.Errorf("%s holds no payloads", table)
		}
		all = append(all, bytes.Join(payloads, nil)...)
	}
	return all
}
