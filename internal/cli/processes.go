package cli

import (
	"context"
	"os"
	"os/exec"
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
