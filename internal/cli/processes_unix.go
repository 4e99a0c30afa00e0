//go:build unix

package cli

import (
	"runtime"
	"syscall"
)

// childMemory is the most memory that a process which this one started, and
// which has ended, used, in bytes.
func childMemory() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_CHILDREN, &u) != nil {
		return 0
	}
	if runtime.GOOS == "darwin" { // which counts bytes, others kilobytes
		return u.Maxrss
	}
	return u.Maxrss << 10
}
