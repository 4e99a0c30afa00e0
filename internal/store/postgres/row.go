package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"syncline"
)

// row reads the columns of one row from left to right, in Postgres' binary
// format. The first mismatch is kept in err, so that a scan can be one composite
// literal: Go evaluates its calls in order.
type row struct {
	fields []pgconn.FieldDescription
	v      [][]byte // valid until the next row
	i      int
	err    error
}

// next returns the next column, of one of the types; nil is NULL.
func (r *row) next(want string, types ...uint32) []byte {
	if r.i >= len(r.v) {
		if r.err == nil {
			r.err = fmt.Errorf("the query has %d columns, more were read", len(r.v))
		}
		return nil
	}
	f := &r.fields[r.i]
	r.i++
	for _, t := range types {
		// Texts and their binary format are the same bytes.
		if f.DataTypeOID == t && (f.Format == pgtype.BinaryFormatCode || t == pgtype.TextOID) {
			return r.v[r.i-1]
		}
	}
	if r.err == nil {
		r.err = fmt.Errorf("column %d (%s) has type %d in format %d, want %s", r.i, f.Name, f.DataTypeOID, f.Format, want)
	}
	return nil
}

// int64 reads an integer; NULL is 0.
func (r *row) int64() int64 {
	if v := r.next("bigint", pgtype.Int8OID); len(v) == 8 {
		return int64(binary.BigEndian.Uint64(v)) //nolint:gosec // two's complement on the wire
	}
	return 0
}

func (r *row) int() int { return int(r.int64()) }

// bool reads a boolean; NULL is false.
func (r *row) bool() bool {
	v := r.next("boolean", pgtype.BoolOID)
	return len(v) == 1 && v[0] != 0
}

// stored reads a text as it is stored.
func (r *row) stored() string { return string(r.next("text", pgtype.TextOID)) }

// text reads a string; NULL is "".
func (r *row) text() string { return decodeText(r.stored()) }

// bytes reads a bytea, or JSON that is kept as text; NULL and empty are nil.
func (r *row) bytes() []byte {
	isText := r.i < len(r.fields) && r.fields[r.i].DataTypeOID == pgtype.TextOID
	v := r.next("bytea or text", pgtype.ByteaOID, pgtype.TextOID)
	switch {
	case len(v) == 0:
		return nil
	case isText && bytes.IndexByte(v, escape) >= 0:
		return []byte(decodeText(string(v)))
	}
	return bytes.Clone(v)
}

// epoch is Postgres' year zero, in microseconds since 1970.
const epoch = 946_684_800_000_000

// time reads a time; NULL is the zero time.
func (r *row) time() time.Time {
	if v := r.next("timestamptz", pgtype.TimestamptzOID); len(v) == 8 {
		return time.UnixMicro(int64(binary.BigEndian.Uint64(v)) + epoch).UTC() //nolint:gosec // two's complement on the wire
	}
	return time.Time{}
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
