package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

func TestRuns(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	first := h.pollRun(syncline.RunSuccess)
	h.clock.Advance(time.Minute)
	second := h.pollRun(syncline.RunFailed)
	h.tx(func(tx store.Tx) error {
		lines := []syncline.LogLine{}
		for i := range 3 {
			lines = append(lines, syncline.LogLine{RunID: first.ID, At: h.clock.Now(), Level: syncline.LogInfo, Message: fmt.Sprintf("line %d <b>", i)})
		}
		lines[1].Data = json.RawMessage(`{"n":1}`)
		return tx.AppendLogs(h.dev, first.ID, lines)
	})
	h.play(
		scenario{name: "listed, newest first", method: "GET", path: "/runs", status: 200, golden: "runs"},
		scenario{name: "a page", method: "GET", path: "/runs?limit=1", status: 200, want: []string{second.UUID, `"next_before":"2"`}, not: []string{first.UUID}},
		scenario{name: "the next page", method: "GET", path: "/runs?limit=1&before=2", status: 200, want: []string{first.UUID, `"next_before":null`}, not: []string{second.UUID}},
		scenario{name: "by status", method: "GET", path: "/runs?status=failed", status: 200, want: []string{second.UUID}, not: []string{first.UUID}},
		scenario{name: "by kind", method: "GET", path: "/runs?kind=webhook", status: 200, want: []string{`"runs":[]`}},
		scenario{name: "by connection", method: "GET", path: "/runs?connection_id=c1", status: 200, want: []string{first.UUID, second.UUID}},
		scenario{name: "by names", method: "GET", path: "/runs?connection_id=c1&provider_config_key=github&function=issues", status: 200, want: []string{first.UUID}},
		scenario{name: "by integration", method: "GET", path: "/runs?provider_config_key=github", status: 200, want: []string{first.UUID}},
		scenario{name: "one", method: "GET", path: "/runs/" + second.UUID, status: 200, golden: "run"},
		scenario{name: "logs", method: "GET", path: "/runs/" + first.UUID + "/logs", status: 200, golden: "logs"},
		scenario{name: "a page of logs", method: "GET", path: "/runs/" + first.UUID + "/logs?limit=2", status: 200, want: []string{"line 1", `"next_after":2`}, not: []string{"line 2"}},
		scenario{name: "the next page of logs", method: "GET", path: "/runs/" + first.UUID + "/logs?after=2", status: 200, want: []string{"line 2", `"next_after":null`}, not: []string{"line 1"}},

		scenario{name: "not there", method: "GET", path: "/runs/nope", status: 404, want: []string{`"code":"not_found"`}},
		scenario{name: "logs of what is not there", method: "GET", path: "/runs/nope/logs", status: 404},
		scenario{name: "of another environment", method: "GET", path: "/runs/" + first.UUID, headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "logs of another environment", method: "GET", path: "/runs/" + first.UUID + "/logs", headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "an unknown kind", method: "GET", path: "/runs?kind=cron", status: 400, want: []string{"poll webhook action on-event"}},
		scenario{name: "an unknown status", method: "GET", path: "/runs?status=ok", status: 400},
		scenario{name: "an unknown connection", method: "GET", path: "/runs?connection_id=c9", status: 404, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "an unknown integration", method: "GET", path: "/runs?provider_config_key=nope", status: 404},
		scenario{name: "an unknown function", method: "GET", path: "/runs?function=nope", status: 404},
		scenario{name: "a before that is none", method: "GET", path: "/runs?before=x", status: 400},
		scenario{name: "a limit that is too large", method: "GET", path: "/runs?limit=1001", status: 400},
		scenario{name: "an after that is none", method: "GET", path: "/runs/" + first.UUID + "/logs?after=-1", status: 400},
	)
	h.must("DELETE", "/connections/c1?provider_config_key=github", "")
	h.play(scenario{name: "a deleted connection's runs stay", method: "GET", path: "/runs", status: 200, want: []string{first.UUID, `"connection_id":""`}})
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	k, _ := h.ids()
	h.tx(func(tx store.Tx) error {
		for i, status := range []syncline.DeliveryStatus{syncline.DeliveryProcessed, syncline.DeliveryParked, syncline.DeliveryDead} {
			d := syncline.DeliveryState{Position: int64(i + 1), EnvironmentID: h.dev, IntegrationID: k.IntegrationID, Status: status, Reason: "why", Type: "issues",
				DeliveryID: fmt.Sprint("d", i), Events: 1, ReceivedAt: h.clock.Now(), UpdatedAt: h.clock.Now()}
			if err := tx.PutDeliveryState(&d); err != nil {
				return err
			}
		}
		return tx.SetRouterPosition(5)
	})
	h.play(
		scenario{name: "listed, newest first", method: "GET", path: "/deliveries", status: 200, golden: "deliveries"},
		scenario{name: "a page", method: "GET", path: "/deliveries?limit=1&page=1", status: 200, want: []string{`"d1"`}, not: []string{`"d0"`, `"d2"`}},
		scenario{name: "by status", method: "GET", path: "/deliveries?status=dead&integration=github", status: 200, want: []string{`"d2"`}, not: []string{`"d0"`}},
		scenario{name: "of another environment", method: "GET", path: "/deliveries", headers: []string{"Authorization", "Bearer " + prodKey}, status: 200, want: []string{`{"deliveries":[]}`}},
		scenario{name: "an unknown status", method: "GET", path: "/deliveries?status=ok", status: 400},
		scenario{name: "an unknown integration", method: "GET", path: "/deliveries?integration=nope", status: 404},
		scenario{name: "a page that is none", method: "GET", path: "/deliveries?page=-1", status: 400},
		scenario{name: "the work that waits", method: "GET", path: "/status", status: 200, want: []string{`"backlog":0`, `"received_not_routed":4`, `"parked":1`, `"notifications_pending":0`}},
	)
}

func TestTheEnvironment(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	patch := func(name, body string, status int, want string) scenario {
		return scenario{name: name, method: "PATCH", path: "/environments/current", body: body, status: status, want: []string{want}}
	}
	h.play(
		scenario{name: "shown", method: "GET", path: "/environments/current", status: 200, golden: "environment"},
		patch("a URL", `{"webhook_url":"http://127.0.0.1:9/hook?x=1"}`, 200, `"webhook_url":"http://127.0.0.1:9/hook?x=1"`),
		patch("another", `{"webhook_url_secondary":"https://example.com"}`, 200, `"webhook_url":"http://127.0.0.1:9/hook?x=1"`),
		patch("none", `{"webhook_url":null}`, 200, `"webhook_url":""`),
		patch("not a URL", `{"webhook_url":"example.com"}`, 400, `"path":["webhook_url"]`),
		patch("a URL with a password", `{"webhook_url":"https://u:p@example.com"}`, 400, "password"),
		patch("a number", `{"webhook_url":1}`, 400, "a string or null"),
		patch("an unknown member", `{"url":"https://example.com"}`, 400, "url"),
		scenario{name: "what was set stays", method: "GET", path: "/environments/current", status: 200, want: []string{`"webhook_url_secondary":"https://example.com"`}},
		scenario{name: "another environment is untouched", method: "GET", path: "/environments/current", headers: []string{"Authorization", "Bearer " + prodKey}, status: 200,
			want: []string{`"name":"prod"`, `"webhook_url_secondary":""`, "signing-key-of-prod"}},
	)
	if h.hooks.take("notifications") == 0 {
		t.Error("nobody was told")
	}
}

func TestNotifications(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	k, _ := h.ids()
	run := h.pollRun(syncline.RunSuccess)
	h.tx(func(tx store.Tx) error {
		for _, status := range []syncline.NotificationStatus{syncline.NotificationDelivered, syncline.NotificationPending, syncline.NotificationFailed} {
			n := syncline.Notification{UUID: syncline.NewUUID(), EnvironmentID: h.dev, ConnectionID: k.ID, RunID: run.ID, Target: "primary", Type: "sync",
				Payload: json.RawMessage(`{"from":"nango"}`), Status: status, Attempts: 3, NextAttemptAt: h.clock.Now(), CreatedAt: h.clock.Now()}
			if err := tx.CreateNotification(&n); err != nil {
				return err
			}
		}
		return nil
	})
	h.play(
		scenario{name: "listed, newest first", method: "GET", path: "/notifications", status: 200, golden: "notifications"},
		scenario{name: "by status", method: "GET", path: "/notifications?status=failed&run=" + run.UUID, status: 200, want: []string{`"id":3`}, not: []string{`"id":1`}},
		scenario{name: "pending ones are counted", method: "GET", path: "/status", status: 200, want: []string{`"notifications_pending":1`}},
		scenario{name: "sent again", method: "POST", path: "/notifications/3/resend", status: 200, want: []string{`{"success":true}`}},
		scenario{name: "it is pending", method: "GET", path: "/notifications?status=pending", status: 200, want: []string{`"id":3`, `"attempts":0`}},
		scenario{name: "not there", method: "POST", path: "/notifications/99/resend", status: 404, want: []string{`"code":"not_found"`}},
		scenario{name: "not a number", method: "POST", path: "/notifications/x/resend", status: 404},
		scenario{name: "of another environment", method: "POST", path: "/notifications/1/resend", headers: []string{"Authorization", "Bearer " + prodKey}, status: 404},
		scenario{name: "an unknown status", method: "GET", path: "/notifications?status=sent", status: 400},
		scenario{name: "of an unknown run", method: "GET", path: "/notifications?run=nope", status: 404},
	)
	if h.hooks.take("notifications") != 1 {
		t.Error("the resend was not told of")
	}
}

// Whatever endpoint is asked with the key of the wrong environment must not
// tell of what the other has.
func TestNothingOfAnotherEnvironmentIsShown(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.save("Issue", `{"id":"1","title":"private"}`)
	run := h.pollRun(syncline.RunSuccess)
	for _, path := range []string{
		"/integrations", "/connections", "/runs", "/runs/" + run.UUID, "/runs/" + run.UUID + "/logs", "/deliveries", "/notifications", "/environments/current",
		"/integrations/github?include=webhook", "/connections/c1?provider_config_key=github", "/sync/status?provider_config_key=github&syncs=*", "/records?model=Issue",
	} {
		a := h.do("GET", path, "", append([]string{"Authorization", "Bearer " + prodKey}, ofC1...)...)
		body := strings.ReplaceAll(a.body, `\"github\"`, "") // named in refusals, as it was asked for
		for _, part := range []string{devUUID, "private", "GitHub", "at-secret", `"issues"`, run.UUID + `",`} {
			if strings.Contains(body, part) {
				t.Errorf("%s shows %s: %s", path, part, a.body)
			}
		}
	}
}
