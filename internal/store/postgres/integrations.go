package postgres

import (
	"time"

	"syncline"
)

const integrationColumns = `id, environment_id, unique_key, provider, display_name, forward_webhooks,
	credentials_key_id, credentials_data, config, webhook_secrets_key_id, webhook_secrets_data, created_at, updated_at`

func scanIntegration(r *row) syncline.Integration {
	i := syncline.Integration{
		ID: r.int64(), EnvironmentID: r.int64(), UniqueKey: r.text(), Provider: r.text(), DisplayName: r.text(),
		ForwardWebhooks: r.bool(), Credentials: r.sealed(),
	}
	r.json(&i.Config)
	i.WebhookSecrets, i.CreatedAt, i.UpdatedAt = r.sealed(), r.time(), r.time()
	return i
}

func (r *reader) Integrations(env int64) ([]syncline.Integration, error) {
	return all(r, `SELECT `+integrationColumns+` FROM integrations
		WHERE environment_id = $1 AND deleted_at IS NULL ORDER BY unique_key`, scanIntegration, env)
}

func (r *reader) Integration(env, id int64) (syncline.Integration, error) {
	return one(r, missing{"integration", id}, `SELECT `+integrationColumns+` FROM integrations
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanIntegration, id, env)
}

func (r *reader) IntegrationByKey(env int64, uniqueKey string) (syncline.Integration, error) {
	return one(r, missing{"integration", uniqueKey}, `SELECT `+integrationColumns+` FROM integrations
		WHERE environment_id = $1 AND unique_key = $2 AND deleted_at IS NULL`, scanIntegration, env, uniqueKey)
}

// holdIntegration fails with not_found unless the integration is live, and keeps
// it so until the transaction ends.
func (t *tx) holdIntegration(env, id int64) error {
	_, err := one(&t.reader, missing{"integration", id}, `SELECT id FROM integrations
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL FOR SHARE`, (*row).int64, id, env)
	return err
}

func (t *tx) CreateIntegration(i *syncline.Integration) (err error) {
	if err := t.holdEnvironment(i.EnvironmentID, "integration", i.UniqueKey); err != nil {
		return err
	}
	t.stamp(&i.CreatedAt)
	if i.UpdatedAt.IsZero() {
		i.UpdatedAt = i.CreatedAt
	}
	i.ID, err = t.insert("integration", i.UniqueKey, `INSERT INTO integrations (environment_id, unique_key, provider, display_name, forward_webhooks,
		credentials_key_id, credentials_data, config, webhook_secrets_key_id, webhook_secrets_data, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING id`,
		i.EnvironmentID, i.UniqueKey, i.Provider, i.DisplayName, i.ForwardWebhooks, i.Credentials.KeyID, i.Credentials.Data,
		jsonValue{i.Config}, i.WebhookSecrets.KeyID, i.WebhookSecrets.Data, i.CreatedAt, i.UpdatedAt)
	return err
}

func (t *tx) UpdateIntegration(i *syncline.Integration) error {
	if err := t.unchanged("integrations", i.ID); err != nil {
		return err
	}
	t.stamp(&i.UpdatedAt)
	return t.rename("integration", i.UniqueKey, missing{"integration", i.UniqueKey}, `UPDATE integrations SET unique_key = $1, provider = $2,
		display_name = $3, forward_webhooks = $4, credentials_key_id = $5, credentials_data = $6, config = $7,
		webhook_secrets_key_id = $8, webhook_secrets_data = $9, updated_at = $10
		WHERE id = $11 AND environment_id = $12 AND deleted_at IS NULL`,
		i.UniqueKey, i.Provider, i.DisplayName, i.ForwardWebhooks, i.Credentials.KeyID, i.Credentials.Data,
		jsonValue{i.Config}, i.WebhookSecrets.KeyID, i.WebhookSecrets.Data, i.UpdatedAt, i.ID, i.EnvironmentID)
}

func (t *tx) DeleteIntegration(env, id int64, at time.Time) error {
	err := t.exec1(missing{"integration", id}, `UPDATE integrations SET deleted_at = $1
		WHERE id = $2 AND environment_id = $3 AND deleted_at IS NULL`, at, id, env)
	if err != nil {
		return err
	}
	connections, err := all(&t.reader, `SELECT id FROM connections
		WHERE environment_id = $1 AND integration_id = $2 AND deleted_at IS NULL ORDER BY id`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	for _, c := range connections {
		if err := goneAlready(t.DeleteConnection(env, c, at)); err != nil {
			return err
		}
	}
	functions, err := all(&t.reader, `SELECT id FROM functions
		WHERE environment_id = $1 AND integration_id = $2 AND deleted_at IS NULL ORDER BY id`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	for _, f := range functions {
		if err := goneAlready(t.DeleteFunction(env, f, at)); err != nil {
			return err
		}
	}
	return nil
}

// goneAlready takes it as done when somebody else deleted the row since it was
// listed.
func goneAlready(err error) error {
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil
	}
	return err
}
