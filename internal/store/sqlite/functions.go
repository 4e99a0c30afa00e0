package sqlite

import (
	"time"

	"syncline"
)

const functionColumns = `f.id, f.environment_id, f.integration_id, f.type, f.name, f.enabled, f.run_settings, f.created_at,
	v.id, v.function_id, v.number, v.manifest, v.bundle_hash, v.deployed_at
	FROM functions AS f JOIN function_versions AS v ON v.id = f.active_version_id`

func scanFunction(r *row) syncline.Function {
	f := syncline.Function{
		ID: r.int64(), EnvironmentID: r.int64(), IntegrationID: r.int64(), Type: syncline.FunctionType(r.text()), Name: r.text(),
		Enabled: r.bool(),
	}
	r.json(&f.Run)
	f.CreatedAt, f.Active = r.time(), scanVersion(r)
	return f
}

func scanVersion(r *row) syncline.FunctionVersion {
	v := syncline.FunctionVersion{ID: r.int64(), FunctionID: r.int64(), Number: r.int64()}
	r.json(&v.Manifest)
	v.BundleHash, v.DeployedAt = r.text(), r.time()
	return v
}

func (r *reader) Functions(env, integrationID int64) ([]syncline.Function, error) {
	if integrationID == 0 {
		return all(r, `SELECT `+functionColumns+` WHERE f.environment_id = ? AND f.deleted_at IS NULL
			ORDER BY f.integration_id, f.type, f.name`, scanFunction, env)
	}
	return all(r, `SELECT `+functionColumns+` WHERE f.environment_id = ? AND f.integration_id = ? AND f.deleted_at IS NULL
		ORDER BY f.type, f.name`, scanFunction, env, integrationID)
}

func (r *reader) Function(env, id int64) (syncline.Function, error) {
	return one(r, missing{"function", id}, `SELECT `+functionColumns+`
		WHERE f.id = ? AND f.environment_id = ? AND f.deleted_at IS NULL`, scanFunction, id, env)
}

func (r *reader) FunctionByName(env, integrationID int64, ft syncline.FunctionType, name string) (syncline.Function, error) {
	return one(r, missing{string(ft), name}, `SELECT `+functionColumns+`
		WHERE f.environment_id = ? AND f.integration_id = ? AND f.type = ? AND f.name = ? AND f.deleted_at IS NULL`,
		scanFunction, env, integrationID, string(ft), name)
}

func (r *reader) FunctionVersion(env, id int64) (syncline.FunctionVersion, error) {
	return one(r, missing{"function version", id}, `SELECT id, function_id, number, manifest, bundle_hash, deployed_at
		FROM function_versions WHERE id = ? AND environment_id = ?`, scanVersion, id, env)
}

func (r *reader) Bundle(env int64, hash string) ([]byte, error) {
	return one(r, missing{"bundle", hash}, `SELECT source FROM bundles WHERE environment_id = ? AND hash = ?`, (*row).bytes, env, hash)
}

func (r *reader) MissingBundles(env int64, hashes []string) ([]string, error) {
	var missing []string
	for _, hash := range hashes {
		have, err := all(r, `SELECT 1 FROM bundles WHERE environment_id = ? AND hash = ?`, (*row).int64, env, hash)
		if err != nil {
			return nil, err
		}
		if len(have) == 0 {
			missing = append(missing, hash)
		}
	}
	return missing, nil
}

func (t *tx) PutBundle(env int64, hash string, source []byte) error {
	_, _, err := t.exec(`INSERT INTO bundles (environment_id, hash, source, created_at) VALUES (?, ?, ?, ?)
		ON CONFLICT (environment_id, hash) DO NOTHING`, env, hash, source, t.w.opts.Clock.Now())
	return written(err, "bundle", hash, "an environment")
}

func (t *tx) DeployFunction(f *syncline.Function, v *syncline.FunctionVersion) error {
	if _, err := t.Integration(f.EnvironmentID, f.IntegrationID); err != nil {
		return err
	}
	t.stamp(&v.DeployedAt)
	// A new or revived function is enabled; one that is deployed keeps its switch.
	type known struct {
		id        int64
		enabled   bool
		run       syncline.RunSettings
		createdAt time.Time
	}
	k, err := one(&t.reader, missing{}, `INSERT INTO functions (environment_id, integration_id, type, name, enabled, active_version_id, created_at)
		VALUES (?, ?, ?, ?, 1, 0, ?)
		ON CONFLICT (environment_id, integration_id, type, name) DO UPDATE SET
			enabled = enabled OR deleted_at IS NOT NULL, deleted_at = NULL
		RETURNING id, enabled, run_settings, created_at`,
		func(r *row) known {
			k := known{id: r.int64(), enabled: r.bool()}
			r.json(&k.run)
			k.createdAt = r.time()
			return k
		},
		f.EnvironmentID, f.IntegrationID, string(f.Type), f.Name, v.DeployedAt)
	if err != nil {
		return written(err, string(f.Type), f.Name, "an integration")
	}
	number, err := t.number(`SELECT coalesce(max(number), 0) + 1 FROM function_versions WHERE environment_id = ? AND function_id = ?`, f.EnvironmentID, k.id)
	if err != nil {
		return err
	}
	_, versionID, err := t.exec(`INSERT INTO function_versions (environment_id, function_id, number, manifest, bundle_hash, deployed_at)
		VALUES (?, ?, ?, ?, ?, ?)`, f.EnvironmentID, k.id, number, jsonValue{v.Manifest}, v.BundleHash, v.DeployedAt)
	if err != nil {
		return err
	}
	if _, _, err := t.exec(`UPDATE functions SET active_version_id = ? WHERE id = ?`, versionID, k.id); err != nil {
		return err
	}
	v.ID, v.FunctionID, v.Number = versionID, k.id, number
	f.ID, f.Enabled, f.Run, f.CreatedAt, f.DeletedAt, f.Active = k.id, k.enabled, k.run, k.createdAt, time.Time{}, *v
	return nil
}

func (t *tx) SetFunctionEnabled(env, id int64, enabled bool) error {
	return t.exec1(missing{"function", id}, `UPDATE functions SET enabled = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, enabled, id, env)
}

func (t *tx) SetFunctionRun(env, id int64, s syncline.RunSettings) error {
	return t.exec1(missing{"function", id}, `UPDATE functions SET run_settings = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, jsonValue{s}, id, env)
}

func (t *tx) DeleteFunction(env, id int64, at time.Time) error {
	err := t.exec1(missing{"function", id}, `UPDATE functions SET deleted_at = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, at, id, env)
	if err != nil {
		return err
	}
	if _, _, err := t.exec(`DELETE FROM function_checkpoints WHERE environment_id = ? AND function_id = ?`, env, id); err != nil {
		return err
	}
	instances, err := all(&t.reader, `SELECT id FROM sync_instances
		WHERE environment_id = ? AND function_id = ? AND deleted_at IS NULL`, (*row).int64, env, id)
	if err != nil {
		return err
	}
	return t.deleteInstances(env, instances, at, "the function was deleted")
}
