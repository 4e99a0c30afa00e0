package schema

import (
	"encoding/json"
	"maps"
	"slices"

	"syncline"
)

// Metadata checks an object, or, unless replace is set, members that take the
// place of an object's: each of them by itself, whole.
func Metadata(raw json.RawMessage, members map[string]any, replace bool) error {
	doc, err := json.Marshal(members)
	if err != nil {
		return syncline.Errorf(syncline.CodeInvalid, "cannot be written as JSON: %w", err)
	}
	if replace {
		s, err := Compile(raw)
		if err != nil {
			return err
		}
		return s.Validate(doc)
	}
	v, err := read(doc)
	if err != nil {
		return err
	}
	object, _ := v.(map[string]any)
	var found []problem
	for _, name := range slices.Sorted(maps.Keys(object)) {
		s, err := Member(raw, name)
		if err != nil {
			return err
		}
		if s == nil {
			continue
		}
		problems, err := s.check(map[string]any{name: object[name]})
		if err != nil {
			return err
		}
		found = append(found, problems...)
	}
	return asError(found)
}
