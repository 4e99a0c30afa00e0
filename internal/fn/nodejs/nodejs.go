// Package nodejs runs functions on a Node.js that is installed beside Syncline,
// for those that need modules of Node's own, or that compute more than QuickJS
// does in reasonable time. It speaks the protocol of package worker: a process of
// Node has a supervisor, which speaks it, and a thread for each call.
//
// A process serves one environment, has no access to files, no child processes,
// no network, and nothing of the server's environment variables; a thread has a
// heap and a realm of its own. That keeps mistakes apart. It is less than QuickJS
// has, where a function can reach nothing that was not given to it: code that
// nobody trusts belongs there.
package nodejs

import (
	"context"
	_ "embed" // for the scripts
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/hostjs"
	"syncline/internal/fn/sourcemap"
	"syncline/internal/fn/worker"
)

//go:embed supervisor.js
var supervisor string

//go:embed thread.js
var thread string

// oldest is the first major version of Node.js that has what the engine needs:
// the permission model, and standard objects that functions take for granted.
const oldest = 20

// Runtime is a Node.js that can run functions.
type Runtime struct {
	Path         string // of its executable
	Version      string // "20.11.1"
	major, minor int
}

// Find finds a Node.js: at path, a file or a name that is looked up in PATH; ""
// is "node". The error is unavailable, and says what to do.
func Find(ctx context.Context, path string) (*Runtime, error) {
	if path == "" {
		path = "node"
	}
	hint := "install Node.js " + strconv.Itoa(oldest) + " or newer, or name one with --node"
	exe, err := exec.LookPath(path)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "Node.js is not there: %w", err).WithHint("%s", hint)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, exe, "--version").Output()
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "%s does not tell its version: %w", exe, err).WithHint("%s", hint)
	}
	r := &Runtime{Path: exe, Version: strings.TrimPrefix(strings.TrimSpace(string(out)), "v")}
	if _, err := fmt.Sscanf(r.Version, "%d.%d", &r.major, &r.minor); err != nil {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "%s says that it is version %.40q", exe, r.Version).WithHint("%s", hint)
	}
	if r.major < oldest {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "%s is Node.js %s; functions need %d or newer", exe, r.Version, oldest).WithHint("%s", hint)
	}
	return r, nil
}

// command is the command of a worker process. Its program is an argument, since
// it may read no file.
func (r *Runtime) command() *exec.Cmd {
	permission := "--permission"
	if r.major < 23 || r.major == 23 && r.minor < 5 {
		permission = "--experimental-permission"
	}
	return exec.CommandContext(context.Background(), r.Path, permission, "--allow-worker", "--no-warnings", "--no-deprecation", "-e", supervisor)
}

// setup is what a process is told first: the sources of its threads.
var setup = sync.OnceValue(func() []byte {
	b, err := json.Marshal(map[string]string{"host": hostjs.Host, "thread": thread})
	if err != nil {
		panic(err) // two texts
	}
	return b
})

// Runner runs the calls for the engine node, and hands those for others to Next.
type Runner struct {
	Next fn.Runner
	// Options are those of the pool of processes; Command and Setup are set here.
	Options worker.Options
	// Path is where Node.js is looked for, as of [Find].
	Path string

	mu      sync.Mutex
	runtime *Runtime
	pool    *worker.Pool
}

var _ fn.Runner = (*Runner)(nil)

// Runtime finds the Node.js; one that is found is looked for no more.
func (r *Runner) Runtime(ctx context.Context) (*Runtime, error) {
	_, runtime, err := r.start(ctx)
	return runtime, err
}

func (r *Runner) start(ctx context.Context) (*worker.Pool, *Runtime, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pool == nil {
		runtime, err := Find(ctx, r.Path)
		if err != nil {
			return nil, nil, err
		}
		o := r.Options
		o.Command, o.Setup = runtime.command, setup()
		r.runtime, r.pool = runtime, worker.NewPool(o)
	}
	return r.pool, r.runtime, nil
}

// Run executes one call. Without a Node.js calls for it fail with unavailable:
// another process may have one, or it may be installed.
func (r *Runner) Run(ctx context.Context, call fn.Call, host fn.Host) (json.RawMessage, error) {
	if call.Engine != syncline.EngineNode {
		return r.Next.Run(ctx, call, host)
	}
	pool, _, err := r.start(ctx)
	if err != nil {
		return nil, err
	}
	out, err := pool.Run(ctx, call, host)
	var script *fn.ScriptError
	if errors.As(err, &script) && script.Stack != "" {
		// A stack without a map is better than none, whatever the source is.
		if source, missing := call.Bundle(ctx); missing == nil {
			var frames sourcemap.Frames
			script.Stack = frames.MapStack(source, script.Stack)
		}
	}
	return out, err
}

// Close stops the processes and waits for them.
func (r *Runner) Close() {
	r.mu.Lock()
	pool := r.pool
	r.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
}
