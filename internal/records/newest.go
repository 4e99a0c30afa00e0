package records

import (
	"bytes"
	"encoding/json"
	"strings"

	"syncline"
)

// decideNewest is what keep_newest does: data that is older than what stands
// never wins, at a tie the later arrival does. A tombstone keeps its version, and
// only something strictly newer brings the record back. What is replayed came
// before already, so at a tie it gives way to what changed since.
func decideNewest(existing *syncline.Record, op Op, in Item, g Guard) (Decision, error) {
	if existing == nil {
		switch {
		case op == OpSave:
			return Decision{Outcome: Added, Payload: in.Payload, Hash: in.Hash, Version: in.Version}, nil
		case op == OpDelete && in.Version != "":
			// An older save may still arrive; the marker tells it apart.
			return Decision{Outcome: Marked, Version: in.Version}, nil
		}
		return Decision{Outcome: Unknown}, nil
	}
	fields, err := readFieldVersions(existing.FieldVersions)
	if err != nil {
		return Decision{}, err
	}
	newest, err := fields.newest(existing.Version, everywhere)
	if err != nil {
		return Decision{}, err
	}
	n := newestOf{existing: existing, in: in, g: g, fields: fields, newest: newest}
	switch op {
	case OpSave:
		return n.save()
	case OpUpdate:
		return n.update()
	case OpDelete:
		return n.delete()
	}
	return Decision{}, syncline.Errorf(syncline.CodeInternal, "unknown operation %d", op)
}

type newestOf struct {
	existing *syncline.Record
	in       Item
	g        Guard
	fields   fieldVersions
	newest   string // of the record and its fields
}

// wins reports whether the incoming version wins over another.
func (n *newestOf) wins(over string, strictly bool) (bool, error) {
	c, err := CompareVersions(n.in.Version, over)
	return c > 0 || c == 0 && !strictly, err
}

// gives reports whether a tie is lost.
func (n *newestOf) gives() bool {
	return n.g.Replayed && n.existing.Seq > n.g.Watermark && !n.g.own(n.existing.Writer)
}

func (n *newestOf) save() (Decision, error) {
	existing, in := n.existing, n.in
	older := Decision{Outcome: Older}
	if existing.Deleted() {
		if ok, err := n.wins(n.newest, true); err != nil || !ok {
			return older, err
		}
		return Decision{Outcome: Added, Payload: in.Payload, Hash: in.Hash, Version: in.Version}, nil
	}
	if ok, err := n.wins(existing.Version, n.gives()); err != nil || !ok {
		return older, err
	}
	payload, hash := in.Payload, in.Hash
	kept := fieldVersions{}
	for p, v := range n.fields {
		c, err := CompareVersions(v, in.Version)
		if err != nil {
			return Decision{}, err
		}
		if c > 0 {
			kept[p] = v
		}
	}
	if len(kept) > 0 {
		if !existing.PrunedAt.IsZero() {
			return older, nil // the newer fields are not there any more
		}
		var err error
		if payload, err = overlayFields(in.Payload, existing.Payload, kept); err != nil {
			return Decision{}, err
		}
		if hash, err = n.g.Rules.hash(payload); err != nil {
			return Decision{}, err
		}
	}
	return n.result(payload, hash, in.Version, kept), nil
}

// overlayFields puts fields of a stored record over another.
func overlayFields(onto, stored json.RawMessage, fields fieldVersions) (json.RawMessage, error) {
	into, err := parseTree(onto)
	if err != nil {
		return nil, err
	}
	from, err := parseTree(stored)
	if err != nil {
		return nil, err
	}
	for p := range fields {
		path := pathOf(p)
		if v := from.at(path); v != nil {
			into.set(path, v)
		}
	}
	return into.text()
}

func (n *newestOf) update() (Decision, error) {
	existing, in := n.existing, n.in
	if existing.Deleted() || !existing.PrunedAt.IsZero() {
		return Decision{Outcome: Unknown}, nil
	}
	if ok, err := n.wins(existing.Version, n.gives()); err != nil || !ok {
		return Decision{Outcome: Older}, err
	}
	into, err := parseTree(existing.Payload)
	if err != nil {
		return Decision{}, err
	}
	part, err := parseTree(in.Payload)
	if err != nil {
		return Decision{}, err
	}
	fields := fieldVersions{}
	for p, v := range n.fields {
		fields[p] = v
	}
	applied := 0
	part.leaves(nil, func(path []string, v any) {
		if err != nil || len(path) == 1 && path[0] == "id" && into["id"] != nil {
			return
		}
		p := pointer(path)
		var standing string
		standing, err = fields.newest(existing.Version, func(q string) bool { return related(p, q) })
		if err != nil {
			return
		}
		var ok bool
		if ok, err = n.wins(standing, n.gives()); err != nil || !ok {
			return
		}
		applied++
		if _, empty := v.(node); empty {
			if _, object := into.at(path).(node); object {
				return // merging nothing into it
			}
		}
		into.set(path, v)
		for q := range fields {
			if strings.HasPrefix(q, p+"/") {
				delete(fields, q)
			}
		}
		if in.Version != existing.Version {
			fields[p] = in.Version
		}
	})
	if err != nil {
		return Decision{}, err
	}
	if applied == 0 {
		return Decision{Outcome: Older}, nil
	}
	payload, err := into.text()
	if err != nil {
		return Decision{}, err
	}
	hash, err := n.g.Rules.hash(payload)
	if err != nil {
		return Decision{}, err
	}
	return n.result(payload, hash, existing.Version, fields), nil
}

// result is an update, or where the payload stays the same, perhaps other
// versions for it.
func (n *newestOf) result(payload json.RawMessage, hash []byte, version string, fields fieldVersions) Decision {
	d := Decision{Outcome: Updated, Payload: payload, Hash: hash, Version: version, FieldVersions: fields.text()}
	if bytes.Equal(hash, n.existing.Hash) {
		d.Outcome = Unchanged
		d.Restate = version != n.existing.Version || !bytes.Equal(d.FieldVersions, n.existing.FieldVersions)
		if !n.existing.PrunedAt.IsZero() {
			d.Payload = nil
		}
	}
	return d
}

func (n *newestOf) delete() (Decision, error) {
	existing, in := n.existing, n.in
	c, err := CompareVersions(in.Version, n.newest)
	if err != nil {
		return Decision{}, err
	}
	version := n.newest
	if c > 0 {
		version = in.Version
	}
	switch {
	case existing.Deleted():
		return Decision{Outcome: Unchanged, Payload: existing.Payload, Hash: existing.Hash, Version: version, Restate: version != existing.Version}, nil
	case in.Version == "" && n.gives(), in.Version != "" && (c < 0 || c == 0 && n.gives()):
		return Decision{Outcome: Older}, nil
	}
	return Decision{Outcome: Deleted, Payload: existing.Payload, Hash: existing.Hash, Version: version}, nil
}
