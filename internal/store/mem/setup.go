package mem

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (r *reader) Environments() ([]syncline.Environment, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return each(&r.environments, func(syncline.Environment) bool { return true }), nil
}

func (r *reader) environment(key any, match func(syncline.Environment) bool) (e syncline.Environment, err error) {
	if err := r.open(); err != nil {
		return e, err
	}
	return first(each(&r.environments, match), "environment", key)
}

func (r *reader) Environment(id int64) (syncline.Environment, error) {
	return r.environment(id, func(e syncline.Environment) bool { return e.ID == id })
}

func (r *reader) EnvironmentByUUID(uuid string) (syncline.Environment, error) {
	return r.environment(uuid, func(e syncline.Environment) bool { return e.UUID == uuid })
}

func (r *reader) EnvironmentByName(name string) (syncline.Environment, error) {
	return r.environment(name, func(e syncline.Environment) bool { return e.Name == name })
}

func (r *reader) APIKeyByHash(hash []byte) (k syncline.APIKey, err error) {
	if err := r.open(); err != nil {
		return k, err
	}
	return first(each(&r.keys, func(k syncline.APIKey) bool { return bytes.Equal(k.Hash, hash) }), "API key", "")
}

func (r *reader) APIKeys(env int64) ([]syncline.APIKey, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return each(&r.keys, func(k syncline.APIKey) bool { return k.EnvironmentID == env }), nil
}

func (t *tx) CreateEnvironment(e *syncline.Environment) error {
	if _, err := t.environment(e.Name, func(o syncline.Environment) bool { return o.Name == e.Name || e.UUID != "" && o.UUID == e.UUID }); err == nil {
		return conflict("environment", e.Name)
	} else if err := t.open(); err != nil {
		return err
	}
	t.stamp(&e.CreatedAt)
	if e.UUID == "" {
		e.UUID = syncline.NewUUID()
	}
	e.ID = t.next("environments")
	t.environments.Set(e.ID, *e)
	return nil
}

func (t *tx) UpdateEnvironment(e *syncline.Environment) error {
	old, err := t.Environment(e.ID)
	if err != nil {
		return err
	}
	if _, err := t.environment(e.Name, func(o syncline.Environment) bool {
		return o.ID != e.ID && (o.Name == e.Name || o.UUID == e.UUID)
	}); err == nil {
		return conflict("environment", e.Name)
	}
	fresh := *e
	fresh.CreatedAt = old.CreatedAt
	t.environments.Set(e.ID, fresh)
	return nil
}

func (t *tx) CreateAPIKey(k *syncline.APIKey) error {
	if _, err := t.Environment(k.EnvironmentID); err != nil {
		return err
	}
	if _, err := t.APIKeyByHash(k.Hash); err == nil {
		return conflict("API key", k.Name)
	}
	t.stamp(&k.CreatedAt)
	k.ID = t.next("api_keys")
	t.keys.Set(k.ID, *k)
	return nil
}

func (t *tx) DeleteAPIKey(env, id int64) error {
	k, ok := t.keys.Get(id)
	if !ok || k.EnvironmentID != env {
		return notFound("API key", id)
	}
	t.keys.Delete(id)
	return nil
}

func (r *reader) integrationsOf(env int64, match func(syncline.Integration) bool) []syncline.Integration {
	var list []syncline.Integration
	r.integrations.Scan(func(_ int64, i row[syncline.Integration]) bool {
		if !i.deleted && i.v.EnvironmentID == env && match(i.v) {
			list = append(list, i.v)
		}
		return true
	})
	return list
}

func (r *reader) Integrations(env int64) ([]syncline.Integration, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := r.integrationsOf(env, func(syncline.Integration) bool { return true })
	slices.SortFunc(list, func(a, b syncline.Integration) int { return cmp.Compare(a.UniqueKey, b.UniqueKey) })
	return list, nil
}

func (r *reader) Integration(env, id int64) (i syncline.Integration, err error) {
	if err := r.open(); err != nil {
		return i, err
	}
	found, ok := r.integrations.Get(id)
	if !ok || found.deleted || found.v.EnvironmentID != env {
		return i, notFound("integration", id)
	}
	return found.v, nil
}

func (r *reader) IntegrationByKey(env int64, key string) (i syncline.Integration, err error) {
	if err := r.open(); err != nil {
		return i, err
	}
	return first(r.integrationsOf(env, func(i syncline.Integration) bool { return i.UniqueKey == key }), "integration", key)
}

func (t *tx) CreateIntegration(i *syncline.Integration) error {
	if _, err := t.Environment(i.EnvironmentID); err != nil {
		return err
	}
	if _, err := t.IntegrationByKey(i.EnvironmentID, i.UniqueKey); err == nil {
		return conflict("integration", i.UniqueKey)
	}
	t.stamp(&i.CreatedAt)
	if i.UpdatedAt.IsZero() {
		i.UpdatedAt = i.CreatedAt
	}
	i.ID = t.next("integrations")
	t.integrations.Set(i.ID, row[syncline.Integration]{v: *i})
	return nil
}

func (t *tx) UpdateIntegration(i *syncline.Integration) error {
	old, err := t.Integration(i.EnvironmentID, i.ID)
	if err != nil {
		return err
	}
	if other, err := t.IntegrationByKey(i.EnvironmentID, i.UniqueKey); err == nil && other.ID != i.ID {
		return conflict("integration", i.UniqueKey)
	}
	t.stamp(&i.UpdatedAt)
	fresh := *i
	fresh.CreatedAt = old.CreatedAt
	t.integrations.Set(i.ID, row[syncline.Integration]{v: fresh})
	return nil
}

func (t *tx) DeleteIntegration(env, id int64, at time.Time) error {
	i, err := t.Integration(env, id)
	if err != nil {
		return err
	}
	for _, c := range each(&t.connections, t.live(env, func(c *syncline.Connection) bool { return c.IntegrationID == id })) {
		if err := t.DeleteConnection(env, c.ID, at); err != nil {
			return err
		}
	}
	functions, err := t.Functions(env, id)
	if err != nil {
		return err
	}
	for _, f := range functions {
		if err := t.DeleteFunction(env, f.ID, at); err != nil {
			return err
		}
	}
	t.integrations.Set(id, row[syncline.Integration]{v: i, deleted: true})
	return nil
}

// stored is a connection as an engine with columns of JSON gives it back:
// maps of its own, numbers as text.
func stored(c syncline.Connection) (syncline.Connection, error) {
	for _, m := range []*map[string]any{&c.ConnectionConfig, &c.Metadata} {
		b, err := json.Marshal(*m)
		if err != nil {
			return c, syncline.Errorf(syncline.CodeInvalid, "cannot store as JSON: %w", err)
		}
		fresh := map[string]any{}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if err := d.Decode(&fresh); err != nil {
			return c, err
		}
		if fresh == nil {
			fresh = map[string]any{}
		}
		*m = fresh
	}
	tags := make(map[string]string, len(c.Tags))
	maps.Copy(tags, c.Tags)
	c.Tags = tags
	return c, nil
}

// given is a stored connection with maps that its receiver may change.
func given(c syncline.Connection) syncline.Connection {
	c, err := stored(c)
	if err != nil {
		panic(err) // it was stored
	}
	return c
}

func (r *reader) Connection(env, id int64) (c syncline.Connection, err error) {
	if err := r.open(); err != nil {
		return c, err
	}
	c, ok := r.connections.Get(id)
	if !ok || c.EnvironmentID != env || !c.DeletedAt.IsZero() {
		return syncline.Connection{}, notFound("connection", id)
	}
	return given(c), nil
}

func (r *reader) live(env int64, match func(*syncline.Connection) bool) func(syncline.Connection) bool {
	return func(c syncline.Connection) bool { return c.EnvironmentID == env && c.DeletedAt.IsZero() && match(&c) }
}

func (r *reader) ConnectionByKey(env, integrationID int64, connectionID string) (c syncline.Connection, err error) {
	if err := r.open(); err != nil {
		return c, err
	}
	c, err = first(each(&r.connections, r.live(env, func(c *syncline.Connection) bool {
		return c.IntegrationID == integrationID && c.ConnectionID == connectionID
	})), "connection", connectionID)
	if err == nil {
		c = given(c)
	}
	return c, err
}

func (r *reader) filtered(env int64, f store.ConnectionFilter) func(syncline.Connection) bool {
	return r.live(env, func(c *syncline.Connection) bool {
		if f.IntegrationID != 0 && c.IntegrationID != f.IntegrationID || f.ConnectionID != "" && c.ConnectionID != f.ConnectionID {
			return false
		}
		for k, v := range f.Tags {
			if got, ok := c.Tags[k]; !ok || got != v {
				return false
			}
		}
		if f.Search == "" {
			return true
		}
		search := strings.ToLower(f.Search)
		found := strings.Contains(strings.ToLower(c.ConnectionID), search)
		for _, v := range c.Tags {
			found = found || strings.Contains(strings.ToLower(v), search)
		}
		return found
	})
}

func (r *reader) Connections(env int64, f store.ConnectionFilter) ([]syncline.Connection, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := newest(&r.connections, f.Page, r.filtered(env, f))
	for i := range list {
		list[i] = given(list[i])
	}
	return list, nil
}

func (r *reader) CountConnections(env int64, f store.ConnectionFilter) (int, error) {
	if err := r.open(); err != nil {
		return 0, err
	}
	return len(each(&r.connections, r.filtered(env, f))), nil
}

func (r *reader) ConnectionsMatching(env, integrationID int64, key syncline.MatchKey) ([]syncline.Connection, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.connections, r.live(env, func(c *syncline.Connection) bool {
		return c.IntegrationID == integrationID && c.DeletingAt.IsZero() && slices.Contains(c.MatchKeys(), key)
	}))
	for i := range list {
		list[i] = given(list[i])
	}
	return list, nil
}

func (t *tx) CreateConnection(c *syncline.Connection) error {
	if _, err := t.Integration(c.EnvironmentID, c.IntegrationID); err != nil {
		return err
	}
	if _, err := t.ConnectionByKey(c.EnvironmentID, c.IntegrationID, c.ConnectionID); err == nil {
		return conflict("connection", c.ConnectionID)
	}
	t.stamp(&c.CreatedAt)
	if c.UpdatedAt.IsZero() {
		c.UpdatedAt = c.CreatedAt
	}
	fresh, err := stored(*c)
	if err != nil {
		return err
	}
	c.ID = t.next("connections")
	fresh.ID = c.ID
	t.connections.Set(c.ID, fresh)
	return nil
}

func (t *tx) UpdateConnection(c *syncline.Connection) error {
	old, err := t.Connection(c.EnvironmentID, c.ID)
	if err != nil {
		return err
	}
	if other, err := t.ConnectionByKey(c.EnvironmentID, old.IntegrationID, c.ConnectionID); err == nil && other.ID != c.ID {
		return conflict("connection", c.ConnectionID)
	}
	t.stamp(&c.UpdatedAt)
	fresh, err := stored(*c)
	if err != nil {
		return err
	}
	fresh.IntegrationID, fresh.CreatedAt, fresh.DeletedAt = old.IntegrationID, old.CreatedAt, time.Time{}
	t.connections.Set(c.ID, fresh)
	return nil
}

func (t *tx) DeleteConnection(env, id int64, at time.Time) error {
	c, err := t.Connection(env, id)
	if err != nil {
		return err
	}
	c.DeletedAt = at
	t.connections.Set(id, c)
	t.forgetCheckpoints(func(c checkpoint) bool { return c.connection == id })
	t.deleteInstances(at, "the connection was deleted", func(i *syncline.SyncInstance) bool { return i.ConnectionID == id })
	return nil
}
