package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
)

func TestWhatIsWrongWithAWebhookIsSaidInItsAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary)
	w.start("example")
	good := []byte(`{"action":"opened","issue":{"id":1,"number":1},"repository":{"full_name":"acme/rockets"}}`)
	deep := []byte(strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000))
	for _, c := range []struct {
		name     string
		method   string
		url      string
		body     []byte
		unsigned bool
		secret   string
		status   int
		message  string
	}{
		{name: "oversized", body: bytes.Repeat([]byte("x"), 26<<20), status: 413, message: "the body is larger than 26214400 bytes"},
		{name: "not JSON", body: []byte("hello"), status: 400, message: "the body is not JSON"},
		{name: "empty", body: nil, status: 400, message: "the body is empty"},
		{name: "a wrong signature", secret: "another secret", status: 401, message: "the signature in x-hub-signature-256 does not match"},
		{name: "a missing signature", unsigned: true, status: 401, message: "the signature is missing: there is no header x-hub-signature-256"},
		{name: "an unknown integration", url: w.webhook + "-none", status: 404, message: "no integration has this webhook URL"},
		{name: "an unknown environment", url: w.server.URL + "/webhook/00000000-0000-4000-8000-000000000000/github", status: 404, message: "no integration has this webhook URL"},
		{name: "a wrong method", method: http.MethodPut, status: 405, message: "webhooks are taken by POST, not by PUT"},
		{name: "JSON that is 10,000 levels deep", body: deep, status: 400, message: "the body is nested more than 1000 levels deep"},
		{name: "invalid UTF-8", body: []byte("{\"action\":\"\xff\"}"), status: 400, message: "the body is not valid UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.body == nil && c.name != "empty" {
				c.body = good
			}
			if c.secret == "" {
				c.secret = secret
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.webhook, bytes.NewReader(c.body))
			if c.method != "" {
				r.Method = c.method
			}
			w.ok(err)
			if c.url != "" {
				if r.URL, err = r.URL.Parse(c.url); err != nil {
					t.Fatal(err)
				}
			}
			r.Header.Set("X-GitHub-Event", "issues")
			r.Header.Set("X-GitHub-Delivery", c.name)
			if !c.unsigned {
				r.Header.Set("X-Hub-Signature-256", github.Sign(c.body, c.secret))
			}
			resp, err := w.http.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != c.status || !strings.Contains(string(text), c.message) {
				t.Errorf("answered %d %s, %v; want %d with %q", resp.StatusCode, text, err, c.status, c.message)
			}
		})
	}
	t.Cleanup(func() {
		d, err := w.client.Deliveries(context.Background(), "")
		if err != nil || len(d) != 0 {
			t.Errorf("%d refused deliveries were stored, %v", len(d), err)
		}
	})
}

func TestWhatIsWrongWithAFunctionIsSaidInItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary, "--run-cpu-limit", "3s", "--run-memory-limit", "64MiB", "--poll-wall-limit", "6s")
	hung := make(chan struct{})
	t.Cleanup(func() { close(hung) })
	w.github.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/hang":
			select {
			case <-hung:
			case <-r.Context().Done():
			}
		case "/redirect":
			http.Redirect(rw, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/gigabyte":
			part := make([]byte, 1<<20)
			for range 1024 {
				if _, err := rw.Write(part); err != nil {
					break
				}
			}
		default:
			return false
		}
		return true
	})
	w.start("faults")
	for _, c := range []struct{ function, status, message string }{
		{"no-id", "failed", "batchSave(Thing): record 0: has no id"},
		{"numeric-id", "success", ""},
		{"ten-megabytes", "failed", "the limit for one record is 8388608 (8 MiB)"},
		{"undeclared-model", "failed", `the sync undeclared-model does not declare a model "Ghost"`},
		{"endless-loop", "failed", "the run computed for longer than 3s"},
		{"endless-memory", "failed", "the run used more than its 64 MiB of memory"},
		{"throws", "failed", "this sync always throws"},
		{"never-settles", "failed", "the function waits for a promise that never settles"},
		{"too-slow", "failed", "the run took longer than 6s"},
		{"not-awaited", "success", ""},
		{"hanging-upstream", "failed", "the run took longer than 6s"},
		{"redirected", "failed", "169.254.169.254"},
		{"gigabyte", "failed", "exceeds the limit of 100 MiB"},
	} {
		t.Run(c.function, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			w.ok(w.client.Trigger(ctx, integration, connection, c.function))
			run := w.run(c.function)
			text := fmt.Sprint(run["error"])
			if run["status"] != c.status || !strings.Contains(text, c.message) {
				t.Errorf("the run is %v: %s; want %s with %q", run["status"], text, c.status, c.message)
			}
			t.Logf("%s: %v", c.function, text)
		})
	}
	t.Run("others go on meanwhile", func(t *testing.T) {
		t.Parallel()
		all := w.until("Thing", func(all map[string]harness.Record) bool { return len(all) == 2 })
		if all["42"].Fields["id"] != 42.0 || all["late"].Deleted {
			t.Errorf("the cache has %+v", all)
		}
	})
}

func TestAHandlerThatThrowsIsTriedAgainAndThenDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary, "--event-max-attempts", "2")
	w.start("webhooks")
	bad := w.github.Create("throw")
	w.send(bad)
	good := w.github.Create("fine")
	w.send(good)
	all := w.until("Item", func(all map[string]harness.Record) bool { return all[id(good)].Fields["title"] == "fine" })
	if _, there := all[id(bad)]; there {
		t.Error("what the failed handler saved is in the cache")
	}
	w.ok(w.client.Quiet(w.context()))
	dead, err := w.client.Deliveries(w.context(), "status=dead")
	w.ok(err)
	if len(dead) != 1 || dead[0].DeliveryID != bad.DeliveryID {
		t.Errorf("dead are %+v", dead)
	}
	// Delivered again, it is driven again.
	w.send(bad)
	w.ok(w.client.Quiet(w.context()))
	runs, err := w.client.Runs(w.context(), "function=events&status=failed")
	w.ok(err)
	if len(runs) != 2 { // the last attempt of each way through
		t.Errorf("%d runs failed for good", len(runs))
	}
}

func TestAnUpstreamThatIsDownHoldsTheLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary)
	w.start("webhooks")
	w.github.Intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
		rw.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	waits := w.github.Create("upstream")
	w.send(waits)
	after := w.github.Create("fine")
	w.send(after)
	// Both wait, in order, until the upstream is back.
	for {
		runs, err := w.client.Runs(w.context(), "function=events&status=retrying")
		w.ok(err)
		if len(runs) > 0 {
			break
		}
	}
	all, err := w.client.All(w.context(), integration, connection, "Item")
	w.ok(err)
	if len(all) != 0 {
		t.Errorf("the lane did not wait: %v", all)
	}
	w.github.Intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
		_, err := rw.Write([]byte("{}"))
		return err == nil
	})
	w.until("Item", func(all map[string]harness.Record) bool { return len(all) == 2 })
	dead, err := w.client.Deliveries(w.context(), "status=dead")
	w.ok(err)
	if len(dead) != 0 {
		t.Errorf("dead are %+v", dead)
	}
}
