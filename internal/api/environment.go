package api

import (
	"encoding/json"

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
	CreatedAt           string `json:"created_at"`
}

func (s *server) showEnvironment(e *syncline.Environment) (reply, error) {
	key, err := s.Secrets.Open(e.ID, secret.PurposeSigningKey, e.SigningKey)
	if err != nil {
		return reply{}, err
	}
	return ok(environmentJSON{e.UUID, e.Name, e.WebhookURL, e.WebhookURLSecondary, string(key), isoTime(e.CreatedAt)})
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
// sends no notifications to that URL.
type environmentInput struct {
	WebhookURL          json.RawMessage `json:"webhook_url"`
	WebhookURLSecondary json.RawMessage `json:"webhook_url_secondary"`
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
		for _, f := range []struct {
			name string
			raw  json.RawMessage
			set  *string
		}{{"webhook_url", in.WebhookURL, &e.WebhookURL}, {"webhook_url_secondary", in.WebhookURLSecondary, &e.WebhookURLSecondary}} {
			if len(f.raw) == 0 {
				continue
			}
			var text string
			if !isNull(f.raw) && json.Unmarshal(f.raw, &text) != nil {
				return as(badBody, invalid(f.name, "%s must be a string or null", f.name))
			}
			if err := checkBaseURL(f.name, text); err != nil {
				return as(badBody, err)
			}
			*f.set = text
		}
		return tx.UpdateEnvironment(&e)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.NotificationsChanged()
	return s.showEnvironment(&e)
}
