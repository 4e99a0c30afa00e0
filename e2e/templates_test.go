package e2e

import (
	stdcmp "cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"syncline"
	"syncline/e2e/harness"
	"syncline/internal/fixture"
)

// templatesEnv names a checkout of NangoHQ/integration-templates with its npm
// packages installed.
const templatesEnv = "SYNCLINE_TEMPLATES"

// wellKnown are integrations of the templates whose syncs are run.
var wellKnown = []string{
	"airtable", "asana", "github", "gitlab", "google-calendar", "google-drive", "google-mail", "hubspot", "intercom", "jira",
	"linear", "notion", "quickbooks", "salesforce", "shopify", "slack", "stripe-app", "xero", "zendesk", "zoom",
}

// template is a sync of the templates with its recording.
type template struct {
	*fixture.Case
	fixture  *fixture.Fixture
	key      string // the unique key of its integration
	upstream *fixture.Upstream
	address  string // of the stand-in
	provider provider
	requests int // made by the runs before the one that counts
}

// provider is what the API says of one.
type provider struct {
	Name     string `json:"name"`
	AuthMode string `json:"auth_mode"`
	Proxy    struct {
		BaseURL string `json:"base_url"`
	} `json:"proxy"`
}

// TestSyncsOfTheTemplates deploys the syncs of well-known integrations as they
// are, each to an integration of its own, lets a stand-in play the recorded API,
// triggers each sync, and compares the records with the recorded ones.
func TestSyncsOfTheTemplates(t *testing.T) {
	t.Parallel()
	checkout := os.Getenv(templatesEnv)
	if checkout == "" {
		t.Skipf("%s names no checkout of NangoHQ/integration-templates (with its npm packages)", templatesEnv)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(cancel)
	project, cases := templates(ctx, t, checkout)
	s := newServer(t, "", binary)
	c := s.Client()
	t.Cleanup(c.HTTP.CloseIdleConnections)
	if _, err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, tpl := range cases {
		if err := tpl.integrate(ctx, t, c); err != nil {
			t.Fatalf("%s: %v", tpl.Name, err)
		}
	}
	began := time.Now()
	if out, err := s.Deploy(ctx, project); err != nil {
		t.Fatalf("deploy: %v\n%s", err, out)
	}
	t.Logf("deployed %d syncs in %s", len(cases), time.Since(began).Round(time.Millisecond))

	misses := make([]string, len(cases))
	g, runCtx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for n, tpl := range cases {
		g.Go(func() (err error) {
			misses[n], err = tpl.run(runCtx, c)
			if err != nil {
				err = fmt.Errorf("%s: %w", tpl.Name, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	report(t, cases, misses)
}

// report tells of each integration, and of each sync that did not do as recorded.
func report(t *testing.T, cases []*template, misses []string) {
	t.Helper()
	passed, all := map[string]int{}, map[string]int{}
	total := 0
	for n, tpl := range cases {
		all[tpl.Integration]++
		if misses[n] == "" {
			passed[tpl.Integration]++
			total++
			continue
		}
		t.Errorf("%s: %s", tpl.Name, misses[n])
	}
	for _, name := range wellKnown {
		if all[name] == 0 {
			t.Errorf("%s has no sync with a recording", name)
		}
		t.Logf("%-16s %2d of %2d", name, passed[name], all[name])
	}
	t.Logf("%-16s %2d of %2d", "all", total, len(cases))
}

// templates copies the integrations into a project in which each sync with a
// recording has an integration of its own: two syncs of one integration may
// write to the same model, and their recordings contradict each other.
func templates(ctx context.Context, t *testing.T, checkout string) (project string, cases []*template) {
	t.Helper()
	from := filepath.Join(checkout, "integrations")
	source, project := t.TempDir(), t.TempDir()
	for _, name := range wellKnown {
		if err := os.CopyFS(filepath.Join(source, name), os.DirFS(filepath.Join(from, name))); err != nil {
			t.Fatal(err)
		}
	}
	// Only the syncs' test files are read.
	found, err := fixture.Discover(ctx, source, func(file string) bool {
		integration, rest, _ := strings.Cut(file, "/")
		stem, _, _ := strings.Cut(filepath.Base(rest), ".")
		for _, name := range []string{stem, strings.TrimPrefix(stem, integration+"-")} {
			if _, err := os.Stat(filepath.Join(source, integration, "syncs", name+".ts")); err == nil {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	var index strings.Builder
	for i := range found.Cases {
		k := &found.Cases[i]
		if k.Kind != syncline.FunctionSync {
			continue
		}
		if k.Problem != "" {
			t.Errorf("%s: %s", k.Name, k.Problem)
			continue
		}
		f, err := k.Fixture(source)
		if err != nil {
			t.Fatal(err)
		}
		tpl := &template{Case: k, fixture: f, key: k.Integration + "--" + k.Function}
		cases = append(cases, tpl)
		if err := copyFunctions(filepath.Join(source, k.Integration), filepath.Join(project, tpl.key)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&index, "import './%s/syncs/%s.js';\n", tpl.key, k.Function)
	}
	if err := os.WriteFile(filepath.Join(project, "index.ts"), []byte(index.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	// Links to the packages one by one, so that caches stay out of the checkout.
	packages, err := filepath.Abs(filepath.Join(checkout, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(packages)
	if err != nil {
		t.Fatalf("%v: install the packages of the checkout", err)
	}
	own := filepath.Join(project, "node_modules")
	if err := os.Mkdir(own, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range list {
		if strings.HasPrefix(p.Name(), ".") {
			continue
		}
		if err := os.Symlink(filepath.Join(packages, p.Name()), filepath.Join(own, p.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return project, cases
}

// copyFunctions copies an integration without its tests.
func copyFunctions(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "tests" || d.Name() == "mocks" {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		return os.Link(path, filepath.Join(to, rel)) // both are this test's copies
	})
}

// integrate starts the stand-in and makes the integration.
func (tpl *template) integrate(ctx context.Context, t *testing.T, c *harness.Client) (err error) {
	t.Helper()
	if tpl.provider, err = providerOf(ctx, c, tpl.Integration); err != nil {
		return err
	}
	if tpl.upstream, err = fixture.NewUpstream(tpl.fixture); err != nil {
		return err
	}
	if origin := tpl.origin(); origin != "" {
		tpl.upstream.Origins = []string{origin}
	}
	upstream := httptest.NewServer(tpl.upstream)
	t.Cleanup(upstream.Close)
	tpl.address = upstream.URL
	return c.Do(ctx, http.MethodPost, "/integrations", nil, map[string]any{
		"unique_key": tpl.key, "provider": tpl.provider.Name, "config": map[string]any{"proxy_base_url": upstream.URL},
	}, nil)
}

// providerOf is the provider that a template's integration is named for.
func providerOf(ctx context.Context, c *harness.Client, name string) (provider, error) {
	var out struct {
		Data provider `json:"data"`
	}
	err := c.Do(ctx, http.MethodGet, "/providers/"+name, nil, nil, &out)
	if statusOf(err) == http.StatusNotFound {
		return providerOf(ctx, c, "private-api-bearer")
	}
	return out.Data, err
}

// origin is what the API that was recorded calls itself; "" when that depends on
// the connection.
func (tpl *template) origin() string {
	scheme, rest, _ := strings.Cut(tpl.provider.Proxy.BaseURL, "://")
	host, _, _ := strings.Cut(rest, "/")
	if host == "" || strings.Contains(scheme+host, "$") {
		return ""
	}
	return scheme + "://" + host
}

// object is a recorded value that is an object; nil when there is none.
func object(raw json.RawMessage) map[string]any {
	var out map[string]any
	_ = json.Unmarshal(raw, &out) // absent, or null
	return out
}

// connect imports the recorded connection, which starts the sync.
func (tpl *template) connect(ctx context.Context, c *harness.Client) (id string, err error) {
	recorded := object(tpl.fixture.Nango["getConnection"])
	id = "acme"
	for _, name := range []string{"connection_id", "connectionId"} {
		if text, _ := recorded[name].(string); text != "" {
			id = text
		}
	}
	metadata := object(tpl.fixture.Nango["getMetadata"])
	if metadata == nil {
		metadata, _ = recorded["metadata"].(map[string]any)
	}
	credentials := map[string]any{"type": "OAUTH2", "access_token": "a-token"}
	switch tpl.provider.AuthMode {
	case "API_KEY":
		credentials = map[string]any{"type": "API_KEY", "apiKey": "a-key"}
	case "BASIC":
		credentials = map[string]any{"type": "BASIC", "username": "a-name", "password": "a-password"}
	case "OAUTH1":
		credentials = map[string]any{"type": "OAUTH1", "oauth_token": "a-token", "oauth_token_secret": "a-secret"}
	}
	return id, c.Do(ctx, http.MethodPost, "/connections", nil, map[string]any{
		"provider_config_key": tpl.key, "connection_id": id, "credentials": credentials,
		"connection_config": recorded["connection_config"], "metadata": metadata,
	}, nil)
}

// run triggers the sync and compares. miss says what is not as recorded.
func (tpl *template) run(ctx context.Context, c *harness.Client) (miss string, err error) {
	id, err := tpl.connect(ctx, c)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	runs, err := tpl.firstRuns(ctx, c, id)
	if err != nil {
		return "", err
	}
	if runs > 0 {
		if _, err := tpl.ended(ctx, c, runs); err != nil {
			return err.Error(), nil
		}
	}
	tpl.requests = tpl.upstream.Requests()
	err = c.Do(ctx, http.MethodPost, "/sync/trigger", nil, map[string]any{
		"provider_config_key": tpl.key, "connection_id": id, "syncs": []string{tpl.Function}, "opts": map[string]any{"reset": true, "emptyCache": true},
	}, nil)
	if err != nil {
		return "", err
	}
	last, err := tpl.ended(ctx, c, runs+1)
	if err != nil {
		return err.Error(), nil
	}
	if unknown := tpl.upstream.Unanswered(); len(unknown) > 0 {
		return fmt.Sprintf("requests that are not recorded: %q; the run ended with %v", unknown, last["error"]), nil
	}
	if last["status"] != "success" {
		return fmt.Sprintf("the run is %v: %v", last["status"], last["error"]), nil
	}
	want, err := tpl.expected()
	if err != nil {
		return "", err
	}
	models := map[string]bool{}
	for model := range want {
		models[model] = true
	}
	if results, _ := last["models"].(map[string]any); results != nil {
		for model := range results {
			models[model] = true
		}
	}
	for _, model := range slices.Sorted(maps.Keys(models)) {
		all, err := c.All(ctx, tpl.key, id, model)
		if err != nil {
			return "", err
		}
		found := map[string]map[string]any{}
		for id, r := range all {
			if r.Deleted {
				continue
			}
			if found[id], err = tpl.asRecorded(r.Fields); err != nil {
				return "", err
			}
		}
		if diff := differ(want[model], found); diff != "" {
			return model + ": " + diff, nil
		}
	}
	if len(tpl.fixture.API) > 0 && tpl.upstream.Requests() == tpl.requests {
		return "the triggered run made no request", nil
	}
	return "", nil
}

// asRecorded is a record in which the stand-in is called as the API is.
func (tpl *template) asRecorded(record map[string]any) (out map[string]any, err error) {
	origin := tpl.origin()
	if origin == "" {
		return record, nil
	}
	text, err := json.Marshal(record)
	if err == nil {
		err = json.Unmarshal([]byte(strings.ReplaceAll(string(text), tpl.address, origin)), &out)
	}
	return out, err
}

func differ(want, found map[string]map[string]any) string {
	if len(want) == 0 && len(found) == 0 {
		return ""
	}
	return cmp.Diff(want, found)
}

// firstRuns is how many runs the sync makes by itself when its connection is
// made: none when its schedule does not start with it.
func (tpl *template) firstRuns(ctx context.Context, c *harness.Client, id string) (int, error) {
	var out struct {
		Syncs []struct {
			Status string `json:"status"`
		} `json:"syncs"`
	}
	err := c.Do(ctx, http.MethodGet, "/sync/status?"+url.Values{"provider_config_key": {tpl.key}, "connection_id": {id}, "syncs": {tpl.Function}}.Encode(), nil, nil, &out)
	if err != nil {
		return 0, err
	}
	if len(out.Syncs) != 1 {
		return 0, fmt.Errorf("there are %d instances of the sync", len(out.Syncs))
	}
	if out.Syncs[0].Status == "PAUSED" {
		return 0, nil
	}
	return 1, nil
}

// ended waits until the sync has n runs that have ended and returns the newest.
func (tpl *template) ended(ctx context.Context, c *harness.Client, n int) (map[string]any, error) {
	for {
		runs, err := c.Runs(ctx, "kind=poll&limit=10&provider_config_key="+tpl.key)
		if err != nil {
			return nil, err
		}
		done := slices.DeleteFunc(runs, func(r map[string]any) bool { return r["status"] == "running" })
		if len(done) >= n {
			return done[0], nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%d of %d runs have ended; requests that are not recorded: %q", len(done), n, tpl.upstream.Unanswered())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// expected are the live records that the recording makes, by model and id.
func (tpl *template) expected() (map[string]map[string]map[string]any, error) {
	out := map[string]map[string]map[string]any{}
	each := func(method string, do func(records map[string]map[string]any, id string, r map[string]any)) error {
		raw := tpl.fixture.Nango[method]
		if len(raw) == 0 {
			return nil
		}
		var models map[string][]map[string]any
		if err := json.Unmarshal(raw, &models); err != nil {
			return fmt.Errorf("%s of the fixture: %w", method, err)
		}
		for model, records := range models {
			if out[model] == nil {
				out[model] = map[string]map[string]any{}
			}
			for _, r := range records {
				do(out[model], fmt.Sprint(r["id"]), r)
			}
		}
		return nil
	}
	return out, stdcmp.Or(
		each("batchSave", func(records map[string]map[string]any, id string, r map[string]any) { records[id] = r }),
		each("batchUpdate", func(records map[string]map[string]any, id string, r map[string]any) {
			if records[id] != nil {
				maps.Copy(records[id], r)
			}
		}),
		each("batchDelete", func(records map[string]map[string]any, id string, _ map[string]any) { delete(records, id) }),
	)
}
