package notify

import (
	"bytes"
	"encoding/json"
	"time"

	"syncline"
)

// The targets of a notification.
const (
	Primary   = "primary"
	Secondary = "secondary"
)

// SyncEvent is the outcome of one run for one model, as the user's app is told
// of it.
type SyncEvent struct {
	ConnectionID      string // the user's id
	ProviderConfigKey string
	SyncName          string
	SyncVariant       string // "" is base
	Model             string
	SyncType          syncline.SyncType
	// ModifiedAfter is from when on records may have changed: the run's start.
	ModifiedAfter time.Time
	Results       syncline.ModelResult
	// Checkpoints tells from where to where the run went; nil leaves it out,
	// which receivers read as a full sync.
	Checkpoints *Checkpoints
	// Failure is set when the run failed; Results are not sent then.
	Failure *Failure
}

// Checkpoints are those before and after a run; null when there was none.
type Checkpoints struct {
	From json.RawMessage `json:"from"`
	To   json.RawMessage `json:"to"`
}

// Failure says how a run failed.
type Failure struct {
	Type        string // a stable word, such as an error code
	Description string // for people
	StartedAt   time.Time
	FailedAt    time.Time
}

type syncPayload struct {
	From              string             `json:"from"`
	Type              string             `json:"type"`
	ConnectionID      string             `json:"connectionId"`
	ProviderConfigKey string             `json:"providerConfigKey"`
	SyncName          string             `json:"syncName"`
	SyncVariant       string             `json:"syncVariant"`
	Model             string             `json:"model"`
	SyncType          syncline.SyncType  `json:"syncType"`
	Success           bool               `json:"success"`
	ModifiedAfter     string             `json:"modifiedAfter,omitempty"`
	QueryTimeStamp    string             `json:"queryTimeStamp,omitempty"` // what older receivers read for modifiedAfter
	ResponseResults   *results           `json:"responseResults,omitempty"`
	Error             *syncError         `json:"error,omitempty"`
	StartedAt         string             `json:"startedAt,omitempty"`
	FailedAt          string             `json:"failedAt,omitempty"`
	Checkpoints       *checkpointPayload `json:"checkpoints,omitempty"`
}

type results struct {
	Added   int `json:"added"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
}

type syncError struct {
	Type        string `json:"type"`
	Description string `json:"description"`
}

type checkpointPayload Checkpoints

// SyncPayload is the body of a sync notification in Nango's shape: of a success,
// or of a failure when e.Failure is set. It is pure.
func SyncPayload(e SyncEvent) json.RawMessage {
	p := syncPayload{
		From: "nango", Type: "sync",
		ConnectionID: e.ConnectionID, ProviderConfigKey: e.ProviderConfigKey,
		SyncName: e.SyncName, SyncVariant: e.SyncVariant, Model: e.Model, SyncType: e.SyncType,
	}
	if p.SyncVariant == "" {
		p.SyncVariant = syncline.BaseVariant
	}
	if c := e.Checkpoints; c != nil {
		p.Checkpoints = &checkpointPayload{From: orNull(c.From), To: orNull(c.To)}
	}
	if f := e.Failure; f != nil {
		p.Error = &syncError{Type: f.Type, Description: f.Description}
		p.StartedAt, p.FailedAt = isoTime(f.StartedAt), isoTime(f.FailedAt)
	} else {
		p.Success = true
		p.ModifiedAfter = isoTime(e.ModifiedAfter)
		p.QueryTimeStamp = p.ModifiedAfter
		p.ResponseResults = &results{Added: e.Results.Added, Updated: e.Results.Updated, Deleted: e.Results.Deleted}
	}
	return encode(p)
}

type actionPayload struct {
	From              string `json:"from"`
	Type              string `json:"type"`
	ConnectionID      string `json:"connectionId"`
	ProviderConfigKey string `json:"providerConfigKey"`
	Payload           struct {
		ID        string `json:"id"`
		StatusURL string `json:"statusUrl"`
	} `json:"payload"`
}

// AsyncAction is the type of a notification that an asynchronous action ended.
const AsyncAction = "async_action"

// ActionPayload is the body of a notification that an asynchronous action
// ended, in Nango's shape: the receiver asks for its result by id or statusURL.
func ActionPayload(connectionID, providerConfigKey, id, statusURL string) json.RawMessage {
	p := actionPayload{From: "nango", Type: AsyncAction, ConnectionID: connectionID, ProviderConfigKey: providerConfigKey}
	p.Payload.ID, p.Payload.StatusURL = id, statusURL
	return encode(p)
}

// Rows makes the rows of a notification, one for each URL that the environment
// has: none when it has none. They are due at once. The caller writes them in
// the commit that they speak of.
func Rows(env *syncline.Environment, connectionID, runID int64, kind string, payload json.RawMessage, now time.Time) []*syncline.Notification {
	var out []*syncline.Notification
	for _, t := range []struct{ target, url string }{{Primary, env.WebhookURL}, {Secondary, env.WebhookURLSecondary}} {
		if t.url == "" {
			continue
		}
		out = append(out, &syncline.Notification{
			UUID: syncline.NewUUID(), EnvironmentID: env.ID, ConnectionID: connectionID, RunID: runID,
			Target: t.target, Type: kind, Payload: payload,
			Status: syncline.NotificationPending, NextAttemptAt: now, CreatedAt: now,
		})
	}
	return out
}

// orNull is raw, or null when there is none or it is not JSON.
func orNull(raw json.RawMessage) json.RawMessage {
	if !json.Valid(raw) {
		return json.RawMessage("null")
	}
	return raw
}

// isoTime is a time as JavaScript writes it.
func isoTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// encode writes JSON without escaping <, > and &, as receivers' own encoders do.
func encode(v any) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // strings, numbers and JSON that was checked: it cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
