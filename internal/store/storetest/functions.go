package storetest

import (
	"encoding/json"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
)

var functionTests = []test{
	{"deploying makes versions 1, 2, 3, the newest of them active", func(t *testing.T, w *world) {
		f := syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Type: syncline.FunctionAction, Name: "close"}
		var versions []syncline.FunctionVersion
		for n := range 3 {
			v := syncline.FunctionVersion{
				Manifest: syncline.Manifest{Type: syncline.FunctionAction, Name: "close", Integration: "github", WebhookSubscriptions: []string{"*"},
					Models: map[string]json.RawMessage{"Issue": json.RawMessage(`{"type":"object"}`)}},
				BundleHash: "abc", DeployedAt: seconds(n)}
			w.update(func(tx store.Tx) error { return tx.DeployFunction(&f, &v) })
			if v.ID == 0 || v.FunctionID != f.ID || v.Number != int64(n+1) || !f.Enabled || !f.CreatedAt.Equal(start) {
				t.Errorf("deployed %+v of %+v", v, f)
			}
			same(t, "f.Active", f.Active, v)
			versions = append(versions, v)
		}
		same(t, "by id", read(w, func(r store.Reader) (syncline.Function, error) { return r.Function(w.env.ID, f.ID) }), f)
		same(t, "by name", read(w, func(r store.Reader) (syncline.Function, error) {
			return r.FunctionByName(w.env.ID, w.integration.ID, syncline.FunctionAction, "close")
		}), f)
		same(t, "an earlier version", read(w, func(r store.Reader) (syncline.FunctionVersion, error) {
			return r.FunctionVersion(w.env.ID, versions[0].ID)
		}), versions[0])
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.FunctionByName(w.env.ID, w.integration.ID, syncline.FunctionSync, "close")
			return err
		})
	}},
	{"how a function runs is kept over its deployments", func(t *testing.T, w *world) {
		s := syncline.RunSettings{Validation: syncline.ValidationOff, Limits: syncline.RunLimits{CPU: time.Second, LogLines: 5, Output: 1 << 20}}
		w.update(func(tx store.Tx) error { return tx.SetFunctionRun(w.env.ID, w.function.ID, s) })
		again := syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Type: w.function.Type, Name: w.function.Name}
		w.update(func(tx store.Tx) error { return tx.DeployFunction(&again, &syncline.FunctionVersion{}) })
		same(t, "deployed again", again.Run, s)
		same(t, "read", read(w, func(r store.Reader) (syncline.Function, error) { return r.Function(w.env.ID, w.function.ID) }).Run, s)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.SetFunctionRun(w.env.ID, 99, s) })
	}},
	{"functions are listed by integration, type and name", func(t *testing.T, w *world) {
		var other syncline.Integration
		w.update(func(tx store.Tx) error {
			other = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "other"}
			w.ok(tx.CreateIntegration(&other))
			for _, f := range []syncline.Function{
				{IntegrationID: other.ID, Type: syncline.FunctionSync, Name: "a"},
				{IntegrationID: w.integration.ID, Type: syncline.FunctionSync, Name: "comments"},
				{IntegrationID: w.integration.ID, Type: syncline.FunctionAction, Name: "zebra"},
			} {
				f.EnvironmentID = w.env.ID
				w.ok(tx.DeployFunction(&f, &syncline.FunctionVersion{}))
			}
			return nil
		})
		names := func(integration int64) (names []string) {
			for _, f := range read(w, func(r store.Reader) ([]syncline.Function, error) { return r.Functions(w.env.ID, integration) }) {
				names = append(names, f.Name)
			}
			return names
		}
		same(t, "all", names(0), []string{"zebra", "comments", "issues", "a"})
		same(t, "of one", names(w.integration.ID), []string{"zebra", "comments", "issues"})
		same(t, "of another", names(other.ID), []string{"a"})
	}},
	{"a disabled function stays disabled when it is deployed again", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error { return tx.SetFunctionEnabled(w.env.ID, w.function.ID, false) })
		f := syncline.Function{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, Type: syncline.FunctionSync, Name: "issues", Enabled: true}
		w.update(func(tx store.Tx) error { return tx.DeployFunction(&f, &syncline.FunctionVersion{}) })
		if f.Enabled || f.ID != w.function.ID {
			t.Errorf("%+v", f)
		}
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.SetFunctionEnabled(w.env.ID, 99, true) })
	}},
	{"deleting a function ends its instances; deploying revives it with its id and numbers, not its instances", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			w.deliver(tx, 1, w.instance.ID)
			w.ok(tx.SetFunctionEnabled(w.env.ID, w.function.ID, false))
			return tx.DeleteFunction(w.env.ID, w.function.ID, seconds(1))
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Function(w.env.ID, w.function.ID); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteFunction(w.env.ID, w.function.ID, start) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Instance(w.env.ID, w.instance.ID); return err })
		if n := read(w, store.Reader.Backlog); n != 0 {
			t.Errorf("backlog %d", n)
		}
		// A run that began earlier can still read the version that it runs.
		same(t, "version", read(w, func(r store.Reader) (syncline.FunctionVersion, error) {
			return r.FunctionVersion(w.env.ID, w.version.ID)
		}), w.version)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.EnsureInstance(&syncline.SyncInstance{EnvironmentID: w.env.ID, ConnectionID: w.connection.ID, FunctionID: w.function.ID})
			return err
		})
		w.update(func(tx store.Tx) error {
			f, v := w.newFunction(tx, "issues")
			if f.ID != w.function.ID || v.Number != 2 || !f.Enabled || !f.DeletedAt.IsZero() {
				t.Errorf("revived %+v", f)
			}
			i := w.newInstance(tx, w.connection.ID, f.ID, "")
			if i.ID <= w.instance.ID || i.Epoch <= w.instance.Epoch {
				t.Errorf("instance %+v after %+v", i, w.instance)
			}
			return nil
		})
	}},
	{"a function of an integration that is not live is not found", func(t *testing.T, w *world) {
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.DeployFunction(&syncline.Function{EnvironmentID: w.env.ID, IntegrationID: 99, Name: "x"}, &syncline.FunctionVersion{})
		})
	}},
	{"a bundle is stored once and read back", func(t *testing.T, w *world) {
		source := []byte("var x = \"\x00é\";")
		w.update(func(tx store.Tx) error {
			w.ok(tx.PutBundle(w.env.ID, "h1", source))
			return tx.PutBundle(w.env.ID, "h1", source)
		})
		same(t, "bundle", read(w, func(r store.Reader) ([]byte, error) { return r.Bundle(w.env.ID, "h1") }), source)
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Bundle(w.env.ID, "h2"); return err })
	}},
	{"bundles that are missing are named in their order, and only of the environment", func(t *testing.T, w *world) {
		other := syncline.Environment{Name: "other"}
		w.update(func(tx store.Tx) error {
			w.ok(tx.CreateEnvironment(&other))
			w.ok(tx.PutBundle(other.ID, "h3", []byte("x")))
			return tx.PutBundle(w.env.ID, "h1", []byte("x"))
		})
		for _, c := range []struct{ asked, want []string }{
			{[]string{"h3", "h1", "h2"}, []string{"h3", "h2"}}, {[]string{"h1"}, nil}, {nil, nil},
		} {
			got := read(w, func(r store.Reader) ([]string, error) { return r.MissingBundles(w.env.ID, c.asked) })
			same(t, "missing bundles", got, c.want)
		}
	}},
}
