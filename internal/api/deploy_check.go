package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"syncline"
)

// The limits of a deployment.
const (
	maxFunctions   = 20_000
	maxBundle      = 16 << 20 // bytes
	maxModels      = 100
	maxSubscribed  = 1000
	maxDescription = 10_000
	// maxShown is how many mistakes one answer names.
	maxShown = 20
)

var (
	functionNames = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{0,254}$`)
	bundleHashes  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	modelNames    = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,254}$`)
)

// checkDeployment checks every function and names all that is wrong, so that
// one deploy is enough to find every mistake. node is asked once whether functions
// of the engine node can run.
func checkDeployment(functions []deployed, node func() error) error {
	node = sync.OnceValue(node)
	if len(functions) > maxFunctions {
		return invalid("functions", "the deployment has %d functions; the most is %d", len(functions), maxFunctions)
	}
	var wrong []error
	seen := map[string]int{}
	for i := range functions {
		f := &functions[i]
		at := fmt.Sprintf("functions.%d", i)
		for _, err := range checkFunction(f, node) {
			wrong = append(wrong, err.WithField(strings.TrimSuffix(at+"."+err.Field, ".")))
		}
		id := fmt.Sprintf("%s %s of %s", f.Manifest.Type, f.Manifest.Name, f.Manifest.Integration)
		if first, twice := seen[id]; twice {
			wrong = append(wrong, invalid(at+".manifest.name", "the %s is there twice (%s and %s)", id, label(&functions[first].Manifest), label(&f.Manifest)))
		}
		seen[id] = i
	}
	return joined(wrong)
}

// joined is one error of several, bounded in length.
func joined(wrong []error) error {
	switch {
	case len(wrong) == 0:
		return nil
	case len(wrong) == 1:
		return wrong[0]
	case len(wrong) > maxShown:
		rest := len(wrong) - maxShown
		wrong = append(wrong[:maxShown:maxShown], invalid("", "and %d more mistakes", rest))
	}
	return errors.Join(wrong...)
}

// label names a function for people, with its file where it is known.
func label(m *syncline.Manifest) string {
	name := fmt.Sprintf("%s %q", m.Type, m.Name)
	if m.Source != "" {
		name += " in " + m.Source
	}
	return name
}

// checkFunction lists what is wrong with one function, with fields relative to it.
func checkFunction(f *deployed, node func() error) (wrong []*syncline.Error) {
	m := &f.Manifest
	who := label(m)
	bad := func(field, format string, args ...any) {
		wrong = append(wrong, invalid(field, "%s: %s", who, fmt.Sprintf(format, args...)))
	}
	switch m.Type {
	case syncline.FunctionSync, syncline.FunctionAction, syncline.FunctionOnEvent:
	default:
		bad("manifest.type", "the type must be sync, action or on-event")
	}
	if !functionNames.MatchString(m.Name) {
		bad("manifest.name", "the name must be 1 to 255 of the characters a-z A-Z 0-9 _ -, beginning with a letter or digit")
	}
	if m.Integration == "" {
		bad("manifest.integration", "the integration is missing")
	}
	switch m.Engine {
	case "", syncline.EngineQuickJS, syncline.EngineGo:
	case syncline.EngineNode:
		if err := node(); err != nil {
			bad("manifest.engine", "it is for the engine node, and this server cannot run it: %v", err)
		}
	default:
		bad("manifest.engine", "there is no engine %q; it is one of: quickjs, node", m.Engine)
	}
	if utf8.RuneCountInString(m.Description) > maxDescription || utf8.RuneCountInString(m.Version) > maxName {
		bad("manifest.description", "the description or the version is too long (%d and %d characters are the most)", maxDescription, maxName)
	}
	if _, err := syncline.ParseValidation(string(m.Validation)); err != nil {
		bad("manifest.validation", "%s", err)
	}
	switch {
	case f.BundleHash != "" && f.Bundle != "":
		bad("bundle", "have either bundle or bundle_hash")
	case f.BundleHash != "" && !bundleHashes.MatchString(f.BundleHash):
		bad("bundle_hash", "the hash of the bundle is not 64 digits of a hexadecimal number in lower case")
	case f.BundleHash == "":
		if why := checkBundle(f.Bundle); why != "" {
			bad("bundle", "the bundle %s", why)
		}
	}
	if m.Type == syncline.FunctionSync {
		checkSync(m, bad)
	} else if len(m.WebhookSubscriptions) > 0 || m.HasOnWebhook {
		bad("manifest.webhook_subscriptions", "only syncs take webhooks")
	}
	if m.Type == syncline.FunctionOnEvent && m.Event == "" {
		bad("manifest.event", "the event is missing")
	}
	return wrong
}

// nodeMissing says why functions of the engine node cannot run here.
func (s *server) nodeMissing(ctx context.Context) error {
	if s.Node == nil {
		return errors.New("it was built without that engine")
	}
	return s.Node(ctx)
}

// checkBundle says what is wrong with a bundle's source, or "".
func checkBundle(source string) string {
	switch {
	case strings.TrimSpace(source) == "":
		return "is empty"
	case len(source) > maxBundle:
		return fmt.Sprintf("has %d bytes; the most is %d", len(source), maxBundle)
	}
	return ""
}

func checkSync(m *syncline.Manifest, bad func(field, format string, args ...any)) {
	if m.Frequency == "" {
		bad("manifest.frequency", "the frequency is missing (write it as 'every hour')")
	} else if _, err := syncline.ParseFrequency(m.Frequency); err != nil {
		bad("manifest.frequency", "%s", err)
	}
	if len(m.Models) == 0 || len(m.Models) > maxModels {
		bad("manifest.models", "a sync has between 1 and %d models", maxModels)
	}
	names := make([]string, 0, len(m.Models))
	for name := range m.Models {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !modelNames.MatchString(name) {
			bad("manifest.models."+name, "the model name %q must be 1 to 255 of the characters a-z A-Z 0-9 _, beginning with a letter", name)
		}
		if why := checkModel(m.Models[name]); why != "" {
			bad("manifest.models."+name, "the model %s %s", name, why)
		}
	}
	switch {
	case len(m.WebhookSubscriptions) > maxSubscribed:
		bad("manifest.webhook_subscriptions", "there are %d webhook subscriptions; the most is %d", len(m.WebhookSubscriptions), maxSubscribed)
	case slices.Contains(m.WebhookSubscriptions, ""):
		bad("manifest.webhook_subscriptions", "a webhook subscription is empty")
	case len(m.WebhookSubscriptions) > 0 && !m.HasOnWebhook:
		bad("manifest.webhook_subscriptions", "it subscribes to webhooks but has no onWebhook to handle them")
	}
	switch m.Order {
	case "", "lane", "object", "none":
	default:
		bad("manifest.order", "the order is %q; it must be lane, object or none", m.Order)
	}
	for _, model := range slices.Sorted(maps.Keys(m.History)) {
		if _, declared := m.Models[model]; !declared {
			bad("manifest.history."+model, "the history is of the model %s, which the sync does not have", model)
		} else if _, err := syncline.ParseRetention(m.History[model]); err != nil {
			bad("manifest.history."+model, "%s", err)
		}
	}
}

// schema is the part of a JSON Schema that tells whether records have an id.
type schema struct {
	Type       any                        `json:"type"`
	Properties map[string]json.RawMessage `json:"properties"`
	Ref        string                     `json:"$ref"`
	AllOf      []json.RawMessage          `json:"allOf"`
	AnyOf      []json.RawMessage          `json:"anyOf"`
	OneOf      []json.RawMessage          `json:"oneOf"`
}

// checkModel says what is wrong with a model's schema, or "".
func checkModel(raw json.RawMessage) string {
	var s schema
	if json.Unmarshal(raw, &s) != nil || isNull(raw) || len(raw) == 0 {
		return "is not a JSON Schema"
	}
	id, found := findID(raw, raw, 0)
	if !found {
		return "has no id: every record needs one, by which it is known again"
	}
	var of schema
	if json.Unmarshal(id, &of) != nil {
		return "" // the schema true, or another that says nothing of the type
	}
	for _, t := range schemaTypes(of.Type) {
		if t == "string" || t == "number" || t == "integer" {
			return ""
		}
	}
	if of.Type != nil {
		return "has an id that is neither a string nor a number"
	}
	return ""
}

func schemaTypes(t any) []string {
	switch t := t.(type) {
	case string:
		return []string{t}
	case []any:
		var list []string
		for _, v := range t {
			if text, ok := v.(string); ok {
				list = append(list, text)
			}
		}
		return list
	}
	return nil
}

// maxSchemaDepth bounds how far references and combinations are followed.
const maxSchemaDepth = 16

// findID finds the schema of the property id: of an object, of any part of
// allOf, of every choice of anyOf and oneOf, and behind local references.
func findID(root, raw json.RawMessage, depth int) (json.RawMessage, bool) {
	var s schema
	if depth > maxSchemaDepth || json.Unmarshal(raw, &s) != nil {
		return nil, false
	}
	if id, there := s.Properties["id"]; there {
		return id, true
	}
	if target, there := pointer(root, s.Ref); there {
		if id, found := findID(root, target, depth+1); found {
			return id, true
		}
	}
	for _, part := range s.AllOf {
		if id, found := findID(root, part, depth+1); found {
			return id, true
		}
	}
	for _, choices := range [][]json.RawMessage{s.AnyOf, s.OneOf} {
		var id json.RawMessage
		all := len(choices) > 0
		for _, choice := range choices {
			one, found := findID(root, choice, depth+1)
			if all = all && found; !all {
				break
			}
			id = one
		}
		if all {
			return id, true
		}
	}
	return nil, false
}

// pointer follows a local reference such as "#/$defs/Issue".
func pointer(root json.RawMessage, ref string) (json.RawMessage, bool) {
	path, local := strings.CutPrefix(ref, "#/")
	if !local {
		return nil, false
	}
	at := root
	for step := range strings.SplitSeq(path, "/") {
		var members map[string]json.RawMessage
		if json.Unmarshal(at, &members) != nil {
			return nil, false
		}
		next, there := members[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
		if !there {
			return nil, false
		}
		at = next
	}
	return at, true
}

// checkIntegrations names the functions whose integration does not exist.
func checkIntegrations(functions []deployed, byKey map[string]int64) error {
	var wrong []error
	reported := map[string]bool{}
	for i := range functions {
		m := &functions[i].Manifest
		if _, exists := byKey[m.Integration]; exists || reported[m.Integration] {
			continue
		}
		reported[m.Integration] = true
		wrong = append(wrong, invalid(fmt.Sprintf("functions.%d.manifest.integration", i), "%s: there is no integration %q in this environment", label(m), m.Integration).
			WithHint("make it with POST /integrations, or correct the name of the folder"))
	}
	return joined(wrong)
}
