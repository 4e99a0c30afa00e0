package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/schema"
)

// Settings are how the subject's function runs: its settings in the
// environment go before what it says in its code, and that before what the
// environment says.
func (s *Subject) Settings() syncline.RunSettings {
	m := &s.Function.Active.Manifest
	own := syncline.RunSettings{Validation: m.Validation, Limits: m.Limits}
	r := s.Function.Run.Over(own).Over(s.Environment.Run)
	if r.Validation == "" {
		r.Validation = syncline.ValidationWarn
	}
	return r
}

// invalids counts, by what they are, the documents that were taken although
// their schema does not allow them.
type invalids map[string]*invalidDocs

type invalidDocs struct {
	n       int
	example string // what is wrong with the first
}

func (v invalids) add(what string, n int, example string) {
	if n == 0 {
		return
	}
	if v[what] == nil {
		v[what] = &invalidDocs{example: example}
	}
	v[what].n += n
}

// warnings says, once for each kind, what was taken.
func (v invalids) warnings() []string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(v)) {
		d := v[what]
		many := ""
		if d.n > 1 {
			many = fmt.Sprintf(" (%d times)", d.n)
		}
		out = append(out, fmt.Sprintf("%s: not what the schema allows%s, and kept as it is; the first: %s", what, many, d.example))
	}
	return out
}

// maxRefused is how many records the error of a refused batch describes.
const maxRefused = 3

// checkRecords checks a batch by the model's schema. Under strict a record
// that does not fit refuses the batch; otherwise they are counted. It is
// called with mu held.
func (s *session) checkRecords(op records.Op, model string, docs []json.RawMessage) (invalid int, err error) {
	way := s.subject.Settings().Validation
	raw := s.subject.Function.Active.Manifest.Models[model]
	if way == syncline.ValidationOff || len(raw) == 0 {
		return 0, nil
	}
	var check *schema.Schema
	switch op {
	case records.OpUpdate:
		check, err = schema.Partial(raw)
	case records.OpDelete:
		check, err = schema.Member(raw, "id")
	default:
		check, err = schema.Compile(raw)
	}
	if err != nil || check == nil {
		return 0, s.unusable("the schema of the model "+model, way, err)
	}
	var problems []string
	for i, doc := range docs {
		err := check.Validate(doc)
		if err == nil {
			continue
		}
		invalid++
		if len(problems) < maxRefused {
			problems = append(problems, fmt.Sprintf("%s: %s", place(i, doc), problem(err)))
		}
	}
	if invalid == 0 {
		return 0, nil
	}
	if way == syncline.ValidationStrict {
		if invalid > len(problems) {
			problems = append(problems, fmt.Sprintf("and %d more", invalid-len(problems)))
		}
		return 0, syncline.Errorf(syncline.CodeInvalid, "%s(%s): %d of %d records are not what the model's schema allows; nothing of the batch was saved: %s",
			op, model, invalid, len(docs), strings.Join(problems, "\n")).
			WithHint("correct the mapping or the model, or set validation to warn")
	}
	s.invalid.add(fmt.Sprintf("%s(%s)", op, model), invalid, problems[0])
	return invalid, nil
}

// place names a record of a batch.
func place(i int, doc json.RawMessage) string {
	var id struct {
		ID json.RawMessage `json:"id"`
	}
	if json.Unmarshal(doc, &id) == nil && len(id.ID) > 0 && len(id.ID) <= 100 {
		return fmt.Sprintf("record %d (id %s)", i, id.ID)
	}
	return fmt.Sprintf("record %d", i)
}

func problem(err error) string {
	var e *syncline.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return err.Error()
}

// unusable is for a schema that cannot be used: nothing can be told by it.
func (s *session) unusable(what string, way syncline.Validation, err error) error {
	if err == nil {
		return nil
	}
	if way == syncline.ValidationStrict {
		return syncline.Errorf(syncline.CodeInvalid, "%s cannot be checked by: %w", what, err)
	}
	s.invalid.add(what, 1, problem(err))
	return nil
}

// checkCheckpoint checks a checkpoint. It is called with mu held.
func (s *session) checkCheckpoint(doc json.RawMessage) error {
	return s.checkOne("saveCheckpoint", "the checkpoint", s.subject.Function.Active.Manifest.Checkpoint, func(raw json.RawMessage) error {
		check, err := schema.Compile(raw)
		if err != nil {
			return err
		}
		return check.Validate(doc)
	})
}

// checkMetadata checks metadata that replaces what was there, or members that
// do. It is called with mu held.
func (s *session) checkMetadata(change map[string]any, replace bool) error {
	method := "updateMetadata"
	if replace {
		method = "setMetadata"
	}
	return s.checkOne(method, "the metadata", s.subject.Function.Active.Manifest.Metadata, func(raw json.RawMessage) error {
		return schema.Metadata(raw, change, replace)
	})
}

func (s *session) checkOne(method, what string, raw json.RawMessage, check func(raw json.RawMessage) error) error {
	way := s.subject.Settings().Validation
	if way == syncline.ValidationOff || len(raw) == 0 {
		return nil
	}
	err := check(raw)
	if err == nil {
		return nil
	}
	if way == syncline.ValidationStrict {
		return syncline.Errorf(syncline.CodeInvalid, "%s: %s is not what its schema allows: %s", method, what, problem(err)).
			WithHint("correct it or the schema, or set validation to warn")
	}
	s.invalid.add(what, 1, problem(err))
	return nil
}
