//go:build unix

// Package pgtest runs a private Postgres for tests. It needs Postgres'
// programs, found on PATH or where Debian and others install them; without them
// tests are skipped, except when CI is "true": then they fail.
//
// A package whose tests use it has
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// The server starts when a test first asks for a database. It keeps everything
// in a temporary directory, does not wait for the disk, and ends with the
// process, however that ends.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// Main runs a package's tests and then stops the servers that were started.
func Main(m *testing.M) {
	code := m.Run()
	if replica.server != nil {
		replica.server.stop()
	}
	if shared.server != nil {
		shared.server.stop()
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is the server of this process.
var shared struct {
	start  sync.Once
	server *server
	err    error

	mu        sync.Mutex
	templates map[string]*template
	databases atomic.Int64
}

type template struct {
	made sync.Once
	err  error
}

// Empty returns the URL of a new, empty database, which is dropped when the
// test ends.
func Empty(tb testing.TB) (dsn string) {
	tb.Helper()
	return start(tb).create(tb, "template0")
}

// Database returns the URL of a new database, which is dropped when the test
// ends. Its contents are those that prepare leaves in a database; prepare runs
// once for each name, and must have closed its connections when it returns.
func Database(tb testing.TB, name string, prepare func(ctx context.Context, dsn string) error) (dsn string) {
	tb.Helper()
	s := start(tb)
	shared.mu.Lock()
	if shared.templates == nil {
		shared.templates = map[string]*template{}
	}
	t := shared.templates[name]
	if t == nil {
		t = &template{}
		shared.templates[name] = t
	}
	shared.mu.Unlock()
	t.made.Do(func() {
		if t.err = s.exec(`CREATE DATABASE ` + quote("template_"+name) + ` TEMPLATE template0`); t.err == nil {
			t.err = prepare(context.Background(), s.url("template_"+name))
		}
	})
	if t.err != nil {
		tb.Fatalf("prepare the database %s: %v", name, t.err)
	}
	return s.create(tb, "template_"+name)
}

// Restart stops the server as a crash would, and starts it again on the same
// data. Tests that use it cannot run next to others.
func Restart(tb testing.TB) {
	tb.Helper()
	s := start(tb)
	s.kill()
	if err := s.run(); err != nil {
		tb.Fatal(err)
	}
}

func start(tb testing.TB) *server {
	tb.Helper()
	shared.start.Do(func() { shared.server, shared.err = newServer() })
	switch {
	case errors.Is(shared.err, errNotInstalled) && os.Getenv("CI") != "true":
		tb.Skip(shared.err)
	case shared.err != nil:
		tb.Fatal(shared.err)
	}
	return shared.server
}

var errNotInstalled = errors.New("Postgres is not installed: no initdb on PATH or in the usual places (Debian: apt-get install postgresql)")

// server is a running cluster.
type server struct {
	bin  string // where the programs are
	dir  string
	host string // a directory for sockets, or an address
	port int
	cred *syscall.Credential // whom it runs as; nil: as this process

	cmd   *exec.Cmd
	leash io.Closer // the server ends when it is closed
}

func newServer() (s *server, err error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s = &server{bin: bin, port: 5432}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(s.dir)
		}
	}()
	if os.Geteuid() == 0 {
		// Postgres refuses to run as root.
		if s.cred, err = somebody(); err != nil {
			return nil, err
		}
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	s.host = s.dir
	if len(s.dir) > 80 { // longer names of sockets are not possible
		if s.host, s.port, err = freePort(); err != nil {
			return nil, err
		}
	}
	initdb := s.command("initdb", "--pgdata="+s.data(), "--username=test", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s, nil
}

// programs finds the directory of the newest initdb.
func programs() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
		return filepath.Dir(path), nil
	}
	newest, dir := -1, ""
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"} {
		found, err := filepath.Glob(pattern + "/initdb")
		if err != nil {
			return "", err
		}
		for _, f := range found {
			d := filepath.Dir(f)
			version := filepath.Base(filepath.Dir(d))
			version = version[strings.LastIndexAny(version, "-@")+1:]
			if n, err := strconv.Atoi(version); err == nil && n > newest {
				newest, dir = n, d
			}
		}
	}
	if dir == "" {
		return "", errNotInstalled
	}
	return dir, nil
}

// somebody is a user who is not root.
func somebody() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("Postgres does not run as root, and there is no user postgres or nobody")
}

func freePort() (host string, port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", 0, err
	}
	defer l.Close()
	a := l.Addr().(*net.TCPAddr)
	return a.IP.String(), a.Port, nil
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd
}

// leashed runs a server that ends when its standard input does, which the
// system closes when this process ends.
const leashed = `exec 3<&0 </dev/null
trap '' INT TERM
"$@" 3<&- & server=$!
(read _ <&3; kill -QUIT $server) 2>/dev/null &
exec 3<&-
wait $server`

// run starts the server and waits until it answers.
func (s *server) run() error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	listen, sockets := "", s.host
	if s.host != s.dir {
		listen, sockets = s.host, ""
	}
	s.cmd = s.command("postgres", "-D", s.data(), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses="+listen, "-c", "unix_socket_directories="+sockets, "-c", "unix_socket_permissions=0777",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "shared_buffers=64MB", "-c", "max_connections=300", "-c", "log_min_messages=fatal")
	s.cmd.Args = append([]string{"sh", "-c", leashed, "sh"}, append([]string{s.cmd.Path}, s.cmd.Args[1:]...)...)
	s.cmd.Path = "/bin/sh"
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if s.leash, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ended := time.Now().Add(30 * time.Second)
	for {
		err := s.exec(`SELECT 1`)
		if err == nil {
			return nil
		}
		if time.Now().After(ended) {
			said, _ := os.ReadFile(log.Name())
			s.kill()
			return fmt.Errorf("the Postgres for tests did not start: %w\n%s", err, said)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// kill ends the server at once and waits for it.
func (s *server) kill() {
	_ = s.leash.Close()
	_ = s.cmd.Wait()
}

func (s *server) stop() {
	if s.leash != nil {
		s.kill()
	}
	_ = os.RemoveAll(s.dir)
}

func (s *server) url(database string) string {
	q := url.Values{"host": {s.host}, "port": {strconv.Itoa(s.port)}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User("test"), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

func (s *server) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, sql)
	return err
}

func (s *server) create(tb testing.TB, template string) (dsn string) {
	tb.Helper()
	name := fmt.Sprintf("test_%d", shared.databases.Add(1))
	if err := s.exec(`CREATE DATABASE ` + quote(name) + ` TEMPLATE ` + quote(template)); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.exec(`DROP DATABASE ` + quote(name) + ` WITH (FORCE)`); err != nil {
			tb.Errorf("drop the test's database: %v", err)
		}
	})
	return s.url(name)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
