package node

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"syncline"
	"syncline/internal/config"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// defaultEnvironment is made at first start when no other is asked for.
const defaultEnvironment = "dev"

// ensureEnvironments makes the environments that the configuration names, or
// the default one, and their API keys. A key that is made here is printed to
// out and kept beside the data: it cannot be shown again.
func ensureEnvironments(ctx context.Context, s store.Store, sealer *secret.Sealer, cfg config.Config, now time.Time, out io.Writer) error {
	names := slices.Sorted(maps.Keys(cfg.SecretKeys))
	var existing []syncline.Environment
	err := s.View(ctx, func(r store.Reader) (err error) {
		existing, err = r.Environments()
		return err
	})
	if err != nil {
		return err
	}
	if len(names) == 0 && len(existing) == 0 {
		names = []string{defaultEnvironment}
	}
	for _, name := range names {
		fixed := string(cfg.SecretKeys[name])
		made := ""
		err := s.Update(ctx, store.Durable, func(tx store.Tx) error {
			env, err := ensureEnvironment(tx, sealer, name, now)
			if err != nil {
				return err
			}
			if fixed != "" {
				return ensureKey(tx, env, fixed, now)
			}
			keys, err := tx.APIKeys(env.ID)
			if err != nil || len(keys) > 0 {
				return err
			}
			made = secret.NewAPIKey()
			return ensureKey(tx, env, made, now)
		})
		if err != nil {
			return fmt.Errorf("environment %s: %w", name, err)
		}
		if made != "" {
			file := config.SecretKeyFile(cfg.DataDir, name)
			if err := os.WriteFile(file, []byte(made+"\n"), 0o600); err != nil {
				return syncline.Errorf(syncline.CodeUnavailable, "cannot keep the API key of environment %s: %w", name, err)
			}
			fmt.Fprintf(out, "API key of environment %s, shown only now and kept in %s:\n\n  %s\n\n", name, file, made)
		}
	}
	return nil
}

func ensureEnvironment(tx store.Tx, sealer *secret.Sealer, name string, now time.Time) (syncline.Environment, error) {
	env, err := tx.EnvironmentByName(name)
	if syncline.CodeOf(err) != syncline.CodeNotFound {
		return env, err
	}
	env = syncline.Environment{UUID: syncline.NewUUID(), Name: name, CreatedAt: now}
	if err := tx.CreateEnvironment(&env); err != nil {
		return env, err
	}
	// Sealing binds the id, which is known only now.
	if env.SigningKey, err = sealer.Seal(env.ID, secret.PurposeSigningKey, []byte(secret.NewSigningKey())); err != nil {
		return env, err
	}
	return env, tx.UpdateEnvironment(&env)
}

// ensureKey makes key an API key of env. One that belongs to another
// environment is refused: a key says which environment its caller means.
func ensureKey(tx store.Tx, env syncline.Environment, key string, now time.Time) error {
	k, err := tx.APIKeyByHash(secret.HashAPIKey(key))
	switch {
	case err == nil && k.EnvironmentID != env.ID:
		return syncline.Errorf(syncline.CodeConflict, "the API key is that of another environment").
			WithHint("set another key in %s…", config.SecretKeyPrefix)
	case err == nil:
		return nil
	case syncline.CodeOf(err) != syncline.CodeNotFound:
		return err
	}
	return tx.CreateAPIKey(&syncline.APIKey{
		EnvironmentID: env.ID, Name: "default", Hash: secret.HashAPIKey(key), Hint: secret.HintOf(key), CreatedAt: now,
	})
}
