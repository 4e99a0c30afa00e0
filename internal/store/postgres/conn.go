package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"syncline"
)

// conn is one connection for as long as one transaction. One goroutine uses it
// at a time.
type conn struct {
	pc  *pgxpool.Conn
	ctx context.Context // of its statements
	// begin are the statements that open the transaction; they travel with its
	// first statement, so that they cost no journey of their own.
	begin []string
	open  bool
	// broken is the first error of a statement: the server runs no other one of
	// the transaction after it.
	broken error
}

// errStop ends a query early without an error.
var errStop = errors.New("stop")

// query calls each for every row, and stops at its first error. each must not
// run statements. It returns how many rows the statement changed.
func (c *conn) query(sql string, each func(r *row) error, args ...any) (changed int64, err error) {
	if c.broken != nil {
		return 0, c.broken
	}
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	bound, err := bind(args)
	if err != nil {
		return 0, err
	}
	var rows pgx.Rows
	if c.open {
		rows, err = c.pc.Query(c.ctx, sql, bound...)
	} else {
		batch := &pgx.Batch{}
		for _, s := range c.begin {
			batch.Queue(s)
		}
		batch.Queue(sql, bound...)
		c.open = true
		results := c.pc.SendBatch(c.ctx, batch)
		defer func() {
			if e := results.Close(); e != nil && err == nil {
				err = c.failed(sql, e)
			}
		}()
		for range c.begin {
			if _, err := results.Exec(); err != nil {
				return 0, c.failed(sql, err)
			}
		}
		rows, err = results.Query()
	}
	if err != nil {
		if rows != nil {
			rows.Close()
		}
		return 0, c.failed(sql, err)
	}
	defer rows.Close() // also when each panics
	r := row{fields: rows.FieldDescriptions()}
	for rows.Next() {
		if each == nil {
			continue
		}
		r.v, r.i, r.err = rows.RawValues(), 0, nil
		err := each(&r)
		if r.err != nil {
			return 0, syncline.Errorf(syncline.CodeInternal, "store: %w, in: %s", r.err, sql)
		}
		if errors.Is(err, errStop) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
	}
	if err := rows.Err(); err != nil {
		return 0, c.failed(sql, err)
	}
	return rows.CommandTag().RowsAffected(), nil
}

// control runs a statement about the transaction itself, also after one failed.
func (c *conn) control(ctx context.Context, sql string) error {
	tag, err := c.pc.Exec(ctx, sql)
	if err != nil {
		return storageError(err)
	}
	if sql == "COMMIT" && tag.String() != "COMMIT" {
		return syncline.Errorf(syncline.CodeInternal, "store: the transaction ended with %s", tag)
	}
	return nil
}

// controlTime bounds what ends a transaction after its caller has left.
const controlTime = 10 * time.Second

// rollback ends the transaction without a trace. A connection on which that
// fails is not used again: the pool sees that it is not idle.
func (c *conn) rollback() {
	if !c.open {
		return
	}
	c.open = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), controlTime)
	defer cancel()
	if err := c.control(ctx, "ROLLBACK"); err != nil {
		_ = c.pc.Conn().Close(ctx)
	}
}

// failed maps a driver error, and remembers that it breaks the transaction.
func (c *conn) failed(sql string, err error) error {
	mapped := storageError(err)
	if ctxErr := c.ctx.Err(); ctxErr != nil {
		mapped = ctxErr
	}
	if syncline.CodeOf(mapped) == syncline.CodeInternal && c.ctx.Err() == nil {
		mapped = fmt.Errorf("%w, in: %s", mapped, sql)
	}
	if c.broken == nil {
		c.broken = mapped
	}
	return mapped
}

// bind turns Go values into the driver's. Zero times and empty JSON become
// NULL; texts are escaped, except keys, which are already.
func bind(args []any) ([]any, error) {
	bound := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case nil, int64, bool, []int64, [][]byte, []bool, []*time.Time:
			bound[i] = a
		case int:
			bound[i] = int64(a)
		case string:
			bound[i] = encodeText(a)
		case key:
			bound[i] = string(a)
		case []key:
			keys := make([]string, len(a))
			for j, k := range a {
				keys[j] = string(k)
			}
			bound[i] = keys
		case []string:
			texts := make([]string, len(a))
			for j, s := range a {
				texts[j] = encodeText(s)
			}
			bound[i] = texts
		case []*string:
			texts := make([]*string, len(a))
			for j, s := range a {
				if s != nil {
					encoded := encodeText(*s)
					texts[j] = &encoded
				}
			}
			bound[i] = texts
		case []byte:
			if len(a) > 0 {
				bound[i] = a
			}
		case json.RawMessage:
			if len(a) > 0 {
				bound[i] = encodeText(string(a))
			}
		case time.Time:
			if !a.IsZero() {
				bound[i] = a
			}
		case jsonValue:
			b, err := json.Marshal(a.v)
			if err != nil {
				return nil, syncline.Errorf(syncline.CodeInvalid, "cannot store as JSON: %w", err)
			}
			bound[i] = encodeText(string(b))
		default:
			return nil, syncline.Errorf(syncline.CodeInternal, "argument %d has type %T", i+1, a)
		}
	}
	return bound, nil
}

// jsonValue is an argument that is stored as JSON text.
type jsonValue struct{ v any }
