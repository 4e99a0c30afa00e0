package main

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	modernc "modernc.org/sqlite"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store/sqlite"
)

type sqliteEngine struct {
	dir string
	n   int // databases made
}

func (e *sqliteEngine) name() string { return "sqlite" }

func (e *sqliteEngine) settings() string {
	return "journal_mode=WAL synchronous=FULL, both sides"
}

func (e *sqliteEngine) start(_ context.Context, dir string) error {
	e.dir = filepath.Join(dir, "sqlite")
	return os.Mkdir(e.dir, 0o700)
}

func (e *sqliteEngine) stop() error { return os.RemoveAll(e.dir) }

// newFile names a file in a directory of its own, and what removes it.
func (e *sqliteEngine) newFile() (path string, cleanup func() error, err error) {
	e.n++
	dir := filepath.Join(e.dir, fmt.Sprint(e.n))
	return filepath.Join(dir, "store.db"), func() error { return os.RemoveAll(dir) }, os.Mkdir(dir, 0o700)
}

func (e *sqliteEngine) openOurs(ctx context.Context) (side, error) {
	path, cleanup, err := e.newFile()
	if err != nil {
		return nil, err
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return nil, errors.Join(err, cleanup())
	}
	return newOurs(ctx, s, cleanup)
}

func (e *sqliteEngine) openFloor(ctx context.Context) (_ side, err error) {
	path, cleanup, err := e.newFile()
	if err != nil {
		return nil, err
	}
	f := &sqliteFloor{cleanup: cleanup, sql: statements("sqlite.sql"), stmts: map[string]driver.Stmt{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	s, err := sqlite.Open(ctx, path, sqlite.Options{}) // makes the tables
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	// The settings are those of internal/store/sqlite (writer.go, reader.go).
	f.w, err = openSQLite(ctx, path, "journal_mode(WAL)", "synchronous(FULL)", "cache_size(-32768)", "mmap_size(0)", "temp_store(MEMORY)",
		"wal_autocheckpoint(2000)", "journal_size_limit(67108864)")
	if err != nil {
		return nil, err
	}
	if f.r, err = openSQLite(ctx, path, "query_only(1)", "cache_size(-8192)", "mmap_size(0)", "temp_store(MEMORY)"); err != nil {
		return nil, err
	}
	var columns []string
	err = f.each(ctx, f.r, f.sql["columns"], nil, func(v []driver.Value) { columns = append(columns, fmt.Sprint(v[0])) })
	f.seqColumn = slices.Index(columns, "seq")
	f.sql["read"] = strings.Replace(f.sql["read"], "{columns}", strings.Join(columns, ", "), 1)
	return f, err
}

func openSQLite(ctx context.Context, path string, pragmas ...string) (driver.Conn, error) {
	u := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{"_busy_timeout": {"10000"}, "_foreign_keys": {"1"}, "_pragma": pragmas}.Encode()}
	c, err := modernc.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	return c.Connect(ctx)
}

// sqliteFloor speaks to the driver without database/sql, as the store does:
// that is faster.
type sqliteFloor struct {
	w, r      driver.Conn
	cleanup   func() error
	sql       map[string]string
	stmts     map[string]driver.Stmt
	args      []driver.NamedValue
	seq       int64
	seqColumn int
}

func (f *sqliteFloor) isFloor() bool { return true }

func (f *sqliteFloor) close() (err error) {
	for _, s := range f.stmts {
		err = errors.Join(err, s.Close())
	}
	for _, c := range []driver.Conn{f.r, f.w} {
		if c != nil {
			err = errors.Join(err, c.Close())
		}
	}
	return errors.Join(err, f.cleanup())
}

func (f *sqliteFloor) prepare(c driver.Conn, sql string) (driver.Stmt, error) {
	if s, ok := f.stmts[sql]; ok {
		return s, nil
	}
	s, err := c.Prepare(sql)
	if err == nil {
		f.stmts[sql] = s
	}
	return s, err
}

func (f *sqliteFloor) bind(args ...any) {
	for _, a := range args {
		f.args = append(f.args, driver.NamedValue{Ordinal: len(f.args) + 1, Value: a})
	}
}

// exec runs a statement with what was bound.
func (f *sqliteFloor) exec(ctx context.Context, sql string) error {
	defer func() { f.args = f.args[:0] }()
	s, err := f.prepare(f.w, sql)
	if err != nil {
		return err
	}
	_, err = s.(driver.StmtExecContext).ExecContext(ctx, f.args)
	return err
}

// floorRows is how many rows one statement of the floor has. One is a tenth slower, more are not
// faster: each row costs its bindings, whatever statement they are in.
const floorRows = 100

func (f *sqliteFloor) write(ctx context.Context, w work) error {
	if err := f.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	name, action := "save", syncline.ActionUpdated
	if w.isNew {
		name, action = "insert", syncline.ActionAdded
	}
	for rows := w.rows; len(rows) > 0; {
		if w.op == records.OpDelete {
			f.seq++
			f.bind(f.seq, now, now, string(syncline.ActionDeleted), floorEnv, floorCollection, rows[0].id)
			rows = rows[1:]
			if err := f.exec(ctx, f.sql["delete"]); err != nil {
				return err
			}
			continue
		}
		n := min(floorRows, len(rows))
		for i := range rows[:n] {
			f.seq++
			f.bind(floorEnv, floorCollection, rows[i].id, f.seq, rows[i].hash, rows[i].payload, now, now, nil, nil, string(action), floorRun, int64(0), int64(0), floorRun, int64(0))
		}
		rows = rows[n:]
		if err := f.exec(ctx, f.many(name, n)); err != nil {
			return err
		}
	}
	return f.exec(ctx, "COMMIT")
}

// many is a statement for n rows.
func (f *sqliteFloor) many(name string, n int) string {
	key := fmt.Sprint(name, n)
	if f.sql[key] == "" {
		row := f.sql["row"]
		f.sql[key] = strings.Replace(f.sql[name], "{row}", row+strings.Repeat(", "+row, n-1), 1)
	}
	return f.sql[key]
}

func (f *sqliteFloor) each(ctx context.Context, c driver.Conn, sql string, args []driver.NamedValue, fn func([]driver.Value)) (err error) {
	s, err := f.prepare(c, sql)
	if err != nil {
		return err
	}
	rows, err := s.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	v := make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		fn(v)
	}
}

func (f *sqliteFloor) read(ctx context.Context, after int64, limit int) (n int, last int64, err error) {
	args := []driver.NamedValue{{Ordinal: 1, Value: floorEnv}, {Ordinal: 2, Value: floorCollection}, {Ordinal: 3, Value: after}, {Ordinal: 4, Value: int64(limit)}}
	err = f.each(ctx, f.r, f.sql["read"], args, func(v []driver.Value) {
		n++
		last, _ = v[f.seqColumn].(int64)
	})
	return n, last, err
}

func (f *sqliteFloor) warm(ctx context.Context) error { return readAll(ctx, f) }
