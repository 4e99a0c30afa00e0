package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"syncline"
)

// difference says for people what differs between two manifests of one
// function; nothing when they mean the same.
func difference(a, b *syncline.Manifest) []string {
	lines := []string{}
	text := func(name, was, is string) {
		if was != is {
			lines = append(lines, fmt.Sprintf("%s: %s → %s", name, orNone(was), orNone(is)))
		}
	}
	text("frequency", a.Frequency, b.Frequency)
	text("auto start", fmt.Sprint(a.AutoStart), fmt.Sprint(b.AutoStart))
	if a.Engine == syncline.EngineGo || b.Engine == syncline.EngineGo {
		text("engine", string(cmp.Or(a.Engine, syncline.EngineQuickJS)), string(cmp.Or(b.Engine, syncline.EngineQuickJS)))
	}
	text("version label", a.Version, b.Version)
	text("event", a.Event, b.Event)
	text("order", orLane(a.Order), orLane(b.Order))
	text("validation", string(a.Validation), string(b.Validation))
	text("limits", limitsText(a.Limits), limitsText(b.Limits))
	for _, name := range slices.Sorted(maps.Keys(b.Models)) {
		old, had := a.Models[name]
		switch {
		case !had:
			lines = append(lines, "model added: "+name)
		case !sameJSON(old, b.Models[name]):
			lines = append(lines, "model changed: "+name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.Models)) {
		if _, has := b.Models[name]; !has {
			lines = append(lines, "model removed: "+name)
		}
	}
	lines = append(lines, setDifference("webhook subscription", a.WebhookSubscriptions, b.WebhookSubscriptions)...)
	lines = append(lines, setDifference("scope", a.Scopes, b.Scopes)...)
	if a.HasOnWebhook != b.HasOnWebhook {
		lines = append(lines, map[bool]string{true: "onWebhook added", false: "onWebhook removed"}[b.HasOnWebhook])
	}
	for _, s := range []struct {
		name    string
		was, is json.RawMessage
	}{{"metadata", a.Metadata, b.Metadata}, {"checkpoint", a.Checkpoint, b.Checkpoint}, {"input", a.Input, b.Input}, {"output", a.Output, b.Output}} {
		if !sameJSON(s.was, s.is) {
			lines = append(lines, s.name+" schema changed")
		}
	}
	if a.Description != b.Description {
		lines = append(lines, "description changed")
	}
	if a.Source != b.Source {
		text("source", a.Source, b.Source)
	}
	return lines
}

func setDifference(what string, was, is []string) []string {
	var lines []string
	for _, v := range is {
		if !slices.Contains(was, v) {
			lines = append(lines, what+" added: "+v)
		}
	}
	for _, v := range was {
		if !slices.Contains(is, v) {
			lines = append(lines, what+" removed: "+v)
		}
	}
	return lines
}

func orNone(s string) string {
	if strings.TrimSpace(s) == "" {
		return "none"
	}
	return s
}

// limitsText is limits for people; "" when none is said.
func limitsText(l syncline.RunLimits) string {
	if l == (syncline.RunLimits{}) {
		return ""
	}
	b, err := json.Marshal(l)
	if err != nil {
		return ""
	}
	return string(b)
}

func orLane(order string) string {
	if order == "" {
		return "lane"
	}
	return order
}

// sameJSON compares values: the order of members does not matter.
func sameJSON(a, b json.RawMessage) bool {
	if len(a) == 0 || len(b) == 0 {
		return (len(a) == 0 || isNull(a)) && (len(b) == 0 || isNull(b))
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return string(a) == string(b)
	}
	return reflect.DeepEqual(x, y)
}
