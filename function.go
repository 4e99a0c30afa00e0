package syncline

import (
	"encoding/json"
	"time"
)

// FunctionType is the kind of a function.
type FunctionType string

// The kinds of functions.
const (
	FunctionSync    FunctionType = "sync"
	FunctionAction  FunctionType = "action"
	FunctionOnEvent FunctionType = "on-event"
)

// Engine is what executes a function.
type Engine string

// The engines.
const (
	EngineQuickJS Engine = "quickjs" // built in; needs nothing installed
	EngineNode    Engine = "node"    // a Node.js that is installed beside Syncline
	EngineGo      Engine = "go"      // functions compiled into the binary (package sdk)
)

// Function is user code under a name; deploying makes a new [FunctionVersion]
// and makes it the active one.
type Function struct {
	ID            int64
	EnvironmentID int64
	IntegrationID int64
	Type          FunctionType
	Name          string // unique by (integration, type)
	Enabled       bool
	Active        FunctionVersion // the version that runs now
	// Run is how the function runs, set beside its code: it goes before what the
	// manifest and the environment say. A deployment leaves it.
	Run       RunSettings
	CreatedAt time.Time
	DeletedAt time.Time // zero while deployed
}

// FunctionVersion is one deployed version of a function. It never changes.
type FunctionVersion struct {
	ID         int64
	FunctionID int64
	Number     int64 // 1, 2, 3 … by function
	Manifest   Manifest
	BundleHash string // hex SHA-256 of the bundle's source
	DeployedAt time.Time
}

// Manifest is what a function says of itself: the static part of createSync,
// createAction or createOnEvent, read once when it is bundled.
type Manifest struct {
	Type        FunctionType `json:"type"`
	Name        string       `json:"name"`
	Integration string       `json:"integration"` // unique key
	Description string       `json:"description,omitempty"`
	// Engine is what executes the function, chosen when it was bundled; "" is
	// quickjs.
	Engine    Engine `json:"engine,omitempty"`
	Version   string `json:"version,omitempty"` // the user's label
	Frequency string `json:"frequency,omitempty"`
	AutoStart bool   `json:"auto_start"`
	// Models maps a model's name to the JSON Schema of its records.
	Models               map[string]json.RawMessage `json:"models,omitempty"`
	Metadata             json.RawMessage            `json:"metadata,omitempty"`   // JSON Schema
	Checkpoint           json.RawMessage            `json:"checkpoint,omitempty"` // JSON Schema
	Input                json.RawMessage            `json:"input,omitempty"`      // JSON Schema
	Output               json.RawMessage            `json:"output,omitempty"`     // JSON Schema
	Event                string                     `json:"event,omitempty"`      // on-event only
	WebhookSubscriptions []string                   `json:"webhook_subscriptions,omitempty"`
	HasOnWebhook         bool                       `json:"has_on_webhook,omitempty"`
	Scopes               []string                   `json:"scopes,omitempty"`
	// Order is how webhook events of one instance are ordered: "lane" (the
	// default), "object" or "none".
	Order string `json:"order,omitempty"`
	// Reconcile is how often a poll fetches everything, in the words of
	// Frequency; "" never does.
	Reconcile string `json:"reconcile,omitempty"`
	// RewindContested makes the poll after one with contested records begin
	// where that one did before the first of them.
	RewindContested bool `json:"rewind_contested,omitempty"`
	// History maps models to how long their superseded versions are kept, such
	// as "90 days"; others keep none.
	History map[string]string `json:"history,omitempty"`
	// IgnoredFields maps models to fields (dotted paths) whose changes are none.
	IgnoredFields map[string][]string `json:"ignored_fields,omitempty"`
	// Validation and Limits are how the function asks to run.
	Validation Validation `json:"validation,omitempty"`
	Limits     RunLimits  `json:"limits,omitzero"`
	// Source is the file that the function was bundled from, relative to the project.
	Source string `json:"source,omitempty"`
}

// Subscribes reports whether the function handles webhooks of type eventType:
// one of its subscriptions is that type, exactly, or "*".
func (m *Manifest) Subscribes(eventType string) bool {
	if !m.HasOnWebhook {
		return false
	}
	for _, s := range m.WebhookSubscriptions {
		if s == "*" || s == eventType {
			return true
		}
	}
	return false
}
