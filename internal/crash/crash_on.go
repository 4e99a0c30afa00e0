//go:build crashpoints

package crash

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

const (
	AfterInboxCommit = "after-inbox-commit"
	AfterRoute       = "after-route"
	AfterRun         = "after-run"
	BeforeCommit     = "before-commit"
	AfterCommit      = "after-commit"
	AfterNotify      = "after-notify"
)

var (
	at, count = parse(os.Getenv("SYNCLINE_CRASH_AT"))
	reached   atomic.Int64
)

func parse(s string) (string, int64) {
	name, n, ok := strings.Cut(s, ":")
	if !ok {
		return name, 1
	}
	v, _ := strconv.ParseInt(n, 10, 64)
	return name, v
}

// Point kills the process the way kill -9 does when it is the point that the
// test named, reached as often as it said.
func Point(name string) {
	if name == at && reached.Add(1) == count {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
