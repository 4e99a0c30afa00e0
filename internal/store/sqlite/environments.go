package sqlite

import "syncline"

const environmentColumns = `id, uuid, name, signing_key_key_id, signing_key_data, webhook_url, webhook_url_secondary, retention, run_settings, created_at`

func scanEnvironment(r *row) syncline.Environment {
	e := syncline.Environment{
		ID: r.int64(), UUID: r.text(), Name: r.text(), SigningKey: r.sealed(),
		WebhookURL: r.text(), WebhookURLSecondary: r.text(),
	}
	r.json(&e.Retention)
	r.json(&e.Run)
	e.CreatedAt = r.time()
	return e
}

func (r *reader) Environments() ([]syncline.Environment, error) {
	return all(r, `SELECT `+environmentColumns+` FROM environments ORDER BY id`, scanEnvironment)
}

func (r *reader) Environment(id int64) (syncline.Environment, error) {
	return one(r, missing{"environment", id}, `SELECT `+environmentColumns+` FROM environments WHERE id = ?`, scanEnvironment, id)
}

func (r *reader) EnvironmentByUUID(uuid string) (syncline.Environment, error) {
	return one(r, missing{"environment", uuid}, `SELECT `+environmentColumns+` FROM environments WHERE uuid = ?`, scanEnvironment, uuid)
}

func (r *reader) EnvironmentByName(name string) (syncline.Environment, error) {
	return one(r, missing{"environment", name}, `SELECT `+environmentColumns+` FROM environments WHERE name = ?`, scanEnvironment, name)
}

func (t *tx) CreateEnvironment(e *syncline.Environment) error {
	t.stamp(&e.CreatedAt)
	if e.UUID == "" {
		e.UUID = syncline.NewUUID()
	}
	_, id, err := t.exec(`INSERT INTO environments (uuid, name, signing_key_key_id, signing_key_data, webhook_url, webhook_url_secondary, retention, run_settings, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.UUID, e.Name, e.SigningKey.KeyID, e.SigningKey.Data, e.WebhookURL, e.WebhookURLSecondary, jsonValue{e.Retention}, jsonValue{e.Run}, e.CreatedAt)
	if err != nil {
		return written(err, "environment", e.Name, "")
	}
	e.ID = id
	return nil
}

func (t *tx) UpdateEnvironment(e *syncline.Environment) error {
	err := t.exec1(missing{"environment", e.ID}, `UPDATE environments SET uuid = ?, name = ?, signing_key_key_id = ?, signing_key_data = ?,
		webhook_url = ?, webhook_url_secondary = ?, retention = ?, run_settings = ? WHERE id = ?`,
		e.UUID, e.Name, e.SigningKey.KeyID, e.SigningKey.Data, e.WebhookURL, e.WebhookURLSecondary, jsonValue{e.Retention}, jsonValue{e.Run}, e.ID)
	return written(err, "environment", e.Name, "")
}

const apiKeyColumns = `id, environment_id, name, hash, hint, created_at`

func scanAPIKey(r *row) syncline.APIKey {
	return syncline.APIKey{
		ID: r.int64(), EnvironmentID: r.int64(), Name: r.text(), Hash: r.bytes(), Hint: r.text(), CreatedAt: r.time(),
	}
}

func (r *reader) APIKeyByHash(hash []byte) (syncline.APIKey, error) {
	// The hash is not a secret's text, but there is no reason to show it either.
	return one(r, missing{"API key", "with this hash"}, `SELECT `+apiKeyColumns+` FROM api_keys WHERE hash = ?`, scanAPIKey, hash)
}

func (r *reader) APIKeys(env int64) ([]syncline.APIKey, error) {
	return all(r, `SELECT `+apiKeyColumns+` FROM api_keys WHERE environment_id = ? ORDER BY id`, scanAPIKey, env)
}

func (t *tx) CreateAPIKey(k *syncline.APIKey) error {
	t.stamp(&k.CreatedAt)
	_, id, err := t.exec(`INSERT INTO api_keys (environment_id, name, hash, hint, created_at) VALUES (?, ?, ?, ?, ?)`,
		k.EnvironmentID, k.Name, k.Hash, k.Hint, k.CreatedAt)
	if err != nil {
		return written(err, "API key", k.Name, "an environment")
	}
	k.ID = id
	return nil
}

func (t *tx) DeleteAPIKey(env, id int64) error {
	return t.exec1(missing{"API key", id}, `DELETE FROM api_keys WHERE id = ? AND environment_id = ?`, id, env)
}
