package records_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"syncline"
	"syncline/internal/records"
)

func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"members are sorted":                          {`{"b":1,"a":2}`, `{"a":2,"b":1}`},
		"members are sorted by UTF-16, not by bytes":  {`{"\ufb33":1,"😀":2}`, `{"😀":2,"` + "\ufb33" + `":1}`},
		"nested members are sorted and space goes":    {" { \"z\" : [ 1 , { \"b\" : null , \"a\" : true } ] } ", `{"z":[1,{"a":true,"b":null}]}`},
		"numbers are printed as ECMAScript prints":    {`[1.0, 1e2, 0.000001, 1e-7, 1e21, -0, 333333333.33333329, 4.50, 2e-3]`, `[1,100,0.000001,1e-7,1e+21,0,333333333.3333333,4.5,0.002]`},
		"an integer beyond a double keeps its digits": {`[9007199254740993, 12345678901234567890]`, `[9007199254740993,12345678901234567890]`},
		"a number beyond a double's range is kept":    {`[1e999]`, `[1e999]`},
		"strings have the fewest escapes":             {`"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"`, `"€$\u000f\nA'B\"\\\\\"/"`},
		"a surrogate pair becomes a character":        {`"\ud83d\ude00"`, `"😀"`},
		"a lone surrogate keeps its escape":           {`"\ud83d x \ude00"`, `"\ud83d x \ude00"`},
		"the last of duplicate members counts":        {`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`},
		"empty containers":                            {`[{},[],""]`, `[{},[],""]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := records.Canonical([]byte(c.in))
			if err != nil || string(got) != c.want {
				t.Errorf("Canonical(%s) = %s, %v; want %s", c.in, got, err, c.want)
			}
			again, err := records.Canonical(got)
			if err != nil || string(again) != c.want {
				t.Errorf("it is not a fixed point: %s, %v", again, err)
			}
		})
	}
	for _, bad := range []string{``, `{`, `{"a"}`, `{"a":}`, `[1,]`, `{"a":1,}`, `01`, `1 2`, `"a`, "\"\n\"", `"\x"`, `"\u12"`, `nul`, `+1`, "\"\xff\"", `{a:1}`,
		strings.Repeat("[", 10_000)} {
		if got, err := records.Canonical([]byte(bad)); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("Canonical(%.20q) = %s, %v; want an invalid_request error", bad, got, err)
		}
	}
}

func FuzzCanonicalAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e-7,"x\u00e9\ud83d\ude00"],"b":{"c":null}}`, `[1e400]`, `"\ud800"`, `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := records.Canonical(in)
		if err != nil {
			return
		}
		if !json.Valid(in) || !json.Valid(out) {
			t.Fatalf("accepted what is not JSON: %q → %q", in, out)
		}
		again, err := records.Canonical(out)
		if err != nil || string(again) != string(out) {
			t.Fatalf("not a fixed point: %q → %q → %q, %v", in, out, again, err)
		}
	})
}

func item(t *testing.T, op records.Op, text string) records.Item {
	t.Helper()
	b, err := records.NewBatch(op, "M", []json.RawMessage{json.RawMessage(text)})
	if err != nil {
		t.Fatal(err)
	}
	return b.Items[0]
}

func TestDecide(t *testing.T) {
	t.Parallel()
	const a, b = `{"id":"1","v":"a"}`, `{"id":"1","v":"b"}`
	poll := syncline.Writer{Lineage: 7}
	lane := syncline.Writer{LaneID: 3, EventID: 20}
	stored := func(text string, seq int64, w syncline.Writer, deleted bool) *syncline.Record {
		r := &syncline.Record{ID: "1", Seq: seq, Payload: json.RawMessage(text), Hash: item(t, records.OpSave, text).Hash, Writer: w}
		if deleted {
			r.DeletedAt = time.Unix(1, 0)
		}
		return r
	}
	ignore := func(mark int64, w syncline.Writer) records.Guard {
		return records.Guard{Strategy: syncline.StrategyIgnoreIfModifiedAfter, Watermark: mark, Writer: w}
	}
	override := records.Guard{Strategy: syncline.StrategyOverride, Writer: poll}
	replayed := records.Guard{Strategy: syncline.StrategyOverride, Watermark: 10, Replayed: true, Writer: lane}
	for _, c := range []struct {
		name     string
		existing *syncline.Record
		op       records.Op
		in       string
		guard    records.Guard
		want     records.Outcome
	}{
		{"a new id is added", nil, records.OpSave, a, override, records.Added},
		{"a new id is added also under a guard", nil, records.OpSave, a, ignore(0, poll), records.Added},
		{"the same payload is unchanged", stored(a, 5, lane, false), records.OpSave, `{"v":"a","id":"1"}`, override, records.Unchanged},
		{"another payload updates", stored(a, 5, lane, false), records.OpSave, b, override, records.Updated},
		{"override writes over a later change", stored(a, 50, lane, false), records.OpSave, b, override, records.Updated},
		{"the guard lets a change before the watermark be overwritten", stored(a, 10, lane, false), records.OpSave, b, ignore(10, poll), records.Updated},
		{"the guard keeps a change after the watermark", stored(a, 11, lane, false), records.OpSave, b, ignore(10, poll), records.Contested},
		{"a guarded save of the same payload is not contested", stored(a, 11, lane, false), records.OpSave, a, ignore(10, poll), records.Skipped},
		{"the guard does not resurrect a later deletion", stored(a, 11, lane, true), records.OpSave, a, ignore(10, poll), records.Contested},
		{"an earlier deletion is undone by a save", stored(a, 9, lane, true), records.OpSave, a, ignore(10, poll), records.Added},
		{"a poll's own write is not guarded", stored(a, 11, poll, false), records.OpSave, b, ignore(10, poll), records.Updated},
		{"the guard keeps a later change from being deleted", stored(a, 11, lane, false), records.OpDelete, a, ignore(10, poll), records.Contested},
		{"an earlier event of the lane is own", stored(a, 11, syncline.Writer{LaneID: 3, EventID: 19}, false), records.OpSave, b, ignore(10, lane), records.Updated},
		{"another lane's event is not own", stored(a, 11, syncline.Writer{LaneID: 4, EventID: 19}, false), records.OpSave, b, ignore(10, lane), records.Contested},
		{"a replayed event is guarded under override", stored(a, 11, poll, false), records.OpSave, b, replayed, records.Contested},
		{"a replayed event does not own its lane's other events", stored(a, 11, syncline.Writer{LaneID: 3, EventID: 19}, false), records.OpSave, b, replayed, records.Contested},
		{"a replayed event owns what it wrote itself", stored(a, 11, lane, false), records.OpSave, b, replayed, records.Updated},
		{"a deletion deletes", stored(a, 5, poll, false), records.OpDelete, `{"id":"1"}`, override, records.Deleted},
		{"a second deletion is no change", stored(a, 5, poll, true), records.OpDelete, `{"id":"1"}`, override, records.Unchanged},
		{"a deletion of an unknown id makes no tombstone", nil, records.OpDelete, `{"id":"1"}`, override, records.Unknown},
		{"an update of an unknown id is not applied", nil, records.OpUpdate, b, override, records.Unknown},
		{"an update of a deleted record is not applied", stored(a, 5, poll, true), records.OpUpdate, b, override, records.Unknown},
		{"an update that changes nothing is unchanged", stored(a, 5, poll, false), records.OpUpdate, a, override, records.Unchanged},
		{"an update that changes something updates", stored(a, 5, poll, false), records.OpUpdate, b, override, records.Updated},
		{"a guarded update is contested", stored(a, 11, lane, false), records.OpUpdate, b, ignore(10, poll), records.Contested},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := records.Decide(c.existing, c.op, item(t, c.op, c.in), c.guard)
			if err != nil || got.Outcome != c.want {
				t.Errorf("outcome %d, %v; want %d", got.Outcome, err, c.want)
			}
			if c.want == records.Deleted && string(got.Payload) != string(c.existing.Payload) {
				t.Errorf("a deletion changed the payload: %s", got.Payload)
			}
		})
	}
}

func TestUpdateMergesDeeplyAndHashesTheResult(t *testing.T) {
	t.Parallel()
	base := `{"id":1,"name":"x<y","tags":["a","b"],"owner":{"name":"o","age":3,"geo":{"lat":1}}}`
	existing := &syncline.Record{ID: "1", Payload: json.RawMessage(base), Hash: item(t, records.OpSave, base).Hash}
	d, err := records.Decide(existing, records.OpUpdate,
		item(t, records.OpUpdate, `{"id":"1","tags":["c"],"owner":{"age":null,"geo":{"lng":2}},"new":true}`), records.Guard{})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":1,"name":"x<y","tags":["c"],"owner":{"name":"o","age":null,"geo":{"lat":1,"lng":2}},"new":true}`
	if string(d.Payload) != want {
		t.Errorf("merged payload %s\nwant           %s", d.Payload, want)
	}
	if hash := item(t, records.OpSave, want).Hash; string(hash) != string(d.Hash) {
		t.Error("the hash is not that of the merged payload")
	}
}

func TestBatchRefusesBadRecords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want string }{
		"an id in capitals":     {`{"ID":7}`, "has no id"},
		"without an id":         {`{"x":1}`, "record 1: has no id"},
		"with a null id":        {`{"id":null}`, "record 1: has no id"},
		"with an empty id":      {`{"id":""}`, "record 1: has an empty id"},
		"with an object as id":  {`{"id":{}}`, "record 1: has an id that is an object"},
		"that is an array":      {`[1]`, "record 1: is not an object but an array"},
		"that is null":          {`null`, "record 1: is not an object but null"},
		"with a huge id":        {`{"id":"` + strings.Repeat("x", 2000) + `"}`, "record 1: has an id of 2000 bytes"},
		"with a 10 MB payload":  {`{"id":"1","x":"` + strings.Repeat("x", 10<<20) + `"}`, "the limit for one record is 8388608 (8 MiB)"},
		"that is nested deeply": {`{"id":"1","x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`, "nested more than 512 levels"},
		"that is not UTF-8":     {"{\"id\":\"1\",\"x\":\"\xff\"}", "not valid UTF-8"},
		"that is cut off":       {`{"id":"1"`, "record 1: the record is not valid JSON"},
	} {
		_, err := records.NewBatch(records.OpSave, "Issue", []json.RawMessage{json.RawMessage(`{"id":7}`), json.RawMessage(c.in)})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "batchSave(Issue)") {
			t.Errorf("a record %s: error %v; want one with %q", name, err, c.want)
		}
	}
	b, err := records.NewBatch(records.OpSave, "Issue", []json.RawMessage{json.RawMessage(`{"id":7.0}`), json.RawMessage(`{"id":9007199254740993}`)})
	if err != nil || b.Items[0].ID != "7" || b.Items[1].ID != "9007199254740993" || string(b.Items[0].Payload) != `{"id":7.0}` {
		t.Errorf("numeric ids: %+v, %v", b, err)
	}
}

// Merging is what a plain merge of decoded objects is.
func FuzzDeepMerge(f *testing.F) {
	for _, c := range [][2]string{
		{`{"id":"1","a":{"b":1,"c":[1]}}`, `{"id":"1","a":{"c":[2],"d":{}}}`}, {`{"id":1,"id":2}`, `{"a":1,"a":{"b":1}}`}, {`{"é":{"\u00e9":1}}`, `{"\u00e9":{"é":2}}`},
		{`{"a":{}}`, `{"a":{"b":{}}}`}, {`{"a":1}`, ` { "a" : null } `},
	} {
		f.Add([]byte(c[0]), []byte(c[1]))
	}
	var plain func(base, part map[string]any, top bool)
	plain = func(base, part map[string]any, top bool) {
		for name, v := range part {
			old, exists := base[name]
			if top && name == "id" && exists {
				continue
			}
			a, okA := old.(map[string]any)
			b, okB := v.(map[string]any)
			if okA && okB {
				plain(a, b, false)
				continue
			}
			base[name] = v
		}
	}
	decode := func(text []byte) map[string]any {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var m map[string]any
		if !json.Valid(text) || !utf8.Valid(text) || d.Decode(&m) != nil || m == nil {
			return nil
		}
		return m
	}
	f.Fuzz(func(t *testing.T, base, part []byte) {
		if strings.Contains(string(base)+string(part), `\ud`) || strings.Contains(string(base)+string(part), `\uD`) {
			return // lone surrogates are kept here, and lost when decoded
		}
		a, b := decode(base), decode(part)
		if a == nil || b == nil {
			return
		}
		if _, err := records.Canonical(base); err != nil {
			return
		}
		existing := &syncline.Record{ID: "1", Payload: base, Hash: []byte{1}}
		d, err := records.Decide(existing, records.OpUpdate, records.Item{ID: "1", Payload: part}, records.Guard{})
		plain(a, b, true)
		wanted, _ := json.Marshal(a)
		want, wantErr := records.Canonical(wanted)
		if (err != nil) != (wantErr != nil) {
			t.Fatalf("%s with %s: %v, want %v", base, part, err, wantErr)
		}
		if err != nil {
			return
		}
		if got, _ := records.Canonical(d.Payload); string(got) != string(want) {
			t.Fatalf("%s with %s\ngot  %s\nwant %s", base, part, got, want)
		}
	})
}
