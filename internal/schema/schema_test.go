package schema

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"syncline"
)

// Parts of schemas as zod 4.3 writes them.
const (
	email    = `{"type":"string","format":"email","pattern":"^(?!\\.)(?!.*\\.\\.)([A-Za-z0-9_'+\\-\\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\\-]*\\.)+[A-Za-z]{2,}$"}`
	dateTime = `{"type":"string","format":"date-time","pattern":"^(?:(?:\\d\\d[2468][048]|\\d\\d[13579][26]|\\d\\d0[48]|[02468][048]00|[13579][26]00)-02-29|\\d{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\\d|30)|(?:02)-(?:0[1-9]|1\\d|2[0-8])))T(?:(?:[01]\\d|2[0-3]):[0-5]\\d(?::[0-5]\\d(?:\\.\\d+)?)?(?:Z))$"}`
	integer  = `{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}`
	nullable = `{"anyOf":[{"type":"string"},{"type":"null"}]}`
	shapes   = `{"oneOf":[{"type":"object","properties":{"kind":{"type":"string","const":"circle"},"r":{"type":"number"}},"required":["kind","r"]},` +
		`{"type":"object","properties":{"kind":{"type":"string","const":"square"},"a":{"type":"number"}},"required":["kind","a"]}]}`
	tree = `{"type":"object","properties":{"id":{"type":"string"},"kids":{"type":"array","items":{"$ref":"#"}}},"required":["id","kids"]}`
)

func object(properties string, required ...string) string {
	r, _ := json.Marshal(append([]string{}, required...))
	return fmt.Sprintf(`{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":%s,"required":%s}`, properties, r)
}

func TestValidate(t *testing.T) {
	t.Parallel()
	order := object(`{"id":{"type":"string"},"items":{"type":"array","items":{"type":"object","properties":{"price":{"type":"number"}},"required":["price"]}}}`, "id", "items")
	for _, c := range []struct{ name, schema, doc, want string }{
		{"a document that fits", order, `{"id":"1","items":[{"price":1.5}],"more":true}`, ""},
		{"a wrong type deep inside", order, `{"id":"1","items":[{"price":1},{"price":2},{"price":3},{"price":"12"}]}`, `$.items[3].price: expected a number, found the string "12"`},
		{"a member is missing", order, `{"id":"1","items":[{}]}`, `$.items[0].price: expected a number, found nothing`},
		{"several problems, in the order of their paths", order, `{"items":{},"id":7}`, `$.id: expected a string, found the number 7; $.items: expected an array, found an object with 0 members`},
		{"null is not nothing", order, `{"id":null,"items":[]}`, `$.id: expected a string, found null`},
		{"not an object at all", order, `[1]`, `$: expected an object, found an array of 1 item`},
		{"a nullable that fits", object(`{"a":` + nullable + `}`), `{"a":null}`, ""},
		{"a nullable names both", object(`{"a":` + nullable + `}`), `{"a":3}`, `$.a: expected a string or null, found the number 3`},
		{"the form of a union that was meant", object(`{"s":` + shapes + `}`), `{"s":{"kind":"square","a":"1"}}`, `$.s.a: expected a number, found the string "1"`},
		{"no form of a union", object(`{"s":` + shapes + `}`), `{"s":{"kind":"line"}}`, `$.s.kind: expected the string "circle" or the string "square", found the string "line"`},
		{"an email address", object(`{"e":` + email + `}`), `{"e":"a.b+c@example.co.uk"}`, ""},
		{"an email address that zod refuses", object(`{"e":` + email + `}`), `{"e":"a..b@example.com"}`, `$.e: expected an email address, found the string "a..b@example.com"`},
		{"a date and time", object(`{"d":` + dateTime + `}`), `{"d":"2024-02-29T10:00:00.123Z"}`, ""},
		{"a day that does not exist", object(`{"d":` + dateTime + `}`), `{"d":"2023-02-29T10:00:00Z"}`, `$.d: expected a date and time such as 2026-01-31T12:00:00Z, found the string "2023-02-29T10:00:00Z"`},
		{"the pattern beside a format decides", object(`{"d":` + dateTime + `}`), `{"d":"2024-02-29T10:00:00+02:00"}`, `$.d: expected a date and time such as 2026-01-31T12:00:00Z, found the string "2024-02-29T10:00:00+02:00"`},
		{"a line break at the end is no end", object(`{"e":` + email + `}`), `{"e":"a@example.com\n"}`, `$.e: expected an email address, found the string "a@example.com\n"`},
		{"a URL", object(`{"u":{"type":"string","format":"uri"}}`), `{"u":"https://example.com/a b?c=%zz"}`, ""},
		{"a URL of another scheme", object(`{"u":{"type":"string","format":"uri"}}`), `{"u":"mailto:a@b"}`, ""},
		{"no URL", object(`{"u":{"type":"string","format":"uri"}}`), `{"u":"example.com"}`, `$.u: expected a URL, found the string "example.com"`},
		{"an integer", object(`{"n":` + integer + `}`), `{"n":1.0}`, ""},
		{"a fraction", object(`{"n":` + integer + `}`), `{"n":1.5}`, `$.n: expected an integer, found the number 1.5`},
		{"too large an integer", object(`{"n":` + integer + `}`), `{"n":1e300}`, `$.n: expected a number not above 9007199254740991, found the number 1e+300`},
		{"an enum", object(`{"e":{"type":"string","enum":["a","b","c"]}}`), `{"e":"d"}`, `$.e: expected one of "a", "b", "c", found the string "d"`},
		{"z.date and others that no JSON Schema expresses", object(`{"d":{}}`, "d"), `{"d":"whatever"}`, ""},
		{"z.any may be missing", object(`{"d":{}}`, "d"), `{}`, ""},
		{"a strict object", `{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`, `{"a":"1","x-y":2}`, `$["x-y"]: expected no member of this name, found the number 2`},
		{"a record of numbers", `{"type":"object","propertyNames":{"type":"string"},"additionalProperties":{"type":"number"}}`, `{"a":1,"b":"2"}`, `$.b: expected a number, found the string "2"`},
		{"a record with an enum of names", `{"type":"object","propertyNames":{"type":"string","enum":["a"]},"additionalProperties":{}}`, `{"b":1}`, `$: expected names of members that are "a", found the string "b"`},
		{"a tuple", `{"type":"array","prefixItems":[{"type":"string"},{"type":"number"}]}`, `["a","b"]`, `$[1]: expected a number, found the string "b"`},
		{"a schema within itself", tree, `{"id":"1","kids":[{"id":"2","kids":[{"id":3,"kids":[]}]}]}`, `$.kids[0].kids[0].id: expected a string, found the number 3`},
		{"a definition", `{"type":"object","properties":{"x":{"$ref":"#/$defs/A"}},"$defs":{"A":{"id":"A","type":"object","properties":{"n":{"type":"number"}},"required":["n"]}}}`, `{"x":{}}`, `$.x.n: expected a number, found nothing`},
		{"an intersection", `{"allOf":[{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]}`, `{"a":1}`, `$.a: expected a string, found the number 1; $.b: expected a string, found nothing`},
		{"never", object(`{"a":{"not":{}}}`), `{"a":1}`, `$.a: expected another value, found the number 1`},
		{"lengths", object(`{"a":{"type":"string","minLength":3},"b":{"minItems":1,"type":"array","items":{}}}`), `{"a":"é","b":[]}`, `$.a: expected a string of at least 3 characters, found the string "é"; $.b: expected an array of at least 1 item, found an array of 0 items`},
		{"a long value is shortened", object(`{"a":{"type":"number"}}`), `{"a":"` + strings.Repeat("x", 1000) + `"}`, `$.a: expected a number, found the string "` + strings.Repeat("x", 60) + `…"`},
		{"a pattern that no engine knows is not checked", object(`{"a":{"type":"string","pattern":"^(\\p{Extended_Pictographic}|\\p{Emoji_Component})+$"}}`), `{"a":"x"}`, ""},
		{"the empty schema takes all", `{}`, `{"a":[1,null]}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := Compile(json.RawMessage(c.schema))
			if err != nil {
				t.Fatal(err)
			}
			checkError(t, s.Validate(json.RawMessage(c.doc)), c.want)
		})
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Fatalf("refused: %v", err)
	case want != "" && err == nil:
		t.Fatalf("taken; want %s", want)
	case want != "" && err.Error() != want:
		t.Fatalf("got  %s\nwant %s", err, want)
	case want != "" && syncline.CodeOf(err) != syncline.CodeInvalid:
		t.Fatalf("code %s", syncline.CodeOf(err))
	}
}

func TestMoreThanTenProblemsAreCounted(t *testing.T) {
	t.Parallel()
	s, err := Compile(json.RawMessage(`{"type":"array","items":{"type":"string"}}`))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Validate(json.RawMessage(`[1,2,3,4,5,6,7,8,9,10,11,12,13]`))
	if err == nil || !strings.HasSuffix(err.Error(), "; and 3 more problems") || strings.Count(err.Error(), "expected") != 10 {
		t.Fatal(err)
	}
}

func TestPartial(t *testing.T) {
	t.Parallel()
	contact := object(`{"id":{"type":"string"},"name":{"type":"string"},"address":{"type":"object","properties":{"city":{"type":"string"},"zip":{"type":"string"}},"required":["city","zip"]},`+
		`"phones":{"type":"array","items":{"type":"object","properties":{"n":{"type":"string"}},"required":["n"]}},"shape":`+shapes+`,"boss":{"$ref":"#"},"bosses":{"type":"array","items":{"$ref":"#"}}}`, "id", "name", "address")
	for _, c := range []struct{ name, doc, want string }{
		{"nothing is required", `{"id":"1"}`, ""},
		{"nor in a nested object", `{"id":"1","address":{"city":"Bern"}}`, ""},
		{"nor in one that the schema reaches by itself", `{"boss":{"name":"x"}}`, ""},
		{"types are", `{"id":"1","address":{"city":7}}`, `$.address.city: expected a string, found the number 7`},
		{"arrays replace: what they hold is whole", `{"phones":[{}]}`, `$.phones[0].n: expected a string, found nothing`},
		{"so is a reference in an array", `{"bosses":[{"id":"1","name":"x"}]}`, `$.bosses[0].address: expected an object, found nothing`},
		{"a part of a union's form", `{"shape":{"a":1}}`, ""},
		{"a part of no union's form", `{"shape":{"kind":"circle","r":"1"}}`, `$.shape.r: expected a number, found the string "1"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := Partial(json.RawMessage(contact))
			if err != nil {
				t.Fatal(err)
			}
			checkError(t, s.Validate(json.RawMessage(c.doc)), c.want)
		})
	}
}

func TestMember(t *testing.T) {
	t.Parallel()
	s, err := Member(json.RawMessage(object(`{"id":{"type":"number"},"name":{"type":"string"}}`, "id", "name")), "id")
	if err != nil {
		t.Fatal(err)
	}
	checkError(t, s.Validate(json.RawMessage(`{"id":1}`)), "")
	checkError(t, s.Validate(json.RawMessage(`{"id":"1"}`)), `$.id: expected a number, found the string "1"`)
	if s, err := Member(json.RawMessage(shapes), "id"); s != nil || err != nil {
		t.Fatalf("a union tells nothing of one member: %v %v", s, err)
	}
}

func TestHostileSchemasAreRefused(t *testing.T) {
	t.Parallel()
	chain := `{"type":"object"}`
	for range 150 {
		chain = `{"allOf":[` + chain + `]}`
	}
	var refs strings.Builder
	for i := range 200 {
		fmt.Fprintf(&refs, `"d%d":{"$ref":"#/$defs/d%d"},`, i, i+1)
	}
	for _, c := range []struct{ name, schema, want string }{
		{"another document", `{"$ref":"https://example.com/schema"}`, "only"},
		{"a file", `{"properties":{"a":{"$ref":"file:///etc/passwd"}}}`, "only"},
		{"a place without a definition", `{"properties":{"a":{"$ref":"#/$defs/B"}}}`, "does not define"},
		{"a place within", `{"enum":[{"$ref":"x"}],"properties":{"a":{"$ref":"#/enum/0"}}}`, "only"},
		{"itself at once", `{"$ref":"#"}`, "refers to itself"},
		{"itself by way of others", `{"anyOf":[{"$ref":"#/$defs/A"}],"$defs":{"A":{"allOf":[{"$ref":"#"}]}}}`, "refers to itself"},
		{"dynamic references", `{"$dynamicRef":"#a"}`, "$dynamicRef"},
		{"deep nesting", strings.Repeat(`{"not":`, 500) + `{}` + strings.Repeat(`}`, 500), "nested deeper"},
		{"a long chain", chain, "nested deeper"},
		{"a long chain of references", `{"$ref":"#/$defs/d0","$defs":{` + refs.String() + `"d200":{"type":"string"}}}`, "within each other"},
		{"many parts", `{"anyOf":[` + strings.Repeat(`{"type":"string"},`, 11_000) + `{}]}`, "parts"},
		{"a wrong keyword", `{"type":"objekt"}`, "$.type"},
		{"a keyword of another type", `{"properties":[]}`, "not an object"},
		{"no JSON", `{"type":`, "not JSON"},
		{"a number", `7`, "not an object"},
		{"huge", `{"title":"` + strings.Repeat("x", maxSchema) + `"}`, "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(json.RawMessage(c.schema))
			if err == nil || !strings.Contains(err.Error(), c.want) || syncline.CodeOf(err) != syncline.CodeInvalid {
				t.Fatalf("got %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	// Each level of the document doubles the work.
	doubling := `{"anyOf":[{"properties":{"a":{"$ref":"#"},"x":{"type":"string"}}},{"properties":{"a":{"$ref":"#"},"y":{"type":"string"}}}]}`
	negated := `{"not":{"patternProperties":{"a":{"$ref":"#/$defs/N"},"a|b":{"$ref":"#/$defs/N"}}},"$defs":{"N":{"patternProperties":{"a":{"$ref":"#/$defs/N"},"a|b":{"$ref":"#/$defs/N"}},"type":"object"}}}`
	doc := strings.Repeat(`{"a":`, 200) + `{"x":1,"y":1}` + strings.Repeat(`}`, 200)
	for name, c := range map[string][2]string{
		"a union that doubles":               {doubling, doc},
		"a negation that doubles":            {negated, doc},
		"a pattern that backtracks":          {`{"type":"string","pattern":"^(?=(a+)+$)b"}`, `"` + strings.Repeat("a", 5000) + `!"`},
		"a document that is nested deep":     {`{"type":"array","items":{"$ref":"#"}}`, strings.Repeat("[", 5000) + strings.Repeat("]", 5000)},
		"a number that no computer can hold": {`{"type":"number","minimum":1}`, `1e999999999`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := Compile(json.RawMessage(c[0]))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err = s.Validate(json.RawMessage(c[1])); err == nil {
				t.Fatal("taken")
			}
			if took := time.Since(start); took > 2*maxTime {
				t.Fatalf("took %s: %v", took, err)
			}
			if err = s.Validate(json.RawMessage(`{"`)); err == nil {
				t.Fatal("the schema is of no use afterwards")
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	s, err := Compile(json.RawMessage(tree))
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := Compile(json.RawMessage(tree)); again != s {
		t.Fatal("compiled twice")
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := s.Validate(json.RawMessage(`{"id":"1","kids":[{"id":"2","kids":[]}]}`)); err != nil {
					t.Error(err)
				}
				if err := s.Validate(json.RawMessage(`{"id":"1","kids":[{"id":"2"}]}`)); err == nil {
					t.Error("taken")
				}
			}
		})
	}
	wg.Wait()
}

func FuzzSchema(f *testing.F) {
	for _, s := range []string{tree, shapes, email, object(`{"a":`+nullable+`}`, "a"), `{"$ref":"#/$defs/~1"}`, `{"patternProperties":{"(":{}}}`, `true`} {
		f.Add([]byte(s), []byte(`{"id":"1","kids":[{"id":2}],"kind":"circle","a":null}`))
	}
	f.Fuzz(func(_ *testing.T, rawSchema, doc []byte) {
		for _, compile := range []func(json.RawMessage) (*Schema, error){Compile, Partial} {
			s, err := compile(rawSchema)
			if err != nil {
				continue
			}
			_ = s.Validate(doc)
		}
		if s, err := Member(rawSchema, "id"); err == nil && s != nil {
			_ = s.Validate(doc)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	issue := object(`{"id":{"type":"string"},"title":{"type":"string"},"state":{"type":"string","enum":["open","closed"]},"number":`+integer+`,"body":`+nullable+
		`,"created_at":`+dateTime+`,"url":{"type":"string","format":"uri"},"labels":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"color":{"type":"string"}},"required":["name","color"]}},`+
		`"user":{"type":"object","properties":{"id":{"type":"number"},"login":{"type":"string"}},"required":["id","login"]}}`, "id", "title", "state", "number", "body", "created_at", "url", "labels", "user")
	doc := json.RawMessage(`{"id":"123","title":"A title of an issue","state":"open","number":42,"body":null,"created_at":"2024-05-01T10:00:00Z","url":"https://example.com/issues/42","labels":[{"name":"bug","color":"red"},{"name":"help","color":"blue"}],"user":{"id":7,"login":"someone"}}`)
	s, err := Compile(json.RawMessage(issue))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Validate(doc); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
