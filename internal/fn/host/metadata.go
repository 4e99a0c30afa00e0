package host

import (
	"encoding/json"
	"fmt"
	"maps"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/records"
	"syncline/internal/store"
)

// changeMetadata reads a connection's metadata, changes it and writes it back.
func changeMetadata(tx store.Tx, s *Subject, c clock.Clock, change func(map[string]any) map[string]any) error {
	conn, err := tx.Connection(s.Environment.ID, s.Connection.ID)
	if err != nil {
		return err
	}
	conn.Metadata = change(conn.Metadata)
	conn.UpdatedAt = c.Now()
	return tx.UpdateConnection(&conn)
}

// mergeMetadata replaces metadata, or overrides its top-level members.
func mergeMetadata(m, change map[string]any, replace bool) map[string]any {
	if replace {
		return change
	}
	merged := maps.Clone(m)
	if merged == nil {
		merged = map[string]any{}
	}
	maps.Copy(merged, change)
	return merged
}

func renderMetadata(m map[string]any) (json.RawMessage, error) {
	if m == nil {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(m)
}

func unknownWarning(op records.Op, model string, n int) string {
	return fmt.Sprintf("%s(%s): %d ids are not in the cache, or were deleted or pruned; nothing was done for them", op, model, n)
}

// Warnings says what of a result deserves a warning.
func Warnings(model string, r syncline.ModelResult) []string {
	if r.Unknown == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s: %d updates or deletes of ids that are not in the cache, or were deleted or pruned, were not applied", model, r.Unknown)}
}
