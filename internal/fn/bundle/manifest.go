package bundle

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"syncline"
)

// manifest checks what a function says of itself and makes its manifest.
func manifest(dir string, f found, d *description) (m syncline.Manifest, problems, warnings Problems) {
	source := readFile(dir, f.file)
	at := func(pattern string) Place { return find(source, f.file, pattern) }
	bad := func(p Place, message, hint string) { problems = append(problems, Problem{p, message, hint}) }
	warn := func(p Place, message, hint string) { warnings = append(warnings, Problem{p, message, hint}) }
	makers := map[syncline.FunctionType]string{
		syncline.FunctionSync: "createSync", syncline.FunctionAction: "createAction", syncline.FunctionOnEvent: "createOnEvent",
	}
	if d.Type == "" {
		bad(at(`export default`), "the file does not export a function by default", "export default "+makers[f.kind]+"({ … });")
		return m, problems, nil
	}
	if d.Type != f.kind {
		bad(at(`create(Sync|Action|OnEvent)`), "a file in the folder of a "+string(f.kind)+" exports one of "+makers[d.Type], "use "+makers[f.kind]+" or move the file")
		return m, problems, nil
	}
	for _, p := range d.Problems {
		name, place := p.Field, at(`\b`+p.Field+`\b`)
		if p.Name != "" {
			name, place = p.Field+"."+p.Name, at(`\b`+regexp.QuoteMeta(p.Name)+`\s*[:,}]`)
		}
		bad(place, name+" "+p.Message, "")
	}
	if !d.HasExec {
		bad(at(makers[f.kind]), "there is no exec", "")
	}
	m = syncline.Manifest{
		Type: f.kind, Name: f.name, Integration: f.integration, Description: d.Description, Version: d.Version, Models: d.Models,
		Metadata: d.Metadata, Checkpoint: d.Checkpoint, Input: d.Input, Output: d.Output, Event: d.Event,
		WebhookSubscriptions: d.WebhookSubscriptions, HasOnWebhook: d.HasOnWebhook, Scopes: d.Scopes, Order: d.Order, Source: f.file,
	}
	if f.kind != syncline.FunctionSync {
		m.Models = nil
		return m, problems, warnings
	}
	m.Frequency = d.Frequency
	m.AutoStart = d.AutoStart == nil || *d.AutoStart
	if d.Frequency == "" {
		bad(at(makers[f.kind]), "there is no frequency", "for example frequency: 'every hour'")
	} else if _, err := syncline.ParseFrequency(d.Frequency); err != nil {
		message, hint := explain(err)
		bad(at(`\bfrequency\s*:`), message, hint)
	}
	if len(d.Models) == 0 && len(d.Problems) == 0 {
		bad(at(`\bmodels\s*:`), "there are no models", "declare what the sync saves, for example models: { Issue: z.object({ id: z.string() }) }")
	}
	for _, name := range sortedKeys(d.Models) {
		place := at(`\b` + regexp.QuoteMeta(name) + `\s*[:,}]`)
		if !goodModel.MatchString(name) {
			bad(place, "the model name "+strconv.Quote(name)+" is not usable", "use letters, digits, '_' and '-'")
		}
		if why := checkID(d.Models[name]); why != "" {
			bad(place, "the model "+name+" "+why, "every record needs an id: a string or a number that is the same each time the object is seen")
		}
	}
	switch {
	case len(d.WebhookSubscriptions) > 0 && !d.HasOnWebhook:
		bad(at(`\bwebhookSubscriptions\b`), "webhookSubscriptions without onWebhook", "add onWebhook: async (nango, payload) => { … }")
	case d.HasOnWebhook && len(d.WebhookSubscriptions) == 0:
		warn(at(`\bonWebhook\b`), "onWebhook without webhookSubscriptions is never called", "add webhookSubscriptions: ['*'] or the types that it handles")
	}
	switch d.Order {
	case "", "lane", "object", "none":
	default:
		bad(at(`\border\s*:`), "order "+strconv.Quote(d.Order)+" is unknown", "use 'lane', 'object' or 'none'")
	}
	return m, problems, warnings
}

var goodModel = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,254}$`)

// checkID says what is wrong with the id of a model; "" when nothing is.
func checkID(schema json.RawMessage) string {
	var s struct {
		Properties map[string]struct {
			Type  any `json:"type"`
			AnyOf []struct {
				Type string `json:"type"`
			} `json:"anyOf"`
		} `json:"properties"`
		AllOf, AnyOf, OneOf []json.RawMessage
		Ref                 string `json:"$ref"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return "has a schema that cannot be read"
	}
	if len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0 || s.Ref != "" {
		// A union or an intersection: a part may hold the id. Records are
		// checked when they are saved.
		return ""
	}
	id, ok := s.Properties["id"]
	if !ok {
		return "has no id"
	}
	good := func(t string) bool { return t == "string" || t == "number" || t == "integer" }
	if t, ok := id.Type.(string); ok && !good(t) {
		return "has an id of type " + t
	}
	for _, part := range id.AnyOf {
		if part.Type != "" && !good(part.Type) {
			return "has an id that may be " + part.Type
		}
	}
	return ""
}

// find is where a pattern first occurs in a file, outside of comments at the
// beginning of lines; the file alone when it does not.
func find(source, file, pattern string) Place {
	re := regexp.MustCompile(pattern)
	for i, line := range strings.Split(source, "\n") {
		trimmed := strings.TrimSpace(line)
		if strings.HasPrefix(trimmed, "//") || strings.HasPrefix(trimmed, "*") || strings.HasPrefix(trimmed, "import ") {
			continue
		}
		if m := re.FindStringIndex(line); m != nil {
			return Place{File: file, Line: i + 1, Column: m[0] + 1}
		}
	}
	return Place{File: file}
}

var framePlace = regexp.MustCompile(`\(([^():]+):(\d+):(\d+)\)`)

// firstFrame is the first place of a stack in the project's own files.
func firstFrame(stack string) (Place, bool) {
	for _, m := range framePlace.FindAllStringSubmatch(stack, -1) {
		if strings.Contains(m[1], "node_modules/") || strings.Contains(m[1], "syncline-") {
			continue
		}
		line, _ := strconv.Atoi(m[2])
		column, _ := strconv.Atoi(m[3])
		return Place{File: m[1], Line: line, Column: column}, true
	}
	return Place{}, false
}

func explain(err error) (message, hint string) {
	var e *syncline.Error
	if errors.As(err, &e) {
		return e.Message, e.Hint
	}
	return err.Error(), ""
}

func itoa(n int) string { return strconv.Itoa(n) }
