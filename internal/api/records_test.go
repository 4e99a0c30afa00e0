package api_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/store"
)

// cursors are those of the records that a GET of path gives, by id.
func (h *harness) cursors(path string) map[string]string {
	h.Helper()
	var page struct {
		Records []struct {
			ID   any
			Meta struct {
				Cursor string
			} `json:"_nango_metadata"`
		}
	}
	if err := json.Unmarshal([]byte(h.must("GET", path, "", ofC1...).body), &page); err != nil {
		h.Fatal(err)
	}
	cursors := map[string]string{}
	for _, r := range page.Records {
		cursors[fmt.Sprint(r.ID)] = r.Meta.Cursor
	}
	return cursors
}

func TestRecordsAreCounted(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	count := func(name, params string, n int) scenario {
		return scenario{name: name, method: "GET", path: "/records/count?model=Issue" + params, headers: ofC1, status: 200, want: []string{fmt.Sprintf(`{"count":%d}`, n)}}
	}
	bad := func(name, path string, headers []string, want ...string) scenario {
		return scenario{name: name, method: "GET", path: path, headers: headers, status: 400, want: want}
	}
	h.play(count("a model that was never written", "", 0))
	h.save("Issue", `{"id":"1"}`, `{"id":"2"}`, `{"id":"a,b"}`)
	h.clock.Advance(time.Second)
	h.save("Issue", `{"id":"1","n":1}`)
	h.save("Issue::eu", `{"id":"9"}`)
	h.play(
		count("all", "", 3),
		count("a filter", "&filter=updated,deleted", 1),
		count("ids", "&ids=1&ids=2&ids=none", 2),
		count("ids with a filter", "&ids=1,2&filter=added", 1),
		count("since a time", "&modified_after=2026-05-31T11:46:14.390Z", 1),
		count("since a time, by the deprecated name", "&delta=2026-05-31T11:46:14.390Z", 1),
		count("a variant", "&variant=eu", 1),
		count("a variant that is not there", "&variant=us", 0),

		bad("no model", "/records/count", ofC1, "model is missing"),
		bad("an unknown model", "/records/count?model=Isue", ofC1, "its models are Issue"),
		bad("a filter that is none", "/records/count?model=Issue&filter=new", ofC1, `"path":["filter"]`),
		bad("a cursor", "/records/count?model=Issue&cursor=x", ofC1, "cursor"),
		bad("too many ids", "/records/count?model=Issue"+strings.Repeat("&ids=x", 101), ofC1, "the most is 100"),
		bad("no connection", "/records/count?model=Issue", ofC1[:2], `"code":"invalid_headers"`),
		bad("an unknown connection", "/records/count?model=Issue", []string{"Provider-Config-Key", "github", "Connection-Id", "c2"}, `"code":"unknown_connection"`),
		bad("another environment", "/records/count?model=Issue", append([]string{"Authorization", "Bearer " + prodKey}, ofC1...)),
	)
}

func TestRecordsArePruned(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.save("Issue", `{"id":1,"secret":"s1"}`, `{"id":"2","secret":"s2"}`, `{"id":"3","secret":"s3"}`, `{"id":"4","secret":"s4"}`)
	h.save("Issue::eu", `{"id":"9","secret":"s9"}`)
	cursor, eu := h.cursors("/records?model=Issue"), h.cursors("/records?model=Issue&variant=eu")
	prune := func(name, body string, status int, want ...string) scenario {
		return scenario{name: name, method: "PATCH", path: "/records/prune", body: body, headers: ofC1, status: status, want: want}
	}
	upTo := func(id, more string) string {
		return fmt.Sprintf(`{"model":"Issue","until_cursor":%q%s}`, cursor[id], more)
	}
	h.clock.Advance(time.Hour)
	h.play(
		prune("a limit", upTo("3", `,"limit":2`), 200, `{"count":2,"has_more":true}`),
		prune("the rest, the cursor's record included", upTo("3", ""), 200, `{"count":1,"has_more":false}`),
		prune("nothing is left", upTo("3", ""), 200, `{"count":0,"has_more":false}`),
		scenario{name: "what is pruned has its id and its metadata", method: "GET", path: "/records?model=Issue", headers: ofC1, status: 200, golden: "records_pruned", not: []string{"s1", "s2", "s3"}},
		scenario{name: "a variant of its own", method: "GET", path: "/records?model=Issue&variant=eu", headers: ofC1, status: 200, want: []string{"s9", `"pruned_at":null`}},
		prune("of a variant", fmt.Sprintf(`{"model":"Issue","variant":"eu","until_cursor":%q}`, eu["9"]), 200, `{"count":1,"has_more":false}`),
		prune("by a cursor of Nango", `{"model":"Issue","until_cursor":"MjAyNi0wNS0zMVQxMTo0NjoxMy4zOTAxMjQrMDA6MDB8fDE1Y2NjODA1LTY0ZDUtNDk0MC1hN2UwLTQ1ZmM3MDQ5OTdhMQ=="}`, 200, `{"count":1,"has_more":false}`),

		prune("no model", `{"until_cursor":"x"}`, 400, `"code":"invalid_body"`, `"path":["model"]`),
		prune("no cursor", `{"model":"Issue"}`, 400, `"path":["until_cursor"]`),
		prune("neither", `{}`, 400, `"path":["model"]`, `"path":["until_cursor"]`),
		prune("a cursor that is none", `{"model":"Issue","until_cursor":"x"}`, 400, `"path":["until_cursor"]`),
		prune("a cursor of another variant", fmt.Sprintf(`{"model":"Issue","until_cursor":%q}`, eu["9"]), 400, "does not belong", `"path":["until_cursor"]`),
		prune("an unknown model", `{"model":"Isue","until_cursor":"MjAyNi0wNS0zMVQxMTo0NjoxMy4zOTAxMjQrMDA6MDB8fDE1Y2NjODA1LTY0ZDUtNDk0MC1hN2UwLTQ1ZmM3MDQ5OTdhMQ=="}`, 400, "its models are Issue"),
		prune("limit 0", upTo("3", `,"limit":0`), 400, "between 1 and 10000", `"path":["limit"]`),
		prune("a limit beyond", upTo("3", `,"limit":10001`), 400, "between 1 and 10000"),
		prune("a limit that is no whole number", upTo("3", `,"limit":1.5`), 400, "limit"),
		prune("an unknown member", upTo("3", `,"dry_run":true`), 400, "dry_run"),
		scenario{name: "a query", method: "PATCH", path: "/records/prune?model=Issue", body: upTo("3", ""), headers: ofC1, status: 400, want: []string{`"code":"invalid_query_params"`}},
		scenario{name: "no connection", method: "PATCH", path: "/records/prune", body: upTo("3", ""), status: 400, want: []string{`"code":"invalid_headers"`}},
		scenario{name: "an unknown connection", method: "PATCH", path: "/records/prune", body: upTo("3", ""), headers: []string{"Provider-Config-Key", "github", "Connection-Id", "c2"}, status: 400, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "another environment", method: "PATCH", path: "/records/prune", body: upTo("3", ""), headers: append([]string{"Authorization", "Bearer " + prodKey}, ofC1...), status: 400},
	)
	h.save("Issue", `{"id":1,"secret":"s1"}`) // the same as before: its hash is still known
	if a := h.must("GET", "/records?model=Issue&ids=1", "", ofC1...); strings.Contains(a.body, "UPDATED") {
		t.Errorf("what did not change counts as a change: %s", a.body)
	}
	h.save("Issue", `{"id":1,"secret":"t1"}`)
	if a := h.must("GET", "/records?model=Issue&ids=1", "", ofC1...); !strings.Contains(a.body, `"t1"`) || !strings.Contains(a.body, `"pruned_at":null`) {
		t.Errorf("a change does not bring the payload back: %s", a.body)
	}
}

func TestManyRecordsArePrunedStepByStep(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	raws := make([]string, 1700)
	for i := range raws {
		raws[i] = fmt.Sprintf(`{"id":"%d"}`, i)
	}
	h.save("Issue", raws...)
	last := h.cursors("/records?model=Issue&ids=1650")["1650"]
	for _, want := range []string{`{"count":1000,"has_more":true}`, `{"count":651,"has_more":false}`} {
		if a := h.must("PATCH", "/records/prune", fmt.Sprintf(`{"model":"Issue","until_cursor":%q}`, last), ofC1...); a.body != want {
			t.Errorf("%s; want %s", a.body, want)
		}
	}
	if n := strings.Count(h.must("GET", "/records?model=Issue&limit=2000", "", ofC1...).body, `"pruned_at":null`); n != 49 {
		t.Errorf("%d records have their payloads", n)
	}
}

func TestRetentionOfTheEnvironment(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	patch := func(name, body string, status int, want ...string) scenario {
		return scenario{name: name, method: "PATCH", path: "/environments/current", body: body, status: status, want: want}
	}
	h.play(
		patch("set", `{"record_payload_retention":"30 days","record_deleted_retention":"2 weeks"}`, 200, `"record_payload_retention":"30 days"`, `"record_deleted_retention":"14 days"`),
		patch("one is left", `{"record_payload_retention":"36 hours"}`, 200, `"record_payload_retention":"36 hours"`, `"record_deleted_retention":"14 days"`),
		patch("one off", `{"record_deleted_retention":null}`, 200, `"record_payload_retention":"36 hours"`, `"record_deleted_retention":null`),
		patch("no retention", `{"record_payload_retention":"soon"}`, 400, `"code":"invalid_body"`, `"path":["record_payload_retention"]`, "30 days"),
		patch("too short", `{"record_deleted_retention":"5 minutes"}`, 400, "shorter than an hour"),
		patch("a number", `{"record_deleted_retention":30}`, 400, "a string or null"),
		patch("what is wrong changes nothing", `{"webhook_url":"https://example.com","record_deleted_retention":"x"}`, 400),
		scenario{name: "it stays", method: "GET", path: "/environments/current", status: 200, want: []string{`"record_payload_retention":"36 hours"`, `"webhook_url":""`}},
	)
	h.view(func(r store.Reader) error {
		e, err := r.Environment(h.dev)
		if e.Retention != (syncline.Retention{Payloads: 36 * time.Hour}) {
			t.Errorf("stored is %+v", e.Retention)
		}
		return err
	})
}

// withLarge is a harness with 2000 records of 8 KB, and a server of it.
func withLarge(t *testing.T, change func(d *api.Deps)) (h *harness, url string) {
	t.Helper()
	h = withSync(t)
	k, _ := h.ids()
	text := strings.Repeat("x", 8<<10)
	h.tx(func(tx store.Tx) error {
		coll, err := tx.EnsureCollection(h.dev, k.ID, "Issue", h.clock.Now())
		if err != nil {
			return err
		}
		seq, err := tx.NextSeq(2000)
		if err != nil {
			return err
		}
		list := make([]*syncline.Record, 2000)
		for i := range list {
			list[i] = &syncline.Record{
				ID: fmt.Sprint(i), Seq: seq + int64(i), Hash: make([]byte, 32), Payload: json.RawMessage(fmt.Sprintf(`{"id":"%d","text":%q}`, i, text)),
				FirstSeenAt: h.clock.Now(), LastModifiedAt: h.clock.Now(), LastAction: syncline.ActionAdded,
			}
		}
		return tx.PutRecords(h.dev, coll, list)
	})
	d := h.deps
	change(&d)
	h.api = api.New(d)
	server := httptest.NewServer(h.api)
	t.Cleanup(server.Close)
	return h, server.URL
}

func TestALargePageIsStreamed(t *testing.T) {
	t.Parallel()
	h, url := withLarge(t, func(*api.Deps) {})
	get := func(method, path string) (*http.Response, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+devKey)
		r.Header.Set("Provider-Config-Key", "github")
		r.Header.Set("Connection-Id", "c1")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, body
	}
	resp, body := get("GET", "/records?model=Issue&limit=10000")
	var page struct {
		Records    []json.RawMessage `json:"records"`
		NextCursor *string           `json:"next_cursor"`
	}
	if err := json.Unmarshal(body, &page); err != nil || resp.StatusCode != 200 || len(page.Records) != 2000 || page.NextCursor != nil {
		t.Errorf("status %d, %d records, next %v, %v", resp.StatusCode, len(page.Records), page.NextCursor, err)
	}
	if resp.Header.Get("Content-Type") != "application/json; charset=utf-8" || resp.ContentLength != -1 || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", resp.Header)
	}
	if resp, body := get("GET", "/records?model=Issue&limit=10"); resp.ContentLength != int64(len(body)) {
		t.Errorf("a small page has the length %d of %d", resp.ContentLength, len(body))
	}
	if resp, body := get("HEAD", "/records?model=Issue&limit=10000"); resp.StatusCode != 200 || len(body) != 0 {
		t.Errorf("HEAD: %d with %d bytes", resp.StatusCode, len(body))
	}
	if resp, body := get("GET", "/records?model=Issue&limit=10000&cursor=x"); resp.StatusCode != 400 {
		t.Errorf("a bad cursor: %d %s", resp.StatusCode, body)
	}

	d := h.deps
	d.MaxPage = 1 << 20
	h.api = api.New(d)
	a := h.must("GET", "/records?model=Issue&limit=10000", "", ofC1...)
	if n := len(a.body); n > 1<<20+100 || n < 1<<20-10<<10 || strings.Contains(a.body, `"next_cursor":null`) {
		t.Errorf("the budget is not kept: %d bytes", n)
	}
}

func TestAClientThatStallsDoesNotHoldAPage(t *testing.T) {
	t.Parallel()
	out := &lockedWriter{w: &bytes.Buffer{}}
	_, url := withLarge(t, func(d *api.Deps) {
		d.Stall = 200 * time.Millisecond
		d.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /records?model=Issue&limit=10000 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nProvider-Config-Key: github\r\nConnection-Id: c1\r\n\r\n", devKey)
	in := bufio.NewReader(c)
	if status, err := in.ReadString('\n'); err != nil || !strings.Contains(status, "200") {
		t.Fatalf("%q, %v", status, err)
	}
	// It reads no further. The handler ends; that is all that can be seen.
	for ended := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		log := out.String()
		if strings.Contains(log, "an answer was not received in full") && strings.Contains(log, "msg=request") {
			break
		}
		if time.Now().After(ended) {
			t.Fatalf("the request goes on:\n%s", log)
		}
	}
	if log := out.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("it counts as the server's fault:\n%s", log)
	}
}

func (l *lockedWriter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.String()
}
