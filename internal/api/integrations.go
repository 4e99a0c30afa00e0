package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// uniqueKeys are the unique keys that may be given: they are part of webhook URLs.
var uniqueKeys = regexp.MustCompile(`^[a-zA-Z0-9~:.@ _-]{1,255}$`)

// integrationInput is the body of POST and PATCH. Absent members are nil.
type integrationInput struct {
	UniqueKey       *string           `json:"unique_key"`
	Provider        *string           `json:"provider"`
	DisplayName     *string           `json:"display_name"`
	ForwardWebhooks *bool             `json:"forward_webhooks"`
	Credentials     json.RawMessage   `json:"credentials"`
	Config          *configInput      `json:"config"` // our extension
	ProviderConfig  map[string]string `json:"integration_config"`
}

// integrationJSON is an integration as the API shows it; credentials and the
// webhook URL only when they are asked for.
type integrationJSON struct {
	UniqueKey       string           `json:"unique_key"`
	DisplayName     string           `json:"display_name"`
	Provider        string           `json:"provider"`
	CreatedAt       string           `json:"created_at"`
	UpdatedAt       string           `json:"updated_at"`
	ForwardWebhooks bool             `json:"forward_webhooks"`
	Config          *configJSON      `json:"config,omitempty"`
	WebhookURL      *string          `json:"webhook_url,omitempty"`
	Credentials     *json.RawMessage `json:"credentials,omitempty"`
}

func showIntegration(i *syncline.Integration) integrationJSON {
	return integrationJSON{
		UniqueKey: i.UniqueKey, DisplayName: i.DisplayName, Provider: i.Provider, ForwardWebhooks: i.ForwardWebhooks,
		CreatedAt: isoTime(i.CreatedAt), UpdatedAt: isoTime(i.UpdatedAt), Config: showConfig(i.Config, nil),
	}
}

// WebhookURL is where the external API of an integration sends its webhooks;
// with a connection id appended as one more segment they are for that
// connection alone. publicURL has no slash at its end.
func WebhookURL(publicURL, environmentUUID, uniqueKey string) string {
	return publicURL + "/webhook/" + environmentUUID + "/" + url.PathEscape(uniqueKey)
}

// integration finds an integration by its unique key.
func integration(r store.Reader, env int64, key string) (syncline.Integration, error) {
	i, err := r.IntegrationByKey(env, key)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return i, unknown(http.StatusNotFound, "not_found", "there is no integration %q in this environment", key)
	}
	return i, err
}

func (s *server) listIntegrations(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	list := []integrationJSON{}
	err := s.Store.View(c.Context(), func(r store.Reader) error {
		all, err := r.Integrations(c.env.ID)
		for i := range all {
			list = append(list, showIntegration(&all[i]))
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"data": list})
}

func (s *server) getIntegration(c *call) (reply, error) {
	q, err := c.params("include")
	if err != nil {
		return reply{}, err
	}
	include := q.words("include")
	for _, word := range include {
		if word != "webhook" && word != "credentials" {
			return reply{}, as(badQuery, invalid("include", "include names %q", word).WithHint("it takes webhook and credentials"))
		}
	}
	var i syncline.Integration
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		i, err = integration(r, c.env.ID, c.PathValue("uniqueKey"))
		return err
	})
	if err != nil {
		return reply{}, err
	}
	out, err := describeIntegration(s.Secrets, WebhookURL(s.PublicURL, c.env.UUID, i.UniqueKey), &i, include)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"data": out})
}

// DescribeIntegration is the data of GET /integrations/{key} as functions see it.
func DescribeIntegration(secrets *secret.Sealer, webhookURL string, i *syncline.Integration, include []string) (json.RawMessage, error) {
	out, err := describeIntegration(secrets, webhookURL, i, include)
	if err != nil {
		return nil, err
	}
	return json.Marshal(out)
}

func describeIntegration(sealer *secret.Sealer, webhookURL string, i *syncline.Integration, include []string) (*integrationJSON, error) {
	out := showIntegration(i)
	if slices.Contains(include, "webhook") {
		out.WebhookURL = &webhookURL
		secrets, err := openWebhookSecrets(sealer, i)
		if err != nil {
			return nil, err
		}
		out.Config = showConfig(i.Config, secrets)
	}
	if slices.Contains(include, "credentials") {
		credentials, err := openIntegrationCredentials(sealer, i)
		if err != nil {
			return nil, err
		}
		out.Credentials = &credentials
	}
	return &out, nil
}

func (s *server) createIntegration(c *call) (reply, error) {
	var in integrationInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	if in.UniqueKey == nil {
		return reply{}, as(badBody, invalid("unique_key", "unique_key is missing"))
	}
	if in.Provider == nil {
		return reply{}, as(badBody, invalid("provider", "provider is missing"))
	}
	p, found := s.Catalogue.Provider(*in.Provider)
	if !found {
		return reply{}, as(badBody, invalid("provider", "there is no provider %q in the catalogue", *in.Provider).WithHint("GET /providers lists them"))
	}
	now := s.Clock.Now()
	i := syncline.Integration{
		EnvironmentID: c.env.ID, Provider: p.Name, DisplayName: p.DisplayName, ForwardWebhooks: true, CreatedAt: now, UpdatedAt: now,
	}
	if err := s.applyIntegration(&i, &in); err != nil {
		return reply{}, as(badBody, err)
	}
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		return uniqueKeyTaken(tx.CreateIntegration(&i), i.UniqueKey)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	return ok(map[string]any{"data": showIntegration(&i)})
}

func (s *server) patchIntegration(c *call) (reply, error) {
	var in integrationInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	if in.Provider != nil {
		return reply{}, as(badBody, invalid("provider", "the provider of an integration cannot be changed").WithHint("make another integration"))
	}
	var i syncline.Integration
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
		if i, err = integration(tx, c.env.ID, c.PathValue("uniqueKey")); err != nil {
			return err
		}
		if err := s.applyIntegration(&i, &in); err != nil {
			return as(badBody, err)
		}
		i.UpdatedAt = s.Clock.Now()
		return uniqueKeyTaken(tx.UpdateIntegration(&i), i.UniqueKey)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	return ok(map[string]any{"data": showIntegration(&i)})
}

// uniqueKeyTaken answers a conflict as Nango does.
func uniqueKeyTaken(err error, key string) error {
	if syncline.CodeOf(err) != syncline.CodeConflict {
		return err
	}
	return as(badBody, invalid("unique_key", "the unique key %q is taken by another integration of this environment", key))
}

// applyIntegration sets on i what in holds.
func (s *server) applyIntegration(i *syncline.Integration, in *integrationInput) error {
	if in.UniqueKey != nil {
		if !uniqueKeys.MatchString(*in.UniqueKey) || strings.TrimSpace(*in.UniqueKey) != *in.UniqueKey || strings.Trim(*in.UniqueKey, ".") == "" {
			return invalid("unique_key", "unique_key is %q; it must be 1 to 255 of the characters a-z A-Z 0-9 ~ : . @ _ - and space, without space at its ends", *in.UniqueKey)
		}
		i.UniqueKey = *in.UniqueKey
	}
	if in.DisplayName != nil {
		if err := checkID("display_name", *in.DisplayName); err != nil {
			return err
		}
		i.DisplayName = *in.DisplayName
	}
	if in.ForwardWebhooks != nil {
		i.ForwardWebhooks = *in.ForwardWebhooks
	}
	if len(in.ProviderConfig) > 0 {
		return invalid("integration_config", "the provider %s takes no integration_config", i.Provider).WithHint("a base URL goes into config.proxy_base_url")
	}
	webhookSecret, err := s.applyIntegrationCredentials(i, in.Credentials)
	if err != nil {
		return err
	}
	return s.applyConfig(i, in.Config, webhookSecret)
}

// deleteBatch is how many connections are deleted in one transaction, so that
// other writers get their turn.
const deleteBatch = 500

// deleteIntegration deletes an integration with its connections and functions.
func (s *server) deleteIntegration(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var i syncline.Integration
	for more := true; more; {
		err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
			if i, err = integration(tx, c.env.ID, c.PathValue("uniqueKey")); err != nil {
				return err
			}
			now := s.Clock.Now()
			connections, err := tx.Connections(c.env.ID, store.ConnectionFilter{IntegrationID: i.ID, Page: store.Page{Limit: deleteBatch}})
			if err != nil {
				return err
			}
			for k := range connections {
				if err := tx.DeleteConnection(c.env.ID, connections[k].ID, now); err != nil {
					return err
				}
			}
			if more = len(connections) == deleteBatch; more {
				return nil
			}
			functions, err := tx.Functions(c.env.ID, i.ID)
			if err != nil {
				return err
			}
			for k := range functions {
				if err := tx.DeleteFunction(c.env.ID, functions[k].ID, now); err != nil {
					return err
				}
			}
			return tx.DeleteIntegration(c.env.ID, i.ID, now)
		})
		if err != nil {
			return reply{}, err
		}
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	s.Hooks.FunctionsChanged(c.env.ID, i.ID)
	s.Hooks.SchedulesChanged()
	return ok(map[string]bool{"success": true})
}
