package bundle

import (
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"syncline"
)

// manifest checks what a function says of itself and makes its manifest.
func manifest(dir string, f found, d *description) (m syncline.Manifest, problems, warnings Problems) {
	source := readFile(dir, f.file)
	// A place for every problem: where the pattern is, else where the function
	// is defined, else the beginning of the file.
	at := func(pattern string) Place {
		for _, p := range []string{pattern, made, `\bexport\s+default\b`} {
			if place := find(source, f.file, p); place.Line > 0 {
				return place
			}
		}
		return Place{File: f.file, Line: 1, Column: 1}
	}
	bad := func(p Place, message, hint string) {
		problems = append(problems, Problem{Place: p, Message: message, Hint: hint})
	}
	warn := func(p Place, message, hint string) {
		warnings = append(warnings, Problem{Place: p, Message: message, Hint: hint})
	}
	makers := map[syncline.FunctionType]string{
		syncline.FunctionSync: "createSync", syncline.FunctionAction: "createAction", syncline.FunctionOnEvent: "createOnEvent",
	}
	if d.Type == "" {
		bad(at(`export default`), "the file does not export a function by default", "export default "+makers[f.kind]+"({ … });")
		return m, problems, nil
	}
	if d.Type != f.kind {
		// As in Nango, what it exports decides; public templates have such files.
		warn(at(made), "a file in the folder of "+string(f.kind)+"s exports one of "+makers[d.Type]+": it is deployed as a "+string(d.Type),
			"use "+makers[f.kind]+" or move the file")
		f.kind = d.Type
	}
	wrong := map[string]bool{} // fields and models of which nothing more can be said
	for _, p := range d.Problems {
		name, place := p.Field, at(`\b`+p.Field+`\b`)
		if p.Name != "" {
			name, place = p.Field+"."+p.Name, at(modelPattern(p.Name))
		}
		wrong[name] = true
		bad(place, name+" "+p.Message, p.Hint)
	}
	if !d.HasExec {
		bad(at(made), "there is no exec", "add exec: async (nango) => { … }")
	}
	m = syncline.Manifest{
		Type: f.kind, Name: f.name, Integration: f.integration, Description: d.Description, Version: d.Version, Models: d.Models,
		Metadata: d.Metadata, Checkpoint: d.Checkpoint, Input: d.Input, Output: d.Output, Event: d.Event,
		WebhookSubscriptions: d.WebhookSubscriptions, HasOnWebhook: d.HasOnWebhook, Scopes: d.Scopes, Order: d.Order, Source: f.file,
	}
	settings(&m, d, wrong, func(field, message, hint string) {
		place := at(`\b` + field[strings.LastIndexByte(field, '.')+1:] + `\s*:`)
		bad(place, message, hint)
	})
	for _, s := range schemasOf(&m) {
		for _, path := range unchecked(s.schema) {
			place := at(`\b` + s.name + `\b`)
			if s.model {
				place = at(modelPattern(s.name))
			}
			warn(place, ""+s.name+" has a pattern at "+path+" that cannot be checked: whatever is there is taken",
				"it uses what only JavaScript's own engine knows; use another pattern, or refine in exec")
		}
	}
	switch d.Engine {
	case "", syncline.EngineQuickJS, syncline.EngineNode:
	default:
		bad(at(`\bengine\s*:`), "the engine "+strconv.Quote(string(d.Engine))+" is unknown", "use 'quickjs' or 'node', or leave it out")
	}
	if f.kind == syncline.FunctionOnEvent && !slices.Contains(events, d.Event) && !wrong["event"] {
		message := "the event " + strconv.Quote(d.Event) + " is unknown"
		if d.Event == "" {
			message = "there is no event"
		}
		bad(at(`\bevent\s*:`), message, "it is one of "+strings.Join(events, ", "))
	}
	if f.kind != syncline.FunctionSync {
		m.Models = nil
		return m, problems, warnings
	}
	m.Frequency = d.Frequency
	m.AutoStart = d.AutoStart == nil || *d.AutoStart
	if d.Frequency == "" && !wrong["frequency"] {
		bad(at(made), "there is no frequency", "for example frequency: 'every hour'")
	} else if _, err := syncline.ParseFrequency(d.Frequency); err != nil && !wrong["frequency"] {
		message, hint := explain(err)
		bad(at(`\bfrequency\s*:`), message, hint)
	}
	if len(d.Models) == 0 && !wrong["models"] {
		bad(at(`\bmodels\s*:`), "there are no models", "declare what the sync saves, for example models: { Issue: z.object({ id: z.string() }) }")
	}
	for _, name := range sortedKeys(d.Models) {
		place := at(modelPattern(name))
		if !goodModel.MatchString(name) {
			bad(place, "the model name "+strconv.Quote(name)+" is not usable", "use letters, digits and '_', and begin with a letter or '_'")
		}
		if why := checkID(d.Models[name]); why != "" && !wrong["models."+name] {
			bad(place, "the model "+name+" "+why, "every record needs an id: a string or a number that is the same each time the object is seen")
		}
	}
	switch {
	case wrong["webhookSubscriptions"]:
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
	m.Reconcile, m.RewindContested = d.Reconcile, d.RewindContested
	if d.Reconcile != "" {
		if _, err := syncline.ParseFrequency(d.Reconcile); err != nil {
			message, _ := explain(err)
			bad(at(`\breconcile\s*:`), "reconcile: "+message, "write it as 'every day' or 'every week'")
		}
	}
	m.History, m.IgnoredFields = d.History, d.IgnoredFields
	for _, name := range sortedKeys(d.History) {
		if _, err := syncline.ParseRetention(d.History[name]); err != nil {
			message, hint := explain(err)
			bad(at(`\bhistory\s*:`), "history of "+name+": "+message, hint)
		}
	}
	for _, name := range sortedKeys(d.IgnoredFields) {
		if slices.Contains(d.IgnoredFields[name], "id") {
			bad(at(`\bignoredFields\s*:`), "ignoredFields of "+name+" names id", "the id tells records apart; take it out")
		}
	}
	return m, problems, warnings
}

// events are what an on-event function can run on.
var events = []string{"post-connection-creation", "pre-connection-deletion", "validate-connection"}

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
	id, ok := s.Properties["id"]
	switch {
	case ok:
	case s.Ref != "":
		return "" // a model within itself: records are checked when they are saved
	case len(s.AllOf) > 0: // an intersection: one part has it
		for _, part := range s.AllOf {
			if checkID(part) == "" {
				return ""
			}
		}
		return "has no id"
	case len(s.AnyOf)+len(s.OneOf) > 0: // a union: every part has it
		for _, part := range slices.Concat(s.AnyOf, s.OneOf) {
			if why := checkID(part); why != "" {
				return why
			}
		}
		return ""
	default:
		return "has no id"
	}
	good := func(t string) bool { return t == "string" || t == "number" || t == "integer" }
	switch t := id.Type.(type) {
	case string:
		if !good(t) {
			return "has an id of type " + t
		}
	case []any:
		for _, part := range t {
			if name, ok := part.(string); ok && !good(name) {
				return "has an id that may be " + name
			}
		}
	}
	for _, part := range id.AnyOf {
		if part.Type != "" && !good(part.Type) {
			return "has an id that may be " + part.Type
		}
	}
	return ""
}

// modelPlace is where a file names a model among others.
func modelPlace(source, file, model string) Place {
	return find(source, file, modelPattern(model))
}

func modelPattern(name string) string {
	return `\b` + regexp.QuoteMeta(name) + `['"]?\s*[:,}]`
}

// made is where a function is defined.
const made = `\bcreate(Sync|Action|OnEvent)\s*[(<]`

// find is where a pattern first occurs in a file, outside of imports and of
// comments that begin a line; the file alone when it does not.
func find(source, file, pattern string) Place {
	re := regexp.MustCompile(pattern)
	var end *regexp.Regexp // of the comment or import that goes on
	for i, line := range strings.Split(source, "\n") {
		switch trimmed := strings.TrimSpace(line); {
		case end != nil:
		case strings.HasPrefix(trimmed, "//"):
			end = lineEnd
		case strings.HasPrefix(trimmed, "/*"):
			end = commentEnd
		case strings.HasPrefix(trimmed, "import "):
			end = importEnd
		}
		if end != nil {
			if end.MatchString(line) {
				end = nil
			}
			continue
		}
		if m := re.FindStringIndex(line); m != nil {
			return Place{File: file, Line: i + 1, Column: column(line, m[0])}
		}
	}
	return Place{File: file}
}

var (
	lineEnd    = regexp.MustCompile(`$`)
	commentEnd = regexp.MustCompile(`\*/`)
	importEnd  = regexp.MustCompile(`['"]`) // the path
)

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
