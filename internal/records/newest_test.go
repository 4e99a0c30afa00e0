package records_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store"
	"syncline/internal/store/mem"
)

// cache is one connection's collections in a store.
type cache struct {
	t      testing.TB
	store  store.Store
	target records.Target
	env    int64
	now    time.Time
}

type fataler interface {
	testing.TB
}

func newCache(t fataler) *cache {
	c := &cache{t: t, store: mem.New(nil), now: time.Unix(1_000_000, 0).UTC()}
	c.update(func(tx store.Tx) error {
		env := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "i", Provider: "p"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c"}
		err := tx.CreateConnection(&k)
		c.env, c.target = env.ID, records.Target{EnvironmentID: env.ID, ConnectionID: k.ID, Model: "M"}
		return err
	})
	return c
}

func (c *cache) update(fn func(tx store.Tx) error) {
	c.t.Helper()
	if err := c.store.Update(c.t.Context(), store.Relaxed, fn); err != nil {
		c.t.Fatal(err)
	}
}

// apply writes one batch, a second after the one before.
func (c *cache) apply(op records.Op, g records.Guard, texts ...string) syncline.ModelResult {
	c.t.Helper()
	var raws []json.RawMessage
	for _, text := range texts {
		raws = append(raws, json.RawMessage(text))
	}
	b, err := g.Rules.NewBatch(op, "M", raws)
	if err != nil {
		c.t.Fatal(err)
	}
	c.now = c.now.Add(time.Second)
	var result syncline.ModelResult
	c.update(func(tx store.Tx) (err error) {
		result, err = records.Apply(tx, c.target, b, g, c.now)
		return err
	})
	return result
}

func (c *cache) get(id string) *syncline.Record {
	c.t.Helper()
	var r *syncline.Record
	err := c.store.View(c.t.Context(), func(rd store.Reader) error {
		coll, err := rd.Collection(c.env, c.target.ConnectionID, "M")
		if err != nil {
			return err
		}
		found, err := rd.RecordsByID(c.env, coll.ID, []string{id})
		r = found[id]
		return err
	})
	if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
		c.t.Fatal(err)
	}
	return r
}

var newest = records.Guard{Strategy: syncline.StrategyKeepNewest, Writer: syncline.Writer{LaneID: 1}, Rules: records.Rules{Version: "at"}}

func TestKeepNewest(t *testing.T) {
	t.Parallel()
	type step struct {
		op   records.Op
		text string
		want string // the outcome, as counted
	}
	const save, update, del = records.OpSave, records.OpUpdate, records.OpDelete
	for name, c := range map[string]struct {
		steps []step
		want  string // the payload; "" when the record is not live
	}{
		"older never wins": {[]step{
			{save, `{"id":1,"at":5,"v":"b"}`, "added"}, {save, `{"id":1,"at":4,"v":"a"}`, "older"}}, `{"id":1,"at":5,"v":"b"}`},
		"a tie goes to the later arrival": {[]step{
			{save, `{"id":1,"at":5,"v":"a"}`, "added"}, {save, `{"id":1,"at":5,"v":"b"}`, "updated"}}, `{"id":1,"at":5,"v":"b"}`},
		"times are compared across time zones": {[]step{
			{save, `{"id":1,"at":"2026-01-01T12:00:00+02:00","v":"a"}`, "added"}, {save, `{"id":1,"at":"2026-01-01T10:30:00Z","v":"b"}`, "updated"},
			{save, `{"id":1,"at":"2026-01-01T11:59:00+02:00","v":"c"}`, "older"}}, `{"id":1,"at":"2026-01-01T10:30:00Z","v":"b"}`},
		"numbers are compared by all their digits": {[]step{
			{save, `{"id":1,"at":9007199254740993,"v":"a"}`, "added"}, {save, `{"id":1,"at":9007199254740992,"v":"b"}`, "older"},
			{save, `{"id":1,"at":"9007199254740994","v":"c"}`, "updated"}}, `{"id":1,"at":"9007199254740994","v":"c"}`},
		"a tombstone keeps its version": {[]step{
			{save, `{"id":1,"at":5}`, "added"}, {del, `{"id":1,"at":7}`, "deleted"}, {save, `{"id":1,"at":6}`, "older"}, {save, `{"id":1,"at":7}`, "older"}}, ""},
		"something strictly newer resurrects": {[]step{
			{save, `{"id":1,"at":5}`, "added"}, {del, `{"id":1,"at":7}`, "deleted"}, {save, `{"id":1,"at":8}`, "added"}}, `{"id":1,"at":8}`},
		"an older deletion does not delete": {[]step{
			{save, `{"id":1,"at":5}`, "added"}, {del, `{"id":1,"at":4}`, "older"}}, `{"id":1,"at":5}`},
		"a deletion without a version keeps that of the record": {[]step{
			{save, `{"id":1,"at":5}`, "added"}, {del, `{"id":1}`, "deleted"}, {save, `{"id":1,"at":5}`, "older"}}, ""},
		"a deletion that overtakes what came before it": {[]step{
			{del, `{"id":1,"at":7}`, "unknown"}, {save, `{"id":1,"at":6}`, "older"}, {del, `{"id":1,"at":5}`, "unchanged"}}, ""},
		"an object made anew after a deletion that came first": {[]step{
			{del, `{"id":1,"at":7}`, "unknown"}, {save, `{"id":1,"at":9}`, "added"}}, `{"id":1,"at":9}`},
		"an unknown id is not marked without a version": {[]step{
			{del, `{"id":1}`, "unknown"}, {save, `{"id":1,"at":6}`, "added"}}, `{"id":1,"at":6}`},
		"a newer deletion moves the tombstone's version": {[]step{
			{save, `{"id":1,"at":5}`, "added"}, {del, `{"id":1,"at":6}`, "deleted"}, {del, `{"id":1,"at":9}`, "unchanged"}, {save, `{"id":1,"at":8}`, "older"}}, ""},
		"an update keeps versions by field": {[]step{
			{save, `{"id":1,"at":1,"a":1,"b":1}`, "added"}, {update, `{"id":1,"at":5,"a":5}`, "updated"}, {save, `{"id":1,"at":3,"a":3,"b":3}`, "updated"}},
			`{"a":5,"at":5,"b":3,"id":1}`},
		"an older update does not touch newer fields": {[]step{
			{save, `{"id":1,"at":1,"a":1,"b":1}`, "added"}, {update, `{"id":1,"at":5,"a":5}`, "updated"}, {update, `{"id":1,"at":3,"a":3,"b":3}`, "updated"}},
			`{"a":5,"at":5,"b":3,"id":1}`},
		"nested fields have versions of their own": {[]step{
			{save, `{"id":1,"at":1,"o":{"x":1,"y":1}}`, "added"}, {update, `{"id":1,"at":5,"o":{"x":5}}`, "updated"}, {update, `{"id":1,"at":3,"o":{"x":3,"y":3}}`, "updated"}},
			`{"at":5,"id":1,"o":{"x":5,"y":3}}`},
		"a newer save takes every field": {[]step{
			{save, `{"id":1,"at":1,"a":1}`, "added"}, {update, `{"id":1,"at":5,"a":5}`, "updated"}, {save, `{"id":1,"at":6,"b":6}`, "updated"}, {save, `{"id":1,"at":5,"a":4}`, "older"}},
			`{"id":1,"at":6,"b":6}`},
		"an update of all older fields": {[]step{
			{save, `{"id":1,"at":4,"a":1}`, "added"}, {update, `{"id":1,"at":3,"a":3}`, "older"}}, `{"id":1,"at":4,"a":1}`},
		"a part cannot resurrect": {[]step{
			{save, `{"id":1,"at":1}`, "added"}, {del, `{"id":1,"at":2}`, "deleted"}, {update, `{"id":1,"at":9,"a":1}`, "unknown"}}, ""},
		"the last duplicate of a batch counts, updates in order": {[]step{
			{save, `{"id":1,"at":1,"a":1}`, "added"}, {update, `{"id":1,"at":2,"a":2}` + "\n" + `{"id":1,"at":3,"b":3}`, "updated"}}, `{"a":2,"at":3,"b":3,"id":1}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newCache(t)
			for i, s := range c.steps {
				var texts []string
				for line := range lines(s.text) {
					texts = append(texts, line)
				}
				r := k.apply(s.op, newest, texts...)
				counts := map[string]int{"added": r.Added, "updated": r.Updated, "deleted": r.Deleted, "unchanged": r.Unchanged, "older": r.Older, "unknown": r.Unknown}
				if counts[s.want] != 1 {
					t.Errorf("step %d came to %+v, want %s", i+1, r, s.want)
				}
			}
			r := k.get("1")
			switch {
			case c.want == "" && (r != nil && !r.Deleted()):
				t.Errorf("it lives: %s", r.Payload)
			case c.want != "" && (r == nil || r.Deleted() || string(r.Payload) != c.want):
				t.Errorf("it is %+v, want %s", r, c.want)
			}
		})
	}
}

func lines(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for len(s) > 0 {
			line := s
			for i, r := range s {
				if r == '\n' {
					line = s[:i]
					break
				}
			}
			s = s[min(len(s), len(line)+1):]
			if !yield(line) {
				return
			}
		}
	}
}

// A version that moves without the payload changing, as when the field that is
// compared is ignored, is kept, and nobody is told.
func TestAVersionMovesWithoutAChange(t *testing.T) {
	t.Parallel()
	k := newCache(t)
	g := newest
	g.Rules.Ignored = []string{"at"}
	k.apply(records.OpSave, g, `{"id":1,"at":1,"v":"a"}`)
	before := k.get("1")
	if r := k.apply(records.OpSave, g, `{"id":1,"at":5,"v":"a"}`); r.Unchanged != 1 {
		t.Fatalf("%+v", r)
	}
	after := k.get("1")
	if after.Seq != before.Seq || !after.LastModifiedAt.Equal(before.LastModifiedAt) || after.Version != "n5" || string(after.Payload) != `{"id":1,"at":5,"v":"a"}` {
		t.Errorf("%+v", after)
	}
	if r := k.apply(records.OpSave, g, `{"id":1,"at":3,"v":"b"}`); r.Older != 1 {
		t.Errorf("what is older than the moved version: %+v", r)
	}
}

// Whatever the order in which an object's saves and deletions arrive, and
// however often, the newest decides.
func TestKeepNewestConvergesInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		type op struct {
			del bool
			at  int
		}
		var history []op
		for at := range rapid.IntRange(1, 8).Draw(rt, "versions") {
			history = append(history, op{del: rapid.IntRange(0, 3).Draw(rt, "delete") == 0, at: at + 1})
		}
		arrivals := append(slices.Clone(history), rapid.SliceOfN(rapid.SampledFrom(history), 0, 6).Draw(rt, "twice")...)
		arrivals = rapid.Permutation(arrivals).Draw(rt, "order")
		k := newCache(t)
		for _, o := range arrivals {
			text := fmt.Sprintf(`{"id":"1","at":%d,"v":"v%d"}`, o.at, o.at)
			if o.del {
				k.apply(records.OpDelete, newest, text)
			} else {
				k.apply(records.OpSave, newest, text)
			}
		}
		last, r := history[len(history)-1], k.get("1")
		if last.del != (r == nil || r.Deleted()) {
			rt.Fatalf("after %v: %+v", arrivals, r)
		}
		if !last.del && string(r.Payload) != fmt.Sprintf(`{"id":"1","at":%d,"v":"v%d"}`, last.at, last.at) {
			rt.Fatalf("after %v: %s", arrivals, r.Payload)
		}
	})
}

// Once a record is there, saves and partial updates of it may arrive in any
// order too.
func TestPartialUpdatesConvergeInAnyOrder(t *testing.T) {
	t.Parallel()
	fields := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		state := map[string]int{"a": 0, "b": 0, "c": 0, "at": 0}
		text := func(m map[string]int) string {
			all := map[string]any{"id": "1"}
			for name, v := range m {
				if name == "c" { // nested
					all["o"] = map[string]int{"c": v}
					continue
				}
				all[name] = v
			}
			b, _ := json.Marshal(all)
			return string(b)
		}
		k := newCache(t)
		k.apply(records.OpSave, newest, text(state))
		type op struct {
			op   records.Op
			text string
		}
		var history []op
		for at := range rapid.IntRange(1, 7).Draw(rt, "versions") {
			part := map[string]int{"at": at + 1}
			for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom(fields), 1, 3, rapid.ID).Draw(rt, "fields") {
				part[f] = at + 1
			}
			maps.Copy(state, part)
			if rapid.Bool().Draw(rt, "whole") {
				history = append(history, op{records.OpSave, text(state)})
			} else {
				history = append(history, op{records.OpUpdate, text(part)})
			}
		}
		arrivals := append(slices.Clone(history), rapid.SliceOfN(rapid.SampledFrom(history), 0, 4).Draw(rt, "twice")...)
		for _, o := range rapid.Permutation(arrivals).Draw(rt, "order") {
			k.apply(o.op, newest, o.text)
		}
		want, _ := records.Canonical([]byte(text(state)))
		if got, _ := records.Canonical(k.get("1").Payload); string(got) != string(want) {
			rt.Fatalf("%v\ngot  %s\nwant %s", history, got, want)
		}
	})
}

func TestVersionsThatCannotBeCompared(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"missing":    `{"id":1}`,
		"null":       `{"id":1,"at":null}`,
		"an object":  `{"id":1,"at":{}}`,
		"a word":     `{"id":1,"at":"yesterday"}`,
		"infinite":   `{"id":1,"at":1e999}`,
		"hex":        `{"id":1,"at":"0x10"}`,
		"too long":   `{"id":1,"at":11111111111111111111111111111111111111111111111111111111111111111111}`,
		"a boolean":  `{"id":1,"at":true}`,
		"empty text": `{"id":1,"at":""}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := newest.Rules.NewBatch(records.OpSave, "M", []json.RawMessage{json.RawMessage(text)}); syncline.CodeOf(err) != syncline.CodeInvalid {
				t.Errorf("error %v", err)
			}
		})
	}
	k := newCache(t)
	k.apply(records.OpSave, newest, `{"id":1,"at":5}`)
	b, err := newest.Rules.NewBatch(records.OpSave, "M", []json.RawMessage{json.RawMessage(`{"id":1,"at":"2026-01-01"}`)})
	if err != nil {
		t.Fatal(err)
	}
	err = k.store.Update(t.Context(), store.Relaxed, func(tx store.Tx) error {
		_, err := records.Apply(tx, k.target, b, newest, k.now)
		return err
	})
	if syncline.CodeOf(err) != syncline.CodeInvalid {
		t.Errorf("a time against a number: %v", err)
	}
}

func FuzzVersions(f *testing.F) {
	for _, s := range []string{`5`, `"2026-01-01T00:00:00Z"`, `"2026-01-01T00:00:00.000+0000"`, `-1.5e3`, `"12"`, `""`, `null`, `{"a":1}`} {
		f.Add([]byte(s), []byte(`6`))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		read := func(v []byte) (string, bool) {
			if !json.Valid(v) {
				return "", false
			}
			batch, err := newest.Rules.NewBatch(records.OpDelete, "M", []json.RawMessage{json.RawMessage(`{"id":1,"at":` + string(v) + `}`)})
			return func() string {
				if err != nil {
					return ""
				}
				return batch.Items[0].Version
			}(), err == nil
		}
		x, okX := read(a)
		y, okY := read(b)
		if !okX || !okY {
			return
		}
		there, err1 := records.CompareVersions(x, y)
		back, err2 := records.CompareVersions(y, x)
		if (err1 == nil) != (err2 == nil) || there != -back {
			t.Fatalf("%q and %q: %d, %v and %d, %v", x, y, there, err1, back, err2)
		}
	})
}

func TestIgnoredFields(t *testing.T) {
	t.Parallel()
	k := newCache(t)
	g := records.Guard{Strategy: syncline.StrategyOverride, Rules: records.Rules{Ignored: []string{"seen", "o.n", "absent.x"}}}
	k.apply(records.OpSave, g, `{"id":1,"seen":1,"o":{"n":1,"m":1}}`)
	for text, want := range map[string]string{
		`{"id":1,"seen":2,"o":{"n":2,"m":1}}`: "unchanged",
		`{"id":1,"o":{"m":1}}`:                "unchanged",
	} {
		if r := k.apply(records.OpSave, g, text); r.Unchanged != 1 {
			t.Errorf("%s: %+v, want %s", text, r, want)
		}
	}
	if r := k.apply(records.OpUpdate, g, `{"id":1,"seen":9}`); r.Unchanged != 1 {
		t.Errorf("an update of an ignored field: %+v", r)
	}
	if r := k.apply(records.OpSave, g, `{"id":1,"seen":2,"o":{"n":2,"m":2}}`); r.Updated != 1 {
		t.Errorf("another field: %+v", r)
	}
}

// A webhook handler reads its own writes as they will be after the commit.
func TestAHandlerReadsItsWritesUnderKeepNewest(t *testing.T) {
	t.Parallel()
	k := newCache(t)
	k.apply(records.OpSave, newest, `{"id":"1","at":3,"v":"c"}`)
	o := records.NewOverlay(k.env, k.target.ConnectionID)
	stage := func(op records.Op, text string) {
		b, err := newest.Rules.NewBatch(op, "M", []json.RawMessage{json.RawMessage(text)})
		if err != nil {
			t.Fatal(err)
		}
		if err := o.Stage(records.Mark{}, "M", b, newest); err != nil {
			t.Fatal(err)
		}
	}
	read := func(id string) string {
		var out string
		err := k.store.View(t.Context(), func(r store.Reader) error {
			found, err := o.Read(r, "M", []string{id})
			if rec := found[id]; rec != nil && !rec.Deleted() {
				out = string(rec.Payload)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	stage(records.OpSave, `{"id":"1","at":2,"v":"b"}`)
	if got := read("1"); got != `{"id":"1","at":3,"v":"c"}` {
		t.Errorf("after an older save: %s", got)
	}
	stage(records.OpDelete, `{"id":"2","at":5}`)
	stage(records.OpSave, `{"id":"2","at":4}`)
	if got := read("2"); got != "" {
		t.Errorf("an older save after a deletion that came first: %s", got)
	}
	stage(records.OpSave, `{"id":"2","at":6}`)
	if got := read("2"); got != `{"id":"2","at":6}` {
		t.Errorf("a newer one: %s", got)
	}
	k.update(func(tx store.Tx) error {
		_, err := o.Commit(tx, records.Mark{}, o.Mark(), 1, k.now)
		return err
	})
	if got := k.get("2"); string(got.Payload) != `{"id":"2","at":6}` {
		t.Errorf("committed: %s", got.Payload)
	}
}
