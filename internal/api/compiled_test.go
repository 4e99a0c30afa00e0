package api_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/store"
)

// compiledSync is a sync in Go of a build.
func compiledSync(name, build string) api.Compiled {
	return api.Compiled{
		Hash: name + build, Bundle: []byte(`{"engine":"go","build":"` + build + `"}`),
		Manifest: syncline.Manifest{
			Type: syncline.FunctionSync, Name: name, Integration: "github", Engine: syncline.EngineGo, Frequency: "every 1 hour", AutoStart: true,
			Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{"type":"object","properties":{"id":{"type":"string"}}}`)},
		},
	}
}

// compile deploys functions in Go and returns the differences.
func (h *harness) compile(d api.CompiledDeployment) []string {
	h.Helper()
	d.EnvironmentID = h.dev
	done, err := d.Deploy(h.Context(), h.store, h.clock.Now())
	if err != nil {
		h.Fatal(err)
	}
	var out []string
	for _, c := range done.Changes {
		out = append(out, fmt.Sprintf("%s %s %d→%d %s", c.Change, c.Name, c.PreviousVersion, c.Version, strings.Join(c.Details, ", ")))
	}
	for _, m := range done.Waiting {
		out = append(out, "waiting "+m.Name)
	}
	return out
}

func TestFunctionsInGoAreDeployedByTheirProcess(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.api = api.New(h.deps)
	same := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", what, got, want)
		}
	}
	both := func(build string) []api.Compiled {
		return []api.Compiled{compiledSync("a", build), compiledSync("b", build)}
	}
	same("without the integration", h.compile(api.CompiledDeployment{Functions: both("1")}), "waiting a", "waiting b")
	h.integration("github", "github")
	h.connection("github", "acme", `{"type":"OAUTH2","access_token":"t"}`)
	same("the first time", h.compile(api.CompiledDeployment{Functions: both("1")}), "created a 0→1 ", "created b 0→1 ")
	same("again", h.compile(api.CompiledDeployment{Functions: both("1")}), "unchanged a 1→1 ", "unchanged b 1→1 ")
	never := func(*syncline.Function) bool { return false }
	same("when nothing gives way", h.compile(api.CompiledDeployment{Functions: both("2"), Replaces: never}))
	same("another build without b", h.compile(api.CompiledDeployment{Functions: both("2")[:1]}), "updated a 1→2 code changed", "missing b 1→1 ")
	same("b is deleted", h.compile(api.CompiledDeployment{Functions: both("2")[:1], DeleteMissing: true}), "unchanged a 2→2 ", "deleted b 1→0 ")

	// A deployment over HTTP knows nothing of them, and does not deploy over them.
	h.play(
		scenario{name: "another function; those in Go are not missing", method: "POST", path: "/deployments", status: 200,
			body: strings.TrimSuffix(deployment(issuesManifest), "}") + `,"delete_missing":true}`, want: []string{`"change":"created"`}},
		scenario{name: "in Go", method: "POST", path: "/deployments", status: 400,
			body: deployment(strings.Replace(issuesManifest, `{`, `{"engine":"go",`, 1)), want: []string{"cannot be deployed over HTTP", `"path":["functions","0","manifest","engine"]`}},
	)
	h.deps.Compiled = func(_ syncline.FunctionType, integration, name string) bool {
		return integration == "github" && name == "issues"
	}
	h.api = api.New(h.deps)
	h.play(scenario{name: "over one in Go", method: "POST", path: "/deployments", status: 400, body: deployment(issuesManifest), want: []string{"compiled into the server"}})

	// One in JavaScript gives way to one in Go, and is not its to delete.
	same("over one in JavaScript", h.compile(api.CompiledDeployment{Functions: []api.Compiled{compiledSync("labels", "2")}, DeleteMissing: true}),
		"deleted a 2→0 ", "created labels 0→1 ")
	got := h.compile(api.CompiledDeployment{Functions: []api.Compiled{compiledSync("issues", "2")}})
	if len(got) != 2 || !strings.Contains(got[0], "updated issues 1→2") || !strings.Contains(got[0], "engine: quickjs → go") {
		t.Errorf("taking over from JavaScript: %q", got)
	}
	var instances []syncline.SyncInstance
	h.view(func(r store.Reader) (err error) {
		instances, err = r.Instances(h.dev, store.InstanceFilter{})
		return err
	})
	if len(instances) != 2 { // labels, issues
		t.Errorf("the connection has %d syncs", len(instances))
	}

	wrong := compiledSync("c", "1")
	wrong.Manifest.Frequency = ""
	if _, err := (api.CompiledDeployment{EnvironmentID: h.dev, Functions: []api.Compiled{wrong}}).Deploy(t.Context(), h.store, h.clock.Now()); syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Errorf("a function with a mistake: %v", err)
	}
}
