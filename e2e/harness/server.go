// Package harness runs the built binary the way a user does, for the demo, the
// end-to-end tests and the benchmarks: it starts and stops the server, speaks
// its HTTP API, and plays the user's app that receives notifications. It uses
// nothing of the product but its binary.
package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Key is the API key of the environment dev of every server that is started
// here.
const Key = "sk_dev_harness_0123456789abcdef"

// Server is a server process and its data directory, over several starts.
type Server struct {
	Binary  string
	DataDir string
	Listen  string   // host:port, kept over restarts
	Args    []string // further flags
	Env     []string // further variables
	// Database is the URL of a Postgres database; "" for the embedded one.
	Database string
	URL      string

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	status error
	output lockedBuffer
}

// lockedBuffer keeps what a process writes.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// NewServer prepares a server on a free port. Private networks are allowed:
// everything it talks to is on this machine.
func NewServer(binary, dataDir string, args ...string) (*Server, error) {
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	address := l.Addr().String()
	return &Server{Binary: binary, DataDir: dataDir, Listen: address, URL: "http://" + address, Args: append([]string{"--allow-private-networks"}, args...)}, nil
}

// Start starts the server and waits until it is ready. It returns how long
// that took.
func (s *Server) Start(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	cmd := exec.CommandContext(context.Background(), s.Binary, append([]string{"serve", "--listen", s.Listen, "--data-dir", s.DataDir}, s.Args...)...)
	cmd.Env = append(append(os.Environ(), "SYNCLINE_SECRET_KEY_DEV="+Key, "DATABASE_URL=", "SYNCLINE_DATABASE_URL="+s.Database), s.Env...)
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.status = err
		s.mu.Unlock()
		close(exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/readyz", nil)
		if err != nil {
			return 0, err
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return time.Since(began), nil
			}
		}
		select {
		case <-exited:
			return 0, fmt.Errorf("the server ended: %w\n%s", s.Status(), s.Output())
		case <-ctx.Done():
			return 0, fmt.Errorf("the server is not ready: %w\n%s", ctx.Err(), s.Output())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// Output is everything that the processes wrote.
func (s *Server) Output() string { return s.output.String() }

// Status is how the newest process ended; nil is success.
func (s *Server) Status() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Exited is closed when the newest process has ended.
func (s *Server) Exited() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exited
}

// Kill ends the server as kill -9 does and waits until it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill() // it may have ended by itself
	<-exited
}

// Stop asks the server to stop, as an init system does, and waits until it
// has.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-exited:
		return s.Status()
	case <-ctx.Done():
		s.Kill()
		return fmt.Errorf("the server did not stop: %w\n%s", ctx.Err(), s.Output())
	}
}

// Deploy deploys a project with the binary's own command and returns what it
// printed.
func (s *Server) Deploy(ctx context.Context, project string, args ...string) (string, error) {
	return s.Command(ctx, "deploy", append([]string{project}, args...)...)
}

// Command runs one of the binary's commands against the server and returns what
// it printed.
func (s *Server) Command(ctx context.Context, command string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.Binary, append(append([]string{command}, args...), "--server", s.URL, "--key", Key)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("syncline %s %s: %w\n%s", command, strings.Join(args, " "), err, out.String())
	}
	return out.String(), err
}
