package syncline

import "time"

// Sealed is a secret at rest: ciphertext and the id of the key that sealed it
// (package internal/secret opens it). The zero value means "no secret".
type Sealed struct {
	KeyID string
	Data  []byte
}

// IsZero reports whether there is no secret.
func (s Sealed) IsZero() bool { return len(s.Data) == 0 }

// Environment owns integrations, API keys, the webhook signing key and
// variables; every row names one.
type Environment struct {
	ID         int64
	UUID       string // in webhook URLs
	Name       string // dev, prod …; lower case, unique
	SigningKey Sealed // signs the webhooks that Syncline sends to the user's app
	// WebhookURL and WebhookURLSecondary are where notifications go; "" sends none.
	WebhookURL          string
	WebhookURLSecondary string
	Retention           Retention
	// Run is how functions run in this environment, where they do not say.
	Run       RunSettings
	CreatedAt time.Time
}

// Retention is for how long records that do not change are kept; zero keeps them.
type Retention struct {
	// Payloads is after how long without a change a record's payload is pruned.
	Payloads time.Duration `json:"payloads,omitempty"`
	// Deleted is after how long a deleted record is removed for good.
	Deleted time.Duration `json:"deleted,omitempty"`
}

// APIKey authorizes callers of the HTTP API for one environment. Only its hash
// is stored.
type APIKey struct {
	ID            int64
	EnvironmentID int64
	Name          string
	Hash          []byte // SHA-256 of the key
	Hint          string // last 4 characters, to tell keys apart
	CreatedAt     time.Time
}
