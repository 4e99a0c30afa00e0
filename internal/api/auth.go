package api

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// keyLife is how long a key that was found is taken as valid without asking
// the store again; a deleted key works for this long at most.
const keyLife = 5 * time.Second

// maxKeys bounds how many found keys are remembered.
const maxKeys = 10_000

// environment is the part of an environment that never changes.
type environment struct {
	ID   int64
	UUID string
	Name string
}

// authenticator finds the environment of an API key.
type authenticator struct {
	store store.Store
	clock clock.Clock

	mu    sync.Mutex
	known map[string]knownKey // by hash; only keys that exist
}

type knownKey struct {
	env   environment
	until time.Time
}

func newAuthenticator(s store.Store, c clock.Clock) *authenticator {
	return &authenticator{store: s, clock: c, known: map[string]knownKey{}}
}

// environment returns the environment of the key in an Authorization header.
// Keys are looked up by their hash, so that how long it takes says nothing of
// how much of a guess was right.
func (a *authenticator) environment(ctx context.Context, header string) (environment, error) {
	if header == "" {
		return environment{}, unauthorized("missing_auth_header", "the Authorization header is missing", "send 'Authorization: Bearer <API key>'")
	}
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return environment{}, unauthorized("malformed_auth_header", "the Authorization header does not hold a key", "send 'Authorization: Bearer <API key>'")
	}
	return a.key(ctx, key)
}

// key returns the environment of a key.
func (a *authenticator) key(ctx context.Context, key string) (environment, error) {
	hash := secret.HashAPIKey(key)
	now := a.clock.Now()
	a.mu.Lock()
	known, hit := a.known[string(hash)]
	a.mu.Unlock()
	if hit && now.Before(known.until) {
		return known.env, nil
	}
	var env environment
	err := a.store.View(ctx, func(r store.Reader) error {
		k, err := r.APIKeyByHash(hash)
		if err != nil {
			return err
		}
		if subtle.ConstantTimeCompare(k.Hash, hash) != 1 {
			return syncline.Errorf(syncline.CodeNotFound, "no such key")
		}
		e, err := r.Environment(k.EnvironmentID)
		env = environment{ID: e.ID, UUID: e.UUID, Name: e.Name}
		return err
	})
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		a.mu.Lock()
		delete(a.known, string(hash))
		a.mu.Unlock()
		return environment{}, unauthorized(string(syncline.CodeUnauthorized), "the API key is not known to this server", "check that it is the key of the right environment")
	}
	if err != nil {
		return environment{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.known) >= maxKeys {
		clear(a.known)
	}
	a.known[string(hash)] = knownKey{env: env, until: now.Add(keyLife)}
	return env, nil
}

func unauthorized(code, message, hint string) *problem {
	err := syncline.Errorf(syncline.CodeUnauthorized, "%s", message).WithHint("%s", hint)
	return &problem{Status: http.StatusUnauthorized, Code: code, Message: err.Error(), cause: err}
}
