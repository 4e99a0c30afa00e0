package schema

import (
	"fmt"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of the work of one check.
const (
	maxSteps   = 5_000_000 // subschemas applied to values
	maxTime    = 5 * time.Second
	everySteps = 1024 // steps between two looks at the clock
)

// tooMuch is what a check panics with when it is ended; see [Schema.check].
type tooMuch string

// meter bounds the work of one check. The library has no way to end a check,
// but it asks for the format of a value before it goes into what a subschema
// holds: so every subschema gets a format of ours, which counts.
type meter struct {
	steps  int
	looked int
	until  time.Time
}

func (m *meter) begin() {
	m.steps, m.looked, m.until = 0, 0, time.Now().Add(maxTime)
}

func (m *meter) step(weight int) {
	m.steps += weight
	if m.steps > maxSteps {
		panic(tooMuch(fmt.Sprintf("it took more than %d steps", maxSteps)))
	}
	if m.steps-m.looked >= everySteps {
		m.looked = m.steps
		if time.Now().After(m.until) {
			panic(tooMuch(fmt.Sprintf("it took longer than %s", maxTime)))
		}
	}
}

// format is the format that counts, and checks what the subschema asked for.
func (m *meter) format(name string, f format) *jsonschema.Format {
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		m.step(f.weight)
		if s, ok := v.(string); ok && f.check != nil && !f.check(s) {
			return errFormat
		}
		return nil
	}}
}

// format is what stands in the place of a subschema's own format.
type format struct {
	own    string // "" when it had none
	weight int    // steps that it takes to apply the subschema, those within that apply to other values not counted
	check  func(string) bool
}

// addMeters gives every subschema its format, and takes out the patterns that
// no engine here can express.
func (s *Schema) addMeters(v any, path string) {
	node, ok := v.(map[string]any)
	if !ok || len(node) == 0 {
		return // true, false, {}: no work
	}
	s.checkPatterns(node, path)
	f := format{weight: 1}
	if own, ok := node["format"].(string); ok {
		f.own = own
		if _, ok := node["pattern"]; !ok { // zod writes the pattern that it means beside
			f.check = formats[own]
		}
	}
	for _, list := range []string{"enum", "required"} {
		l, _ := node[list].([]any)
		f.weight += len(l)
	}
	for kw, k := range keywords {
		sub, ok := node[kw]
		if !ok {
			continue
		}
		if members, named := sub.(map[string]any); named && k.holds == holdsMap {
			for name, member := range members {
				f.weight++
				s.addMeters(member, path+"/"+kw+"/"+name)
			}
		} else {
			_ = each(k.holds, sub, func(v any) error {
				f.weight++
				s.addMeters(v, path+"/"+kw)
				return nil
			})
		}
	}
	if defs, ok := node["$defs"].(map[string]any); ok {
		for name, def := range defs {
			s.addMeters(def, path+"/$defs/"+name)
		}
	}
	name := fmt.Sprintf("%s\x00%d %t", f.own, f.weight, f.check != nil)
	node["format"] = name
	s.formats[name] = f
}

func (s *Schema) checkPatterns(node map[string]any, path string) {
	if pattern, ok := node["pattern"].(string); ok {
		if _, err := compileRegexp(pattern); err != nil {
			delete(node, "pattern")
			s.unchecked = append(s.unchecked, path)
		}
	}
	if patterns, ok := node["patternProperties"].(map[string]any); ok {
		for pattern := range patterns {
			if _, err := compileRegexp(pattern); err != nil {
				delete(patterns, pattern)
				delete(node, "additionalProperties") // it may be a member that the pattern stood for
				s.unchecked = append(s.unchecked, path)
			}
		}
	}
}
