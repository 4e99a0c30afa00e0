package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// snap is an object of the external API at a time. Each field holds the version
// at which it changed last; versions are drawn from one counter.
type snap struct {
	model, id     int
	version, a, b int
	deleted       bool
}

func (s snap) String() string {
	if s.deleted {
		return fmt.Sprintf("%s %d deleted at version %d", modelNames[s.model], s.id, s.version)
	}
	return fmt.Sprintf("%s %d at version %d (a %d, b %d)", modelNames[s.model], s.id, s.version, s.a, s.b)
}

// same reports whether two snaps look the same to who reads the record.
func (s snap) same(o snap) bool { return s.version == o.version && s.a == o.a && s.b == o.b }

// The models: Thing has ids of text and numbers for versions; Part has numeric
// ids and times.
var modelNames = [2]string{"Thing", "Part"}

// object is an object as it is now.
type object struct {
	snap
	known     bool
	born      int   // the tick at which it was created last
	deletions []int // the versions at which it was deleted
}

// upstream is the external API.
type upstream struct {
	objects [2][]object
	changed int
}

func newUpstream(o *Options) *upstream {
	u := &upstream{}
	for m := range o.Models {
		u.objects[m] = make([]object, o.Objects)
		for id := range u.objects[m] {
			u.objects[m][id].snap = snap{model: m, id: id, deleted: true}
		}
	}
	return u
}

// what a change did.
const (
	created = iota
	recreated
	changedA
	changedB
	removed
)

// change makes one change to an object.
func (u *upstream) change(m, id, tick, choice int) (s snap, what int) {
	u.changed++
	o := &u.objects[m][id]
	v := u.changed
	switch {
	case o.deleted:
		what = created
		if o.known {
			what = recreated
		}
		o.snap, o.known, o.born = snap{model: m, id: id, version: v, a: v, b: v}, true, tick
	case choice < 5:
		what = removed
		o.deleted, o.version = true, v
		o.deletions = append(o.deletions, v)
	case choice < 13:
		what = changedA
		o.version, o.a = v, v
	default:
		what = changedB
		o.version, o.b = v, v
	}
	return o.snap, what
}

// deletedAfter is the version of the first deletion beyond v; v itself when there is none.
func (o *object) deletedAfter(v int) int {
	for _, d := range o.deletions {
		if d > v {
			return d
		}
	}
	return v
}

const pageSize = 3

// byID lists live objects beyond an id.
func (u *upstream) byID(m, after int) (page []snap) {
	for i := range u.objects[m] {
		if o := &u.objects[m][i]; !o.deleted && o.id > after && len(page) < pageSize {
			page = append(page, o.snap)
		}
	}
	return page
}

// since lists objects that were updated since a version, by version.
func (u *upstream) since(m, version int, deletions bool) (page []snap) {
	for i := range u.objects[m] {
		if o := &u.objects[m][i]; o.known && o.version > version && (!o.deleted || deletions) {
			page = append(page, o.snap)
		}
	}
	slices.SortFunc(page, func(a, b snap) int { return a.version - b.version })
	return page[:min(pageSize, len(page))]
}

// A record as functions write it.

var versionTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// writeID and writeVersion vary in what must not matter.
func (s snap) writeID(b []byte, loose bool) []byte {
	if s.model == 0 || loose { // an id of another type names the same record
		return strconv.AppendQuote(b, strconv.Itoa(s.id))
	}
	return strconv.AppendInt(b, int64(s.id), 10)
}

func (s snap) writeVersion(b []byte, style int) []byte {
	if s.model == 1 {
		return strconv.AppendQuote(b, versionTime.Add(time.Duration(s.version)*time.Second).Format(time.RFC3339))
	}
	b = strconv.AppendInt(b, int64(s.version), 10)
	if style&2 != 0 {
		b = append(b, ".0"...)
	}
	return b
}

// whole is the record. Style chooses between ways to write the same.
func (s snap) whole(b []byte, style int) []byte {
	if style&1 != 0 {
		b = append(b, `{"detail": {"b":`...)
		b = strconv.AppendInt(b, int64(s.b), 10)
		b = append(b, `}, "a":`...)
		b = strconv.AppendInt(b, int64(s.a), 10)
		b = append(b, `, "updated_at": `...)
		b = s.writeVersion(b, style)
		b = append(b, `, "id":`...)
		b = s.writeID(b, false)
		return append(b, '}')
	}
	b = append(b, `{"id":`...)
	b = s.writeID(b, false)
	b = append(b, `,"updated_at":`...)
	b = s.writeVersion(b, style)
	b = append(b, `,"a":`...)
	b = strconv.AppendInt(b, int64(s.a), 10)
	b = append(b, `,"detail":{"b":`...)
	b = strconv.AppendInt(b, int64(s.b), 10)
	return append(b, "}}"...)
}

// part is what changed of the record.
func (s snap) part(b []byte, what, style int) []byte {
	b = append(b, `{"id":`...)
	b = s.writeID(b, style&1 != 0)
	b = append(b, `,"updated_at":`...)
	b = s.writeVersion(b, style)
	if what == changedA {
		b = append(b, `,"a":`...)
		b = strconv.AppendInt(b, int64(s.a), 10)
		return append(b, '}')
	}
	b = append(b, `,"detail":{"b":`...)
	b = strconv.AppendInt(b, int64(s.b), 10)
	return append(b, "}}"...)
}

// key names the record to delete.
func (s snap) key(b []byte, bare bool, style int) []byte {
	b = append(b, `{"id":`...)
	b = s.writeID(b, style&1 != 0)
	if !bare {
		b = append(b, `,"updated_at":`...)
		b = s.writeVersion(b, style)
	}
	return append(b, '}')
}

// readSnap reads a record as readers get it.
func readSnap(m int, payload []byte) (snap, error) {
	var r struct {
		ID        json.RawMessage `json:"id"`
		UpdatedAt json.RawMessage `json:"updated_at"`
		A         int             `json:"a"`
		Detail    struct {
			B int `json:"b"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return snap{}, err
	}
	s := snap{model: m, a: r.A, b: r.Detail.B}
	id := r.ID
	if m == 0 {
		if len(id) < 3 || id[0] != '"' {
			return s, fmt.Errorf("the id became %s", id)
		}
		id = bytes.Trim(id, `"`)
		version, err := strconv.ParseFloat(string(r.UpdatedAt), 64)
		if err != nil {
			return s, err
		}
		s.version = int(version)
	} else {
		var t time.Time
		if err := json.Unmarshal(r.UpdatedAt, &t); err != nil {
			return s, err
		}
		s.version = int(t.Sub(versionTime) / time.Second)
	}
	var err error
	s.id, err = strconv.Atoi(string(id))
	return s, err
}
