package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"syncline/e2e/harness"
)

// startActions starts a server with actions and on-event functions, and issues
// 1 to 3. Connections made from then on are checked and greeted.
func (w *world) startActions(metadata map[string]any) error {
	w.t.Helper()
	ctx := w.context()
	for _, title := range []string{"one", "two", "three"} {
		w.github.Create(title)
	}
	_, err := w.server.Start(ctx)
	w.ok(err)
	w.ok(w.client.Do(ctx, http.MethodPatch, "/environments/current", nil, map[string]any{"webhook_url": w.setup.WebhookURL}, nil))
	w.ok(w.client.Do(ctx, http.MethodPost, "/integrations", nil, map[string]any{
		"unique_key": integration, "provider": "github", "config": map[string]any{"proxy_base_url": w.setup.ProxyBaseURL},
	}, nil))
	key, err := w.client.SigningKey(ctx)
	w.ok(err)
	w.app.SetKey(key)
	_, err = w.server.Deploy(ctx, w.project("actions"))
	w.ok(err)
	return w.connect(metadata)
}

func (w *world) connect(metadata map[string]any) error {
	return w.client.Do(w.context(), http.MethodPost, "/connections", nil, map[string]any{
		"provider_config_key": integration, "connection_id": connection,
		"credentials": map[string]any{"type": "OAUTH2", "access_token": token}, "metadata": metadata,
	}, nil)
}

var withRepository = map[string]any{"repository": owner + "/" + name}

// trigger triggers an action; headers are names, each with its value.
func (w *world) trigger(action string, input any, out any, headers ...string) error {
	h := map[string]string{"Connection-Id": connection, "Provider-Config-Key": integration}
	for i := 0; i+1 < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return w.client.Do(w.context(), http.MethodPost, "/action/trigger", h, map[string]any{"action_name": action, "input": input}, out)
}

// result waits for the result of an asynchronous action.
func (w *world) result(id string, out any) error {
	w.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := w.client.Do(w.context(), http.MethodGet, "/action/"+id, nil, nil, out)
		if statusOf(err) != http.StatusNotFound || time.Now().After(deadline) {
			return err
		}
	}
}

func (w *world) title(number int) string {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.context(), http.MethodGet, fmt.Sprintf("%s/repos/%s/%s/issues/%d", w.setup.ProxyBaseURL, owner, name, number), nil)
	w.ok(err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := w.http.Do(req)
	w.ok(err)
	defer resp.Body.Close()
	var issue struct{ Title string }
	w.ok(json.NewDecoder(resp.Body).Decode(&issue))
	return issue.Title
}

func TestActionsAreTriggered(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		w.ok(w.startActions(withRepository))

		var closed struct {
			Number int
			State  string
		}
		w.ok(w.trigger("close-issue", map[string]any{"number": 2}, &closed))
		if closed.Number != 2 || closed.State != "closed" {
			t.Errorf("it returned %+v", closed)
		}
		run := w.run("close-issue")
		if run["kind"] != "action" || run["status"] != "success" || run["connection_id"] != connection {
			t.Errorf("the run is %v", run)
		}
		var logs struct{ Logs []struct{ Message string } }
		w.ok(w.client.Do(w.context(), http.MethodGet, "/runs/"+run["id"].(string)+"/logs", nil, nil, &logs))
		// What it logs, and the request that it makes.
		if len(logs.Logs) != 2 || logs.Logs[0].Message != "closing 2" || !strings.HasPrefix(logs.Logs[1].Message, "PATCH ") {
			t.Errorf("the log is %+v", logs)
		}

		var all struct{ Closed []int }
		w.ok(w.trigger("close-all", map[string]any{"numbers": []int{1, 3}}, &all))
		if len(all.Closed) != 2 {
			t.Errorf("it returned %+v", all)
		}
		if inner := w.run("close-issue"); inner["parent"] != w.run("close-all")["id"] {
			t.Errorf("the inner run is %v", inner)
		}

		for what, c := range map[string]struct {
			action string
			input  any
			status int
			want   []string
		}{
			"an ActionError":              {"refuse", map[string]any{"why": "no seats"}, 500, []string{`"code":"action_script_runtime_error"`, `"payload":{"type":"refused","message":"no seats"}`}},
			"an answer of the API":        {"read-missing", nil, 424, []string{`"code":"script_http_error"`, `"upstream":{"status":404`, `"message":"Not Found"},"upstream"`}},
			"an action that is not there": {"nope", nil, 404, []string{`"code":"not_found"`, "close-issue"}},
		} {
			err := w.trigger(c.action, c.input, nil)
			if statusOf(err) != c.status {
				t.Errorf("%s: %v", what, err)
				continue
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: %v; it lacks %s", what, err, part)
				}
			}
		}

		var started struct{ ID, StatusURL string }
		w.ok(w.trigger("close-issue", map[string]any{"number": 2}, &started, "X-Async", "true"))
		w.ok(w.result(started.ID, &closed))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		n, err := w.app.Wait(ctx, 0, func(n harness.Notification) bool { return n.Type == "async_action" })
		w.ok(err)
		if !n.Verified || n.Payload.ID != started.ID || n.Payload.StatusURL != started.StatusURL || n.Connection != connection {
			t.Errorf("the app was told %+v", n)
		}
	})
}

func TestAnActionThatIsKilledHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		w.ok(w.startActions(withRepository))
		gate := w.github.Hold(1)
		var once, retried struct{ ID string }
		w.ok(w.trigger("count", nil, &once, "X-Async", "true"))
		<-gate.Reached()
		w.ok(w.trigger("refuse", map[string]any{"why": "x"}, nil, "X-Async", "true")) // stored, perhaps not begun
		w.server.Kill()
		gate.Release()
		_, err := w.server.Start(w.context())
		w.ok(err)
		if err := w.result(once.ID, nil); statusOf(err) != 500 || !strings.Contains(err.Error(), "outcome_unknown") {
			t.Errorf("the result is %v", err)
		}
		if run := w.run("count"); run["status"] != "reaped" {
			t.Errorf("the run is %v", run)
		}
		gate = w.github.Hold(1)
		w.ok(w.trigger("count", nil, &retried, "X-Async", "true", "X-Max-Retries", "1"))
		<-gate.Reached()
		w.server.Kill()
		gate.Release()
		_, err = w.server.Start(w.context())
		w.ok(err)
		var out struct{ Count int }
		if err := w.result(retried.ID, &out); err != nil || out.Count != 3 {
			t.Errorf("the retry came to %+v, %v", out, err)
		}
	})
}

func TestAStopWaitsForTheActionThatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary)
	w.ok(w.startActions(withRepository))
	gate := w.github.Hold(1)
	type answer struct {
		count int
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var out struct{ Count int }
		err := w.trigger("count", nil, &out)
		answers <- answer{out.Count, err}
	}()
	<-gate.Reached()
	stopped := make(chan error, 1)
	go func() { stopped <- w.server.Stop(w.context()) }()
	time.AfterFunc(200*time.Millisecond, gate.Release) // it drains meanwhile
	if a := <-answers; a.err != nil || a.count != 3 {
		t.Errorf("the action came to %+v", a)
	}
	w.ok(<-stopped)
}

func TestOnEventFunctionsGuardSetUpAndCleanUpAConnection(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		err := w.startActions(map[string]any{})
		if statusOf(err) != 400 || !strings.Contains(err.Error(), `"code":"connection_validation_failed","message":"choose a repository first"`) {
			t.Fatalf("the connection was not refused: %v", err)
		}
		if run := w.run("check"); run["kind"] != "on-event" || run["status"] != "failed" {
			t.Errorf("the run is %v", run)
		}
		const path = "/connections/" + connection + "?provider_config_key=" + integration
		if err := w.client.Do(w.context(), http.MethodGet, path, nil, nil, nil); statusOf(err) != 404 {
			t.Errorf("the refused connection: %v", err)
		}

		w.ok(w.connect(withRepository))
		var c struct{ Metadata map[string]any }
		for deadline := time.Now().Add(30 * time.Second); c.Metadata["greeted"] != true; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("nobody greets: %v", c.Metadata)
			}
			w.ok(w.client.Do(w.context(), http.MethodGet, path, nil, nil, &c))
		}
		if c.Metadata["checked"] != true || w.title(1) != "hello "+connection {
			t.Errorf("the metadata is %v, the title %q", c.Metadata, w.title(1))
		}

		var deleted struct {
			Success  bool
			Warnings []string
		}
		w.ok(w.client.Do(w.context(), http.MethodDelete, path, nil, nil, &deleted))
		if !deleted.Success || len(deleted.Warnings) != 1 || !strings.Contains(deleted.Warnings[0], "and fails") {
			t.Errorf("the deletion answered %+v", deleted)
		}
		if err := w.client.Do(w.context(), http.MethodGet, path, nil, nil, nil); statusOf(err) != 404 || w.title(1) != "goodbye "+connection {
			t.Errorf("after the deletion: %v, the title is %q", err, w.title(1))
		}
	})
}

func TestNangosClientTriggersActions(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("testdata/client/node_modules"); err != nil {
		t.Fatal("the client is not installed (make packages installs it)")
	}
	w := newWorld(t, binary)
	w.ok(w.startActions(withRepository))
	script, err := filepath.Abs("testdata/client/client.mjs")
	w.ok(err)
	cmd := exec.CommandContext(w.context(), "node", script)
	cmd.Env = append(os.Environ(), "SYNCLINE_URL="+w.server.URL, "SYNCLINE_KEY="+harness.Key)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	type failure struct {
		Status int
		Data   struct {
			Error struct {
				Code    string
				Payload map[string]string
			}
		}
	}
	var out struct {
		Sync, ByID, ByURL     struct{ Number int }
		Refused, RefusedLater failure
		Actions               []string
	}
	w.ok(json.Unmarshal(text, &out))
	if out.Sync.Number != 1 || out.ByID.Number != 2 || out.ByURL.Number != 2 {
		t.Errorf("the client got %s", text)
	}
	for why, f := range map[string]failure{"because": out.Refused, "later": out.RefusedLater} {
		if f.Status != 500 || f.Data.Error.Code != "action_script_runtime_error" || f.Data.Error.Payload["message"] != why {
			t.Errorf("%s: the client got %+v", why, f)
		}
	}
	if len(out.Actions) != 5 {
		t.Errorf("the actions are %v", out.Actions)
	}
}
