package sqlite

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
		WHERE environment_id = ? AND deleted_at IS NULL ORDER BY unique_key`, scanIntegration, env)
}

func (r *reader) Integration(env, id int64) (syncline.Integration, error) {
	return one(r, missing{"integration", id}, `SELECT `+integrationColumns+` FROM integrations
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, scanIntegration, id, env)
}

func (r *reader) IntegrationByKey(env int64, uniqueKey string) (syncline.Integration, error) {
	return one(r, missing{"integration", uniqueKey}, `SELECT `+integrationColumns+` FROM integrations
		WHERE environment_id = ? AND unique_key = ? AND deleted_at IS NULL`, scanIntegration, env, uniqueKey)
}

func (t *tx) CreateIntegration(i *syncline.Integration) error {
	t.stamp(&i.CreatedAt)
	if i.UpdatedAt.IsZero() {
		i.UpdatedAt = i.CreatedAt
	}
	_, id, err := t.exec(`INSERT INTO integrations (environment_id, unique_key, provider, display_name, forward_webhooks,
		credentials_key_id, credentials_data, config, webhook_secrets_key_id, webhook_secrets_data, created_at, updated_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		i.EnvironmentID, i.UniqueKey, i.Provider, i.DisplayName, i.ForwardWebhooks, i.Credentials.KeyID, i.Credentials.Data,
		jsonValue{i.Config}, i.WebhookSecrets.KeyID, i.WebhookSecrets.Data, i.CreatedAt, i.UpdatedAt)
	if err != nil {
		return written(err, "integration", i.UniqueKey, "an environment")
	}
	i.ID = id
	return nil
}

func (t *tx) UpdateIntegration(i *syncline.Integration) error {
	t.stamp(&i.UpdatedAt)
	err := t.exec1(missing{"integration", i.UniqueKey}, `UPDATE integrations SET unique_key = ?, provider = ?, display_name = ?, forward_webhooks = ?,
		credentials_key_id = ?, credentials_data = ?, config = ?, webhook_secrets_key_id = ?, webhook_secrets_data = ?, updated_at = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`,
		i.UniqueKey, i.Provider, i.DisplayName, i.ForwardWebhooks, i.Credentials.KeyID, i.Credentials.Data,
		jsonValue{i.Config}, i.WebhookSecrets.KeyID, i.WebhookSecrets.Data, i.UpdatedAt, i.ID, i.EnvironmentID)
	return written(err, "integration", i.UniqueKey, "")
}

func (t *tx) DeleteIntegration(env, id int64, at time.Time) error {
	err := t.exec1(missing{"integration", id}, `UPDATE integrations SET deleted_at = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, at, id, env)
	if err != nil {
		return err
	}
	connections, err := all(&t.reader, `SELECT id FROM connections
		WHERE environment_id = ? AND integration_id = ? AND deleted_at IS NULL`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	for _, c := range connections {
		if err := t.DeleteConnection(env, c, at); err != nil {
			return err
		}
	}
	functions, err := all(&t.reader, `SELECT id FROM functions
		WHERE environment_id = ? AND integration_id = ? AND deleted_at IS NULL`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	for _, f := range functions {
		if err := t.DeleteFunction(env, f, at); err != nil {
			return err
		}
	}
	return nil
}
