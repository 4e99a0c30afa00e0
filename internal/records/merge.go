package records

import (
	"bytes"
	"encoding/json"

	"github.com/tidwall/gjson"

	"syncline"
)

// Guard says on whose behalf, and with data from when, a write is made.
type Guard struct {
	Strategy syncline.Strategy
	// Watermark is the store position at the latest moment of which it is
	// certain that the written data was not fetched before it. What changed
	// beyond it may be fresher than the data.
	Watermark int64
	// Writer makes the write.
	Writer syncline.Writer
	// Replayed marks an event that was replayed or re-routed: it is guarded
	// under any strategy, and events of its lane that came between are not
	// its own.
	Replayed bool
	Rules    Rules
}

// Outcome is what a write came to.
type Outcome int

// The outcomes.
const (
	Unchanged Outcome = iota
	Added
	Updated
	Deleted
	Skipped   // guarded, and the payload is what the cache has anyway
	Contested // guarded, and the payload differs from the cache
	Older     // keep_newest: what stands is newer
	Unknown   // update or delete of an id that is not there
	Marked    // keep_newest: delete of an id that was never there, noted for older saves that may come
)

// Decision is a write's outcome and, when it changes the record, what the
// record becomes.
type Decision struct {
	Outcome Outcome
	Payload json.RawMessage
	Hash    []byte
	// Version and FieldVersions are the record's, under keep_newest.
	Version       string
	FieldVersions json.RawMessage
	// Restate says that an unchanged record is to be written all the same: its
	// versions moved, and what readers are told of did not.
	Restate bool
}

// Changes reports whether the record changes.
func (d Decision) Changes() bool {
	return d.Outcome == Added || d.Outcome == Updated || d.Outcome == Deleted
}

// Decide is the merge kernel: what a write does to a record. existing is nil
// when the collection has no row of that id. It is pure.
func Decide(existing *syncline.Record, op Op, in Item, g Guard) (Decision, error) {
	if g.Strategy == syncline.StrategyKeepNewest {
		return decideNewest(existing, op, in, g)
	}
	if existing == nil {
		if op == OpSave {
			return Decision{Outcome: Added, Payload: in.Payload, Hash: in.Hash}, nil
		}
		return Decision{Outcome: Unknown}, nil
	}
	switch op {
	case OpSave:
		same := !existing.Deleted() && bytes.Equal(existing.Hash, in.Hash)
		switch {
		case g.stale(existing):
			return skip(same), nil
		case same:
			return Decision{Outcome: Unchanged}, nil
		case existing.Deleted():
			return Decision{Outcome: Added, Payload: in.Payload, Hash: in.Hash}, nil
		}
		return Decision{Outcome: Updated, Payload: in.Payload, Hash: in.Hash}, nil

	case OpUpdate:
		// A part cannot bring a deleted record back, nor stand on a payload
		// that was pruned: the rest of the record would be missing.
		if existing.Deleted() || !existing.PrunedAt.IsZero() {
			return Decision{Outcome: Unknown}, nil
		}
		merged, err := deepMerge(existing.Payload, in.Payload)
		if err != nil {
			return Decision{}, err
		}
		hash, err := g.Rules.hash(merged)
		if err != nil {
			return Decision{}, err
		}
		same := bytes.Equal(existing.Hash, hash)
		switch {
		case g.stale(existing):
			return skip(same), nil
		case same:
			return Decision{Outcome: Unchanged}, nil
		}
		return Decision{Outcome: Updated, Payload: merged, Hash: hash}, nil

	case OpDelete:
		switch {
		case g.stale(existing):
			return skip(existing.Deleted()), nil
		case existing.Deleted():
			return Decision{Outcome: Unchanged}, nil
		}
		return Decision{Outcome: Deleted, Payload: existing.Payload, Hash: existing.Hash}, nil
	}
	return Decision{}, syncline.Errorf(syncline.CodeInternal, "unknown operation %d", op)
}

func skip(same bool) Decision {
	if same {
		return Decision{Outcome: Skipped}
	}
	return Decision{Outcome: Contested}
}

// stale reports whether the write must give way: someone else changed the
// record after the written data may have been fetched.
func (g Guard) stale(existing *syncline.Record) bool {
	if g.Strategy != syncline.StrategyIgnoreIfModifiedAfter && !g.Replayed {
		return false
	}
	return existing.Seq > g.Watermark && !g.own(existing.Writer)
}

// own reports whether w is the guard's own earlier write: of the same poll or
// those it continues, or of the same lane's earlier events.
func (g Guard) own(w syncline.Writer) bool {
	if g.Writer.Lineage != 0 {
		return w.Lineage == g.Writer.Lineage
	}
	if g.Writer.LaneID == 0 || w.LaneID != g.Writer.LaneID {
		return false
	}
	return w.EventID == g.Writer.EventID || !g.Replayed && w.EventID < g.Writer.EventID
}

// deepMerge merges the object part into the object base: objects merge member
// by member, anything else, arrays included, replaces. Members stay where they
// are, new ones come last. At the top, a part's id only names the record and
// does not change the payload's id.
func deepMerge(base, part json.RawMessage) (json.RawMessage, error) {
	if !gjson.ValidBytes(base) {
		return nil, syncline.Errorf(syncline.CodeInternal, "the stored record is unreadable")
	}
	if !gjson.ValidBytes(part) {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the update is not valid JSON")
	}
	return mergeInto(make([]byte, 0, len(base)+len(part)), gjson.ParseBytes(base), gjson.ParseBytes(part), true), nil
}

// mergeInto appends the merged object to out. Of members with the same name
// the last counts.
func mergeInto(out []byte, base, part gjson.Result, top bool) []byte {
	type member struct{ key, value, part gjson.Result }
	var members []member
	index := map[string]int{}
	base.ForEach(func(key, value gjson.Result) bool {
		if i, again := index[key.String()]; again {
			members[i].value = value
			return true
		}
		index[key.String()] = len(members)
		members = append(members, member{key: key, value: value})
		return true
	})
	stored := len(members)
	part.ForEach(func(key, value gjson.Result) bool {
		i, exists := index[key.String()]
		switch {
		case !exists:
			index[key.String()] = len(members)
			members = append(members, member{key: key, part: value})
		case top && i < stored && key.String() == "id":
		default:
			members[i].part = value
		}
		return true
	})
	out = append(out, '{')
	for i, m := range members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, m.key.Raw...), ':')
		switch {
		case !m.part.Exists():
			out = append(out, m.value.Raw...)
		case m.value.IsObject() && m.part.IsObject():
			out = mergeInto(out, m.value, m.part, false)
		default:
			out = append(out, m.part.Raw...)
		}
	}
	return append(out, '}')
}

func isObject(raw json.RawMessage) bool {
	raw = bytes.TrimLeft(raw, " \t\r\n")
	return len(raw) > 0 && raw[0] == '{'
}
