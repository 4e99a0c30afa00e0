package nodejs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/nodejs"
	"syncline/internal/fn/worker"
)

var yes = host(func(string, json.RawMessage) (json.RawMessage, error) { return json.RawMessage("true"), nil })

func TestWhatReachesBeyondAFunctionIsRefused(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{})
	for in, want := range map[string]string{
		`require('fs').readFileSync('/etc/passwd')`:                                          "restricted",
		`require('fs').writeFileSync('/tmp/x', 'x')`:                                         "restricted",
		`await require('fs/promises').readdir('/')`:                                          "restricted",
		`require('child_process').execSync('id')`:                                            "has no processes",
		`new (require('node:worker_threads').Worker)('1', { eval: true })`:                   "has one thread",
		`process.getBuiltinModule('worker_threads').isMainThread()`:                          "has one thread",
		`require('module')._load('fs')`:                                                      "is in its bundle",
		`module.require('fs')`:                                                               "module is not defined",
		`require('./secrets')`:                                                               "Cannot find module './secrets'",
		`await import('node:fs')`:                                                            "dynamic import",
		`await new Function('return import("node:worker_threads")')()`:                       "dynamic import",
		`process.kill(process.ppid, 'SIGKILL')`:                                              "not its own",
		`process._kill(process.ppid, 9)`:                                                     "not its own",
		`process.exit(0)`:                                                                    "not its own",
		`process.binding('fs')`:                                                              "not its own",
		`process.dlopen({}, '/lib/x.so')`:                                                    "not its own",
		`require('v8').setFlagsFromString('--allow-natives-syntax')`:                         "does not change the engine",
		`require('net').connect(80, '127.0.0.1')`:                                            "no network of its own",
		`new (require('net').Socket)().connect('/var/run/docker.sock')`:                      "no network of its own",
		`require('net').createServer().listen(0)`:                                            "no network of its own",
		`require('tls').connect(443, '127.0.0.1')`:                                           "no network of its own",
		`require('dgram').createSocket('udp4').send('x', 53, '127.0.0.1')`:                   "no network of its own",
		`require('dns').lookup('example.com', () => {})`:                                     "no network of its own",
		`await require('dns').promises.resolve4('example.com')`:                              "no network of its own",
		`require('inspector').open(0)`:                                                       "not debugged",
		`await new Promise((_, no) => require('http2').connect('http://h').on('error', no))`: "no network of its own",
	} {
		t.Run(in, func(t *testing.T) {
			t.Parallel()
			_, err := r.Run(t.Context(), newCall(in), yes)
			var script *fn.ScriptError
			if !errors.As(err, &script) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	for in, want := range map[string]string{
		`return process.env`: `{"TZ":"UTC"}`,
		`return [typeof module, typeof __filename, typeof WebSocket]`:                                                  `["undefined","undefined","undefined"]`,
		`return require('zlib').gunzipSync(require('zlib').gzipSync('é')).toString()`:                                  `"é"`,
		`const { exec } = require('child_process'); return typeof exec`:                                                `"function"`, // packages may hold it
		`return require('node:crypto').createHmac('sha256', 'k').update('d').digest('hex').length`:                     `64`,
		`const s = require('stream').Readable.from(['a', 'b']); let t = ''; for await (const c of s) t += c; return t`: `"ab"`,
		`return (await require('util').promisify(require('zlib').deflate)('x')).length > 0`:                            `true`,
		`const t = setTimeout(() => {}, 60000); t.unref(); return typeof t.ref`:                                        `"function"`,
	} {
		if out, err := r.Run(t.Context(), newCall(in), yes); err != nil || string(out) != want {
			t.Errorf("%s: got %s, %v; want %s", in, out, err, want)
		}
	}
}

func TestThreadsAreSharedByConnectionAndBundleOnly(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{Workers: 1})
	run := func(key string) string {
		t.Helper()
		c := newCall(`globalThis.n = (globalThis.n ?? 0) + 1; Object.prototype.polluted ??= nango.connectionId; return [n, ({}).polluted]`)
		c.WarmKey, c.Context.ConnectionID = key, key
		out, err := r.Run(t.Context(), c, yes)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for i, want := range []string{`[1,"a"]`, `[2,"a"]`, `[3,"a"]`} {
		if got := run("a"); got != want {
			t.Errorf("call %d of a connection: %s, want %s", i+1, got, want)
		}
	}
	if got := run("b"); got != `[1,"b"]` {
		t.Errorf("another connection saw %s", got)
	}
	for range 3 {
		if got := run(""); got != `[1,""]` {
			t.Errorf("a fresh realm saw %s", got)
		}
	}
	// What a run left behind is not there when it failed.
	c := newCall(`globalThis.left = (globalThis.left ?? 0) + 1; if (left === 1) for (;;); return left`)
	c.WarmKey, c.Limits.CPU = "a", 200*time.Millisecond
	if _, err := r.Run(t.Context(), c, yes); fn.CutAt(err) != fn.LimitCPU {
		t.Errorf("got %v", err)
	}
	if _, err := r.Run(t.Context(), c, yes); fn.CutAt(err) != fn.LimitCPU {
		t.Errorf("the realm of a run that was cut was used again: %v", err)
	}
}

func TestTimersAndLateErrorsDoNotReachTheNextRun(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{Workers: 1})
	c := newCall(`if (input) { setTimeout(() => { throw new Error('late') }, 20); setInterval(() => { nango.log('late') }, 1); return 'first' }
		await new Promise((r) => setTimeout(r, 100)); return 'second'`)
	c.WarmKey = "a"
	first := c
	first.Input = json.RawMessage("true")
	for _, c := range []fn.Call{first, c} {
		if _, err := r.Run(t.Context(), c, yes); err != nil {
			t.Error(err)
		}
	}
	var script *fn.ScriptError
	if _, err := r.Run(t.Context(), newCall(`setTimeout(() => { throw new TypeError('in a callback') }, 1); await new Promise((r) => setTimeout(r, 5000))`), yes); !errors.As(err, &script) ||
		script.Name != "TypeError" || script.Message != "in a callback" {
		t.Errorf("got %#v", err)
	}
}

func TestARunThatFillsMemoryEndsAloneAndIsTold(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it fills memory")
	}
	for name, c := range map[string]struct{ in, want string }{
		"objects":       {`const a = []; for (;;) a.push({ a: [1, 2, 3] })`, "the run used more than its 64 MiB of memory"},
		"buffers":       {`const a = []; for (;;) a.push(Buffer.alloc(1 << 20, 1))`, "the run used more than its 64 MiB of memory"},
		"one big array": {`const a = [1]; a.length = 3e7; a.fill(1); const b = []; for (;;) b.push(a.slice())`, "the run used more than its 64 MiB of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := node(t, worker.Options{Workers: 1, Memory: 400 << 20})
			call := newCall(c.in)
			call.Limits.Memory = 64 << 20
			_, err := r.Run(t.Context(), call, yes)
			if fn.CutAt(err) != fn.LimitMemory || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
			if out, err := r.Run(t.Context(), newCall(`return 1`), yes); err != nil || string(out) != "1" {
				t.Errorf("the next run got %s, %v", out, err)
			}
		})
	}
}

func TestRunsGoOnBesideOneThatComputes(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{Workers: 1})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	computing := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		begun := host(func(string, json.RawMessage) (json.RawMessage, error) {
			close(computing)
			return json.RawMessage("{}"), nil
		})
		if _, err := r.Run(ctx, newCall(`await nango.getMetadata(); for (;;);`), begun); !errors.Is(err, why) {
			t.Errorf("the endless one ended with %v", err)
		}
	})
	<-computing
	for i := range 5 {
		if out, err := r.Run(t.Context(), newCall(fmt.Sprintf(`return %d`, i)), yes); err != nil || string(out) != fmt.Sprint(i) {
			t.Errorf("got %s, %v", out, err)
		}
	}
	cancel(why)
	all.Wait()
}

func TestAFloodOfLogsIsBounded(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{Workers: 1})
	c := newCall(`for (;;) { console.log('x'.repeat(1000)); process.stdout.write('y'); }`)
	c.Limits.CPU, c.Limits.LogLines = 500*time.Millisecond, 10
	if _, err := r.Run(t.Context(), c, yes); fn.CutAt(err) != fn.LimitCPU {
		t.Errorf("got %v", err)
	}
}

func TestStacksNameTheUsersFiles(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{})
	// One segment: column 0 of the first line is line 3, column 5 of a.ts.
	c := newCall(``)
	source := "var __syncline_fn = { default: { exec: async function theHandler(nango) { throw new Error('no') } } };\n" +
		"//# sourceMappingURL=data:application/json;base64,eyJ2ZXJzaW9uIjozLCJzb3VyY2VzIjpbImEudHMiXSwibWFwcGluZ3MiOiJBQUVLIn0=\n"
	c.BundleHash = source
	c.Bundle = func(context.Context) ([]byte, error) { return []byte(source), nil }
	_, err := r.Run(t.Context(), c, yes)
	var script *fn.ScriptError
	if !errors.As(err, &script) || !strings.Contains(script.Stack, "(a.ts:3:") {
		t.Errorf("got %#v", err)
	}
}

func TestAFunctionWithoutNodeIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fake := func(name, script string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ path, want string }{
		"none":       {filepath.Join(dir, "nowhere"), "Node.js is not there"},
		"an old one": {fake("old", "echo v18.19.0"), "is Node.js 18.19.0; functions need 20 or newer"},
		"another":    {fake("other", "echo hello"), "says that it is version"},
		"broken":     {fake("broken", "exit 3"), "does not tell its version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &nodejs.Runner{Path: c.path}
			defer r.Close()
			_, err := r.Run(t.Context(), newCall(`return 1`), yes)
			var coded *syncline.Error
			if !errors.As(err, &coded) || coded.Code != syncline.CodeUnavailable || !strings.Contains(err.Error(), c.want) || !strings.Contains(coded.Hint, "--node") {
				t.Errorf("got %v", err)
			}
		})
	}
}
