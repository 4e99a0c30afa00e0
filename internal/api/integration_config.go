package api

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"

	"syncline"
	"syncline/internal/provider"
	"syncline/internal/secret"
)

// The limits of an integration's webhook secrets.
const (
	maxSecrets      = 10
	maxSecretLength = 4096
)

// configInput is our extension of an integration. Absent members are left as
// they are, null and "" remove.
type configInput struct {
	ProxyBaseURL *string         `json:"proxy_base_url"`
	Webhook      json.RawMessage `json:"webhook"`
}

// configJSON shows the configuration. Secrets are never shown: only their
// last characters, where they are long enough not to be given away by them.
type configJSON struct {
	ProxyBaseURL string                     `json:"proxy_base_url,omitempty"`
	Webhook      map[string]json.RawMessage `json:"webhook,omitempty"`
	SecretHints  []string                   `json:"webhook_secret_hints,omitempty"`
}

func showConfig(c syncline.IntegrationConfig, secrets []string) *configJSON {
	out := configJSON{ProxyBaseURL: c.ProxyBaseURL}
	if len(c.Webhook) > 0 && json.Unmarshal(c.Webhook, &out.Webhook) != nil {
		out.Webhook = nil // it was an object when it was stored
	}
	for _, text := range secrets {
		out.SecretHints = append(out.SecretHints, "…"+secret.HintOf(text))
	}
	if out.ProxyBaseURL == "" && len(out.Webhook) == 0 && len(out.SecretHints) == 0 {
		return nil
	}
	return &out
}

// applyConfig sets the configuration and the webhook secrets: those of
// config.webhook.secrets, and the webhook_secret of the credentials.
func (s *server) applyConfig(i *syncline.Integration, in *configInput, webhookSecret *string) error {
	var secrets []string
	replace := webhookSecret != nil
	if in != nil && in.ProxyBaseURL != nil {
		if err := checkBaseURL("config.proxy_base_url", *in.ProxyBaseURL); err != nil {
			return err
		}
		i.Config.ProxyBaseURL = *in.ProxyBaseURL
	}
	if in != nil && isNull(in.Webhook) {
		i.Config.Webhook = nil
		secrets, replace = nil, true
	} else if in != nil && len(in.Webhook) > 0 {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(in.Webhook, &members); err != nil {
			return invalid("config.webhook", "config.webhook is not an object")
		}
		if given, there := members["secrets"]; there {
			if err := json.Unmarshal(given, &secrets); err != nil {
				return invalid("config.webhook.secrets", "config.webhook.secrets is not an array of strings")
			}
			replace = true
			delete(members, "secrets")
		}
		// Secrets alone leave the overrides as they are.
		if overrides := len(members) > 0; overrides {
			raw, err := json.Marshal(members)
			if err != nil {
				return syncline.Errorf(syncline.CodeInternal, "encode webhook overrides: %w", err)
			}
			p, err := s.provider(i)
			if err != nil {
				return err
			}
			if _, err := p.Webhook.Override(raw); err != nil {
				return err
			}
			i.Config.Webhook = raw
		}
	}
	if !replace {
		return nil
	}
	if webhookSecret != nil && *webhookSecret != "" && !slices.Contains(secrets, *webhookSecret) {
		secrets = append(secrets, *webhookSecret)
	}
	return s.sealWebhookSecrets(i, secrets)
}

func (s *server) sealWebhookSecrets(i *syncline.Integration, secrets []string) error {
	if len(secrets) > maxSecrets {
		return invalid("config.webhook.secrets", "config.webhook.secrets holds %d secrets; the most is %d", len(secrets), maxSecrets)
	}
	for _, text := range secrets {
		if text == "" || len(text) > maxSecretLength {
			return invalid("config.webhook.secrets", "a webhook secret is empty or longer than %d bytes", maxSecretLength)
		}
	}
	if len(secrets) == 0 {
		i.WebhookSecrets = syncline.Sealed{}
		return nil
	}
	raw, err := json.Marshal(secrets)
	if err != nil {
		return syncline.Errorf(syncline.CodeInternal, "encode webhook secrets: %w", err)
	}
	i.WebhookSecrets, err = s.Secrets.Seal(i.EnvironmentID, secret.PurposeWebhookSecrets, raw)
	return err
}

func openWebhookSecrets(sealer *secret.Sealer, i *syncline.Integration) ([]string, error) {
	raw, err := sealer.Open(i.EnvironmentID, secret.PurposeWebhookSecrets, i.WebhookSecrets)
	if err != nil || raw == nil {
		return nil, err
	}
	var secrets []string
	if json.Unmarshal(raw, &secrets) != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "the stored webhook secrets of %s are not in a known form", i.UniqueKey)
	}
	return secrets, nil
}

// integrationCredentials are the credentials of an integration in Nango's
// shapes; which members they have depends on the type.
type integrationCredentials struct {
	Type          provider.AuthMode `json:"type"`
	ClientID      string            `json:"client_id,omitempty"`
	ClientSecret  string            `json:"client_secret,omitempty"`
	Scopes        *string           `json:"scopes,omitempty"`
	WebhookSecret *string           `json:"webhook_secret,omitempty"`
	AppID         string            `json:"app_id,omitempty"`
	AppLink       string            `json:"app_link,omitempty"`
	PrivateKey    string            `json:"private_key,omitempty"`
}

// applyIntegrationCredentials checks credentials against the provider's auth
// mode and seals them; it returns the webhook secret among them, if any.
func (s *server) applyIntegrationCredentials(i *syncline.Integration, raw json.RawMessage) (webhookSecret *string, err error) {
	if len(raw) == 0 || isNull(raw) {
		return nil, nil
	}
	var in integrationCredentials
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, invalid("credentials", "credentials: %s", decodeError(err))
	}
	p, err := s.provider(i)
	if err != nil {
		return nil, err
	}
	var required map[string]string
	switch p.AuthMode {
	case provider.AuthOAuth2:
		required = map[string]string{"client_id": in.ClientID, "client_secret": in.ClientSecret}
	case provider.AuthApp:
		required = map[string]string{"app_id": in.AppID, "app_link": in.AppLink, "private_key": in.PrivateKey}
	default:
		return nil, invalid("credentials", "integrations of the provider %s (%s) take no credentials", i.Provider, p.AuthMode).
			WithHint("its connections bring their own; a webhook secret goes into config.webhook.secrets")
	}
	if in.Type != p.AuthMode {
		return nil, invalid("credentials.type", "credentials.type is %q, but the provider %s has %s", in.Type, i.Provider, p.AuthMode)
	}
	for _, name := range []string{"client_id", "client_secret", "app_id", "app_link", "private_key"} {
		if v, is := required[name]; is && v == "" {
			return nil, invalid("credentials."+name, "credentials.%s is missing", name)
		}
	}
	if in.WebhookSecret != nil && len(*in.WebhookSecret) > maxName {
		return nil, invalid("credentials.webhook_secret", "credentials.webhook_secret is longer than %d bytes", maxName)
	}
	plain, err := json.Marshal(in)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "encode credentials: %w", err)
	}
	i.Credentials, err = s.Secrets.Seal(i.EnvironmentID, secret.PurposeIntegrationCredentials, plain)
	return in.WebhookSecret, err
}

// openIntegrationCredentials is the JSON that was given, or null.
func openIntegrationCredentials(sealer *secret.Sealer, i *syncline.Integration) (json.RawMessage, error) {
	raw, err := sealer.Open(i.EnvironmentID, secret.PurposeIntegrationCredentials, i.Credentials)
	if err != nil {
		return nil, err
	}
	if raw == nil {
		return json.RawMessage("null"), nil
	}
	return raw, nil
}

// checkBaseURL checks an address that we are to call; "" is allowed.
func checkBaseURL(field, text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || len(text) > 2048 {
		return invalid(field, "%s is not an http or https URL (without user name, password or fragment)", field)
	}
	return nil
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }
