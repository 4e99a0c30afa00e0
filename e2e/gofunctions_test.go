package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"syncline/e2e/harness"
	"syncline/internal/store/postgres/pgtest"
)

// goBinary is the example's binary with its own functions in Go.
var goBinary = sync.OnceValues(func() (string, error) { return buildExample(binary + "-go") })

func buildExample(out string, ldflags ...string) (string, error) {
	cmd := exec.Command("go", "build", "-ldflags", strings.Join(ldflags, " "), "-o", out, ".")
	cmd.Dir = "../examples/go-functions"
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", cmd.Dir, err, text)
	}
	return out, nil
}

// startGo starts a server that has its functions compiled in, and sets
// everything up: the functions are deployed once their integration is there.
func (w *world) startGo() {
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
}

func TestFunctionsInGoKeepTheCacheFresh(t *testing.T) {
	t.Parallel()
	bin, err := goBinary()
	if err != nil {
		t.Fatal(err)
	}
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, bin)
		for range 70 {
			w.github.Create("an issue")
		}
		w.startGo()
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 70 })

		edited, deleted := w.github.Edit(7, "Edited"), w.github.Delete(8)
		w.send(edited)
		w.send(deleted)
		w.until("GithubIssue", func(all map[string]harness.Record) bool {
			return all[id(edited)].Fields["title"] == "Edited" && all[id(deleted)].Deleted
		})

		// A webhook that lands during a slow poll is not clobbered.
		w.run("issues&kind=poll")
		w.github.Edit(3, "Stale")
		gate := w.github.Hold(1)
		w.ok(w.client.Trigger(w.context(), integration, connection, "issues"))
		<-gate.Reached()
		fresh := w.github.Edit(3, "Fresh")
		w.send(fresh)
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(fresh)].Fields["title"] == "Fresh" })
		gate.Release()
		if run := w.run("issues&kind=poll"); run["status"] != "success" {
			t.Errorf("the slow poll is %v", run)
		}
		all, err := w.client.All(w.context(), integration, connection, "GithubIssue")
		w.ok(err)
		if all[id(fresh)].Fields["title"] != "Fresh" {
			t.Errorf("the poll put back %v", all[id(fresh)].Fields["title"])
		}

		// Functions in TypeScript go on beside them, run by the same binary as a
		// worker; a name that is compiled in is refused.
		_, err = w.server.Deploy(w.context(), w.project("webhooks"), "--allow-destructive")
		w.ok(err)
		again := w.github.Edit(9, "Both")
		w.send(again)
		w.until("Item", func(all map[string]harness.Record) bool { return all[id(again)].Fields["title"] == "Both" })
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(again)].Fields["title"] == "Both" })
		if out, err := w.server.Deploy(w.context(), w.project("example")); err == nil || !strings.Contains(out, "compiled into the server") {
			t.Errorf("deploying over a function in Go: %v\n%s", err, out)
		}
		w.ok(w.client.Quiet(w.context()))

		// The next start finds nothing to change.
		w.ok(w.server.Stop(w.context()))
		_, err = w.server.Start(w.context())
		w.ok(err)
		if out := w.server.Output(); !strings.Contains(out, "dev: unchanged sync github/issues (version 1)") {
			t.Errorf("the second start said:\n%s", out)
		}
	})
}

// Two builds on one database: what the older one takes it leaves to the newer
// one, and it takes over when that is gone.
func TestAProcessOfAnotherBuildLeavesItsWork(t *testing.T) {
	t.Parallel()
	older, err := goBinary()
	if err != nil {
		t.Fatal(err)
	}
	newer, err := buildExample(filepath.Join(t.TempDir(), "newer"), "-X", "main.unused=newer", "-s")
	if err != nil {
		t.Fatal(err)
	}
	database := pgtest.Empty(t)
	w := newWorldOn(t, database, older)
	first := w.github.Create("one")
	w.startGo()
	w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 1 })

	second := newServer(t, database, newer)
	ctx := w.context()
	_, err = second.Start(ctx)
	w.ok(err)
	if out := second.Output(); !strings.Contains(out, "updated sync github/issues (version 1 → 2)") {
		t.Errorf("the newer build said:\n%s", out)
	}
	for n := range 20 {
		e := w.github.Edit(1, strings.Repeat("x", n+1))
		w.send(e)
	}
	w.until("GithubIssue", func(all map[string]harness.Record) bool {
		return all[id(first)].Fields["title"] == strings.Repeat("x", 20)
	})
	w.ok(w.client.Trigger(ctx, integration, connection, "issues"))
	w.ok(w.client.Quiet(ctx))
	runs, err := w.client.Runs(ctx, "limit=100&function=issues")
	w.ok(err)
	for _, r := range runs {
		if r["status"] != "success" && r["status"] != "running" {
			t.Errorf("a run is %v: %v", r["status"], r["error"])
		}
	}

	// Back to the older build, without a restart of its process.
	w.ok(second.Stop(ctx))
	last := w.github.Edit(1, "after going back")
	w.send(last)
	w.until("GithubIssue", func(all map[string]harness.Record) bool {
		return all[id(first)].Fields["title"] == "after going back"
	})
	if out := w.server.Output(); !strings.Contains(out, "updated sync github/issues (version 2 → 3)") {
		t.Errorf("the older build said:\n%s", out)
	}
}

// TestTheCommandsOfTheGoExampleWork runs what its README says to do against the
// server.
func TestTheCommandsOfTheGoExampleWork(t *testing.T) {
	t.Parallel()
	bin, err := goBinary()
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, bin)
	_, err = w.server.Start(w.context())
	w.ok(err)
	if out := w.server.Output(); !strings.Contains(out, `dev: waiting sync github/issues: there is no integration "github" yet`) {
		t.Errorf("the server said:\n%s", out)
	}
	text, err := os.ReadFile("../examples/go-functions/README.md")
	w.ok(err)
	ran := 0
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(m[1], "curl") {
			continue
		}
		ran++
		script := strings.NewReplacer("my-own-secret-key", harness.Key, "localhost:3003", w.server.Listen).Replace(m[1])
		cmd := exec.CommandContext(w.context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), "GITHUB_TOKEN=gho_test")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s\n%v\n%s", script, err, out)
		}
	}
	if ran != 1 {
		t.Errorf("%d blocks were run", ran)
	}
	w.ok(w.server.Stop(w.context()))
}
