//go:build unix

package worker_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/worker"
)

// signalled is a pool of one worker that is sent a signal when a function asks
// for the connection's metadata.
func signalled(t *testing.T, o worker.Options, s syscall.Signal) (*worker.Pool, host) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var cmd atomic.Pointer[exec.Cmd]
	o.Workers = 1
	o.Command = func() *exec.Cmd {
		c := exec.Command(exe)
		cmd.Store(c)
		return c
	}
	p := worker.NewPool(o)
	t.Cleanup(p.Close)
	return p, func(ctx context.Context, method string, _ json.RawMessage) (json.RawMessage, error) {
		if method == fn.MethodGetMetadata {
			if err := syscall.Kill(cmd.Load().Process.Pid, s); err != nil {
				t.Error(err)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return json.RawMessage("true"), nil
	}
}

func TestAWorkerThatIsKilledLosesItsRunsOnly(t *testing.T) {
	t.Parallel()
	p, h := signalled(t, worker.Options{}, syscall.SIGKILL)
	_, err := p.Run(t.Context(), newCall(`await nango.getMetadata()`), h)
	if syncline.CodeOf(err) != syncline.CodeWorkerLost || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("the run ended with %v", err)
	}
	if out, err := p.Run(t.Context(), newCall(`return 1`), h); err != nil || string(out) != "1" {
		t.Errorf("the next run got %s, %v", out, err)
	}
}

func TestAWorkerThatStopsAnsweringIsKilled(t *testing.T) {
	t.Parallel()
	p, h := signalled(t, worker.Options{Silence: 400 * time.Millisecond}, syscall.SIGSTOP)
	_, err := p.Run(t.Context(), newCall(`await nango.getMetadata()`), h)
	if syncline.CodeOf(err) != syncline.CodeWorkerLost || !strings.Contains(err.Error(), "did not answer for 400ms") {
		t.Errorf("the run ended with %v", err)
	}
	// One that only computes does answer.
	c := newCall(`const end = Date.now() + 1500; while (Date.now() < end); return 'computed'`)
	if out, err := p.Run(t.Context(), c, h); err != nil || string(out) != `"computed"` {
		t.Errorf("the next run got %s, %v", out, err)
	}
}

func TestAWorkerThatDoesNotEndItsRunIsKilled(t *testing.T) {
	t.Parallel()
	p, h := signalled(t, worker.Options{Grace: 100 * time.Millisecond}, syscall.SIGSTOP)
	c := newCall(`await nango.getMetadata()`)
	c.Limits.Wall = 300 * time.Millisecond
	_, err := p.Run(t.Context(), c, h)
	if syncline.CodeOf(err) != syncline.CodeLimit || !strings.Contains(err.Error(), "took longer than 300ms") {
		t.Errorf("the run ended with %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("moved")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	if _, err := p.Run(ctx, newCall(`await nango.getMetadata()`), h); !errors.Is(err, why) {
		t.Errorf("the canceled run ended with %v", err)
	}
}

func TestWhatIsNoWorkerIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, want string }{
		"it ends":                 {`echo no such thing >&2; exit 3`, "exit status 3: no such thing"},
		"it ends well":            {`exit 0`, "the worker process ended"},
		"it writes something":     {`echo hello, this is not a frame; cat`, "the worker sent what is no frame"},
		"it is of another build":  {`printf '\001\000\000\000\000\000\000\000\016{"protocol":9}'; cat`, "the worker speaks protocol 9"},
		"it could not be started": {``, "cannot start a worker process"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := worker.NewPool(worker.Options{Command: func() *exec.Cmd {
				if c.script == "" {
					return exec.Command("/nowhere/to/be/found")
				}
				return exec.Command("/bin/sh", "-c", c.script)
			}})
			defer p.Close()
			_, err := p.Run(t.Context(), newCall(`return 1`), yes)
			if syncline.CodeOf(err) != syncline.CodeWorkerLost || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the run ended with %v, want %q", err, c.want)
			}
		})
	}
}

func TestAWorkerGetsNothingOfTheServersEnvironment(t *testing.T) {
	t.Setenv("SYNCLINE_SECRET_KEY_DEV", "a-key-of-the-server")
	p := worker.NewPool(worker.Options{Command: func() *exec.Cmd {
		return exec.Command("/bin/sh", "-c", `export -p | while read -r line; do printf '%s ' "$line"; done >&2; exit 1`)
	}})
	defer p.Close()
	_, err := p.Run(t.Context(), newCall(`return 1`), yes)
	if err == nil || !strings.Contains(err.Error(), worker.MemoryVariable) || strings.Contains(err.Error(), "a-key-of-the-server") {
		t.Errorf("the worker's environment is %v", err)
	}
}

func TestAnIdleWorkerIsStoppedAndAnotherStarted(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan *exec.Cmd, 2)
	p := worker.NewPool(worker.Options{Workers: 1, IdleTimeout: time.Millisecond, Command: func() *exec.Cmd {
		c := exec.Command(exe)
		started <- c
		return c
	}})
	defer p.Close()
	if _, err := p.Run(t.Context(), newCall(``), yes); err != nil {
		t.Fatal(err)
	}
	first := <-started
	for running(first.Process.Pid) {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Run(t.Context(), newCall(``), yes); err != nil {
		t.Fatal(err)
	}
	if second := <-started; second.Process.Pid == first.Process.Pid {
		t.Error("the worker is the same")
	}
}

// serverThatHangs runs an endless function in a worker, prints the worker's
// process id, and waits to be killed.
func serverThatHangs() {
	os.Unsetenv(orphanVariable)
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	var cmd *exec.Cmd
	p := worker.NewPool(worker.Options{Command: func() *exec.Cmd { cmd = exec.Command(exe); return cmd }})
	h := host(func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
		fmt.Println(cmd.Process.Pid)
		return json.RawMessage("true"), nil
	})
	_, err = p.Run(context.Background(), newCall(`await nango.getMetadata(); for (;;);`), h)
	panic(err)
}

func TestAWorkerEndsWithItsServer(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	server := exec.CommandContext(t.Context(), exe)
	server.Env = append(os.Environ(), orphanVariable+"=1")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = server.Wait()
	for end := time.Now().Add(15 * time.Second); running(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the worker %d outlived its server", pid)
		}
	}
}

// running reports whether a process is there and not only waits to be reaped.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}
