package postgres

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
	return one(r, missing{"environment", id}, `SELECT `+environmentColumns+` FROM environments WHERE id = $1`, scanEnvironment, id)
}

func (r *reader) EnvironmentByUUID(uuid string) (syncline.Environment, error) {
	return one(r, missing{"environment", uuid}, `SELECT `+environmentColumns+` FROM environments WHERE uuid = $1`, scanEnvironment, uuid)
}

func (r *reader) EnvironmentByName(name string) (syncline.Environment, error) {
	return one(r, missing{"environment", name}, `SELECT `+environmentColumns+` FROM environments WHERE name = $1`, scanEnvironment, name)
}

func (t *tx) CreateEnvironment(e *syncline.Environment) (err error) {
	t.stamp(&e.CreatedAt)
	if e.UUID == "" {
		e.UUID = syncline.NewUUID()
	}
	e.ID, err = t.insert("environment", e.Name, `INSERT INTO environments
		(uuid, name, signing_key_key_id, signing_key_data, webhook_url, webhook_url_secondary, retention, run_settings, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING RETURNING id`,
		e.UUID, e.Name, e.SigningKey.KeyID, e.SigningKey.Data, e.WebhookURL, e.WebhookURLSecondary, jsonValue{e.Retention}, jsonValue{e.Run}, e.CreatedAt)
	return err
}

func (t *tx) UpdateEnvironment(e *syncline.Environment) error {
	if err := t.unchanged("environments", e.ID); err != nil {
		return err
	}
	return t.rename("environment", e.Name, missing{"environment", e.ID}, `UPDATE environments SET uuid = $1, name = $2,
		signing_key_key_id = $3, signing_key_data = $4, webhook_url = $5, webhook_url_secondary = $6, retention = $7, run_settings = $8 WHERE id = $9`,
		e.UUID, e.Name, e.SigningKey.KeyID, e.SigningKey.Data, e.WebhookURL, e.WebhookURLSecondary, jsonValue{e.Retention}, jsonValue{e.Run}, e.ID)
}

// holdEnvironment fails with not_found unless the environment is there, and keeps it until
// the transaction ends. what and key name the row that is made in it.
func (t *tx) holdEnvironment(env int64, what string, key any) error {
	_, found, err := maybe(&t.reader, `SELECT id FROM environments WHERE id = $1 FOR KEY SHARE`, (*row).int64, env)
	if err == nil && !found {
		err = syncline.Errorf(syncline.CodeNotFound, "%s %v names an environment that does not exist", what, key)
	}
	return err
}

const apiKeyColumns = `id, environment_id, name, hash, hint, created_at`

func scanAPIKey(r *row) syncline.APIKey {
	return syncline.APIKey{
		ID: r.int64(), EnvironmentID: r.int64(), Name: r.text(), Hash: r.bytes(), Hint: r.text(), CreatedAt: r.time(),
	}
}

func (r *reader) APIKeyByHash(hash []byte) (syncline.APIKey, error) {
	// The hash is not a secret's text, but there is no reason to show it either.
	return one(r, missing{"API key", "with this hash"}, `SELECT `+apiKeyColumns+` FROM api_keys WHERE hash = $1`, scanAPIKey, hash)
}

func (r *reader) APIKeys(env int64) ([]syncline.APIKey, error) {
	return all(r, `SELECT `+apiKeyColumns+` FROM api_keys WHERE environment_id = $1 ORDER BY id`, scanAPIKey, env)
}

func (t *tx) CreateAPIKey(k *syncline.APIKey) (err error) {
	if err := t.holdEnvironment(k.EnvironmentID, "API key", k.Name); err != nil {
		return err
	}
	t.stamp(&k.CreatedAt)
	k.ID, err = t.insert("API key", k.Name, `INSERT INTO api_keys (environment_id, name, hash, hint, created_at)
		VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id`,
		k.EnvironmentID, k.Name, k.Hash, k.Hint, k.CreatedAt)
	return err
}

func (t *tx) DeleteAPIKey(env, id int64) error {
	return t.exec1(missing{"API key", id}, `DELETE FROM api_keys WHERE id = $1 AND environment_id = $2`, id, env)
}
