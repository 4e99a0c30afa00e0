//go:build unix

package worker

import (
	"os/exec"
	"syscall"
)

// ownGroup puts the worker into a process group of its own: a Ctrl-C at the
// terminal is for the server, which ends its runs in order.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func killGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
}
