package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/store"
)

// The formats of GET /scripts/config.
const (
	formatNango  = "nango"
	formatOpenAI = "openai"
)

// scriptsJSON is what is deployed for one integration.
type scriptsJSON struct {
	ProviderConfigKey string       `json:"providerConfigKey"`
	Provider          string       `json:"provider"`
	Syncs             []scriptJSON `json:"syncs"`
	Actions           []scriptJSON `json:"actions"`
	OnEvents          []scriptJSON `json:"on-events"`
}

// scriptJSON is one function.
type scriptJSON struct {
	ID                   int64                 `json:"id"`
	Name                 string                `json:"name"`
	Type                 syncline.FunctionType `json:"type"`
	Enabled              bool                  `json:"enabled"`
	Description          string                `json:"description"`
	Version              string                `json:"version"`
	LastDeployed         string                `json:"last_deployed"`
	Runs                 *string               `json:"runs"` // how often a sync polls
	AutoStart            bool                  `json:"auto_start"`
	TrackDeletes         bool                  `json:"track_deletes"`
	Event                string                `json:"event,omitempty"`
	Input                *string               `json:"input"`   // the name of the input's definition in json_schema
	Returns              []string              `json:"returns"` // names of definitions in json_schema
	JSONSchema           *definitions          `json:"json_schema"`
	Scopes               []string              `json:"scopes"`
	WebhookSubscriptions []string              `json:"webhookSubscriptions"`
	Endpoints            []string              `json:"endpoints"`
	IsPublic             bool                  `json:"is_public"`
	PreBuilt             bool                  `json:"pre_built"`
}

// definitions is a JSON Schema that only holds others.
type definitions struct {
	Schema      string                     `json:"$schema"`
	Definitions map[string]json.RawMessage `json:"definitions"`
}

// toolJSON is an action as OpenAI's function calling takes it.
type toolJSON struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Parameters  any    `json:"parameters"`
}

func (s *server) scriptsConfig(c *call) (reply, error) {
	q, err := c.params("format", "provider_config_key", "provider")
	if err != nil {
		return reply{}, err
	}
	if err := oneOf(q, "format", formatNango, formatOpenAI); err != nil {
		return reply{}, err
	}
	out := []scriptsJSON{}
	tools := []toolJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		integrations, err := r.Integrations(c.env.ID)
		if err != nil {
			return err
		}
		for _, i := range integrations {
			if key := q.Get("provider_config_key"); key != "" && key != i.UniqueKey {
				continue
			}
			if p := q.Get("provider"); p != "" && p != i.Provider {
				continue
			}
			functions, err := r.Functions(c.env.ID, i.ID)
			if err != nil {
				return err
			}
			if len(functions) == 0 {
				continue
			}
			one := scriptsJSON{ProviderConfigKey: i.UniqueKey, Provider: i.Provider, Syncs: []scriptJSON{}, Actions: []scriptJSON{}, OnEvents: []scriptJSON{}}
			for j := range functions {
				f := &functions[j]
				switch f.Type {
				case syncline.FunctionSync:
					one.Syncs = append(one.Syncs, scriptOf(f))
				case syncline.FunctionOnEvent:
					one.OnEvents = append(one.OnEvents, scriptOf(f))
				case syncline.FunctionAction:
					one.Actions = append(one.Actions, scriptOf(f))
					if f.Enabled {
						tools = append(tools, toolOf(f, &i))
					}
				}
			}
			out = append(out, one)
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	if q.Get("format") == formatOpenAI {
		return ok(map[string]any{"data": tools})
	}
	return ok(out)
}

func scriptOf(f *syncline.Function) scriptJSON {
	m := &f.Active.Manifest
	out := scriptJSON{
		ID: f.ID, Name: f.Name, Type: f.Type, Enabled: f.Enabled, Description: m.Description, Version: m.Version, LastDeployed: isoTime(f.Active.DeployedAt),
		AutoStart: m.AutoStart, Event: m.Event, Returns: []string{}, Scopes: orEmpty(m.Scopes), WebhookSubscriptions: orEmpty(m.WebhookSubscriptions),
		Endpoints: []string{},
	}
	if m.Frequency != "" {
		out.Runs = &m.Frequency
	}
	defs := map[string]json.RawMessage{}
	define := func(name string, schema json.RawMessage) bool {
		if len(schema) > 0 {
			defs[name] = schema
		}
		return len(schema) > 0
	}
	for _, name := range slices.Sorted(maps.Keys(m.Models)) {
		define(name, m.Models[name])
		out.Returns = append(out.Returns, name)
	}
	kind := strings.ToUpper(string(f.Type[:1])) + string(f.Type[1:])
	if name := fmt.Sprintf("%sInput_%s", kind, f.Name); define(name, m.Input) {
		out.Input = &name
	}
	if name := fmt.Sprintf("%sOutput_%s", kind, f.Name); define(name, m.Output) {
		out.Returns = append(out.Returns, name)
	}
	define(fmt.Sprintf("%sMetadata_%s", kind, f.Name), m.Metadata)
	define(fmt.Sprintf("%sCheckpoint_%s", kind, f.Name), m.Checkpoint)
	if len(defs) > 0 {
		out.JSONSchema = &definitions{Schema: "https://json-schema.org/draft/2020-12/schema", Definitions: defs}
	}
	return out
}

// toolOf is an action with its input's schema as parameters, which are an object
// there.
func toolOf(f *syncline.Function, i *syncline.Integration) toolJSON {
	m := &f.Active.Manifest
	t := toolJSON{Name: f.Name, Description: m.Description, Parameters: json.RawMessage(`{"type":"object","properties":{},"required":[]}`)}
	if t.Description == "" {
		t.Description = fmt.Sprintf("Runs the action %s of %s", f.Name, i.UniqueKey)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal(m.Input, &object) != nil || string(object["type"]) != `"object"` {
		return t
	}
	delete(object, "$schema")
	for name, empty := range map[string]string{"properties": "{}", "required": "[]"} {
		if _, has := object[name]; !has {
			object[name] = json.RawMessage(empty)
		}
	}
	t.Parameters = object
	return t
}
