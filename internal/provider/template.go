package provider

import (
	"encoding/base64"
	"strings"
)

// Template is a text with variables in it, parsed.
type Template []Part

// Part is a literal text, a variable, or a base64 of a template.
type Part struct {
	Literal  string
	Variable string
	Base64   Template // nil: none; it may be empty
}

// ParseTemplate reads a template. ${name} is a variable. ${base64(a:b)} is the
// base64 of variables that are joined by colons, of which one may be empty
// ("apiKey:"); ${base64(…)} with a ${ in it is that of a template.
func ParseTemplate(text string) (Template, error) {
	t := Template{}
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "${")
		if before != "" {
			t = append(t, Part{Literal: before})
		}
		if !found {
			return t, nil
		}
		end := closing(after)
		if end < 0 {
			return nil, wrong("", "a ${ is not closed")
		}
		part, err := parsePart(strings.TrimSpace(after[:end]))
		if err != nil {
			return nil, err
		}
		t = append(t, part)
		rest = after[end+1:]
	}
}

// closing is where the brace is that closes the one before text; -1 for none.
func closing(text string) int {
	depth := 1
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '}':
			if depth--; depth == 0 {
				return i
			}
		case strings.HasPrefix(text[i:], "${"):
			depth++
			i++
		}
	}
	return -1
}

// maxTemplateDepth bounds how deeply base64 may nest.
const maxTemplateDepth = 4

func parsePart(name string) (Part, error) {
	inner, ok := strings.CutPrefix(name, "base64(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return Part{Variable: name}, nil
	}
	inner = strings.TrimSuffix(inner, ")")
	if strings.Count(inner, "base64(") >= maxTemplateDepth {
		return Part{}, wrong("", "base64 nests too deeply")
	}
	if strings.Contains(inner, "${") {
		t, err := ParseTemplate(inner)
		return Part{Base64: t}, err
	}
	t := Template{}
	for i, part := range strings.Split(inner, ":") {
		if i > 0 {
			t = append(t, Part{Literal: ":"})
		}
		if part != "" {
			t = append(t, Part{Variable: part})
		}
	}
	return Part{Base64: t}, nil
}

// Variables lists the names of the variables, in order, with repetitions.
func (t Template) Variables() (names []string) {
	for _, p := range t {
		switch {
		case p.Base64 != nil:
			names = append(names, p.Base64.Variables()...)
		case p.Variable != "" || p.Literal == "":
			names = append(names, p.Variable)
		}
	}
	return names
}

// Expand renders the template with the values that lookup has. It ends with
// the first error of lookup.
func (t Template) Expand(lookup func(name string) (string, error)) (string, error) {
	var out strings.Builder
	for _, p := range t {
		text, err := p.Expand(lookup)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// Expand renders one part.
func (p Part) Expand(lookup func(name string) (string, error)) (string, error) {
	switch {
	case p.Base64 != nil:
		text, err := p.Base64.Expand(lookup)
		return base64.StdEncoding.EncodeToString([]byte(text)), err
	case p.Literal != "":
		return p.Literal, nil
	}
	return lookup(p.Variable)
}
