package syncline

import (
	"encoding/json"
	"time"
)

// Integration is one configured provider of an environment.
type Integration struct {
	ID              int64
	EnvironmentID   int64
	UniqueKey       string // also called provider config key
	Provider        string // name in the catalogue
	DisplayName     string
	ForwardWebhooks bool
	// Credentials seals the JSON of client id, client secret, scopes … as the
	// API takes them ("" when none were given).
	Credentials Sealed
	Config      IntegrationConfig
	// WebhookSecrets seals a JSON array of strings: every secret with which a
	// delivery may be signed now (several during a rotation).
	WebhookSecrets Sealed
	CreatedAt      time.Time
	UpdatedAt      time.Time
}

// IntegrationConfig is Syncline's extension of an integration: what a user may
// change of the catalogue's data.
type IntegrationConfig struct {
	// ProxyBaseURL replaces the provider's base URL (test servers, gateways).
	ProxyBaseURL string `json:"proxy_base_url,omitempty"`
	// Webhook holds overrides of the catalogue's webhook section, in the
	// catalogue's format; null when there are none.
	Webhook json.RawMessage `json:"webhook,omitempty"`
}
