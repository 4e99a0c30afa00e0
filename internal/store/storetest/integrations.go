package storetest

import (
	"encoding/json"
	"testing"

	"syncline"
	"syncline/internal/store"
)

var integrationTests = []test{
	{"an integration is found by id and key, with every field", func(t *testing.T, w *world) {
		i := syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "a-hubspot", Provider: "hubspot", DisplayName: "HubSpot – «prod»", ForwardWebhooks: true,
			Credentials:    syncline.Sealed{KeyID: "k1", Data: []byte("sealed")},
			Config:         syncline.IntegrationConfig{ProxyBaseURL: "http://localhost:1", Webhook: json.RawMessage(`{"verify":{"header":"X"}}`)},
			WebhookSecrets: syncline.Sealed{KeyID: "k2", Data: []byte("secrets")}, CreatedAt: start, UpdatedAt: seconds(1)}
		w.update(func(tx store.Tx) error { return tx.CreateIntegration(&i) })
		byID := func(r store.Reader) (syncline.Integration, error) { return r.Integration(w.env.ID, i.ID) }
		same(t, "by id", read(w, byID), i)
		same(t, "by key", read(w, func(r store.Reader) (syncline.Integration, error) { return r.IntegrationByKey(w.env.ID, "a-hubspot") }), i)
		same(t, "list by unique key", read(w, func(r store.Reader) ([]syncline.Integration, error) { return r.Integrations(w.env.ID) }),
			[]syncline.Integration{i, w.integration})
		i.UniqueKey, i.DisplayName, i.ForwardWebhooks, i.Config, i.UpdatedAt = "hubspot-2", "", false, syncline.IntegrationConfig{}, seconds(2)
		w.update(func(tx store.Tx) error { return tx.UpdateIntegration(&i) })
		same(t, "updated", read(w, byID), i)
	}},
	{"a key that exists is a conflict, and is free again after the delete", func(t *testing.T, w *world) {
		make := func(tx store.Tx) (int64, error) {
			i := syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: w.integration.UniqueKey}
			err := tx.CreateIntegration(&i)
			return i.ID, err
		}
		w.fails(syncline.CodeConflict, func(tx store.Tx) error { _, err := make(tx); return err })
		w.update(func(tx store.Tx) error { return tx.DeleteIntegration(w.env.ID, w.integration.ID, start) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteIntegration(w.env.ID, w.integration.ID, start) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateIntegration(&w.integration) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Integration(w.env.ID, w.integration.ID); return err })
		w.update(func(tx store.Tx) error {
			id, err := make(tx)
			if id <= w.integration.ID {
				t.Errorf("id %d after %d was deleted", id, w.integration.ID)
			}
			return err
		})
	}},
	{"deleting an integration deletes its connections, functions and instances", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			w.deliver(tx, 1, w.instance.ID)
			return tx.DeleteIntegration(w.env.ID, w.integration.ID, seconds(1))
		})
		for name, get := range map[string]func(r store.Reader) error{
			"connection": func(r store.Reader) error { _, err := r.Connection(w.env.ID, w.connection.ID); return err },
			"function":   func(r store.Reader) error { _, err := r.Function(w.env.ID, w.function.ID); return err },
			"instance":   func(r store.Reader) error { _, err := r.Instance(w.env.ID, w.instance.ID); return err },
			"lane":       func(r store.Reader) error { _, err := r.Lane(w.env.ID, w.instance.ID); return err },
		} {
			t.Run(name, func(t *testing.T) { wantCode(t, w.s.View(t.Context(), get), syncline.CodeNotFound) })
		}
		if n := read(w, store.Reader.Backlog); n != 0 {
			t.Errorf("backlog %d", n)
		}
	}},
}
