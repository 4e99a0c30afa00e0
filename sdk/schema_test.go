package sdk

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"
)

type color int

func (color) MarshalText() ([]byte, error) { return []byte("red"), nil }

type money struct{ cents int64 }

func (m money) MarshalJSON() ([]byte, error) { return json.Marshal(m.cents) }

type tree struct {
	Children []tree `json:"children"`
}

type node struct {
	Next *node `json:"next"`
}

func (node) JSONSchema() json.RawMessage {
	return json.RawMessage(`{"type":"object","properties":{"next":{"type":["object","null"]}}}`)
}

type embedded struct {
	ID int64 `json:"id,string"`
}

func TestSchemasAreWhatTypesAreWrittenAs(t *testing.T) {
	t.Parallel()
	type nested struct {
		A bool
		B float64 `json:"b,omitempty"`
		c int
	}
	_ = nested{}.c
	for name, c := range map[string]struct {
		of   func() (json.RawMessage, error)
		want string
	}{
		"members, optional and required": {schemaOf[nested], `{"type":"object","properties":{"A":{"type":"boolean"},"b":{"type":"number"}},"required":["A"]}`},
		"a number that is written as a string, in an embedded struct": {schemaOf[struct {
			embedded
			X *int `json:"x,string"`
		}], `{"type":"object","properties":{"id":{"type":"string"},"x":{"type":["null","integer"]}},"required":["id","x"]}`},
		"pointers and slices may be null": {schemaOf[struct {
			P *string
			S []string
			M map[string]int
		}], `{"type":"object","properties":{"P":{"type":["null","string"]},"S":{"type":["null","array"],"items":{"type":"string"}},"M":{"type":["null","object"],"additionalProperties":{"type":"integer"}}},"required":["P","S","M"]}`},
		"times are strings":    {schemaOf[struct{ T time.Time }], `{"type":"object","properties":{"T":{"type":"string"}},"required":["T"]}`},
		"bytes are a string":   {schemaOf[struct{ B []byte }], `{"type":"object","properties":{"B":{"type":["null","string"]}},"required":["B"]}`},
		"raw JSON is anything": {schemaOf[struct{ R json.RawMessage }], `{"type":"object","properties":{"R":true},"required":["R"]}`},
		"methods decide": {schemaOf[struct {
			C color
			M money
			A netip.Addr
			N node
		}], `{"type":"object","properties":{"C":{"type":"string"},"M":true,"A":{"type":"string"},"N":{"type":"object","properties":{"next":{"type":["object","null"]}}}},"required":["C","M","A","N"]}`},
		"big numbers": {schemaOf[struct{ B *big.Int }], `{"type":"object","properties":{"B":{"type":["null","integer"]}},"required":["B"]}`},
		"nothing":     {schemaOf[struct{}], `{"type":"object"}`},
		"a description by the tag": {schemaOf[struct {
			S string `json:"s" jsonschema:"what it is"`
		}], `{"type":"object","properties":{"s":{"type":"string","description":"what it is"}},"required":["s"]}`},
	} {
		got, err := c.of()
		if err != nil || !sameJSON(t, got, c.want) {
			t.Errorf("%s:\n got %s, %v\nwant %s", name, got, err, c.want)
		}
	}
}

func sameJSON(t *testing.T, a json.RawMessage, b string) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	q, err := json.Marshal(y)
	return err == nil && string(p) == string(q)
}

func TestTypesWithoutASchemaAreNamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		of   func() (json.RawMessage, error)
		want string
	}{
		"one that contains itself": {schemaOf[struct{ T tree }], "sdk.tree contains itself"},
		"a function":               {schemaOf[struct{ F func() }], "func"},
		"a channel":                {schemaOf[struct{ C chan int }], "chan"},
	} {
		if _, err := c.of(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
