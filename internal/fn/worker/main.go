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
// server closes them, and ends by itself when it uses too much memory. It
// returns the exit code.
func Main(ctx context.Context, in io.Reader, out io.Writer, memory string) int {
	if limit, err := strconv.ParseInt(memory, 10, 64); err == nil && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
		go watchMemory(limit)
	}
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

// watchMemory ends the process when its resident memory passes the limit.
func watchMemory(limit int64) {
	page := int64(os.Getpagesize())
	for range time.Tick(100 * time.Millisecond) {
		b, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			return // not Linux: the limits of contexts remain
		}
		fields := bytes.Fields(b)
		if len(fields) < 2 {
			return
		}
		if pages, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil && pages*page > limit {
			os.Exit(ExitMemory)
		}
	}
}
