package node

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"syncline"
)

// lockDataDir makes the data directory and takes it for this process. The lock
// goes with the process, however it ends.
func lockDataDir(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "cannot make the data directory: %w", err).
			WithHint("choose another with --data-dir")
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeUnavailable, "cannot open the lock of the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, syncline.Errorf(syncline.CodeUnavailable, "cannot lock the data directory %s: %w", dir, err)
		}
		holder := "another process"
		if pid, _ := io.ReadAll(f); len(pid) > 0 {
			holder = "process " + strings.TrimSpace(string(pid))
		}
		return nil, syncline.Errorf(syncline.CodeConflict, "the data directory %s is in use by %s", dir, holder).
			WithHint("stop it, or choose another directory with --data-dir")
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid())
	}
	return func() { f.Close() }, nil
}
