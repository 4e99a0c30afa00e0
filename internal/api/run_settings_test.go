package api_test

import (
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

func TestVariables(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const path = "/environment-variables"
	h.play(
		scenario{name: "none", method: "GET", path: path, status: 200, want: []string{`[]`}},
		scenario{name: "set", method: "PUT", path: path, body: `[{"name":"REGION","value":"eu"},{"name":"A_KEY","value":"very secret"}]`, status: 200, want: []string{`"success":true`}},
		scenario{name: "shown", method: "GET", path: path, status: 200, want: []string{`[{"name":"A_KEY","value":"very secret"},{"name":"REGION","value":"eu"}]`}},
		scenario{name: "of another environment", method: "GET", path: path, headers: []string{"Authorization", "Bearer " + prodKey}, status: 200, want: []string{`[]`}},
		scenario{name: "replaced", method: "PUT", path: path, body: `[{"name":"REGION","value":""}]`, status: 200},
		scenario{name: "others stay", method: "GET", path: path, status: 200, want: []string{`"A_KEY"`, `{"name":"REGION","value":""}`}},
		scenario{name: "a name that is none", method: "PUT", path: path, body: `[{"name":"1-A","value":"x"}]`, status: 400, want: []string{"not beginning with a digit"}},
		scenario{name: "no name", method: "PUT", path: path, body: `[{"value":"x"}]`, status: 400},
		scenario{name: "no value", method: "PUT", path: path, body: `[{"name":"B","value":"x"},{"name":"A"}]`, status: 400, want: []string{"A has no value"}},
		scenario{name: "a long value", method: "PUT", path: path, body: `[{"name":"A","value":"` + strings.Repeat("x", 65<<10) + `"}]`, status: 400, want: []string{"65536"}},
		scenario{name: "no list", method: "PUT", path: path, body: `{"A":"x"}`, status: 400},
		scenario{name: "removed", method: "DELETE", path: path + "/REGION", status: 200},
		scenario{name: "removed twice", method: "DELETE", path: path + "/REGION", status: 404, want: []string{`no variable \"REGION\"`}},
		scenario{name: "what is left", method: "GET", path: path, status: 200, not: []string{"REGION", `"B"`}},
	)
	h.view(func(r store.Reader) error {
		e, err := r.EnvironmentByUUID(devUUID)
		if err != nil {
			return err
		}
		list, err := r.Variables(e.ID)
		if err != nil || len(list) != 1 || strings.Contains(string(list[0].Value.Data), "secret") {
			t.Errorf("stored %+v %v", list, err)
		}
		return nil
	})
}

func TestHowFunctionsRun(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	const env, functions, issues = "/environments/current", "/integrations/github/functions", "/integrations/github/functions/issues"
	h.play(
		scenario{name: "nothing is said", method: "GET", path: functions, status: 200, want: []string{`"name":"issues"`, `"settings":{"validation":null,"limits":{}}`, `"effective":{"validation":"warn","limits":{"wall":"30m"`}},
		scenario{name: "the environment says", method: "PATCH", path: env, body: `{"validation":"strict","limits":{"wall":"10m","memory":"64MiB"}}`, status: 200, want: []string{`"validation":"strict"`, `"wall":"10m"`}},
		scenario{name: "the function follows", method: "GET", path: functions, status: 200, want: []string{`"effective":{"validation":"strict","limits":{"wall":"10m"`, `"memory":"64MiB"`}},
		scenario{name: "the function says", method: "PATCH", path: issues, body: `{"validation":"off","limits":{"wall":"1h","host_calls":5}}`, status: 200, want: []string{`"settings":{"validation":"off","limits":{"wall":"1h","host_calls":5}}`, `"effective":{"validation":"off","limits":{"wall":"1h"`, `"memory":"64MiB"`}},
		scenario{name: "absent members stay", method: "PATCH", path: issues, body: `{"validation":null}`, status: 200, want: []string{`"settings":{"validation":null,"limits":{"wall":"1h","host_calls":5}}`, `"validation":"strict"`}},
		scenario{name: "beyond what the server allows", method: "PATCH", path: issues, body: `{"limits":{"wall":"25h"}}`, status: 400, want: []string{"beyond what this server allows", `\"wall\":\"24h\"`}},
		scenario{name: "nor may the environment", method: "PATCH", path: env, body: `{"limits":{"wall":"25h"}}`, status: 400},
		scenario{name: "no way of validation", method: "PATCH", path: env, body: `{"validation":"hard"}`, status: 400, want: []string{"strict, warn or off"}},
		scenario{name: "validation that is no text", method: "PATCH", path: issues, body: `{"validation":1}`, status: 400},
		scenario{name: "an unknown limit", method: "PATCH", path: issues, body: `{"limits":{"speed":1}}`, status: 400, want: []string{"limits.speed is not known"}},
		scenario{name: "a wrong limit", method: "PATCH", path: issues, body: `{"limits":{"memory":"much"}}`, status: 400, want: []string{"limits.memory"}},
		scenario{name: "an unknown function", method: "PATCH", path: "/integrations/github/functions/none", body: `{}`, status: 404},
		scenario{name: "of another type", method: "PATCH", path: issues + "?type=action", body: `{}`, status: 404},
		scenario{name: "of no type", method: "PATCH", path: issues + "?type=thing", body: `{}`, status: 400},
		scenario{name: "an unknown integration", method: "GET", path: "/integrations/none/functions", status: 404},
		scenario{name: "deployed again", method: "POST", path: "/deployments", body: deployment(issuesManifest), status: 200},
		scenario{name: "the settings are kept", method: "GET", path: functions, status: 200, want: []string{`"settings":{"validation":null,"limits":{"wall":"1h","host_calls":5}}`}},
		scenario{name: "taken back", method: "PATCH", path: issues, body: `{"limits":null}`, status: 200, want: []string{`"settings":{"validation":null,"limits":{}}`}},
	)
}

func TestMetadataIsCheckedWhereValidationIsStrict(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	h.tx(func(tx store.Tx) error {
		e, err := tx.EnvironmentByUUID(devUUID)
		if err != nil {
			return err
		}
		i, err := tx.IntegrationByKey(e.ID, "github")
		if err != nil {
			return err
		}
		f, err := tx.FunctionByName(e.ID, i.ID, syncline.FunctionSync, "issues")
		if err != nil {
			return err
		}
		v := f.Active
		v.Manifest.Metadata = []byte(`{"type":"object","properties":{"team":{"type":"string"},"n":{"type":"number"}},"required":["team"]}`)
		return tx.DeployFunction(&f, &v)
	})
	const path = "/connections/metadata"
	body := func(metadata string) string {
		return `{"connection_id":"c1","provider_config_key":"github","metadata":` + metadata + `}`
	}
	h.play(
		scenario{name: "warn takes all", method: "POST", path: path, body: body(`{"team":7}`), status: 201},
		scenario{name: "strict", method: "PATCH", path: "/environments/current", body: `{"validation":"strict"}`, status: 200},
		scenario{name: "a wrong value", method: "POST", path: path, body: body(`{"team":7}`), status: 400, want: []string{"the sync issues allows", "$.team: expected a string, found the number 7"}},
		scenario{name: "a member is missing", method: "POST", path: path, body: body(`{"n":1}`), status: 400, want: []string{"$.team: expected a string, found nothing"}},
		scenario{name: "what fits", method: "POST", path: path, body: body(`{"team":"a"}`), status: 201},
		scenario{name: "a part", method: "PATCH", path: path, body: body(`{"n":1}`), status: 200},
		scenario{name: "a wrong part", method: "PATCH", path: path, body: body(`{"n":"1"}`), status: 400, want: []string{"$.n: expected a number"}},
		scenario{name: "in the deprecated way", method: "POST", path: "/connection/c1/metadata", headers: ofC1[:2], body: `{"team":null}`, status: 400, want: []string{"$.team"}},
	)
}

func TestAStallIsShown(t *testing.T) {
	t.Parallel()
	h := withSync(t)
	_, i := h.ids()
	i.Progress = syncline.Progress{Stuck: 3, StalledAt: h.clock.Now().Add(-time.Minute), Reason: "the run took longer than 30m0s"}
	h.tx(func(tx store.Tx) error { return tx.UpdateInstance(&i) })
	h.play(scenario{name: "shown", method: "GET", path: "/sync/status?provider_config_key=github&syncs=issues&connection_id=c1", status: 200,
		want: []string{`"stalledAt":"20`, `"stallReason":"the run took longer than 30m0s"`}})
}
