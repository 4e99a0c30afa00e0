package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/store"
)

// actions are functions that do as the input says.
type actions struct {
	h         *harness
	triggered []string
	retries   []int
	refuse    error
	problems  []string
	created   int
}

func (a *actions) Trigger(_ context.Context, _, _, functionID int64, input json.RawMessage) (json.RawMessage, string, error) {
	a.triggered = append(a.triggered, string(input))
	return a.outcome(input)
}

func (a *actions) outcome(input json.RawMessage) (json.RawMessage, string, error) {
	var in struct {
		Fail   string          `json:"fail"`
		Return json.RawMessage `json:"return"`
	}
	_ = json.Unmarshal(input, &in)
	const run = "0198c0de-7a1e-7000-8000-00000000000a"
	f := &syncline.Failure{Type: in.Fail, Message: "it failed", Payload: json.RawMessage(`{"seats":0}`)}
	switch in.Fail {
	case "":
		return in.Return, run, nil
	case "unavailable":
		return nil, "", syncline.Errorf(syncline.CodeUnavailable, "another process has it")
	case syncline.FailureUpstream:
		f.Payload = json.RawMessage(`{"message":"Not Found"}`)
		f.Upstream = &syncline.UpstreamAnswer{Status: 404, Headers: map[string]string{"content-type": "application/json"}, Body: f.Payload}
	case syncline.FailureScript:
		f.Payload = nil
	}
	return nil, run, f
}

func (a *actions) Enqueue(ctx context.Context, env, connectionID, functionID int64, input json.RawMessage, maxRetries int) (string, error) {
	if strings.Contains(string(input), syncline.FailureInput) {
		return "", &syncline.Failure{Type: syncline.FailureInput, Message: "the input is wrong"}
	}
	a.retries = append(a.retries, maxRetries)
	const id = "0198c0de-7a1e-7000-8000-000000000001"
	j := syncline.Job{
		UUID: id, EnvironmentID: env, ConnectionID: connectionID, FunctionID: functionID, Kind: syncline.RunAction, Input: input, MaxRetries: maxRetries, CreatedAt: a.h.clock.Now(),
	}
	return id, a.h.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.CreateJob(&j) })
}

func (a *actions) Validate(_ context.Context, _ *syncline.Integration, c *syncline.Connection) (api.Validated, error) {
	v := api.Validated{Store: func(store.Tx, int64) error { return nil }}
	if a.refuse != nil {
		return v, a.refuse
	}
	v.Metadata, v.Changed = map[string]any{"checked": c.ConnectionID}, true
	return v, nil
}

func (a *actions) Created(store.Tx, *syncline.Integration, *syncline.Connection) error {
	a.created++
	return nil
}

func (a *actions) Delete(ctx context.Context, env, connectionID int64) ([]string, error) {
	return a.problems, a.h.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.DeleteConnection(env, connectionID, a.h.clock.Now()) })
}

const createIssue = `{"type":"action","name":"create-issue","integration":"github","auto_start":false,"description":"Creates an issue","version":"1.0.0",
	"input":{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"title":{"type":"string"}},"required":["title"]},
	"output":{"type":"object","properties":{"number":{"type":"number"}},"required":["number"]}}`

func withActions(t *testing.T) (*harness, *actions) {
	t.Helper()
	h := newHarness(t)
	h.integration("github", "github")
	h.must("POST", "/deployments", deployment(issuesManifest, createIssue, `{"type":"on-event","name":"greet","integration":"github","event":"post-connection-creation","auto_start":false}`))
	h.connection("github", "c1", token)
	h.hooks.take("jobs")
	a := &actions{h: h}
	h.deps.Actions = a
	h.api = api.New(h.deps)
	return h, a
}

func trigger(input string) string { return `{"action_name":"create-issue","input":` + input + `}` }

func TestTriggerAction(t *testing.T) {
	t.Parallel()
	h, a := withActions(t)
	const path = "/action/trigger"
	h.play(
		scenario{name: "its output", method: "POST", path: path, body: trigger(`{"return":{"number":7}}`), headers: ofC1, status: 200, want: []string{`{"number":7}`}},
		scenario{name: "no output", method: "POST", path: path, body: `{"action_name":"create-issue"}`, headers: ofC1, status: 200, want: []string{`null`}},
		scenario{name: "an ActionError", method: "POST", path: path, body: trigger(`{"fail":"action_script_runtime_error"}`), headers: ofC1, status: 500,
			want: []string{`{"error":{"message":"it failed","code":"action_script_runtime_error","payload":{"seats":0}}}`}},
		scenario{name: "an answer of the external API", method: "POST", path: path, body: trigger(`{"fail":"script_http_error"}`), headers: ofC1, status: 424,
			want: []string{`"code":"script_http_error","payload":{"message":"Not Found"},"upstream":{"status":404,"headers":{"content-type":"application/json"},"body":{"message":"Not Found"}}`}},
		scenario{name: "another error", method: "POST", path: path, body: trigger(`{"fail":"script_internal_error"}`), headers: ofC1, status: 500, want: []string{`"payload":{}`}},
		scenario{name: "an input that is not allowed", method: "POST", path: path, body: trigger(`{"fail":"invalid_action_input"}`), headers: ofC1, status: 400},
		scenario{name: "an unknown outcome", method: "POST", path: path, body: trigger(`{"fail":"outcome_unknown"}`), headers: ofC1, status: 500, want: []string{`"code":"outcome_unknown"`}},
		scenario{name: "it cannot run here", method: "POST", path: path, body: trigger(`{"fail":"unavailable"}`), headers: ofC1, status: 503},
		scenario{name: "no headers", method: "POST", path: path, body: trigger(`{}`), status: 400, want: []string{`"code":"invalid_headers"`, `"path":["connection-id"]`, `"path":["provider-config-key"]`}},
		scenario{name: "no name", method: "POST", path: path, body: `{"input":{}}`, headers: ofC1, status: 400, want: []string{`"code":"invalid_body"`, `"path":["action_name"]`}},
		scenario{name: "an unknown member", method: "POST", path: path, body: `{"action_name":"create-issue","inputs":{}}`, headers: ofC1, status: 400, want: []string{`"code":"invalid_body"`}},
		scenario{name: "a query", method: "POST", path: path + "?async=true", body: trigger(`{}`), headers: ofC1, status: 400, want: []string{`"code":"invalid_query_params"`}},
		scenario{name: "an unknown integration", method: "POST", path: path, body: trigger(`{}`), headers: []string{"Provider-Config-Key", "nope", "Connection-Id", "c1"}, status: 400, want: []string{`"code":"unknown_provider_config"`}},
		scenario{name: "an unknown connection", method: "POST", path: path, body: trigger(`{}`), headers: []string{"Provider-Config-Key", "github", "Connection-Id", "nope"}, status: 400, want: []string{`"code":"unknown_connection"`}},
		scenario{name: "an unknown action", method: "POST", path: path, body: `{"action_name":"nope"}`, headers: ofC1, status: 404, want: []string{`"code":"not_found"`, "it has create-issue"}},
		scenario{name: "a sync is no action", method: "POST", path: path, body: `{"action_name":"issues"}`, headers: ofC1, status: 404},
		scenario{name: "another environment", method: "POST", path: path, body: trigger(`{}`), headers: append(ofC1[:4:4], "Authorization", "Bearer "+prodKey), status: 400, want: []string{"unknown_provider_config"}},
		scenario{name: "X-Async is neither", method: "POST", path: path, body: trigger(`{}`), headers: append(ofC1[:4:4], "X-Async", "maybe"), status: 400, want: []string{`"path":["x-async"]`}},
		scenario{name: "too many retries", method: "POST", path: path, body: trigger(`{}`), headers: append(ofC1[:4:4], "X-Async", "true", "X-Max-Retries", "6"), status: 400, want: []string{`"path":["x-max-retries"]`, "from 0 to 5"}},
	)
	if want := `{"return":{"number":7}}`; a.triggered[0] != want || a.triggered[1] != "" {
		t.Errorf("it was triggered with %q", a.triggered)
	}
	var action syncline.Function
	h.tx(func(tx store.Tx) (err error) {
		i, err := tx.IntegrationByKey(h.dev, "github")
		if err != nil {
			return err
		}
		if action, err = tx.FunctionByName(h.dev, i.ID, syncline.FunctionAction, "create-issue"); err != nil {
			return err
		}
		return tx.SetFunctionEnabled(h.dev, action.ID, false)
	})
	h.play(scenario{name: "a disabled action", method: "POST", path: path, body: trigger(`{}`), headers: ofC1, status: 404, want: []string{`"code":"disabled_resource"`}})
}

func TestAsynchronousActions(t *testing.T) {
	t.Parallel()
	h, a := withActions(t)
	async := append(ofC1[:4:4], "X-Async", "true", "X-Max-Retries", "3")
	started := h.must("POST", "/action/trigger", trigger(`{"n":1}`), async...)
	const id = "0198c0de-7a1e-7000-8000-000000000001"
	if started.status != 202 || started.body != `{"id":"`+id+`","statusUrl":"/action/`+id+`"}` || !slices.Equal(a.retries, []int{3}) {
		t.Errorf("%d %s; retries %v", started.status, started.body, a.retries)
	}
	if h.hooks.take("jobs") != 1 {
		t.Error("nobody was told of the job")
	}
	// end changes the job as whoever runs it does.
	change := func(change func(j *syncline.Job)) {
		h.tx(func(tx store.Tx) error {
			j, err := tx.JobByUUID(h.dev, id)
			if err != nil {
				return err
			}
			lease, _, err := tx.TakeJob(h.dev, j.ID, "p", h.clock.Now(), h.clock.Now().Add(time.Minute))
			if err != nil {
				return err
			}
			j.Lease = lease
			change(&j)
			if err := tx.UpdateJob(&j); err != nil {
				return err
			}
			return tx.ReleaseLeases()
		})
	}
	get := func(name string, status int, want ...string) {
		h.play(scenario{name: name, method: "GET", path: "/action/" + id, status: status, want: want})
	}
	get("it waits", 404, `"code":"not_found"`, "not completed yet: it waits for its turn")
	change(func(j *syncline.Job) { j.Status, j.Attempts = syncline.JobRunning, 1 })
	get("it runs", 404, "attempt 1 of at most 4 runs")
	change(func(j *syncline.Job) { j.Status, j.NotBefore = syncline.JobPending, h.clock.Now().Add(time.Minute) })
	get("it failed once", 404, "attempt 1 of at most 4 failed; the next begins at 2026-05-31T11:47:13.390Z")
	h.play(
		scenario{name: "of another environment", method: "GET", path: "/action/" + id, headers: []string{"Authorization", "Bearer " + prodKey}, status: 404, not: []string{"not completed"}},
		scenario{name: "an id that is none", method: "GET", path: "/action/7", status: 400, want: []string{`"code":"invalid_uri_params"`}},
		scenario{name: "an id of none", method: "GET", path: "/action/0198c0de-7a1e-7000-8000-000000000009", status: 404, want: []string{"no asynchronous action"}},
		scenario{name: "a refused input is told at once", method: "POST", path: "/action/trigger", body: trigger(`{"x":"invalid_action_input"}`), headers: async, status: 400},
	)
	failure, err := json.Marshal(&syncline.Failure{Type: syncline.FailureAction, Message: "full", Payload: json.RawMessage(`{"seats":0}`)})
	if err != nil {
		t.Fatal(err)
	}
	change(func(j *syncline.Job) { j.Status, j.Result = syncline.JobFailed, failure })
	get("it failed", 500, `{"error":{"message":"full","code":"action_script_runtime_error","payload":{"seats":0}}}`)
	h.tx(func(tx store.Tx) error { _, err := tx.PurgeJobs(h.clock.Now().Add(time.Hour), 10); return err })
}

func TestConnectionsRunTheirEvents(t *testing.T) {
	t.Parallel()
	h, a := withActions(t)
	const create = `{"provider_config_key":"github","connection_id":"c2","credentials":{"type":"OAUTH2","access_token":"t"}}`
	a.refuse = &syncline.Failure{Type: syncline.FailureAction, Message: "Error", Payload: json.RawMessage(`{"message":"wrong account"}`)}
	h.play(
		scenario{name: "refused", method: "POST", path: "/connections", body: create, status: 400, want: []string{`"code":"connection_validation_failed","message":"wrong account"`}},
		scenario{name: "nothing is left", method: "GET", path: "/connections/c2?provider_config_key=github", status: 404},
	)
	a.refuse = nil
	h.play(
		scenario{name: "taken", method: "POST", path: "/connections", body: create, status: 200, want: []string{`"metadata":{"checked":"c2"}`}},
		scenario{name: "new credentials are checked too", method: "POST", path: "/connections", body: create, status: 200},
	)
	if a.created != 1 || h.hooks.take("jobs") != 1 {
		t.Errorf("%d creations", a.created)
	}
	a.problems = []string{"cleanup failed: gone"}
	h.play(
		scenario{name: "deleted", method: "DELETE", path: "/connections/c2?provider_config_key=github", status: 200, want: []string{`"success":true`, `"warnings":["cleanup failed: gone"]`}},
		scenario{name: "gone", method: "DELETE", path: "/connections/c2?provider_config_key=github", status: 404},
	)
}

func TestScriptsConfig(t *testing.T) {
	t.Parallel()
	h, _ := withActions(t)
	h.integration("keyed", "keyed")
	h.play(
		scenario{name: "all", method: "GET", path: "/scripts/config", status: 200, golden: "scripts_config"},
		scenario{name: "for OpenAI", method: "GET", path: "/scripts/config?format=openai", status: 200, golden: "scripts_openai"},
		scenario{name: "of an integration without functions", method: "GET", path: "/scripts/config?provider_config_key=keyed", status: 200, want: []string{`[]`}},
		scenario{name: "an unknown format", method: "GET", path: "/scripts/config?format=xml", status: 400, want: []string{`"code":"invalid_query_params"`}},
	)
}

// The JSON examples of docs/actions.md are what the API answers.
func TestTheExamplesAboutActions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/actions.md")
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(m[1]))
	}
	h, _ := withActions(t)
	var got []string
	for _, a := range []answer{
		h.do("POST", "/action/trigger", trigger(`{"return":{"number":7}}`), ofC1...),
		h.do("POST", "/action/trigger", trigger(`{"fail":"action_script_runtime_error"}`), ofC1...),
		h.do("POST", "/action/trigger", trigger(`{"fail":"script_http_error"}`), ofC1...),
		h.do("POST", "/action/trigger", trigger(`{"title":"x"}`), append(ofC1[:4:4], "X-Async", "true")...),
	} {
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(a.body), "", "  "); err != nil {
			t.Fatal(err)
		}
		got = append(got, indented.String()+"\n")
	}
	if diff := cmp.Diff(blocks, got); diff != "" {
		t.Errorf("the page's examples (-) are not what is answered (+):\n%s", diff)
	}
}
