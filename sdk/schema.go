package sdk

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// Schema declares a type of a function's data: a [Model], a [Checkpoint] or a
// [Metadata].
type Schema interface {
	schema() (json.RawMessage, error)
}

// Schemer is a type that says itself what its JSON Schema is. Types with a
// MarshalJSON method are otherwise taken to be anything, those with MarshalText
// to be strings.
type Schemer interface{ JSONSchema() json.RawMessage }

// schemaOf derives the schema of T. Fields of objects that the type does not
// have are allowed: it says what the function uses.
func schemaOf[T any]() (json.RawMessage, error) {
	t := reflect.TypeFor[T]()
	known := map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[[]byte]():  {Types: []string{"null", "string"}},
		reflect.TypeFor[big.Int](): {Type: "integer"},
	}
	if err := special(t, known, nil); err != nil {
		return nil, err
	}
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil, fmt.Errorf("no JSON Schema can be derived from the type %s: %w", t, err)
	}
	adapt(t, s, known)
	return json.Marshal(s)
}

// special collects the types within t whose JSON does not follow from their
// structure. A type that contains itself has no finite schema.
func special(t reflect.Type, known map[reflect.Type]*jsonschema.Schema, within []reflect.Type) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known[t] != nil || t.PkgPath() == "time" || strings.HasPrefix(t.PkgPath(), "math/big") {
		return nil
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(reflect.TypeFor[Schemer]()):
		var s jsonschema.Schema
		if err := json.Unmarshal(reflect.New(t).Interface().(Schemer).JSONSchema(), &s); err != nil {
			return fmt.Errorf("the JSONSchema of %s is not a JSON Schema: %w", t, err)
		}
		known[t] = &s
		return nil
	case p.Implements(reflect.TypeFor[json.Marshaler]()):
		known[t] = &jsonschema.Schema{}
		return nil
	case p.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		known[t] = &jsonschema.Schema{Type: "string"}
		return nil
	}
	if t.Name() != "" {
		for _, outer := range within {
			if outer == t {
				return fmt.Errorf("the type %s contains itself; give it a method JSONSchema() json.RawMessage, or the model a Schema", t)
			}
		}
		within = append(within[:len(within):len(within)], t)
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return special(t.Elem(), known, within)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
				continue
			}
			if err := special(f.Type, known, within); err != nil {
				return err
			}
		}
	}
	return nil
}

// adapt allows further members of objects, and makes strings of numbers that are
// written as such.
func adapt(t reflect.Type, s *jsonschema.Schema, known map[reflect.Type]*jsonschema.Schema) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s == nil || known[t] != nil {
		return
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		adapt(t.Elem(), s.Items, known)
	case reflect.Map:
		s.Type, s.Types = "", []string{"null", "object"} // nil is written as null
		adapt(t.Elem(), s.AdditionalProperties, known)
	case reflect.Struct:
		s.AdditionalProperties = nil
		for _, f := range reflect.VisibleFields(t) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			property := s.Properties[name]
			if property == nil {
				continue
			}
			if strings.Contains(","+options+",", ",string,") && quoted(f.Type) {
				*property = jsonschema.Schema{Type: "string", Description: property.Description}
				continue
			}
			adapt(f.Type, property, known)
		}
	}
}

// quoted reports whether the json option string applies to values of type t.
func quoted(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr, reflect.Float32, reflect.Float64:
		return true
	}
	return false
}
