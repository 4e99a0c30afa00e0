package api_test

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/store"
)

// withSync is a harness with the integration github, its sync issues and the
// connection c1.
func withSync(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	h.integration("github", "github")
	h.must("POST", "/deployments", deployment(issuesManifest))
	h.connection("github", "c1", token)
	h.hooks.take("schedules")
	return h
}

var ofC1 = []string{"Provider-Config-Key", "github", "Connection-Id", "c1"}

func TestRecords(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.play(scenario{name: "a model that was never written", method: "GET", path: "/records?model=Issue", headers: ofC1, status: 200, want: []string{`{"records":[],"next_cursor":null}`}})
	h.save("Issue", `{"id":"1","title":"<a>"}`, `{"id":2,"title":"two"}`, `{"id":"a,b"}`)
	h.clock.Advance(time.Second)
	later := url.QueryEscape(h.clock.Now().Format(time.RFC3339Nano))
	h.save("Issue", `{"id":"1","title":"<b>"}`)
	h.save("Issue::eu", `{"id":"9"}`)
	h.play(
		scenario{name: "all", method: "GET", path: "/records?model=Issue", headers: ofC1, status: 200, golden: "records"},
		scenario{name: "as Nango's clients ask", method: "GET", path: "/records/?model=Issue", headers: ofC1, status: 200, golden: "records"},
		scenario{name: "a page", method: "GET", path: "/records?model=Issue&limit=1", headers: ofC1, status: 200, want: []string{`"id":2`}, not: []string{`"next_cursor":null`, `"id":"1"`}},
		scenario{name: "a filter", method: "GET", path: "/records?model=Issue&filter=updated,deleted", headers: ofC1, status: 200, want: []string{`"id":"1"`}, not: []string{`"id":2`}},
		scenario{name: "ids, repeated", method: "GET", path: "/records?model=Issue&ids=2&ids=none", headers: ofC1, status: 200, want: []string{`"id":2`}, not: []string{`"id":"1"`}},
		scenario{name: "ids with commas", method: "GET", path: "/records?model=Issue&ids=2,1", headers: ofC1, status: 200, want: []string{`"id":2`, `"id":"1"`}, not: []string{`"a,b"`}},
		scenario{name: "an id that holds a comma", method: "GET", path: "/records?model=Issue&ids=a,b", headers: ofC1, status: 200, want: []string{`"a,b"`}},
		scenario{name: "an id that holds a comma, in brackets", method: "GET", path: "/records?model=Issue&ids[]=a,b", headers: ofC1, status: 200, want: []string{`"a,b"`}},
		scenario{name: "no ids are no filter", method: "GET", path: "/records?model=Issue&ids=", headers: ofC1, status: 200, golden: "records"},
		scenario{name: "since a time", method: "GET", path: "/records?model=Issue&modified_after=" + later, headers: ofC1, status: 200, want: []string{`"id":"1"`}, not: []string{`"id":2`}},
		scenario{name: "since a time, by the deprecated name", method: "GET", path: "/records?model=Issue&delta=" + later, headers: ofC1, status: 200, not: []string{`"id":2`}},
		scenario{name: "since a time whose + became a space", method: "GET", path: "/records?model=Issue&modified_after=2026-05-31T13:46:14.390+02:00", headers: ofC1, status: 200, not: []string{`"id":2`}},
		scenario{name: "since the future", method: "GET", path: "/records?model=Issue&modified_after=2099-01-01", headers: ofC1, status: 200, want: []string{`{"records":[],"next_cursor":null}`}},
		scenario{name: "a variant", method: "GET", path: "/records?model=Issue&variant=eu", headers: ofC1, status: 200, want: []string{`"id":"9"`}, not: []string{`"id":2`}},

		scenario{name: "no model", method: "GET", path: "/records", headers: ofC1, status: 400, want: []string{`"code":"invalid_query_params"`, "model is missing"}},
		scenario{name: "an unknown model", method: "GET", path: "/records?model=Isue", headers: ofC1, status: 400, want: []string{"its models are Issue", `"path":["model"]`}},
		scenario{name: "no connection", method: "GET", path: "/records?model=Issue", headers: ofC1[:2], status: 400, want: []string{`"code":"invalid_headers"`, "Connection-Id"}},
		scenario{name: "no integration", method: "GET", path: "/records?model=Issue", headers: ofC1[2:], status: 400, want: []string{"Provider-Config-Key"}},
		scenario{name: "an unknown connection", method: "GET", path: "/records?model=Issue", headers: []string{"Provider-Config-Key", "github", "Connection-Id", "c2"}, status: 400, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "another environment", method: "GET", path: "/records?model=Issue", headers: append([]string{"Authorization", "Bearer " + prodKey}, ofC1...), status: 400},
		scenario{name: "limit 0", method: "GET", path: "/records?model=Issue&limit=0", headers: ofC1, status: 400, want: []string{"between 1 and 10000"}},
		scenario{name: "a limit beyond", method: "GET", path: "/records?model=Issue&limit=10001", headers: ofC1, status: 400},
		scenario{name: "a filter that is none", method: "GET", path: "/records?model=Issue&filter=new", headers: ofC1, status: 400, want: []string{`"path":["filter"]`}},
		scenario{name: "a time that is none", method: "GET", path: "/records?model=Issue&modified_after=yesterday", headers: ofC1, status: 400, want: []string{`"path":["modified_after"]`}},
		scenario{name: "a cursor that is none", method: "GET", path: "/records?model=Issue&cursor=x", headers: ofC1, status: 400, want: []string{`"path":["cursor"]`}},
		scenario{name: "too many ids", method: "GET", path: "/records?model=Issue" + strings.Repeat("&ids=x", 101), headers: ofC1, status: 400, want: []string{"the most is 100"}},
		scenario{name: "a parameter that is misspelt", method: "GET", path: "/records?model=Issue&modifed_after=2026-01-01", headers: ofC1, status: 400, want: []string{"modifed_after"}},
	)
}

func TestPagingThroughTheAPIGivesEverything(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	want := []string{}
	for i := range 7 {
		id := strconv.Itoa(i)
		h.save("Issue", `{"id":"`+id+`"}`)
		want = append(want, id)
	}
	got := []string{}
	for path := "/records?model=Issue&limit=3"; path != ""; {
		var page struct {
			Records    []struct{ ID string }
			NextCursor *string `json:"next_cursor"`
		}
		if err := json.Unmarshal([]byte(h.must("GET", path, "", ofC1...).body), &page); err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			got = append(got, r.ID)
		}
		path = ""
		if page.NextCursor != nil {
			path = "/records?model=Issue&limit=3&cursor=" + *page.NextCursor // as it is: it needs no escaping
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSyncCommands(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.connection("github", "c2", token)
	body := func(more string) string { return `{"provider_config_key":"github","connection_id":"c1"` + more + `}` }
	bad := func(name, path, body, want string) scenario {
		return scenario{name: name, method: "POST", path: path, body: body, status: 400, want: []string{want}}
	}
	good := func(name, path, body string) scenario {
		return scenario{name: name, method: "POST", path: path, body: body, status: 200, want: []string{`{"success":true}`}}
	}
	is := func(what string, check func(i syncline.SyncInstance) bool) {
		t.Helper()
		if _, i := h.ids(); !check(i) {
			t.Errorf("%s: %+v", what, i)
		}
	}
	h.play(good("paused", "/sync/pause", body(`,"syncs":["issues"]`)))
	is("paused", func(i syncline.SyncInstance) bool { return i.State == syncline.InstancePaused })
	h.play(good("started", "/sync/start", body(`,"syncs":[{"name":"issues"}]`)))
	is("started", func(i syncline.SyncInstance) bool { return i.State == syncline.InstanceStarted })
	h.play(good("triggered", "/sync/trigger", body(`,"syncs":["issues::base"]`)))
	is("triggered", func(i syncline.SyncInstance) bool { return i.TriggerPending && i.Epoch == 1 })
	h.pollRun(syncline.RunSuccess)
	h.play(good("reset", "/sync/trigger", body(`,"syncs":["issues"],"opts":{"reset":true}`)))
	is("reset", func(i syncline.SyncInstance) bool { return i.PollCheckpoint == nil && i.Epoch == 2 })
	h.save("Issue", `{"id":"1"}`)
	h.play(
		good("emptied", "/sync/trigger", body(`,"syncs":[],"opts":{"reset":true,"emptyCache":true}`)),
		scenario{name: "it is empty", method: "GET", path: "/records?model=Issue", headers: ofC1, status: 200, want: []string{`"records":[]`}},
		good("the deprecated mode", "/sync/trigger", body(`,"syncs":["issues"],"sync_mode":"full_refresh_and_clear_cache"`)),
		good("the deprecated flag", "/sync/trigger", body(`,"syncs":["issues"],"full_resync":true`)),
	)
	is("reset by the deprecated forms", func(i syncline.SyncInstance) bool { return i.Epoch == 5 })
	h.play(
		good("all connections", "/sync/pause", `{"provider_config_key":"github","syncs":["issues"]}`),
		scenario{name: "they are paused", method: "GET", path: "/sync/status?provider_config_key=github&syncs=*", status: 200, not: []string{"STOPPED", "SUCCESS"}, want: []string{`"c1"`, `"c2"`, "PAUSED"}},
		scenario{name: "names in headers", method: "POST", path: "/sync/trigger", body: `{"syncs":["issues"]}`, headers: ofC1, status: 200},

		bad("no integration", "/sync/trigger", `{"syncs":["issues"]}`, "provider_config_key is missing"),
		bad("an unknown integration", "/sync/trigger", `{"provider_config_key":"nope","syncs":["issues"]}`, `"code":"unknown_provider_config"`),
		bad("an unknown connection", "/sync/start", `{"provider_config_key":"github","connection_id":"nope","syncs":["issues"]}`, `"code":"unknown_connection"`),
		bad("an unknown sync", "/sync/pause", body(`,"syncs":["isues"]`), `"code":"unknown_sync"`),
		bad("an unknown variant", "/sync/pause", body(`,"syncs":["issues::eu"]`), `"code":"unknown_sync"`),
		bad("no syncs", "/sync/trigger", body(``), "syncs is missing"),
		bad("a sync that is no name", "/sync/trigger", body(`,"syncs":[7]`), `"path":["syncs"]`),
		bad("a null sync", "/sync/trigger", body(`,"syncs":[null]`), `"path":["syncs"]`),
		bad("a sync without a name", "/sync/trigger", body(`,"syncs":[{"variant":"x"}]`), "without a name"),
		bad("syncs that are no list", "/sync/trigger", body(`,"syncs":"issues"`), "syncs"),
		bad("emptyCache without reset", "/sync/trigger", body(`,"syncs":["issues"],"opts":{"emptyCache":true}`), "emptyCache needs reset"),
		bad("an unknown mode", "/sync/trigger", body(`,"syncs":["issues"],"sync_mode":"all"`), "sync_mode"),
		bad("opts where there are none", "/sync/start", body(`,"syncs":["issues"],"opts":{"reset":true}`), "/sync/trigger"),
		bad("an empty connection", "/sync/start", `{"provider_config_key":"github","connection_id":"","syncs":["issues"]}`, "all connections"),
	)
	if h.hooks.take("schedules") == 0 {
		t.Error("nobody was told")
	}
}

func TestFrequencies(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	body := func(frequency string) string {
		return `{"provider_config_key":"github","connection_id":"c1","sync_name":"issues"` + frequency + `}`
	}
	put := func(name, body string, status int, want string) scenario {
		return scenario{name: name, method: "PUT", path: "/sync/update-connection-frequency", body: body, status: status, want: []string{want}}
	}
	h.play(
		put("set", body(`,"frequency":"every 45s"`), 200, `{"frequency":"every 45s"}`),
		scenario{name: "shown", method: "GET", path: "/sync/status?provider_config_key=github&syncs=issues&connection_id=c1", status: 200, want: []string{`"frequency":"every 45s"`}},
		put("back to the sync's own", body(`,"frequency":null`), 200, `{"frequency":"every hour"}`),
		put("not one", body(`,"frequency":"hourly"`), 400, `"path":["frequency"]`),
		put("empty", body(`,"frequency":""`), 400, `"path":["frequency"]`),
		put("a number", body(`,"frequency":60`), 400, "a string or null"),
		put("none", body(``), 400, "frequency is missing"),
		put("an unknown sync", strings.Replace(body(`,"frequency":null`), "issues", "isues", 1), 400, `"code":"unknown_sync"`),
		put("an unknown connection", strings.Replace(body(`,"frequency":null`), "c1", "c9", 1), 400, `"code":"unknown_connection"`),
		put("an unknown variant", body(`,"sync_variant":"eu","frequency":null`), 400, `"code":"unknown_sync"`),
		put("no name", `{"provider_config_key":"github","connection_id":"c1","frequency":null}`, 400, "sync_name is missing"),
	)
	if _, i := h.ids(); i.FrequencyOverride != "" {
		t.Errorf("%+v", i)
	}
}

func TestSyncStatus(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	const path = "/sync/status?provider_config_key=github&connection_id=c1&syncs="
	h.play(scenario{name: "before the first poll", method: "GET", path: path + "issues", status: 200, golden: "sync_status_new"})
	h.pollRun(syncline.RunSuccess)
	h.save("Issue", `{"id":"1"}`, `{"id":"2"}`)
	h.play(
		scenario{name: "after a poll", method: "GET", path: path + "issues", status: 200, golden: "sync_status"},
		scenario{name: "all", method: "GET", path: path + "*", status: 200, golden: "sync_status"},
	)
	h.pollRun(syncline.RunFailed)
	h.play(scenario{name: "after a failure", method: "GET", path: path + "issues", status: 200, want: []string{`"status":"ERROR"`}})
	_, i := h.ids()
	i.PollRunID = 7
	h.tx(func(tx store.Tx) error { return tx.UpdateInstance(&i) })
	h.play(
		scenario{name: "while it runs", method: "GET", path: path + "issues", status: 200, want: []string{`"status":"RUNNING"`}},
		scenario{name: "no syncs", method: "GET", path: "/sync/status?provider_config_key=github", status: 400, want: []string{"syncs is missing"}},
		scenario{name: "no integration", method: "GET", path: "/sync/status?syncs=*", status: 400},
		scenario{name: "an unknown sync", method: "GET", path: path + "issues,nope", status: 400, want: []string{`"code":"unknown_sync"`}},
		scenario{name: "an unknown connection", method: "GET", path: "/sync/status?provider_config_key=github&connection_id=c9&syncs=*", status: 400},
		scenario{name: "a sync without a name", method: "GET", path: path + "::eu", status: 400},
	)
}

func TestVariants(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	const body = `{"provider_config_key":"github","connection_id":"c1"}`
	post := func(name, path, body string, status int, want string) scenario {
		return scenario{name: name, method: "POST", path: path, body: body, status: status, want: []string{want}}
	}
	del := func(name, path, body string, status int, want string) scenario {
		return scenario{name: name, method: "DELETE", path: path, body: body, status: status, want: []string{want}}
	}
	h.play(
		scenario{name: "made", method: "POST", path: "/sync/issues/variant/eu", body: body, status: 200, golden: "variant"},
		post("made twice", "/sync/issues/variant/eu", body, 400, `"code":"sync_variant_already_exists"`),
		scenario{name: "shown", method: "GET", path: "/sync/status?provider_config_key=github&syncs=issues::eu", status: 200, want: []string{`"variant":"eu"`}, not: []string{`"variant":"base"`}},
		post("triggered alone", "/sync/trigger", `{"provider_config_key":"github","syncs":[{"name":"issues","variant":"eu"}]}`, 200, "true"),
		post("the base one", "/sync/issues/variant/base", body, 400, `"code":"invalid_variant"`),
		post("a name with colons", "/sync/issues/variant/a::b", body, 400, `"code":"invalid_uri_params"`),
		post("an unknown sync", "/sync/nope/variant/eu", body, 400, `"code":"unknown_sync"`),
		post("an unknown connection", "/sync/issues/variant/x", strings.Replace(body, "c1", "c9", 1), 400, `"code":"unknown_connection"`),
		post("an unknown integration", "/sync/issues/variant/x", strings.Replace(body, "github", "nope", 1), 400, `"code":"unknown_provider_config"`),
		post("no connection", "/sync/issues/variant/x", `{"provider_config_key":"github"}`, 400, "connection_id is missing"),
		post("no integration", "/sync/issues/variant/x", `{"connection_id":"c1"}`, 400, "provider_config_key is missing"),
		del("deleted", "/sync/issues/variant/eu", body, 200, `{"success":true}`),
		del("deleted twice", "/sync/issues/variant/eu", body, 404, `"code":"not_found"`),
		del("of an unknown sync", "/sync/nope/variant/eu", body, 404, `"code":"not_found"`),
		del("the base one is not deleted", "/sync/issues/variant/base", body, 400, `"code":"invalid_variant"`),
	)
	if _, i := h.ids(); i.TriggerPending {
		t.Error("the trigger of the variant reached the base instance")
	}
	var list []scenario
	for i := range 100 {
		list = append(list, post("one of many", "/sync/issues/variant/v"+strconv.Itoa(i), body, 200, "id"))
	}
	h.play(append(list, post("one too many", "/sync/issues/variant/over", body, 400, `"code":"resource_capped"`))...)
}
