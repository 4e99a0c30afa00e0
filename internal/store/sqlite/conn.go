package sqlite

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"time"

	modernc "modernc.org/sqlite"

	"syncline"
)

// conn is one connection with its prepared statements. It speaks to the
// driver directly: database/sql's pool and conversions would cost more than
// many of the statements themselves. One goroutine uses it at a time.
type conn struct {
	path  string
	dc    driver.Conn
	stmts map[string]*stmt
	args  []driver.NamedValue // reused: the driver copies what it binds
	// check, when set, is asked before each statement: a reader whose caller
	// has gone stops there.
	check func() error
	// broken is the first error after which the transaction cannot be trusted
	// (disk full, I/O): SQLite may have rolled it back by itself.
	broken error
}

type stmt struct {
	ds     driver.Stmt
	exec   driver.StmtExecContext
	query  driver.StmtQueryContext
	inUse  bool // its rows are open: a nested use needs a statement of its own
	cached bool
}

// maxStatements bounds a connection's prepared statements. All constant ones
// fit several times over; only filters with many different tags come beyond.
const maxStatements = 512

// dsn names the file as an SQLite URI, so that no character of the path is
// taken for something else. Each pragma is "name(value)".
func dsn(path string, readOnly bool, pragmas ...string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	q := url.Values{
		"_busy_timeout": {"10000"}, // applied before anything else
		"_defensive":    {"1"},
		"_dqs":          {"0"}, // a misspelt column is an error, not a string
		"_error_rc":     {"1"},
		"_foreign_keys": {"1"},
		"_pragma":       pragmas,
	}
	if readOnly {
		q.Set("_query_only", "1")
	}
	u := url.URL{Scheme: "file", Path: abs, RawQuery: q.Encode()}
	return u.String(), nil
}

func openConn(ctx context.Context, path string, readOnly bool, pragmas ...string) (*conn, error) {
	name, err := dsn(path, readOnly, pragmas...)
	if err != nil {
		return nil, err
	}
	connector, err := modernc.NewConnector(name)
	if err != nil {
		return nil, err
	}
	dc, err := connector.Connect(ctx)
	if err != nil {
		return nil, storageError(path, err)
	}
	return &conn{path: path, dc: dc, stmts: map[string]*stmt{}}, nil
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.ds.Close())
	}
	c.stmts = nil
	return errors.Join(append(errs, c.dc.Close())...)
}

// script runs statements that must not be kept: pragmas take effect when they
// are compiled.
func (c *conn) script(sql string) error {
	_, err := c.dc.(driver.ExecerContext).ExecContext(context.Background(), sql, nil)
	return c.failed(sql, err)
}

func (c *conn) prepare(sql string) (*stmt, error) {
	if c.check != nil {
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	s, ok := c.stmts[sql]
	if ok && !s.inUse {
		return s, nil
	}
	ds, err := c.dc.Prepare(sql)
	if err != nil {
		return nil, c.failed(sql, err)
	}
	s = &stmt{ds: ds, exec: ds.(driver.StmtExecContext), query: ds.(driver.StmtQueryContext)}
	if !ok && len(c.stmts) < maxStatements {
		s.cached = true
		c.stmts[sql] = s
	}
	return s, nil
}

func (s *stmt) done() {
	s.inUse = false
	if !s.cached {
		s.ds.Close()
	}
}

// exec runs a statement and returns how many rows it changed and the last id
// that an insert made.
func (c *conn) exec(sql string, args ...any) (changed, lastID int64, err error) {
	s, err := c.prepare(sql)
	if err != nil {
		return 0, 0, err
	}
	defer s.done()
	named, err := c.bind(args)
	if err != nil {
		return 0, 0, err
	}
	res, err := s.exec.ExecContext(context.Background(), named)
	if err != nil {
		return 0, 0, c.failed(sql, err)
	}
	changed, _ = res.RowsAffected()
	lastID, _ = res.LastInsertId()
	return changed, lastID, nil
}

// errStop ends a query early without an error.
var errStop = errors.New("stop")

// query calls each for every row, and stops at its first error.
func (c *conn) query(sql string, each func(r *row) error, args ...any) error {
	s, err := c.prepare(sql)
	if err != nil {
		return err
	}
	defer s.done()
	named, err := c.bind(args)
	if err != nil {
		return err
	}
	rows, err := s.query.QueryContext(context.Background(), named)
	if err != nil {
		return c.failed(sql, err)
	}
	s.inUse = true
	defer rows.Close() // also when each panics: an open statement blocks the rollback
	r := row{v: make([]driver.Value, len(rows.Columns()))}
	for n := 1; ; n++ {
		if c.check != nil && n%256 == 0 {
			if err := c.check(); err != nil {
				return err
			}
		}
		if err := rows.Next(r.v); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return c.failed(sql, err)
		}
		r.i, r.err = 0, nil
		err := each(&r)
		if r.err != nil {
			return c.failed(sql, r.err)
		}
		if errors.Is(err, errStop) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// get calls each for the first row; found is false when there is none.
func (c *conn) get(sql string, each func(r *row) error, args ...any) (found bool, err error) {
	err = c.query(sql, func(r *row) error {
		found = true
		if err := each(r); err != nil {
			return err
		}
		return errStop
	}, args...)
	return found, err
}

// failed maps a driver error, and remembers when it breaks the transaction.
func (c *conn) failed(sql string, err error) error {
	if err == nil {
		return nil
	}
	mapped := storageError(c.path, err)
	if syncline.CodeOf(mapped) == syncline.CodeUnavailable && c.broken == nil {
		c.broken = mapped
	}
	if syncline.CodeOf(mapped) == syncline.CodeInternal {
		return fmt.Errorf("%w, in: %s", mapped, sql)
	}
	return mapped
}

// bind turns Go values into the driver's. Zero times and empty JSON become
// NULL; times are microseconds since 1970.
func (c *conn) bind(args []any) ([]driver.NamedValue, error) {
	c.args = c.args[:0]
	for i, a := range args {
		var v driver.Value
		switch a := a.(type) {
		case nil:
		case int64:
			v = a
		case int:
			v = int64(a)
		case bool:
			v = a
		case string:
			v = a
		case []byte:
			if len(a) > 0 {
				v = a
			}
		case json.RawMessage:
			if len(a) > 0 {
				v = string(a)
			}
		case time.Time:
			if !a.IsZero() {
				v = a.UnixMicro()
			}
		case jsonValue:
			b, err := json.Marshal(a.v)
			if err != nil {
				return nil, syncline.Errorf(syncline.CodeInvalid, "cannot store as JSON: %w", err)
			}
			v = string(b)
		default:
			return nil, syncline.Errorf(syncline.CodeInternal, "argument %d has type %T", i+1, a)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	return c.args, nil
}

// jsonValue is an argument that is stored as JSON text.
type jsonValue struct{ v any }
