package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// clusterSettings are what differs from Postgres' defaults, and fsync, which
// does not: what is measured waits for the disk. The log may grow to 4 GB
// between checkpoints, so that these do not fall on one side only.
var clusterSettings = []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB"}

// cluster is a private Postgres in a directory. It is like that of package
// pgtest, which is for tests and does not wait for the disk.
type cluster struct {
	bin, dir string
	cred     *syscall.Credential // whom it runs as; nil: as this process
	cmd      *exec.Cmd
	leash    io.Closer // the server ends when it is closed
}

// leashed runs a server that ends when its standard input does, which the
// system closes when this process ends.
const leashed = `exec 3<&0 </dev/null
trap '' INT TERM
"$@" 3<&- & server=$!
(read _ <&3; kill -INT $server) 2>/dev/null &
exec 3<&-
wait $server`

func startCluster(ctx context.Context, parent string) (c *cluster, err error) {
	c = &cluster{dir: filepath.Join(parent, "pg")}
	if len(c.dir) > 80 { // longer names of sockets are not possible
		return nil, fmt.Errorf("the directory's name %s is too long for Postgres' sockets; choose another with -dir", c.dir)
	}
	if c.bin, err = postgresPrograms(); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 { // Postgres refuses to run as root
		if c.cred, err = somebody(); err != nil {
			return nil, err
		}
		if err := os.Chmod(parent, 0o711); err != nil { //nolint:gosec // others may pass through
			return nil, err
		}
		if err := os.Chown(c.dir, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return nil, err
		}
	}
	initdb := c.command(ctx, "initdb", "--pgdata="+c.dir+"/data", "--username=bench", "--auth=trust", "--encoding=UTF8", "--locale=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return c, c.run(ctx)
}

// postgresPrograms finds the directory of the newest initdb.
func postgresPrograms() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return "", err
		}
		return filepath.Dir(path), nil
	}
	newest, dir := -1, ""
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin"} {
		found, _ := filepath.Glob(pattern + "/initdb") // the patterns are good
		for _, f := range found {
			d := filepath.Dir(f)
			version := filepath.Base(filepath.Dir(d))
			if strings.HasPrefix(filepath.Base(d), "pgsql-") {
				version = filepath.Base(d)
			}
			version = version[strings.LastIndexAny(version, "-@")+1:]
			if n, err := strconv.Atoi(version); err == nil && n > newest {
				newest, dir = n, d
			}
		}
	}
	if dir == "" {
		return "", errors.New("Postgres is not installed: no initdb on PATH or in the usual places (Debian: apt-get install postgresql); -store sqlite does without")
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

func (c *cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
	return cmd
}

// run starts the server and waits until it answers.
func (c *cluster) run(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{"-D", c.dir + "/data", "-c", "listen_addresses=", "-c", "unix_socket_directories=" + c.dir, "-c", "unix_socket_permissions=0777"}
	for _, s := range clusterSettings {
		args = append(args, "-c", s)
	}
	c.cmd = c.command(context.WithoutCancel(ctx), "postgres", args...)
	c.cmd.Args = append([]string{"sh", "-c", leashed, "sh"}, append([]string{c.cmd.Path}, c.cmd.Args[1:]...)...)
	c.cmd.Path = "/bin/sh"
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if c.leash, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); ; {
		err := c.exec(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			said, _ := os.ReadFile(log.Name())
			return errors.Join(fmt.Errorf("Postgres did not start: %w\n%s", err, said), c.stop())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *cluster) stop() error {
	_ = c.leash.Close()
	_ = c.cmd.Wait()
	return os.RemoveAll(c.dir)
}

func (c *cluster) url(database string) string {
	q := url.Values{"host": {c.dir}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User("bench"), Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

func (c *cluster) exec(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.url("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
