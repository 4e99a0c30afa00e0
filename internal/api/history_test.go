package api_test

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store"
)

// keptManifest is a sync that keeps the history of Issue.
var keptManifest = strings.Replace(issuesManifest, `"type":"sync",`, `"type":"sync","history":{"Issue":"90 days"},`, 1)

// saveKept saves records of the connection c1 as a sync that keeps history does.
func (h *harness) saveKept(w syncline.Writer, raws ...string) {
	h.Helper()
	k, _ := h.ids()
	list := []json.RawMessage{}
	for _, r := range raws {
		list = append(list, json.RawMessage(r))
	}
	b, err := records.NewBatch(records.OpSave, "Issue", list)
	if err != nil {
		h.Fatal(err)
	}
	g := records.Guard{Strategy: syncline.StrategyOverride, Writer: w}
	g.Rules.History = true
	h.tx(func(tx store.Tx) error {
		_, err := records.Apply(tx, records.Target{EnvironmentID: h.dev, ConnectionID: k.ID, Model: "Issue"}, b, g, h.clock.Now())
		return err
	})
}

func withHistory(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	h.integration("github", "github")
	h.must("POST", "/deployments", deployment(keptManifest))
	h.connection("github", "c1", token)
	run := h.pollRun(syncline.RunSuccess)
	h.saveKept(syncline.Writer{Lineage: run.ID, RunID: run.ID}, `{"id":"1","title":"Crash"}`, `{"id":"a/b c","title":"Slow list"}`)
	h.clock.Advance(time.Minute)
	h.saveKept(syncline.Writer{LaneID: 1, EventID: 1}, `{"id":"1","title":"Crash at start","labels":["bug"]}`)
	return h
}

func TestHistory(t *testing.T) {
	t.Parallel()
	h := withHistory(t)
	const path = "/records/1/history?model=Issue"
	h.play(
		scenario{name: "newest first, with what changed", method: "GET", path: path, headers: ofC1, status: 200, want: []string{
			`{"id":"1","model":"Issue","variant":"base","history":true,"versions":[{"data":{"id":"1","title":"Crash at start","labels":["bug"]},"action":"UPDATED",`,
			`"superseded_at":null,"pruned_at":null,"cause":"webhook","run_id":null,"diff":[{"path":"/labels","change":"added","to":["bug"]},{"path":"/title","change":"changed","from":"Crash","to":"Crash at start"}]},`,
			`"superseded_at":"2026-05-31T11:47:13.390123+00:00"`, `"cause":"poll"`, `"diff":null}],"next_cursor":null}`,
		}},
		scenario{name: "an id with a slash", method: "GET", path: "/records/a%2Fb%20c/history?model=Issue", headers: ofC1, status: 200, want: []string{`{"id":"a/b c",`, `Slow list`}},
		scenario{name: "no such record", method: "GET", path: "/records/9/history?model=Issue", headers: ofC1, status: 404, want: []string{`"code":"not_found"`, `no record \"9\" of the model Issue`}},
		scenario{name: "no such model", method: "GET", path: "/records/1/history?model=Other", headers: ofC1, status: 404},
		scenario{name: "no such variant", method: "GET", path: path + "&variant=eu", headers: ofC1, status: 404, want: []string{"Issue::eu"}},
		scenario{name: "no model", method: "GET", path: "/records/1/history", headers: ofC1, status: 400, want: []string{"model is missing"}},
		scenario{name: "no headers", method: "GET", path: path, status: 400, want: []string{`"code":"invalid_headers"`}},
		scenario{name: "an unknown parameter", method: "GET", path: path + "&at=1", headers: ofC1, status: 400, want: []string{`"code":"invalid_query_params"`}},
		scenario{name: "a limit that is too high", method: "GET", path: path + "&limit=101", headers: ofC1, status: 400, want: []string{"between 1 and 100"}},
		scenario{name: "a cursor of nothing", method: "GET", path: path + "&cursor=xyz", headers: ofC1, status: 400, want: []string{`"code":"invalid_query_params"`, `"path":["cursor"]`}},
		scenario{name: "another environment", method: "GET", path: path, headers: append([]string{"Authorization", "Bearer " + prodKey}, ofC1...), status: 400},
	)
	var first struct {
		Versions []struct {
			Diff []any  `json:"diff"`
			Run  string `json:"run_id"`
		}
		Next string `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(h.must("GET", path+"&limit=1", "", ofC1...).body), &first); err != nil || len(first.Versions) != 1 || len(first.Versions[0].Diff) != 2 {
		t.Fatal(err, first)
	}
	h.play(scenario{name: "the next page", method: "GET", path: path + "&limit=1&cursor=" + url.QueryEscape(first.Next), headers: ofC1, status: 200,
		want: []string{`"versions":[{"data":{"id":"1","title":"Crash"}`, `"next_cursor":null`}})
}

func TestRecordsAsOfATimeOverHTTP(t *testing.T) {
	t.Parallel()
	h := withHistory(t)
	const path = "/records/as-of?model=Issue&at="
	h.play(
		scenario{name: "before the change", method: "GET", path: path + "2026-05-31T11:46:30Z", headers: ofC1, status: 200, want: []string{
			`{"at":"2026-05-31T11:46:30.000000+00:00","history":true,"records":[{"id":"1","title":"Crash","_nango_metadata":{"first_seen_at":"2026-05-31T11:46:13.390123+00:00"`, `"title":"Slow list"`, `"next_cursor":null`}},
		scenario{name: "a time as it is shown", method: "GET", path: path + url.QueryEscape("2026-05-31T11:47:13.390123+00:00"), headers: ofC1, status: 200, want: []string{`Crash at start`}},
		scenario{name: "its plus sign as a space", method: "GET", path: path + "2026-05-31T11:47:13.390122+00:00", headers: ofC1, status: 200, want: []string{`"title":"Crash",`}},
		scenario{name: "before all", method: "GET", path: path + "2026-05-30", headers: ofC1, status: 200, want: []string{`"records":[]`}},
		scenario{name: "no time", method: "GET", path: "/records/as-of?model=Issue", headers: ofC1, status: 400, want: []string{"at is missing"}},
		scenario{name: "what is no time", method: "GET", path: path + "yesterday", headers: ofC1, status: 400, want: []string{"which is not a time"}},
		scenario{name: "a limit that is too high", method: "GET", path: path + "2026-05-31&limit=1001", headers: ofC1, status: 400},
		scenario{name: "a cursor of nothing", method: "GET", path: path + "2026-05-31&cursor=xyz", headers: ofC1, status: 400},
		scenario{name: "a model without records", method: "GET", path: "/records/as-of?model=Other&at=2026-05-31", headers: ofC1, status: 200, want: []string{`"history":false,"records":[]`}},
		scenario{name: "no headers", method: "GET", path: path + "2026-05-31", status: 400},
	)
	var page struct {
		Next string `json:"next_cursor"`
	}
	if err := json.Unmarshal([]byte(h.must("GET", path+"2026-05-31T12:00:00Z&limit=1", "", ofC1...).body), &page); err != nil || page.Next == "" {
		t.Fatal(err, page)
	}
	h.play(scenario{name: "the next page", method: "GET", path: path + "2026-05-31T12:00:00Z&limit=1&cursor=" + page.Next, headers: ofC1, status: 200,
		want: []string{`"records":[{"id":"a/b c"`, `"next_cursor":null`}, not: []string{"Crash"}})
}

// The JSON examples of docs/history.md are what the API answers.
func TestTheExamplesAboutHistory(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/history.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	h := withHistory(t)
	run := regexp.MustCompile(`"run_id":"[0-9a-f-]{36}"`)
	answers := []string{
		h.must("GET", "/records/1/history?model=Issue", "", ofC1...).body,
		h.must("GET", "/records/as-of?model=Issue&at=2026-05-31T11:47:00Z&limit=1", "", ofC1...).body,
	}
	if len(blocks) != len(answers) {
		t.Fatalf("%d examples, %d answers", len(blocks), len(answers))
	}
	for n, got := range answers {
		var indented bytes.Buffer
		got = run.ReplaceAllString(got, `"run_id":"0198c0de-7a1e-7000-8000-000000000001"`)
		if err := json.Indent(&indented, []byte(got), "", "  "); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(blocks[n][1]), indented.String()+"\n"); diff != "" {
			t.Errorf("example %d:\n%s\n%s", n+1, diff, indented.String())
		}
	}
}
