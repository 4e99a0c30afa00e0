package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Limits of a schema.
const (
	maxSchema = 2 << 20 // bytes
	maxDepth  = 200     // how deep its JSON may be nested
	maxNodes  = 10_000  // subschemas
	// maxChain is how many subschemas may apply to one value within each other.
	maxChain = 100
)

// prepare reads a schema, checks that it is one that can be used safely, and
// compiles it once.
func prepare(raw json.RawMessage, part string) (*Schema, error) {
	if depth(raw) > maxDepth {
		return nil, refused("it is nested deeper than %d levels", maxDepth)
	}
	v, err := read(raw)
	if err != nil {
		return nil, refused("%s", err)
	}
	root, ok := v.(map[string]any)
	if !ok {
		if b, isBool := v.(bool); isBool {
			root = map[string]any{}
			if !b {
				root["not"] = map[string]any{}
			}
		} else {
			return nil, refused("it is not an object")
		}
	}
	p := &preparer{defs: map[string]any{}}
	root, err = p.normalize(root)
	if err != nil {
		return nil, err
	}
	switch part {
	case whole:
		if len(p.defs) > 0 {
			root["$defs"] = p.defs
		}
	case partial:
		root = p.partialRoot(root)
	default:
		if root = p.memberRoot(root, part); root == nil {
			return nil, nil
		}
	}
	if err := p.chains(root); err != nil {
		return nil, err
	}
	s := &Schema{source: root, formats: map[string]format{}}
	s.addMeters(root, "#")
	i, err := s.compile()
	if err != nil {
		return nil, err
	}
	s.idle = append(s.idle, i)
	slices.Sort(s.unchecked)
	return s, nil
}

// How a keyword holds subschemas.
type holds int

const (
	holdsOne holds = iota + 1
	holdsList
	holdsMap
)

type keyword struct {
	holds holds
	// same says that the subschema applies to the same value.
	same bool
}

// keywords are those that hold subschemas.
var keywords = map[string]keyword{
	"properties": {holdsMap, false}, "patternProperties": {holdsMap, false}, "dependentSchemas": {holdsMap, true},
	"allOf": {holdsList, true}, "anyOf": {holdsList, true}, "oneOf": {holdsList, true}, "prefixItems": {holdsList, false},
	"items": {holdsOne, false}, "additionalProperties": {holdsOne, false}, "propertyNames": {holdsOne, false},
	"contains": {holdsOne, false}, "unevaluatedItems": {holdsOne, false}, "unevaluatedProperties": {holdsOne, false},
	"not": {holdsOne, true}, "if": {holdsOne, true}, "then": {holdsOne, true}, "else": {holdsOne, true},
}

// dropped are keywords that say nothing about a value, or name the schema
// itself: zod writes some, and none is needed.
var dropped = []string{
	"$schema", "$id", "id", "$comment", "$vocabulary", "$defs", "definitions", "contentEncoding", "contentMediaType", "contentSchema",
	"default", "examples", "title", "description", "deprecated", "readOnly", "writeOnly",
}

// foreign are keywords that would lead out of the schema, or make the meaning
// of a part depend on how it was reached.
var foreign = []string{"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}

type preparer struct {
	defs  map[string]any
	nodes int
}

// normalize returns a copy of the root: its definitions are collected in defs
// under their names, references are "#" and "#/$defs/NAME" alone.
func (p *preparer) normalize(root map[string]any) (map[string]any, error) {
	for _, kw := range []string{"definitions", "$defs"} {
		defs, ok := root[kw].(map[string]any)
		if !ok {
			continue
		}
		for name, def := range defs {
			n, err := p.node(def)
			if err != nil {
				return nil, err
			}
			p.defs[name] = n
		}
	}
	n, err := p.node(root)
	if err != nil {
		return nil, err
	}
	return n.(map[string]any), nil
}

func (p *preparer) node(v any) (any, error) {
	if p.nodes++; p.nodes > maxNodes {
		return nil, refused("it has more than %d parts", maxNodes)
	}
	if b, ok := v.(bool); ok {
		return b, nil
	}
	obj, ok := v.(map[string]any)
	if !ok {
		return nil, refused("a part of it is neither an object nor a boolean")
	}
	out := make(map[string]any, len(obj)+1)
	for name, value := range obj {
		switch {
		case slices.Contains(dropped, name):
		case slices.Contains(foreign, name):
			return nil, refused("it holds %s; definitions are named with $defs and $ref", name)
		case name == "$ref":
			ref, ok := value.(string)
			if !ok {
				return nil, refused("a $ref is not a string")
			}
			ref, err := p.reference(ref)
			if err != nil {
				return nil, err
			}
			out[name] = ref
		case keywords[name].holds == 0:
			out[name] = value
		default:
			sub, err := p.hold(name, keywords[name].holds, value)
			if err != nil {
				return nil, err
			}
			out[name] = sub
		}
	}
	p.leaveOut(out)
	return out, nil
}

func (p *preparer) hold(name string, h holds, value any) (any, error) {
	switch h {
	case holdsMap:
		m, ok := value.(map[string]any)
		if !ok {
			return nil, refused("%s is not an object", name)
		}
		out := make(map[string]any, len(m))
		for k, v := range m {
			n, err := p.node(v)
			if err != nil {
				return nil, err
			}
			out[k] = n
		}
		return out, nil
	case holdsList:
		l, ok := value.([]any)
		if !ok {
			return nil, refused("%s is not an array", name)
		}
		out := make([]any, len(l))
		for i, v := range l {
			n, err := p.node(v)
			if err != nil {
				return nil, err
			}
			out[i] = n
		}
		return out, nil
	default:
		return p.node(value)
	}
}

// leaveOut takes members out of required of which nothing is known: zod writes
// z.any() and z.unknown() so, and does not ask for them.
func (p *preparer) leaveOut(node map[string]any) {
	required, ok := node["required"].([]any)
	if !ok {
		return
	}
	properties, _ := node["properties"].(map[string]any)
	node["required"] = slices.DeleteFunc(slices.Clone(required), func(name any) bool {
		s, _ := name.(string)
		sub, ok := properties[s].(map[string]any)
		return ok && len(sub) == 0
	})
}

// reference checks that a reference stays within the schema.
func (p *preparer) reference(ref string) (string, error) {
	if ref == "#" {
		return ref, nil
	}
	for _, prefix := range []string{"#/$defs/", "#/definitions/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok && name != "" && !strings.Contains(name, "/") {
			return "#/$defs/" + name, nil
		}
	}
	return "", refused("it refers to %q; only \"#\" and \"#/$defs/NAME\" are followed", shorten(ref))
}

// defOf is the name of the definition that a reference leads to.
func defOf(ref string) string {
	name := strings.TrimPrefix(ref, "#/$defs/")
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(percent(name))
}

// refTo is a reference to a definition.
func refTo(name string) string {
	return "#/$defs/" + strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "#", "%23", " ", "%20", "\"", "%22").Replace(name)
}

// percent takes percent encoding out of a fragment.
func percent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Suffixes of the names of the forms that a definition has in a partial schema.
const (
	fullRoot      = "\x00root"
	partialSuffix = "\x00partial"
)

// partialRoot makes the partial form of a schema. Definitions exist twice: as
// they are, for what stands in arrays, and partial.
func (p *preparer) partialRoot(root map[string]any) map[string]any {
	defs := map[string]any{fullRoot: full(root)}
	for name, def := range p.defs {
		defs[name] = full(def)
		defs[name+partialSuffix] = partialOf(def)
	}
	out := partialOf(root).(map[string]any)
	out["$defs"] = defs
	return out
}

// full copies a part of which everything is demanded.
func full(v any) any {
	return rewrite(v, func(node map[string]any, copied func(kw string, v any) any) {
		if node["$ref"] == "#" {
			node["$ref"] = refTo(fullRoot)
		}
		for kw := range keywords {
			if sub, ok := node[kw]; ok {
				node[kw] = copied(kw, sub)
			}
		}
	}, full)
}

func partialOf(v any) any {
	return rewrite(v, func(node map[string]any, copied func(kw string, v any) any) {
		delete(node, "required")
		delete(node, "minProperties")
		delete(node, "dependentRequired")
		if ref, ok := node["$ref"].(string); ok && ref != "#" {
			node["$ref"] = refTo(defOf(ref) + partialSuffix)
		}
		if not, ok := node["not"].(map[string]any); ok && len(not) > 0 {
			delete(node, "not") // what is not there yet cannot be judged
		}
		for _, kw := range []string{"if", "then", "else", "dependentSchemas"} {
			delete(node, kw)
		}
		for kw := range keywords {
			sub, ok := node[kw]
			if !ok {
				continue
			}
			switch kw {
			case "items", "prefixItems", "contains", "unevaluatedItems":
				node[kw] = hold(kw, sub, full)
			default:
				node[kw] = copied(kw, sub)
			}
		}
		// Without what is required, several of a union's forms may fit.
		if one, ok := node["oneOf"]; ok {
			delete(node, "oneOf")
			if _, both := node["anyOf"]; both {
				all, _ := node["allOf"].([]any)
				node["allOf"] = append(slices.Clone(all), map[string]any{"anyOf": one})
			} else {
				node["anyOf"] = one
			}
		}
	}, partialOf)
}

// rewrite copies a node and lets change work on the copy.
func rewrite(v any, change func(node map[string]any, copied func(kw string, v any) any), self func(any) any) any {
	obj, ok := v.(map[string]any)
	if !ok {
		return v
	}
	node := maps.Clone(obj)
	change(node, func(kw string, v any) any { return hold(kw, v, self) })
	return node
}

// hold copies what a keyword holds with f.
func hold(kw string, v any, f func(any) any) any {
	switch v := v.(type) {
	case map[string]any:
		if keywords[kw].holds == holdsMap {
			out := make(map[string]any, len(v))
			for k, sub := range v {
				out[k] = f(sub)
			}
			return out
		}
	case []any:
		if keywords[kw].holds == holdsList {
			out := make([]any, len(v))
			for i, sub := range v {
				out[i] = f(sub)
			}
			return out
		}
	}
	return f(v)
}

// memberRoot is what a schema says of one member of a plain object.
func (p *preparer) memberRoot(root map[string]any, name string) map[string]any {
	for range maxChain {
		ref, ok := root["$ref"].(string)
		if !ok || ref == "#" {
			break
		}
		if root, ok = p.defs[defOf(ref)].(map[string]any); !ok {
			return nil
		}
	}
	properties, _ := root["properties"].(map[string]any)
	sub, ok := properties[name]
	if !ok {
		return nil
	}
	defs := map[string]any{fullRoot: full(root)}
	for n, def := range p.defs {
		defs[n] = full(def)
	}
	return map[string]any{
		"type": "object", "required": []any{name}, "properties": map[string]any{name: full(sub)}, "$defs": defs,
	}
}

// chains checks that references lead to definitions, and that no value is
// checked by subschemas within each other without end.
func (p *preparer) chains(root map[string]any) error {
	c := &chain{root: root, length: map[string]int{}}
	c.defs, _ = root["$defs"].(map[string]any)
	if _, err := c.ref("#"); err != nil {
		return err
	}
	for name := range c.defs {
		if _, err := c.ref(refTo(name)); err != nil {
			return err
		}
	}
	return nil
}

type chain struct {
	root   map[string]any
	defs   map[string]any
	length map[string]int // of what references lead to; -1 while it is being found
}

func (c *chain) ref(ref string) (int, error) {
	target := any(c.root)
	name := "#"
	if ref != "#" {
		name = "#" + defOf(ref)
		def, ok := c.defs[defOf(ref)]
		if !ok {
			return 0, refused("it refers to %q, which it does not define", shorten(ref))
		}
		target = def
	}
	switch n, ok := c.length[name]; {
	case ok && n < 0:
		return 0, refused("%q refers to itself without going into a member", shorten(ref))
	case ok:
		return n, nil
	}
	c.length[name] = -1
	n, err := c.node(target)
	c.length[name] = n
	return n, err
}

// node is how many subschemas apply to one value within each other, from v on.
func (c *chain) node(v any) (int, error) {
	obj, ok := v.(map[string]any)
	if !ok {
		return 1, nil
	}
	longest := 0
	if ref, ok := obj["$ref"].(string); ok {
		n, err := c.ref(ref)
		if err != nil {
			return 0, err
		}
		longest = n
	}
	for kw, k := range keywords {
		sub, ok := obj[kw]
		if !ok {
			continue
		}
		err := each(k.holds, sub, func(v any) error {
			if !k.same {
				return c.later(v)
			}
			n, err := c.node(v)
			longest = max(longest, n)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	if longest >= maxChain {
		return 0, refused("more than %d of its parts apply to one value within each other", maxChain)
	}
	return longest + 1, nil
}

// later checks a part that applies to another value; references from there may
// lead back.
func (c *chain) later(v any) error {
	obj, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	if ref, ok := obj["$ref"].(string); ok && ref != "#" {
		if _, ok := c.defs[defOf(ref)]; !ok {
			return refused("it refers to %q, which it does not define", shorten(ref))
		}
	}
	// The length from here is found without what references lead to: those are
	// measured by themselves, and at most maxChain of them follow each other.
	for kw, k := range keywords {
		sub, ok := obj[kw]
		if !ok {
			continue
		}
		if err := each(k.holds, sub, c.later); err != nil {
			return err
		}
	}
	return nil
}

func each(h holds, v any, f func(any) error) error {
	switch h {
	case holdsMap:
		for _, sub := range v.(map[string]any) {
			if err := f(sub); err != nil {
				return err
			}
		}
	case holdsList:
		for _, sub := range v.([]any) {
			if err := f(sub); err != nil {
				return err
			}
		}
	default:
		return f(v)
	}
	return nil
}
