package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

func id(e *github.Event) string { return strconv.FormatInt(e.Issue.ID, 10) }

func TestPollsAndWebhooksKeepTheCacheFresh(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		for n := range 70 {
			w.github.Create(fmt.Sprintf("Issue %d", n))
		}
		w.start("example")
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 70 })

		// A reader that keeps its cursor sees each change once.
		page, err := w.client.Records(w.context(), integration, connection, "GithubIssue", "", 1000)
		w.ok(err)
		cursor := page.Records[len(page.Records)-1].Cursor

		edited := w.github.Edit(7, "Edited")
		w.send(edited)
		deleted := w.github.Delete(8)
		w.send(deleted)
		w.until("GithubIssue", func(all map[string]harness.Record) bool {
			return all[id(edited)].Fields["title"] == "Edited" && all[id(deleted)].Deleted
		})
		page, err = w.client.Records(w.context(), integration, connection, "GithubIssue", cursor, 1000)
		w.ok(err)
		if len(page.Records) != 2 || page.Records[0].ID != id(edited) || page.Records[1].Action != "DELETED" {
			t.Errorf("beyond its cursor the reader sees %+v", page.Records)
		}

		// A webhook that lands during a slow poll is not clobbered: the poll skips
		// the record, and says that it did.
		w.github.Edit(3, "Stale")
		gate := w.github.Hold(1)
		w.ok(w.client.Trigger(w.context(), integration, connection, "issues"))
		<-gate.Reached()
		fresh := w.github.Edit(3, "Fresh")
		w.send(fresh)
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(fresh)].Fields["title"] == "Fresh" })
		gate.Release()
		run := w.run("issues&kind=poll")
		all, err := w.client.All(w.context(), integration, connection, "GithubIssue")
		w.ok(err)
		if all[id(fresh)].Fields["title"] != "Fresh" || run["status"] != "success" {
			t.Errorf("after the slow poll the title is %v; the poll is %v", all[id(fresh)].Fields["title"], run)
		}
		if !strings.Contains(fmt.Sprint(run["models"]), "contested:1") {
			t.Errorf("the poll does not tell that it gave way: %v", run["models"])
		}

		w.ok(w.client.Quiet(w.context()))
		for _, n := range w.app.Notifications() {
			if !n.Verified || !n.Success {
				t.Errorf("the app was told %+v", n)
			}
		}
	})
}

func TestDeliveriesEndAsTheyShould(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		w.start("webhooks")
		ctx := w.context()

		ok := w.github.Create("fine")
		w.send(ok)
		w.until("Item", func(all map[string]harness.Record) bool { return all[id(ok)].Fields["title"] == "fine" })

		// A second delivery with the same id has no effect, and is counted.
		if a := w.send(ok); !strings.Contains(a.Body, "duplicate") {
			t.Errorf("the redelivery got %s", a.Body)
		}
		w.ok(w.client.Quiet(ctx))
		all, err := w.client.All(ctx, integration, connection, "Item")
		w.ok(err)
		if all[id(ok)].Fields["seen"] != 1.0 {
			t.Errorf("the redelivery was handled: %v", all[id(ok)].Fields)
		}

		// A delivery for a connection that does not exist waits for it.
		r, err := w.github.Create("for a later connection").Request(ctx, w.webhook+"/later")
		w.ok(err)
		resp, err := w.http.Do(r)
		w.ok(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("the delivery for a later connection got %d", resp.StatusCode)
		}
		parked := func() []harness.Delivery {
			d, err := w.client.Deliveries(ctx, "status=parked")
			w.ok(err)
			return d
		}
		w.ok(w.client.Quiet(ctx))
		if d := parked(); len(d) != 1 || !strings.Contains(d[0].Reason, `no connection "later"`) {
			t.Errorf("parked are %+v", d)
		}
		later := w.setup
		later.Connection = "later"
		w.ok(w.client.Connect(ctx, later))
		for len(parked()) > 0 {
			if ctx.Err() != nil {
				t.Fatal("the parked delivery was not routed when its connection came")
			}
		}
		w.ok(w.client.Quiet(ctx))
		d, err := w.client.Deliveries(ctx, "")
		w.ok(err)
		for _, d := range d {
			if d.Status != "processed" {
				t.Errorf("delivery %d is %s: %s", d.Position, d.Status, d.Reason)
			}
		}
	})
}

func TestScheduleCommandsDoWhatTheySay(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		e := w.github.Create("one")
		w.start("example")
		ctx := w.context()
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 1 })
		syncs := map[string]any{"provider_config_key": integration, "connection_id": connection, "syncs": []string{"issues"}}
		status := func() map[string]any {
			var out struct{ Syncs []map[string]any }
			w.ok(w.client.Do(ctx, http.MethodGet, "/sync/status?provider_config_key=github&connection_id=acme&syncs=*", nil, nil, &out))
			if len(out.Syncs) != 1 {
				t.Fatalf("the status is %+v", out)
			}
			return out.Syncs[0]
		}
		w.run("issues&kind=poll")
		w.ok(w.client.Do(ctx, http.MethodPost, "/sync/pause", nil, syncs, nil))
		if s := status(); s["status"] != "PAUSED" {
			t.Errorf("after pause the status is %v", s)
		}
		// Webhooks are handled all the same.
		edited := w.github.Edit(1, "while paused")
		w.send(edited)
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(e)].Fields["title"] == "while paused" })

		reset := map[string]any{"opts": map[string]any{"reset": true, "emptyCache": true}}
		for k, v := range syncs {
			reset[k] = v
		}
		page, err := w.client.Records(ctx, integration, connection, "GithubIssue", "", 10)
		w.ok(err)
		w.ok(w.client.Do(ctx, http.MethodPost, "/sync/trigger", nil, reset, nil))
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(e)].Action == "ADDED" && len(all) == 1 })
		if _, err := w.client.Records(ctx, integration, connection, "GithubIssue", page.Records[0].Cursor, 10); statusOf(err) != http.StatusBadRequest {
			t.Errorf("a cursor from before the cache was emptied got %v; want a 400 that says so", err)
		}
		frequency := map[string]any{"provider_config_key": integration, "connection_id": connection, "sync_name": "issues", "frequency": "every 1 day"}
		w.ok(w.client.Do(ctx, http.MethodPut, "/sync/update-connection-frequency", nil, frequency, nil))
		w.ok(w.client.Do(ctx, http.MethodPost, "/sync/start", nil, syncs, nil))
		if s := status(); s["frequency"] != "every 1 day" || s["status"] == "PAUSED" {
			t.Errorf("after start the status is %v", s)
		}
	})
}

func TestASyncBelowThirtySecondsPollsThatOften(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		w.start("example")
		ctx := w.context()
		frequency := map[string]any{"provider_config_key": integration, "connection_id": connection, "sync_name": "issues", "frequency": "every 1s"}
		w.ok(w.client.Do(ctx, http.MethodPut, "/sync/update-connection-frequency", nil, frequency, nil))
		e := w.github.Create("found by polling")
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(e)].Fields["title"] == "found by polling" })
		again := w.github.Edit(1, "found again")
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(again)].Fields["title"] == "found again" })
	})
}
