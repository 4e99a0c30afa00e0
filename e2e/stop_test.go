package e2e

import (
	"context"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"syncline/e2e/harness"
)

func TestAStoppedServerDrainsAndGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary)
		w.github.Create("one")
		w.start("example")
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 1 })
		e := w.github.Edit(1, "just before the stop")
		w.send(e)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		w.ok(w.server.Stop(ctx))
		if _, err := http.Get(w.server.URL + "/healthz"); err == nil {
			t.Error("the server still answers")
		}
		_, err := w.server.Start(ctx)
		w.ok(err)
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return all[id(e)].Fields["title"] == "just before the stop" })
		w.ok(w.client.Quiet(ctx))
	})
}

func TestASlowPollIsReleasedAtTheStopAndRunAgain(t *testing.T) {
	t.Parallel()
	onEachDatabase(t, func(t *testing.T, database string) {
		w := newWorldOn(t, database, binary, "--shutdown-timeout", "1s")
		w.github.Create("one")
		gate := w.github.Hold(1)
		w.start("example")
		<-gate.Reached()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		w.ok(w.server.Stop(ctx))
		gate.Release()
		_, err := w.server.Start(ctx)
		w.ok(err)
		w.until("GithubIssue", func(all map[string]harness.Record) bool { return len(all) == 1 })
	})
}

func TestASecondStartOnTheSameDataIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, binary)
	_, err := w.server.Start(w.context())
	w.ok(err)
	out, err := exec.CommandContext(t.Context(), binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", w.server.DataDir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is in use by process") || !strings.Contains(string(out), "--data-dir") {
		t.Errorf("the second start: %v\n%s", err, out)
	}
}
