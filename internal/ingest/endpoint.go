package ingest

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// Endpoint is what a webhook URL stands for.
type Endpoint struct {
	EnvironmentID int64
	IntegrationID int64
	Webhook       *provider.Webhook // nil when nothing is known of its webhooks
	Secrets       []string
}

// purpose is what webhook secrets are sealed for, package secret's
// PurposeWebhookSecrets: ingest meets that package only through Opener.
const purpose = "integration.webhook_secrets"

// Opener opens sealed secrets; secret.Sealer does.
type Opener interface {
	Open(env int64, purpose string, s syncline.Sealed) ([]byte, error)
}

// Endpoints finds endpoints in the store and remembers them for a short while,
// so that a burst of deliveries does not read the same rows again and again.
type Endpoints struct {
	Store     store.Store
	Catalogue *provider.Catalogue
	Secrets   Opener
	Clock     clock.Clock

	mu    sync.Mutex
	cache map[[2]string]cached
	// changes counts Invalidate and Forget: what was read before one of them
	// may be old, and is not remembered.
	changes int64
}

type cached struct {
	endpoint *Endpoint
	until    time.Time
}

// remember is for how long an endpoint is believed. Changes through this
// process take effect at once (Forget); the time bounds those through others.
const remember = 5 * time.Second

// maxCached bounds the memory that unknown URLs can take: only endpoints that
// exist are remembered, and no more than this many.
const maxCached = 10_000

// Find returns the endpoint of an environment's UUID and an integration's key.
// The error is not_found when either does not exist.
func (e *Endpoints) Find(ctx context.Context, environment, integration string) (*Endpoint, error) {
	key := [2]string{environment, integration}
	now := e.Clock.Now()
	e.mu.Lock()
	c, ok := e.cache[key]
	changes := e.changes
	e.mu.Unlock()
	if ok && now.Before(c.until) {
		return c.endpoint, nil
	}
	var i syncline.Integration
	err := e.Store.View(ctx, func(r store.Reader) error {
		env, err := r.EnvironmentByUUID(environment)
		if err != nil {
			return err
		}
		i, err = r.IntegrationByKey(env.ID, integration)
		return err
	})
	if err != nil {
		return nil, err
	}
	endpoint, err := e.open(&i)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.changes != changes {
		return endpoint, nil
	}
	if e.cache == nil || len(e.cache) >= maxCached {
		e.cache = map[[2]string]cached{}
	}
	e.cache[key] = cached{endpoint, now.Add(remember)}
	return endpoint, nil
}

func (e *Endpoints) open(i *syncline.Integration) (*Endpoint, error) {
	w, err := e.Catalogue.WebhookOf(i)
	if err != nil {
		return nil, err
	}
	endpoint := &Endpoint{EnvironmentID: i.EnvironmentID, IntegrationID: i.ID, Webhook: w}
	if i.WebhookSecrets.IsZero() {
		return endpoint, nil
	}
	text, err := e.Secrets.Open(i.EnvironmentID, purpose, i.WebhookSecrets)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &endpoint.Secrets); err != nil {
		return nil, syncline.Errorf(syncline.CodeInternal, "the stored webhook secrets are not in a known form")
	}
	return endpoint, nil
}

// Invalidate makes the next delivery of an integration look at the store
// again. It is called after the integration was changed or deleted.
func (e *Endpoints) Invalidate(env, integrationID int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
	maps.DeleteFunc(e.cache, func(_ [2]string, c cached) bool {
		return c.endpoint.EnvironmentID == env && c.endpoint.IntegrationID == integrationID
	})
}

// Forget is Invalidate for every integration.
func (e *Endpoints) Forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes++
	clear(e.cache)
}

// WebhookOf is an integration's webhook section, see
// [provider.Catalogue.WebhookOf].
func WebhookOf(c *provider.Catalogue, i *syncline.Integration) (*provider.Webhook, error) {
	return c.WebhookOf(i)
}
