package postgres

import (
	"fmt"
	"strings"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// reader implements store.Reader on a connection with an open transaction.
type reader struct{ c *conn }

// tx implements store.Tx.
type tx struct {
	reader
	clock clock.Clock
	seen  map[rowOf]int64 // the versions that were read of rows that may be written back
}

var (
	_ store.Reader = (*reader)(nil)
	_ store.Tx     = (*tx)(nil)
)

var errFinished = syncline.Errorf(syncline.CodeInternal, "the transaction was used after it ended")

func (r *reader) query(sql string, each func(r *row) error, args ...any) error {
	if r.c == nil {
		return errFinished
	}
	_, err := r.c.query(sql, each, args...)
	return err
}

// missing names a row that may not be there.
type missing struct {
	what string
	key  any
}

func (m missing) err() error {
	return syncline.Errorf(syncline.CodeNotFound, "%s %v does not exist in this environment", m.what, m.key)
}

// maybe reads one row with scan, if there is one.
func maybe[T any](r *reader, sql string, scan func(*row) T, args ...any) (v T, found bool, err error) {
	err = r.query(sql, func(row *row) error {
		v, found = scan(row), true
		return nil
	}, args...)
	return v, found && err == nil, err
}

// one reads one row with scan, or fails with not_found.
func one[T any](r *reader, m missing, sql string, scan func(*row) T, args ...any) (v T, err error) {
	v, found, err := maybe(r, sql, scan, args...)
	if err == nil && !found {
		err = m.err()
	}
	return v, err
}

// all reads every row with scan; never nil.
func all[T any](r *reader, sql string, scan func(*row) T, args ...any) ([]T, error) {
	list := []T{}
	err := r.query(sql, func(row *row) error {
		list = append(list, scan(row))
		return nil
	}, args...)
	return list, err
}

// number reads one integer; 0 when there is no row.
func (r *reader) number(sql string, args ...any) (n int64, err error) {
	n, _, err = maybe(r, sql, (*row).int64, args...)
	return n, err
}

// filter gathers the conditions of a query.
type filter struct {
	sql  strings.Builder
	args []any
}

// where begins a filter with what it selects from, whose arguments are numbered
// already.
func where(sql string, args ...any) *filter {
	f := &filter{args: args}
	f.sql.WriteString(sql)
	return f
}

// add appends SQL in which each ? stands for the next of args.
func (f *filter) add(sql string, args ...any) {
	for _, a := range args {
		f.args = append(f.args, a)
		sql = strings.Replace(sql, "?", fmt.Sprint("$", len(f.args)), 1)
	}
	f.sql.WriteString(sql)
}

// page appends the bounds of a listing.
func (f *filter) page(p store.Page) {
	f.add(` LIMIT ? OFFSET ?`, limit(p.Limit), max(p.Offset, 0))
}

func (t *tx) exec(sql string, args ...any) (changed int64, err error) {
	if t.c == nil {
		return 0, errFinished
	}
	return t.c.query(sql, nil, args...)
}

// exec1 runs a statement that must change a row, or fails with not_found.
func (t *tx) exec1(m missing, sql string, args ...any) error {
	n, err := t.exec(sql, args...)
	if err == nil && n == 0 {
		return m.err()
	}
	return err
}

// insert runs an INSERT … ON CONFLICT DO NOTHING RETURNING id; without a row
// there is one with the same key already.
func (t *tx) insert(what string, name any, sql string, args ...any) (id int64, err error) {
	id, found, err := maybe(&t.reader, sql, (*row).int64, args...)
	if err == nil && !found {
		err = conflict(what, name)
	}
	return id, err
}

// rename runs an update that may give a row a key that another one has. It does
// so behind a savepoint, so that the transaction can go on after a conflict.
func (t *tx) rename(what string, name any, m missing, sql string, args ...any) error {
	if _, err := t.exec(`SAVEPOINT rename`); err != nil {
		return err
	}
	err := t.exec1(m, sql, args...)
	if t.c.broken == nil {
		_, releaseErr := t.exec(`RELEASE SAVEPOINT rename`)
		if err == nil {
			err = releaseErr
		}
		return err
	}
	if !isUnique(err) {
		return err
	}
	t.c.broken = nil
	if _, err := t.exec(`ROLLBACK TO SAVEPOINT rename`); err != nil {
		return err
	}
	return conflict(what, name)
}

// stamp sets a time that its caller left zero.
func (t *tx) stamp(at *time.Time) {
	if at.IsZero() {
		*at = t.clock.Now()
	}
}

// The bounds of listings, see [store.Page].
const (
	defaultLimit = 100
	maxLimit     = 10_000
)

func limit(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}
