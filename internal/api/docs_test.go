package api_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline/internal/records"
	"syncline/internal/store"
)

// The JSON examples of docs/records.md are what the API answers.
func TestTheExamplesAboutRecords(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/records.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1)
	next := 0
	example := func(got string) {
		t.Helper()
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(got), "", "  "); err != nil {
			t.Fatal(err)
		}
		if next == len(blocks) {
			t.Fatal("the page has no further example")
		}
		if diff := cmp.Diff(string(blocks[next][1]), indented.String()+"\n"); diff != "" {
			t.Errorf("example %d:\n%s", next+1, diff)
		}
		next++
	}
	h := withSync(t)
	h.save("Issue", `{"id":"1","title":"Crash at start"}`, `{"id":"2","title":"Slow list"}`, `{"id":"3","title":"Typo"}`)
	h.clock.Advance(time.Minute)
	h.erase("Issue", `{"id":"3"}`)
	h.save("Issue", `{"id":"2","title":"Slow list of issues"}`)
	example(h.must("GET", "/records?model=Issue&limit=2", "", ofC1...).body)
	example(h.must("GET", "/records/count?model=Issue&filter=added,updated", "", ofC1...).body)
	h.clock.Advance(time.Minute)
	example(h.must("PATCH", "/records/prune", `{"model": "Issue", "until_cursor": "AQEF", "limit": 1000}`, ofC1...).body)
	var page struct{ Records []json.RawMessage }
	if err := json.Unmarshal([]byte(h.must("GET", "/records?model=Issue&limit=1", "", ofC1...).body), &page); err != nil || len(page.Records) != 1 {
		t.Fatal(err, page)
	}
	example(string(page.Records[0]))
	if next != len(blocks) {
		t.Errorf("%d of %d examples are tested", next, len(blocks))
	}
	h.must("PATCH", "/environments/current", `{"record_payload_retention": "30 days", "record_deleted_retention": "60 days"}`)
}

// erase deletes records of the connection c1.
func (h *harness) erase(model string, raws ...string) {
	h.Helper()
	k, _ := h.ids()
	list := []json.RawMessage{}
	for _, r := range raws {
		list = append(list, json.RawMessage(r))
	}
	b, err := records.NewBatch(records.OpDelete, model, list)
	if err != nil {
		h.Fatal(err)
	}
	h.tx(func(tx store.Tx) error {
		_, err := records.Apply(tx, records.Target{EnvironmentID: h.dev, ConnectionID: k.ID, Model: model}, b, records.Guard{}, h.clock.Now())
		return err
	})
}
