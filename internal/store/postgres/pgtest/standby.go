//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Replica is a hot standby of the server, which follows it until it is paused.
type Replica struct{ server *server }

// replica is the standby of this process. One test has it at a time.
var replica struct {
	start  sync.Once
	server *server
	err    error
	use    sync.Mutex
}

// Standby returns a hot standby of the server, which is made when it is first
// asked for. It is the test's alone until the test ends; then it runs and
// follows again.
func Standby(tb testing.TB) *Replica {
	tb.Helper()
	primary := start(tb)
	replica.start.Do(func() { replica.server, replica.err = newStandby(primary) })
	if replica.err != nil {
		tb.Fatal(replica.err)
	}
	replica.use.Lock()
	r := &Replica{server: replica.server}
	tb.Cleanup(func() {
		defer replica.use.Unlock()
		if r.server.leash == nil {
			r.Start(tb)
		}
		r.Resume(tb)
	})
	return r
}

func newStandby(primary *server) (s *server, err error) {
	s = &server{bin: primary.bin, cred: primary.cred, port: 5432}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(s.dir)
		}
	}()
	if s.cred != nil {
		if err := os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid)); err != nil {
			return nil, err
		}
	}
	s.host = s.dir
	if len(s.dir) > 80 {
		if s.host, s.port, err = freePort(); err != nil {
			return nil, err
		}
	}
	backup := s.command("pg_basebackup", "--pgdata="+s.data(), "--host="+primary.host, "--port="+strconv.Itoa(primary.port), "--username=test",
		"--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync")
	if out, err := backup.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return s, s.run()
}

// URL is the URL of the copy of a database.
func (r *Replica) URL(tb testing.TB, dsn string) string {
	tb.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	return r.server.url(u.Path[1:])
}

// Pause keeps the standby where it is: it goes on receiving, and shows nothing of it.
func (r *Replica) Pause(tb testing.TB) {
	tb.Helper()
	r.exec(tb, `SELECT pg_wal_replay_pause()`)
	r.until(tb, `SELECT pg_get_wal_replay_pause_state() = 'paused'`)
}

// Resume lets the standby follow again.
func (r *Replica) Resume(tb testing.TB) {
	tb.Helper()
	r.exec(tb, `SELECT pg_wal_replay_resume()`)
}

// CatchUp waits until the standby shows what the server had committed before.
func (r *Replica) CatchUp(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, start(tb).url("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(ctx)
	var at string
	// Commits that do not wait for the disk are not sent before they are
	// written; one that does takes them along.
	if _, err := c.Exec(ctx, `COMMENT ON DATABASE postgres IS 'caught up'`); err != nil {
		tb.Fatal(err)
	}
	if err := c.QueryRow(ctx, `SELECT pg_current_wal_flush_lsn()::text`).Scan(&at); err != nil {
		tb.Fatal(err)
	}
	r.until(tb, `SELECT pg_last_wal_replay_lsn() >= '`+at+`'::pg_lsn`)
}

// Stop ends the standby as a crash would; Start brings it back.
func (r *Replica) Stop(tb testing.TB) {
	tb.Helper()
	r.server.kill()
	r.server.leash = nil
}

// Start starts a standby that was stopped.
func (r *Replica) Start(tb testing.TB) {
	tb.Helper()
	if err := r.server.run(); err != nil {
		tb.Fatal(err)
	}
}

func (r *Replica) exec(tb testing.TB, sql string) {
	tb.Helper()
	if err := r.server.exec(sql); err != nil {
		tb.Fatal(err)
	}
}

// until waits for a condition in SQL.
func (r *Replica) until(tb testing.TB, sql string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, r.server.url("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close(ctx)
	for ok := false; !ok; time.Sleep(5 * time.Millisecond) {
		if err := c.QueryRow(ctx, sql).Scan(&ok); err != nil {
			tb.Fatal(err)
		}
	}
}
