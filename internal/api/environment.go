package api

import (
	"encoding/json"
	"errors"
	"time"

	"syncline"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// environmentJSON is the environment of the caller's key.
type environmentJSON struct {
	UUID                string `json:"uuid"`
	Name                string `json:"name"`
	WebhookURL          string `json:"webhook_url"`
	WebhookURLSecondary string `json:"webhook_url_secondary"`
	WebhookSigningKey   string `json:"webhook_signing_key"`
	// How long records that do not change keep their payloads, and deleted ones
	// are kept; null: for good.
	RecordPayloadRetention *string `json:"record_payload_retention"`
	RecordDeletedRetention *string `json:"record_deleted_retention"`
	// How functions run, where they do not say; null and absent: as the server says.
	runSettingsJSON
	CreatedAt string `json:"created_at"`
}

// retentionOrNull is null for zero: off.
func retentionOrNull(d time.Duration) *string {
	if d == 0 {
		return nil
	}
	return new(syncline.FormatRetention(d))
}

func (s *server) showEnvironment(e *syncline.Environment) (reply, error) {
	key, err := s.Secrets.Open(e.ID, secret.PurposeSigningKey, e.SigningKey)
	if err != nil {
		return reply{}, err
	}
	return ok(environmentJSON{
		UUID: e.UUID, Name: e.Name, WebhookURL: e.WebhookURL, WebhookURLSecondary: e.WebhookURLSecondary, WebhookSigningKey: string(key),
		RecordPayloadRetention: retentionOrNull(e.Retention.Payloads), RecordDeletedRetention: retentionOrNull(e.Retention.Deleted),
		runSettingsJSON: showRunSettings(e.Run), CreatedAt: isoTime(e.CreatedAt),
	})
}

func (s *server) getEnvironment(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var e syncline.Environment
	err := s.Store.View(c.Context(), func(r store.Reader) (err error) {
		e, err = r.Environment(c.env.ID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return s.showEnvironment(&e)
}

// environmentInput is the body of PATCH /environments/current: "" or null
// sends no notifications to that URL, and keeps records for good.
type environmentInput struct {
	WebhookURL             json.RawMessage `json:"webhook_url"`
	WebhookURLSecondary    json.RawMessage `json:"webhook_url_secondary"`
	RecordPayloadRetention json.RawMessage `json:"record_payload_retention"`
	RecordDeletedRetention json.RawMessage `json:"record_deleted_retention"`
	runSettingsInput
}

// apply writes what the input has into an environment.
func (in *environmentInput) apply(e *syncline.Environment) error {
	setURL := func(to *string) func(field, text string) error {
		return func(field, text string) error {
			*to = text
			return checkBaseURL(field, text)
		}
	}
	setRetention := func(to *time.Duration) func(field, text string) error {
		return func(field, text string) (err error) {
			if *to = 0; text == "" {
				return nil
			}
			var invalid *syncline.Error
			if *to, err = syncline.ParseRetention(text); errors.As(err, &invalid) {
				return invalid.WithField(field)
			}
			return err
		}
	}
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		set  func(field, text string) error
	}{
		{"webhook_url", in.WebhookURL, setURL(&e.WebhookURL)},
		{"webhook_url_secondary", in.WebhookURLSecondary, setURL(&e.WebhookURLSecondary)},
		{"record_payload_retention", in.RecordPayloadRetention, setRetention(&e.Retention.Payloads)},
		{"record_deleted_retention", in.RecordDeletedRetention, setRetention(&e.Retention.Deleted)},
	} {
		if len(f.raw) == 0 {
			continue
		}
		var text string
		if !isNull(f.raw) && json.Unmarshal(f.raw, &text) != nil {
			return as(badBody, invalid(f.name, "%s must be a string or null", f.name))
		}
		if err := f.set(f.name, text); err != nil {
			return as(badBody, err)
		}
	}
	return nil
}

func (s *server) patchEnvironment(c *call) (reply, error) {
	var in environmentInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	var e syncline.Environment
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
		if e, err = tx.Environment(c.env.ID); err != nil {
			return err
		}
		if err := in.apply(&e); err != nil {
			return err
		}
		if err := in.runSettingsInput.apply(&e.Run, s.MostLimits); err != nil {
			return err
		}
		return tx.UpdateEnvironment(&e)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.NotificationsChanged()
	return s.showEnvironment(&e)
}
