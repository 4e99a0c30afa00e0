package cli

import (
	"context"
	"os"
	"os/exec"

	"github.com/spf13/pflag"

	"syncline/internal/fn/nodejs"
	"syncline/internal/fn/worker"
)

// workerProcesses is the command that starts a worker process of this program,
// and how much memory the largest that has ended used, in bytes (0: unknown).
func workerProcesses() (command func() *exec.Cmd, memory func() int64) {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	return func() *exec.Cmd { return exec.CommandContext(context.Background(), exe, "worker") }, childMemory
}

// newRunner runs functions in worker processes, as a server does, and those of
// the engine node on the Node.js at a path. Close both when they are not needed
// any more.
func newRunner(o worker.Options, path string) (runner *nodejs.Runner, closeBoth func()) {
	pool := worker.NewPool(o)
	runner = &nodejs.Runner{Next: pool, Options: o, Path: path}
	return runner, func() { runner.Close(); pool.Close() }
}

// bindNode adds the flag that names the Node.js.
func bindNode(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "node", "node", "Node.js, 20 or newer, for the engine node: a file, or a name that is looked up in PATH")
}
