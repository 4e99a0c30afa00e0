package sqlite

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"

	"syncline"
)

// row reads the columns of one row from left to right. The first mismatch is
// kept in err, so that a scan can be one composite literal: Go evaluates its
// calls in order.
type row struct {
	v   []driver.Value
	i   int
	err error
}

func (r *row) next() driver.Value {
	if r.i >= len(r.v) {
		if r.err == nil {
			r.err = fmt.Errorf("the query has %d columns, more were read", len(r.v))
		}
		return nil
	}
	r.i++
	return r.v[r.i-1]
}

func (r *row) mismatch(v driver.Value, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("column %d is %T, want %s", r.i, v, want)
	}
}

// int64 reads an integer; NULL is 0.
func (r *row) int64() int64 {
	switch v := r.next().(type) {
	case nil:
		return 0
	case int64:
		return v
	default:
		r.mismatch(v, "an integer")
		return 0
	}
}

func (r *row) int() int   { return int(r.int64()) }
func (r *row) bool() bool { return r.int64() != 0 }

// text reads a string; NULL is "".
func (r *row) text() string {
	switch v := r.next().(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	default:
		r.mismatch(v, "text")
		return ""
	}
}

// bytes reads a blob; NULL and empty are nil.
func (r *row) bytes() []byte {
	switch v := r.next().(type) {
	case nil:
		return nil
	case []byte:
		return v
	case string:
		if v == "" {
			return nil
		}
		return []byte(v)
	default:
		r.mismatch(v, "a blob")
		return nil
	}
}

// time reads microseconds since 1970; NULL is the zero time.
func (r *row) time() time.Time {
	switch v := r.next().(type) {
	case nil:
		return time.Time{}
	case int64:
		return time.UnixMicro(v).UTC()
	default:
		r.mismatch(v, "a time")
		return time.Time{}
	}
}

func (r *row) sealed() syncline.Sealed {
	return syncline.Sealed{KeyID: r.text(), Data: r.bytes()}
}

// json reads JSON text into dst; NULL leaves it as it is. Numbers in maps
// become json.Number, so that what was stored comes back digit by digit.
func (r *row) json(dst any) {
	b := r.bytes()
	if len(b) == 0 || r.err != nil {
		return
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(dst); err != nil {
		r.err = fmt.Errorf("column %d is not the JSON that it should be: %w", r.i, err)
	}
}

// object reads a JSON object; it is never nil.
func (r *row) object() map[string]any {
	m := map[string]any{}
	r.json(&m)
	if m == nil {
		m = map[string]any{}
	}
	return m
}
