package storetest

import (
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var environmentTests = []test{
	{"an environment is found by id, UUID and name, with every field", func(t *testing.T, w *world) {
		e := syncline.Environment{UUID: "11111111-2222-4333-8444-555555555555", Name: "prod", SigningKey: syncline.Sealed{KeyID: "k1", Data: []byte{0, 1, 2}},
			WebhookURL: "https://app.example/hook", WebhookURLSecondary: "https://app.example/second",
			Retention: syncline.Retention{Payloads: 720 * time.Hour, Deleted: time.Hour},
			Run:       syncline.RunSettings{Validation: syncline.ValidationStrict, Limits: syncline.RunLimits{Wall: time.Minute, Memory: 64 << 20, HostCalls: 7}},
			CreatedAt: start}
		w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&e) })
		for name, get := range map[string]func(r store.Reader) (syncline.Environment, error){
			"id":   func(r store.Reader) (syncline.Environment, error) { return r.Environment(e.ID) },
			"UUID": func(r store.Reader) (syncline.Environment, error) { return r.EnvironmentByUUID(e.UUID) },
			"name": func(r store.Reader) (syncline.Environment, error) { return r.EnvironmentByName("prod") },
		} {
			same(t, "by "+name, read(w, get), e)
		}
		same(t, "list", read(w, store.Reader.Environments), []syncline.Environment{w.env, e})
		e.Name, e.WebhookURL, e.SigningKey = "production", "", syncline.Sealed{KeyID: "k2", Data: []byte{9}}
		w.update(func(tx store.Tx) error { return tx.UpdateEnvironment(&e) })
		same(t, "updated", read(w, func(r store.Reader) (syncline.Environment, error) { return r.Environment(e.ID) }), e)
	}},
	{"a name or a UUID that exists is a conflict", func(t *testing.T, w *world) {
		w.fails(syncline.CodeConflict, func(tx store.Tx) error { return tx.CreateEnvironment(&syncline.Environment{Name: w.env.Name}) })
		w.fails(syncline.CodeConflict, func(tx store.Tx) error {
			return tx.CreateEnvironment(&syncline.Environment{Name: "other", UUID: w.env.UUID})
		})
		other := syncline.Environment{Name: "other"}
		w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&other) })
		other.Name = w.env.Name
		w.fails(syncline.CodeConflict, func(tx store.Tx) error { return tx.UpdateEnvironment(&other) })
	}},
	{"what the maker leaves zero is filled in", func(t *testing.T, w *world) {
		e := syncline.Environment{Name: "prod"}
		w.update(func(tx store.Tx) error { return tx.CreateEnvironment(&e) })
		if e.ID == 0 || e.UUID == "" || e.CreatedAt.IsZero() {
			t.Errorf("%+v", e)
		}
		same(t, "read back", read(w, func(r store.Reader) (syncline.Environment, error) { return r.Environment(e.ID) }), e)
	}},
	{"an environment that is not there is not found", func(t *testing.T, w *world) {
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Environment(99); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.EnvironmentByName("Dev"); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.EnvironmentByUUID(""); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.UpdateEnvironment(&syncline.Environment{ID: 99, Name: "x", UUID: "x"})
		})
	}},
	{"an API key is found by its hash until it is deleted, and its id is not used again", func(t *testing.T, w *world) {
		k := syncline.APIKey{EnvironmentID: w.env.ID, Name: "ci", Hash: []byte{0, 0xff, 7}, Hint: "a1b2", CreatedAt: start}
		w.update(func(tx store.Tx) error { return tx.CreateAPIKey(&k) })
		same(t, "by hash", read(w, func(r store.Reader) (syncline.APIKey, error) { return r.APIKeyByHash(k.Hash) }), k)
		same(t, "list", read(w, func(r store.Reader) ([]syncline.APIKey, error) { return r.APIKeys(w.env.ID) }), []syncline.APIKey{k})
		w.fails(syncline.CodeConflict, func(tx store.Tx) error {
			return tx.CreateAPIKey(&syncline.APIKey{EnvironmentID: w.env.ID, Hash: k.Hash})
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.CreateAPIKey(&syncline.APIKey{EnvironmentID: 99, Hash: []byte{1}})
		})
		w.update(func(tx store.Tx) error { return tx.DeleteAPIKey(w.env.ID, k.ID) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.APIKeyByHash(k.Hash); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteAPIKey(w.env.ID, k.ID) })
		again := syncline.APIKey{EnvironmentID: w.env.ID, Hash: k.Hash}
		w.update(func(tx store.Tx) error { return tx.CreateAPIKey(&again) })
		if again.ID <= k.ID {
			t.Errorf("id %d after %d was deleted", again.ID, k.ID)
		}
	}},
}
