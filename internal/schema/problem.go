package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"

	"syncline"
)

// maxShown is how many problems a message names; the rest is counted.
const maxShown = 10

// problem is one thing that is wrong with a document.
type problem struct {
	path     string
	expected string
	found    string
	// fixed says that one certain value is expected: what tells the forms of a
	// union apart.
	fixed bool
}

func (p problem) String() string {
	return fmt.Sprintf("%s: expected %s, found %s", p.path, p.expected, p.found)
}

func asError(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, 0, maxShown+1)
	for _, p := range problems[:min(len(problems), maxShown)] {
		lines = append(lines, p.String())
	}
	if n := len(problems) - maxShown; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d more problems", n))
	}
	return syncline.Errorf(syncline.CodeInvalid, "%s", strings.Join(lines, "; ")).WithField(problems[0].path)
}

// problems reads the library's tree of errors: one problem for each value that
// is wrong, in the order of their paths.
func (s *Schema) problems(doc any, e *jsonschema.ValidationError) []problem {
	r := reader{schema: s, doc: doc}
	found := r.read(e)
	slices.SortStableFunc(found, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.expected, b.expected))
	})
	return slices.Compact(found)
}

type reader struct {
	schema *Schema
	doc    any
}

func (r *reader) read(e *jsonschema.ValidationError) []problem {
	at := e.InstanceLocation
	value, path := r.value(at), pathOf(r.doc, at)
	one := func(expected string) []problem {
		return []problem{{path: path, expected: expected, found: show(value)}}
	}
	fixed := func(expected string) []problem {
		return []problem{{path: path, expected: expected, found: show(value), fixed: true}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return one(types(k.Want))
	case *kind.Const:
		return fixed(show(k.Want))
	case *kind.Enum:
		return fixed(oneOf(k.Want))
	case *kind.Format:
		name, _, _ := strings.Cut(k.Want, "\x00")
		return one(formatName(name))
	case *kind.Pattern:
		if name := r.ownFormat(e.SchemaURL); name != "" {
			return one(formatName(name))
		}
		return one("a string that matches " + shorten(k.Want))
	case *kind.Required:
		return r.missing(e, k.Missing)
	case *kind.DependentRequired:
		return r.missing(e, k.Missing)
	case *kind.AdditionalProperties:
		problems := make([]problem, 0, len(k.Properties))
		members, _ := value.(map[string]any)
		for _, name := range k.Properties {
			problems = append(problems, problem{path: pathOf(r.doc, append(slices.Clone(at), name)), expected: "no member of this name", found: show(members[name])})
		}
		return problems
	case *kind.PropertyNames:
		// What is beneath speaks of the name as if it were the document.
		under := reader{schema: r.schema, doc: k.Property}
		var problems []problem
		for _, cause := range e.Causes {
			for _, p := range under.read(cause) {
				problems = append(problems, problem{path: path, expected: "names of members that are " + p.expected, found: p.found})
			}
		}
		return problems
	case *kind.AnyOf:
		return r.union(e, path, value)
	case *kind.OneOf:
		if len(k.Subschemas) == 0 {
			return r.union(e, path, value)
		}
		return one("a value that fits exactly one of the allowed forms")
	case *kind.Minimum:
		return one("a number not below " + number(k.Want))
	case *kind.ExclusiveMinimum:
		return one("a number above " + number(k.Want))
	case *kind.Maximum:
		return one("a number not above " + number(k.Want))
	case *kind.ExclusiveMaximum:
		return one("a number below " + number(k.Want))
	case *kind.MultipleOf:
		return one("a multiple of " + number(k.Want))
	case *kind.MinLength:
		return one(fmt.Sprintf("a string of at least %s", count(k.Want, "character")))
	case *kind.MaxLength:
		return one(fmt.Sprintf("a string of at most %s", count(k.Want, "character")))
	case *kind.MinItems:
		return one(fmt.Sprintf("an array of at least %s", count(k.Want, "item")))
	case *kind.MaxItems:
		return one(fmt.Sprintf("an array of at most %s", count(k.Want, "item")))
	case *kind.MinProperties:
		return one(fmt.Sprintf("an object with at least %s", count(k.Want, "member")))
	case *kind.MaxProperties:
		return one(fmt.Sprintf("an object with at most %s", count(k.Want, "member")))
	case *kind.UniqueItems:
		return one("an array without equal items")
	case *kind.Not:
		return one("another value")
	case *kind.FalseSchema:
		return one("nothing")
	}
	var problems []problem
	for _, cause := range e.Causes {
		problems = append(problems, r.read(cause)...)
	}
	if len(problems) == 0 {
		return one("another value")
	}
	return problems
}

// union says what is wrong with a value that fits no form of a union: the
// problems of the form that it is closest to, or the kinds of value that the
// forms take.
func (r *reader) union(e *jsonschema.ValidationError, path string, value any) []problem {
	var (
		closest  []problem
		others   []problem // that tell the forms apart
		expected []string
	)
	for _, cause := range e.Causes {
		found := r.read(cause)
		if i := slices.IndexFunc(found, func(p problem) bool { return p.path == path }); i >= 0 {
			expected = append(expected, found[i].expected) // a form of another kind
			continue
		}
		if i := slices.IndexFunc(found, func(p problem) bool { return p.fixed }); i >= 0 {
			others = append(others, found[i])
			continue
		}
		if closest == nil || len(found) < len(closest) {
			closest = found
		}
	}
	switch {
	case closest != nil:
		return closest
	case len(others) > 0:
		var words []string
		for _, o := range others {
			if o.path == others[0].path && !slices.Contains(words, o.expected) {
				words = append(words, o.expected)
			}
		}
		return []problem{{path: others[0].path, expected: join(words), found: others[0].found}}
	}
	slices.Sort(expected)
	return []problem{{path: path, expected: join(slices.Compact(expected)), found: show(value)}}
}

func (r *reader) missing(e *jsonschema.ValidationError, names []string) []problem {
	node := r.schema.at(e.SchemaURL)
	properties, _ := node["properties"].(map[string]any)
	problems := make([]problem, 0, len(names))
	for _, name := range names {
		problems = append(problems, problem{
			path: pathOf(r.doc, append(slices.Clone(e.InstanceLocation), name)), expected: r.schema.kindOf(properties[name], 0), found: "nothing",
		})
	}
	return problems
}

// value is what is at a place of the document.
func (r *reader) value(at []string) any {
	v := r.doc
	for _, token := range at {
		switch here := v.(type) {
		case map[string]any:
			v = here[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(here) {
				return nil
			}
			v = here[i]
		default:
			return nil
		}
	}
	return v
}

// at is the part of the schema at a location that the library gives.
func (s *Schema) at(url string) map[string]any {
	_, pointer, _ := strings.Cut(url, "#")
	var v any = s.source
	for token := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if token == "" && pointer == "" {
			break
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(percent(token))
		switch here := v.(type) {
		case map[string]any:
			v = here[token]
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(here) {
				return nil
			}
			v = here[i]
		}
	}
	node, _ := v.(map[string]any)
	return node
}

func (r *reader) ownFormat(url string) string {
	name, _ := r.schema.at(url)["format"].(string)
	name, _, _ = strings.Cut(name, "\x00")
	return name
}

// kindOf says in a few words what a part of the schema takes.
func (s *Schema) kindOf(v any, level int) string {
	node, ok := v.(map[string]any)
	if !ok || level > 5 {
		return "a value"
	}
	if c, ok := node["const"]; ok {
		return show(c)
	}
	if l, ok := node["enum"].([]any); ok {
		return oneOf(l)
	}
	if ref, ok := node["$ref"].(string); ok {
		if ref == "#" {
			return s.kindOf(s.source, level+1)
		}
		defs, _ := s.source["$defs"].(map[string]any)
		return s.kindOf(defs[defOf(ref)], level+1)
	}
	switch t := node["type"].(type) {
	case string:
		return types([]string{t})
	case []any:
		var names []string
		for _, name := range t {
			if n, ok := name.(string); ok {
				names = append(names, n)
			}
		}
		return types(names)
	}
	for _, kw := range []string{"anyOf", "oneOf"} {
		l, ok := node[kw].([]any)
		if !ok {
			continue
		}
		var kinds []string
		for _, part := range l {
			if k := s.kindOf(part, level+1); !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
		return join(kinds)
	}
	return "a value"
}

var identifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

// pathOf writes a place as JavaScript would: $.items[3].price.
func pathOf(doc any, at []string) string {
	var b strings.Builder
	b.WriteByte('$')
	v := doc
	for _, token := range at {
		if list, ok := v.([]any); ok {
			fmt.Fprintf(&b, "[%s]", token)
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(list) {
				v = nil
				continue
			}
			v = list[i]
			continue
		}
		if identifier.MatchString(token) {
			b.WriteString("." + token)
		} else {
			quoted, _ := json.Marshal(shorten(token))
			fmt.Fprintf(&b, "[%s]", quoted)
		}
		members, _ := v.(map[string]any)
		v = members[token]
	}
	return b.String()
}

func types(names []string) string {
	words := make([]string, 0, len(names))
	for _, name := range names {
		switch name {
		case "null":
			words = append(words, "null")
		case "array", "object", "integer":
			words = append(words, "an "+name)
		default:
			words = append(words, "a "+name)
		}
	}
	return join(words)
}

func join(words []string) string {
	switch n := len(words); {
	case n == 0:
		return "another value"
	case n == 1:
		return words[0]
	case n > 8:
		return strings.Join(words[:8], ", ") + fmt.Sprintf(" or %d others", n-8)
	default:
		return strings.Join(words[:n-1], ", ") + " or " + words[n-1]
	}
}

func oneOf(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = show(v)
		if s, ok := v.(string); ok {
			words[i] = quote(s)
		}
	}
	if len(words) == 1 {
		return words[0]
	}
	return "one of " + strings.Replace(join(words), " or ", ", ", 1)
}

// formatName says what a format is.
func formatName(name string) string {
	switch name {
	case "date-time":
		return "a date and time such as 2026-01-31T12:00:00Z"
	case "date":
		return "a date such as 2026-01-31"
	case "time":
		return "a time such as 12:00:00"
	case "duration":
		return "a duration such as P1DT2H"
	case "email":
		return "an email address"
	case "uri":
		return "a URL"
	case "uuid":
		return "a UUID"
	default:
		return "a string of the format " + name
	}
}

// show says what a value is, shortened.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "the string " + quote(v)
	case float64:
		return "the number " + decimal(v)
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "an array of " + count(len(v), "item")
	case map[string]any:
		return "an object with " + count(len(v), "member")
	}
	return fmt.Sprintf("a %T", v)
}

func quote(s string) string {
	quoted, _ := json.Marshal(shorten(s))
	return string(quoted)
}

// shorten cuts a text to what fits in a message.
func shorten(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n++; n > most {
			return s[:i] + "…"
		}
	}
	return s
}

func number(r *big.Rat) string {
	f, _ := r.Float64()
	return decimal(f)
}

// decimal writes a number as JSON has it.
func decimal(f float64) string {
	text, err := json.Marshal(f)
	if err != nil {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return string(text)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
