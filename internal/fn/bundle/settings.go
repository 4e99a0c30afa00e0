package bundle

import (
	"bytes"
	"encoding/json"
	"errors"

	"syncline"
	documents "syncline/internal/schema"
)

// settings takes over how a function asks to run; bad gets what is wrong with it.
func settings(m *syncline.Manifest, d *description, wrong map[string]bool, bad func(field, message, hint string)) {
	if !wrong["validation"] {
		v, err := syncline.ParseValidation(d.Validation)
		if err != nil {
			message, hint := explain(err)
			bad("validation", "validation: "+message, hint)
		}
		m.Validation = v
	}
	if len(d.Limits) == 0 {
		return
	}
	if err := m.Limits.UnmarshalJSON(d.Limits); err != nil {
		field := "limits"
		var e *syncline.Error
		if errors.As(err, &e) && e.Field != "" {
			field = e.Field
		}
		message, hint := explain(err)
		bad(field, message, hint)
	}
}

// declared is a schema that a function declares.
type declared struct {
	name   string // of the model or the field
	model  bool
	schema json.RawMessage
}

// schemasOf lists the schemas of a function, models first.
func schemasOf(m *syncline.Manifest) []declared {
	var all []declared
	for _, name := range sortedKeys(m.Models) {
		all = append(all, declared{name, true, m.Models[name]})
	}
	for _, s := range []declared{{"metadata", false, m.Metadata}, {"checkpoint", false, m.Checkpoint}, {"input", false, m.Input}, {"output", false, m.Output}} {
		if len(s.schema) > 0 {
			all = append(all, s)
		}
	}
	return all
}

// unchecked lists the patterns of a schema that a server cannot check, by path.
func unchecked(schema json.RawMessage) []string {
	if !bytes.Contains(schema, []byte(`"pattern`)) {
		return nil // most: compiling all of a large project takes its time
	}
	s, err := documents.Compile(schema)
	if err != nil {
		return nil // runs carry a warning of it
	}
	return s.Unchecked()
}
