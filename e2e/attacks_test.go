package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline/e2e/harness"
)

// What is computed on few processors by many at once may come to its limit of time
// before another.
const orTime = "|the run computed for longer than 2s"

// attacks are functions that harm, and what their runs say of it: one of the texts
// between bars.
var attacks = []struct{ name, exec, want string }{
	{"endless-loop", `for (;;);`, "the run computed for longer than 2s"},
	{"endless-loop-that-catches", `for (;;) { try { for (;;); } catch {} }`, "the run computed for longer than 2s"},
	{"catastrophic-expression", `/^(a+)+$/.test('a'.repeat(40) + 'b');`, "the run computed for longer than 2s"},
	{"arrays", `const all: unknown[] = []; for (;;) all.push(new Array(1000).fill({ a: 1 }));`, "the run used more than its 64 MiB of memory" + orTime},
	{"strings", `const all: string[] = []; for (let i = 0; ; i++) all.push(JSON.parse(JSON.stringify('x'.repeat(1 << 18) + i)));`, "the run used more than its 64 MiB of memory" + orTime},
	{"recursion", `const f = (): number => f() + 1; f();`, "stack"},
	{"microtasks", `const f = (): Promise<void> => Promise.resolve().then(f); await f();`, "the run computed for longer than 2s"},
	{"logs", `for (let i = 0; i < 1e9; i++) console.log('line', i, 'x'.repeat(200));`, "the run computed for longer than 2s"},
	{"host-calls", `for (;;) await nango.getMetadata();`, "the run made more than 2000 host calls" + orTime},
	{"host-calls-at-once", `for (;;) void nango.getMetadata();`, "the run made more than 2000 host calls" + orTime},
	{"big-response", `const r = await nango.get({ endpoint: '/big' }); await nango.log(String(r.data.length));`, "the run used more than its 64 MiB of memory" + orTime},
	{"kill", `(globalThis as any).process.kill((globalThis as any).process.ppid, 9);`, "not a function|not possible in a function"},
	{"exit", `(globalThis as any).process.exit(0);`, "not a function|not possible in a function"},
	{"files", `await nango.log((globalThis as any).require('fs').readFileSync('/etc/passwd', 'utf8'));`, "not a function|restricted"},
	{"processes", `(globalThis as any).require('child_process').execSync('id');`, "not a function|not possible in a function"},
}

// writeAttacks adds the attacks to a project.
func (w *world) writeAttacks(dir string) {
	w.t.Helper()
	index := "import './github/syncs/events.js';\n"
	write := func(name, exec string) {
		index += fmt.Sprintf("import './github/syncs/%s.js';\n", name)
		w.ok(os.WriteFile(filepath.Join(dir, "github/syncs", name+".ts"), []byte(fmt.Sprintf(`import { createSync } from 'nango';
import * as z from 'zod';

export default createSync({
    description: 'A sync that attacks: %s',
    frequency: 'every day',
    autoStart: false,
    models: { Thing: z.object({ id: z.string() }) },
    exec: async (nango) => {
        %s
    }
});
`, name, exec)), 0o600))
	}
	for _, a := range attacks {
		write(a.name, a.exec)
	}
	write("pollutes", `(Object.prototype as any).polluted = 'yes'; (Array.prototype as any).push = () => 0; (globalThis as any).left = 'yes'; (globalThis as any).JSON.parse = () => ({});`)
	write("is-polluted", `if (({} as any).polluted || (globalThis as any).left || JSON.parse('[1]').length !== 1) throw new Error('another run left something behind');`)
	w.ok(os.WriteFile(filepath.Join(dir, "index.ts"), []byte(index), 0o600))
}

// Whatever functions do, the server stays, their runs say what they did, and
// the lanes of others go on.
func TestAttacksEndAloneAndLanesGoOn(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"quickjs", "node"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			if engine == "node" {
				if _, err := exec.LookPath("node"); err != nil {
					t.Skip("there is no Node.js here: ", err)
				}
			}
			w := newWorld(t, binary, "--run-cpu-limit", "2s", "--run-memory-limit", "64MiB", "--poll-wall-limit", "30s", "--run-host-calls-limit", "2000", "--run-log-limit", "1000")
			w.github.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != "/big" {
					return false
				}
				rw.Header().Set("Content-Type", "application/json")
				part := []byte(strings.Repeat("x", 1<<20))
				_, _ = rw.Write([]byte(`"`))
				for range 95 { // within the limit of 100 MiB
					if _, err := rw.Write(part); err != nil {
						break
					}
				}
				_, _ = rw.Write([]byte(`"`))
				return true
			})
			dir := w.project("webhooks")
			w.writeAttacks(dir)
			w.startIn(dir, "--engine", engine)

			// While they run, webhooks are handled, one after another.
			var done sync.WaitGroup
			ended := make(chan struct{})
			var latencies []time.Duration
			done.Go(func() {
				for {
					select {
					case <-ended:
						return
					default:
					}
					e := w.github.Create(fmt.Sprint("during ", len(latencies)))
					began := time.Now()
					w.send(e)
					w.until("Item", func(all map[string]harness.Record) bool { _, there := all[id(e)]; return there })
					latencies = append(latencies, time.Since(began))
				}
			})
			var runs sync.WaitGroup
			for _, a := range attacks {
				runs.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 80*time.Second)
					defer cancel()
					if err := w.client.Trigger(ctx, integration, connection, a.name); err != nil {
						t.Errorf("%s: %v", a.name, err)
						return
					}
					run := w.run(a.name)
					text := fmt.Sprint(run["error"])
					if run["status"] != "failed" || !slices.ContainsFunc(strings.Split(a.want, "|"), func(want string) bool { return strings.Contains(text, want) }) {
						t.Errorf("%s: the run is %v: %s; want failed with %q", a.name, run["status"], text, a.want)
					}
					t.Logf("%s: %s", a.name, text)
				})
			}
			runs.Wait()
			close(ended)
			done.Wait()
			slices.Sort(latencies)
			if len(latencies) < 3 {
				t.Errorf("%d webhooks were handled meanwhile", len(latencies))
			} else {
				t.Logf("%d webhooks were handled meanwhile; from sent to readable: half within %s, all within %s", len(latencies), latencies[len(latencies)/2], latencies[len(latencies)-1])
			}
			for _, name := range []string{"pollutes", "is-polluted"} {
				w.ok(w.client.Trigger(w.context(), integration, connection, name))
				if run := w.run(name); run["status"] != "success" {
					t.Errorf("%s: the run is %v: %v", name, run["status"], run["error"])
				}
			}
		})
	}
}

// A function that needs Node's own modules is deployed for Node by itself; where
// there is none the deployment is refused and says what to do.
func TestAFunctionThatNeedsNodeRunsThere(t *testing.T) {
	t.Parallel()
	const source = `import { createAction } from 'nango';
import * as z from 'zod';
import { gunzipSync, gzipSync } from 'node:zlib';

export default createAction({
    description: 'Packs and unpacks',
    input: z.string(),
    output: z.string(),
    exec: async (nango, input) => gunzipSync(gzipSync(input)).toString() + ' on ' + (process.versions.node ? 'node' : 'another')
});
`
	write := func(w *world) string {
		dir := w.project("webhooks")
		w.ok(os.MkdirAll(filepath.Join(dir, "github/actions"), 0o700))
		w.ok(os.WriteFile(filepath.Join(dir, "github/actions/pack.ts"), []byte(source), 0o600))
		w.ok(os.WriteFile(filepath.Join(dir, "index.ts"), []byte("import './github/syncs/events.js';\nimport './github/actions/pack.js';\n"), 0o600))
		return dir
	}
	t.Run("with Node.js", func(t *testing.T) {
		t.Parallel()
		if _, err := exec.LookPath("node"); err != nil {
			t.Skip("there is no Node.js here: ", err)
		}
		w := newWorld(t, binary)
		w.startIn(write(w))
		var out string
		w.ok(w.trigger("pack", "é", &out))
		if out != "é on node" {
			t.Errorf("the action returned %q", out)
		}
	})
	t.Run("without", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, binary, "--node", filepath.Join(t.TempDir(), "node"))
		w.startIn(w.project("webhooks"))
		out, err := w.server.Deploy(w.context(), write(w))
		if err == nil || !strings.Contains(err.Error()+out, "Node.js is not there") || !strings.Contains(err.Error()+out, "--node") {
			t.Errorf("the deployment said %s, %v", out, err)
		}
	})
}
