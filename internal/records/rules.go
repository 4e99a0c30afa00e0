package records

import (
	"bytes"
	"encoding/json"
	"strings"

	"syncline"
)

// Rules are what is particular to the records of a model. The zero value is
// good for most.
type Rules struct {
	// Ignored are fields that do not count as changes: names, or dotted paths
	// into nested objects.
	Ignored []string
	// Version is the field that keep_newest compares, also a dotted path; "" under
	// another strategy.
	Version string
	// History keeps what records were before their changes.
	History bool
}

// NewBatch checks the records of one call and prepares them, see [NewBatch].
// Under keep_newest the field that is compared must be in every record that is
// saved or updated.
func (ru Rules) NewBatch(op Op, model string, raws []json.RawMessage) (*Batch, error) {
	return newBatch(op, model, raws, ru)
}

// hash is the identity of a payload, less the ignored fields.
func (ru Rules) hash(payload []byte) ([]byte, error) {
	if len(ru.Ignored) == 0 {
		return Hash(payload)
	}
	root, err := parseTree(payload)
	if err != nil {
		return nil, err
	}
	stripped := false
	for _, path := range ru.Ignored {
		stripped = root.remove(strings.Split(path, ".")) || stripped
	}
	if !stripped {
		return Hash(payload)
	}
	rest, err := root.text()
	if err != nil {
		return nil, err
	}
	return Hash(rest)
}

// node is a JSON object taken apart: its values are nodes, or the text of
// anything that is not an object.
type node map[string]any

// parseTree takes a JSON object apart.
func parseTree(text []byte) (node, error) {
	n, err := parseNode(text, 0)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "is not valid JSON: %w", err)
	}
	return n, nil
}

func parseNode(text []byte, depth int) (node, error) {
	if depth > MaxDepth {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the record is nested more than %d levels deep", MaxDepth)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	n := make(node, len(members))
	for name, raw := range members {
		if !isObject(raw) {
			n[name] = raw
			continue
		}
		inner, err := parseNode(raw, depth+1)
		if err != nil {
			return nil, err
		}
		n[name] = inner
	}
	return n, nil
}

// text puts the object together again, without HTML escapes.
func (n node) text() (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(n); err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the record cannot be put together: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// remove takes the value at a path away, and reports whether there was one.
func (n node) remove(path []string) bool {
	for _, name := range path[:len(path)-1] {
		inner, ok := n[name].(node)
		if !ok {
			return false
		}
		n = inner
	}
	last := path[len(path)-1]
	_, ok := n[last]
	delete(n, last)
	return ok
}

// at is the value at a path; nil when there is none.
func (n node) at(path []string) any {
	var v any = n
	for _, name := range path {
		inner, ok := v.(node)
		if !ok {
			return nil
		}
		v = inner[name]
	}
	return v
}

// set puts a value at a path. What is on the way and no object becomes one.
func (n node) set(path []string, v any) {
	for _, name := range path[:len(path)-1] {
		inner, ok := n[name].(node)
		if !ok {
			inner = node{}
			n[name] = inner
		}
		n = inner
	}
	n[path[len(path)-1]] = v
}

// leaves calls fn for each value that is no object with members, with its path.
func (n node) leaves(path []string, fn func(path []string, v any)) {
	for name, v := range n {
		p := append(path[:len(path):len(path)], name)
		if inner, ok := v.(node); ok && len(inner) > 0 {
			inner.leaves(p, fn)
			continue
		}
		fn(p, v)
	}
}

// A path is kept as a JSON pointer (RFC 6901).
var (
	escapePointer   = strings.NewReplacer("~", "~0", "/", "~1")
	unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")
)

func pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteByte('/')
		b.WriteString(escapePointer.Replace(name))
	}
	return b.String()
}

func pathOf(pointer string) []string {
	names := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i := range names {
		names[i] = unescapePointer.Replace(names[i])
	}
	return names
}
