package worker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// Main is the worker process: it serves standard input and output until the
// server closes them, and ends by itself when the server dies or when it uses
// more than memory, a number of bytes. It returns the exit code.
func Main(ctx context.Context, in io.Reader, out io.Writer, memory string) int {
	limit, err := strconv.ParseInt(memory, 10, 64)
	if err != nil {
		limit = 0 // none
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
	// When the machine runs out of memory, a worker goes before the server.
	// Where there is no such file there is no such choice.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	go watch(limit)
	// When the server is gone nothing that runs here matters, and JavaScript
	// may not stop by itself.
	ended := make(chan struct{})
	in = &watched{in, ended}
	go func() {
		<-ended
		time.Sleep(2 * time.Second)
		os.Exit(1)
	}()
	if err := Serve(ctx, in, out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// watched tells when a reader ends.
type watched struct {
	io.Reader
	ended chan struct{}
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if err != nil && w.ended != nil {
		close(w.ended)
		w.ended = nil
	}
	return n, err
}

// watch ends the process when its resident memory passes the limit, or when its
// parent is gone. (A death signal from the kernel would come when the thread
// ends that started the process, not the server; and the end of standard input
// does not come while somebody else holds the pipe.)
func watch(limit int64) {
	parent := os.Getppid()
	for range time.Tick(100 * time.Millisecond) {
		if os.Getppid() != parent {
			os.Exit(1)
		}
		if limit > 0 && resident() > limit {
			os.Exit(ExitMemory)
		}
	}
}

// resident is how much memory the process has in bytes; 0 where that cannot be
// told (not on Linux): there the limits of contexts remain.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
