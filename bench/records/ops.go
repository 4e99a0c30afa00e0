package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"syncline/internal/records"
)

const opInsert = "insert"

// An op is a line of the report.
type op struct {
	name, title string
	aim         float64 // the least ratio; 0: none
	ownFloor    bool    // its floor is our own insert
	page        int     // reads: rows of a page
	run         func(ctx context.Context, s side, total int, o options) (rate, error)
}

var ops = []op{
	{name: opInsert, title: "insert", aim: 0.6, run: writes(func(in input, first, n int) work {
		return work{op: records.OpSave, rows: in.rows(first, n, false), isNew: true}
	})},
	readOp("read1k", "read, pages of 1,000", 1000),
	readOp("read10k", "read, pages of 10,000", 10_000),
	{name: "unchanged", title: "re-save, unchanged", aim: 3, ownFloor: true, run: writes(func(in input, first, n int) work {
		return work{op: records.OpSave, rows: in.rows(first, n, false)}
	})},
	{name: "changed", title: "re-save, 10 % changed", run: writes(func(in input, first, n int) work {
		rows := in.rows(first, n, false)
		for i := range rows {
			if (first+i)%10 == 0 {
				rows[i] = in.rows(first+i, 1, true)[0]
			}
		}
		return work{op: records.OpSave, rows: rows}
	})},
	{name: "update", title: "update (merge)", run: writes(func(in input, first, n int) work {
		w := work{op: records.OpUpdate, rows: in.rows(first, n, true)}
		for i := range w.rows {
			// What the last operation left, with other values in three places.
			w.rows[i].given = fmt.Appendf(nil, `{"id":%q,"state":"closed","updated_at":"2026-07-%02dT08:00:00Z","owner":{"seen":%d}}`, w.rows[i].id, i%28+1, i)
		}
		return w
	})},
	{name: "delete", title: "delete", run: writes(func(in input, first, n int) work {
		w := work{op: records.OpDelete, rows: in.rows(first, n, true)}
		for i := range w.rows {
			w.rows[i].given = fmt.Appendf(nil, `{"id":%q}`, w.rows[i].id)
		}
		return w
	})},
}

// opNames are the operations that can be chosen.
func opNames() (names []string) {
	for _, o := range ops[1:] {
		names = append(names, o.name)
	}
	return names
}

// writes passes over the first total records in batches, each a transaction.
// Making the input is not measured.
func writes(input func(in input, first, n int) work) func(context.Context, side, int, options) (rate, error) {
	return func(ctx context.Context, s side, total int, o options) (r rate, err error) {
		in := newInput()
		for r.records < total && !o.enough(r) {
			n := min(o.batch, total-r.records)
			w := input(in, r.records, n)
			began := time.Now()
			if err := s.write(ctx, w); err != nil {
				return r, err
			}
			r.took += time.Since(began)
			r.records += n
		}
		return r, nil
	}
}

func readOp(name, title string, page int) op {
	return op{name: name, title: title, aim: 0.7, page: page, run: func(ctx context.Context, s side, total int, o options) (r rate, err error) {
		var after int64
		for !o.enough(r) {
			began := time.Now()
			n, last, err := s.read(ctx, after, page)
			r.took += time.Since(began)
			r.records += n
			if err != nil {
				return r, err
			}
			if n < page {
				break
			}
			after = last
		}
		if r.records != total && o.seconds == 0 {
			return r, fmt.Errorf("%d of %d records were read", r.records, total)
		}
		return r, nil
	}}
}

func (o options) enough(r rate) bool {
	return o.seconds > 0 && r.took.Seconds() >= o.seconds
}

// work is one batch.
type work struct {
	op    records.Op
	rows  []row
	isNew bool // no row is there yet
}

// row is one record: as a function gives it, and as it is in the table after.
type row struct {
	id      string
	given   json.RawMessage // what is saved, merged or deleted
	payload []byte
	hash    []byte
}

// input makes records: an object of a typical API, with a text that differs
// between records, in an order of members that is not the canonical one.
type input struct{ text string }

// maxBatch keeps a batch of the floor within one statement of a sensible size.
const maxBatch = 10_000

func newInput() input {
	words := strings.Fields("the quick store keeps every record of a collection in order and tells readers what changed since they last asked for it again")
	var b strings.Builder
	for n := uint64(2654435761); b.Len() < 16<<10; {
		n ^= n << 13
		n ^= n >> 7
		n ^= n << 17
		b.WriteString(words[n%uint64(len(words))])
		b.WriteByte(' ')
	}
	return input{b.String()}
}

func (in input) rows(first, n int, changed bool) []row {
	state, seen := "open", 0
	rows := make([]row, n)
	for i := range rows {
		k := first + i
		if changed {
			state, seen = "closed", k
		}
		id := fmt.Sprintf("issue-%09d", k)
		at := k * 37 % (len(in.text) - 640)
		payload := fmt.Appendf(make([]byte, 0, 1200), `{"id":%q,"number":%d,"title":%q,"state":%q,"body":%q,"labels":["bug","priority-%d","area/store"],`+
			`"owner":{"login":"user-%d","id":%d,"seen":%d,"site_admin":false,"url":"https://api.example.com/users/user-%d"},`+
			`"comments":%d,"score":%d.25,"milestone":null,"locked":false,"created_at":"2025-03-%02dT10:15:30Z","updated_at":"2026-01-%02dT08:00:00Z"}`,
			id, k, in.text[at:at+48], state, in.text[at:at+560], k%5, k%977, k%977, seen, k%977, k%13, k%100, k%28+1, k%28+1)
		hash := sha256.Sum256(payload)
		rows[i] = row{id: id, given: payload, payload: payload, hash: hash[:]}
	}
	return rows
}
