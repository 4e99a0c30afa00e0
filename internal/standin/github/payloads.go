package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Payloads are GitHub's published examples of the issues event, by action.
type Payloads map[string]map[string]any

// LoadPayloads reads the examples from the npm package
// @octokit/webhooks-examples, which `npm ci` puts into dir/node_modules.
func LoadPayloads(dir string) (Payloads, error) {
	file := filepath.Join(dir, "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("GitHub's example payloads are not installed; run: npm ci --prefix %s", dir)
	}
	if err != nil {
		return nil, err
	}
	var events []struct {
		Name     string           `json:"name"`
		Examples []map[string]any `json:"examples"`
	}
	if err := json.Unmarshal(text, &events); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	p := Payloads{}
	for _, e := range events {
		if e.Name != "issues" {
			continue
		}
		for _, example := range e.Examples {
			if action, _ := example["action"].(string); p[action] == nil {
				p[action] = example
			}
		}
	}
	if len(p) == 0 {
		return nil, fmt.Errorf("%s has no examples of the issues event", file)
	}
	// The package has no example of closed. GitHub documents it with the fields
	// of reopened.
	if reopened := p["reopened"]; p["closed"] == nil && reopened != nil {
		p["closed"] = clone(reopened)
		p["closed"]["action"] = "closed"
	}
	return p, nil
}

// body is the example of an action about one issue of a repository.
func (p Payloads) body(action string, issue map[string]any, owner, name string) ([]byte, error) {
	example := p[action]
	if example == nil {
		return nil, fmt.Errorf("GitHub has no example of the action %s", action)
	}
	event := clone(example)
	delete(event, "installation")
	delete(event, "organization")
	about, _ := event["issue"].(map[string]any)
	for k, v := range issue {
		about[k] = v
	}
	repository, _ := event["repository"].(map[string]any)
	repository["name"], repository["full_name"] = name, owner+"/"+name
	if o, ok := repository["owner"].(map[string]any); ok {
		o["login"] = owner
	}
	return json.Marshal(event)
}

// clone copies an object down to where body changes it.
func clone(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if inner, ok := v.(map[string]any); ok {
			v = clone(inner)
		}
		out[k] = v
	}
	return out
}
