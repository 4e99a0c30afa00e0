// Package e2e drives the built binary over HTTP only, as its users do.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"syncline/e2e/harness"
	"syncline/internal/standin/github"
	"syncline/internal/store/postgres/pgtest"
)

// The binaries under test: as it is built, and with crash points.
var binary, crashing string

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "syncline-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary, crashing = filepath.Join(dir, "syncline"), filepath.Join(dir, "syncline-crashing")
	for out, tags := range map[string]string{binary: "", crashing: "crashpoints"} {
		cmd := exec.Command("go", "build", "-tags", tags, "-o", out, "syncline/cmd/syncline")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build the binary: %w\n%s", err, text)
		}
	}
	defer pgtest.Stop()
	return m.Run(), nil
}

// onEachDatabase runs a test on the embedded database and on a new one of
// Postgres, whose URL it gets; "" is the embedded one.
func onEachDatabase(t *testing.T, test func(t *testing.T, database string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, pgtest.Empty(t))
	})
}

// encryptionKey is that of servers which share a database.
const encryptionKey = "c3luY2xpbmUgZW5kLXRvLWVuZCB0ZXN0cyAzMiBieXQ="

const (
	integration = "github"
	connection  = "acme"
	secret      = "a webhook secret"
	token       = "gho_test"
	owner, name = "acme", "rockets"
)

// world is a server with its neighbours: a stand-in for GitHub and the user's
// app.
type world struct {
	t       *testing.T
	server  *harness.Server
	client  *harness.Client
	app     *harness.App
	github  *github.Server
	webhook string
	http    *http.Client
	setup   harness.Setup
}

// newWorld starts the neighbours and prepares a server with an embedded database
// that is not started.
func newWorld(t *testing.T, bin string, args ...string) *world {
	t.Helper()
	return newWorldOn(t, "", bin, args...)
}

// newWorldOn is newWorld on a Postgres database; "" is an embedded one.
func newWorldOn(t *testing.T, database, bin string, args ...string) *world {
	t.Helper()
	payloads, err := github.LoadPayloads("../internal/standin/github")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, github: github.New(github.Options{Owner: owner, Name: name, Token: token, Secret: secret, Payloads: payloads}),
		http: &http.Client{Timeout: 20 * time.Second},
	}
	upstream := httptest.NewServer(w.github)
	t.Cleanup(upstream.Close)
	t.Cleanup(upstream.CloseClientConnections)
	if w.app, err = harness.StartApp(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.app.Close)
	w.server = newServer(t, database, bin, args...)
	w.client = w.server.Client()
	t.Cleanup(w.client.HTTP.CloseIdleConnections)
	w.setup = harness.Setup{
		Integration: integration, ProxyBaseURL: upstream.URL, Secret: secret, Token: token, Repository: owner + "/" + name,
		Connection: connection, WebhookURL: w.app.URL,
	}
	return w
}

func newServer(t *testing.T, database, bin string, args ...string) *harness.Server {
	t.Helper()
	s, err := harness.NewServer(bin, t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if s.Database = database; database != "" {
		s.Env = append(s.Env, "SYNCLINE_ENCRYPTION_KEY="+encryptionKey)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the server on %s said:\n%s", s.Listen, s.Output())
		}
	})
	return s
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// start starts the server, sets everything up and deploys a project.
func (w *world) start(project string) {
	w.t.Helper()
	w.startIn(w.project(project))
}

// startIn is start with a project in a folder, deployed with further arguments.
func (w *world) startIn(dir string, args ...string) {
	w.t.Helper()
	ctx := w.context()
	_, err := w.server.Start(ctx)
	w.ok(err)
	w.ok(w.client.Prepare(ctx, w.setup))
	key, err := w.client.SigningKey(ctx)
	w.ok(err)
	w.app.SetKey(key)
	w.webhook, err = w.client.WebhookURL(ctx, integration)
	w.ok(err)
	_, err = w.server.Deploy(ctx, dir, args...)
	w.ok(err)
}

// project is a project of testdata, beside the packages of the example.
func (w *world) project(name string) string {
	w.t.Helper()
	if name == "example" {
		return "../examples/github-issues"
	}
	dir := filepath.Join(w.t.TempDir(), name)
	w.ok(os.CopyFS(dir, os.DirFS(filepath.Join("testdata", name))))
	packages, err := filepath.Abs("../examples/github-issues/node_modules")
	w.ok(err)
	w.ok(os.Symlink(packages, filepath.Join(dir, "node_modules")))
	return dir
}

// context bounds one test.
func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 90*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// send delivers a webhook that must be acknowledged.
func (w *world) send(e *github.Event) github.Answer {
	w.t.Helper()
	a, err := e.Send(w.t.Context(), w.http, w.webhook)
	w.ok(err)
	if a.Status != http.StatusOK {
		w.t.Fatalf("the webhook got %d: %s", a.Status, a.Body)
	}
	return a
}

// until reads records until they are as wanted.
func (w *world) until(model string, want func(map[string]harness.Record) bool) map[string]harness.Record {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for {
		all, err := w.client.All(ctx, integration, connection, model)
		if err == nil && want(all) {
			return all
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s: the cache has %d records, not what was wanted (%v)", model, len(all), err)
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// run waits for the newest run of a function to end.
func (w *world) run(function string) map[string]any {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 60*time.Second)
	defer cancel()
	for {
		runs, err := w.client.Runs(ctx, "limit=1&function="+function)
		w.ok(err)
		if len(runs) == 1 && runs[0]["status"] != "running" {
			return runs[0]
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("%s has not run: %v", function, runs)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func statusOf(err error) int {
	var e *harness.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}
