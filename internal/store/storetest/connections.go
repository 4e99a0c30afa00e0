package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/store"
)

func (w *world) connectionIDs(f store.ConnectionFilter) []string {
	w.t.Helper()
	ids := []string{}
	for _, c := range read(w, func(r store.Reader) ([]syncline.Connection, error) { return r.Connections(w.env.ID, f) }) {
		ids = append(ids, c.ConnectionID)
	}
	return ids
}

func (w *world) matching(property, value string) []int64 {
	w.t.Helper()
	ids := []int64{}
	for _, c := range read(w, func(r store.Reader) ([]syncline.Connection, error) {
		return r.ConnectionsMatching(w.env.ID, w.integration.ID, syncline.MatchKey{Property: property, Value: value})
	}) {
		ids = append(ids, c.ID)
	}
	return ids
}

var connectionTests = []test{
	{"a connection is found by id and key, with every field", func(t *testing.T, w *world) {
		c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: "c-2",
			Credentials:      syncline.Sealed{KeyID: "k", Data: []byte("token")},
			ConnectionConfig: map[string]any{"subdomain": "acme", "nested": map[string]any{"list": []any{json.Number("1"), "two", true, nil}}},
			Metadata:         map[string]any{"big": json.Number("12345678901234567890"), "decimal": json.Number("0.10")},
			Tags:             map[string]string{"plan": "pro"}, CreatedAt: start, UpdatedAt: seconds(1), LastFetchedAt: seconds(2)}
		w.update(func(tx store.Tx) error { return tx.CreateConnection(&c) })
		byID := func(r store.Reader) (syncline.Connection, error) { return r.Connection(w.env.ID, c.ID) }
		same(t, "by id", read(w, byID), c)
		same(t, "by key", read(w, func(r store.Reader) (syncline.Connection, error) {
			return r.ConnectionByKey(w.env.ID, w.integration.ID, "c-2")
		}), c)
		c.Metadata, c.Tags, c.Credentials, c.LastFetchedAt, c.UpdatedAt = nil, nil, syncline.Sealed{}, seconds(9), seconds(9)
		w.update(func(tx store.Tx) error { return tx.UpdateConnection(&c) })
		got := read(w, byID)
		same(t, "updated", got, c)
		if got.Metadata == nil || got.Tags == nil || got.ConnectionConfig == nil {
			t.Error("a map is nil")
		}
	}},
	{"a key that is live is a conflict within its integration only", func(t *testing.T, w *world) {
		w.fails(syncline.CodeConflict, func(tx store.Tx) error {
			return tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: "customer-1"})
		})
		w.update(func(tx store.Tx) error {
			other := syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: "other"}
			w.ok(tx.CreateIntegration(&other))
			return tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: other.ID, ConnectionID: "customer-1"})
		})
	}},
	{"a connection of an integration that is not live is not found", func(t *testing.T, w *world) {
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: 99, ConnectionID: "x"})
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			w.ok(tx.DeleteIntegration(w.env.ID, w.integration.ID, start))
			return tx.CreateConnection(&syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: "x"})
		})
	}},
	{"a filter selects by integration, id, search and tags, newest first, in pages", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			for i, tags := range []map[string]string{
				{"org": "Änderung GmbH", "plan": "pro"}, {"org": "acme", "plan": "pro"}, {"org": "acme", `we"ird.key`: "v"},
			} {
				c := syncline.Connection{EnvironmentID: w.env.ID, IntegrationID: w.integration.ID, ConnectionID: fmt.Sprintf("Tagged-%d", i), Tags: tags}
				w.ok(tx.CreateConnection(&c))
			}
			return nil
		})
		for name, c := range map[string]struct {
			filter store.ConnectionFilter
			want   []string
		}{
			"all":                   {store.ConnectionFilter{}, []string{"Tagged-2", "Tagged-1", "Tagged-0", "customer-1"}},
			"integration":           {store.ConnectionFilter{IntegrationID: w.integration.ID + 1}, []string{}},
			"id":                    {store.ConnectionFilter{ConnectionID: "Tagged-1"}, []string{"Tagged-1"}},
			"id is exact":           {store.ConnectionFilter{ConnectionID: "tagged-1"}, []string{}},
			"search in the id":      {store.ConnectionFilter{Search: "TAGGED"}, []string{"Tagged-2", "Tagged-1", "Tagged-0"}},
			"search in a tag":       {store.ConnectionFilter{Search: "änderung g"}, []string{"Tagged-0"}},
			"search of wild cards":  {store.ConnectionFilter{Search: "%"}, []string{}},
			"one tag":               {store.ConnectionFilter{Tags: map[string]string{"plan": "pro"}}, []string{"Tagged-1", "Tagged-0"}},
			"all tags must match":   {store.ConnectionFilter{Tags: map[string]string{"plan": "pro", "org": "acme"}}, []string{"Tagged-1"}},
			"a tag's key is opaque": {store.ConnectionFilter{Tags: map[string]string{`we"ird.key`: "v"}}, []string{"Tagged-2"}},
			"a page":                {store.ConnectionFilter{Page: store.Page{Limit: 2, Offset: 1}}, []string{"Tagged-1", "Tagged-0"}},
		} {
			t.Run(name, func(t *testing.T) {
				same(t, "ids", w.connectionIDs(c.filter), c.want)
				c.filter.Page = store.Page{}
				want := len(w.connectionIDs(c.filter))
				if n := read(w, func(r store.Reader) (int, error) { return r.CountConnections(w.env.ID, c.filter) }); n != want {
					t.Errorf("count %d, want %d", n, want)
				}
			})
		}
	}},
	{"match keys follow the connection", func(t *testing.T, w *world) {
		long := strings.Repeat("x", 5000)
		a, b := w.connection, syncline.Connection{}
		w.update(func(tx store.Tx) error {
			a.ConnectionConfig = map[string]any{"installation_id": 42, "ids": []any{"x", 7.0}}
			a.Metadata = map[string]any{"note": long, "deep": map[string]any{"no": "no"}}
			w.ok(tx.UpdateConnection(&a))
			b = w.newConnection(tx, "customer-2")
			b.ConnectionConfig = map[string]any{"installation_id": "42"}
			return tx.UpdateConnection(&b)
		})
		same(t, "connection id", w.matching("connection_id", "customer-1"), []int64{a.ID})
		same(t, "number and text", w.matching("connection_config.installation_id", "42"), []int64{a.ID, b.ID})
		same(t, "list", w.matching("connection_config.ids", "7"), []int64{a.ID})
		same(t, "long value", w.matching("metadata.note", long), []int64{a.ID})
		same(t, "long value that differs", w.matching("metadata.note", long+"y"), []int64{})
		same(t, "other property", w.matching("metadata.installation_id", "42"), []int64{})
		w.update(func(tx store.Tx) error {
			a.ConnectionConfig = map[string]any{"installation_id": "43"}
			w.ok(tx.UpdateConnection(&a))
			return tx.DeleteConnection(w.env.ID, b.ID, start)
		})
		same(t, "after update and delete", w.matching("connection_config.installation_id", "42"), []int64{})
		same(t, "new value", w.matching("connection_config.installation_id", "43"), []int64{a.ID})
	}},
	{"deleting a connection ends its instances, epochs, polls and events", func(t *testing.T, w *world) {
		var other syncline.SyncInstance
		w.update(func(tx store.Tx) error {
			w.instance.NextDueAt, w.instance.TriggerPending = start, true
			w.ok(tx.UpdateInstance(&w.instance))
			c := w.newConnection(tx, "stays")
			other = w.newInstance(tx, c.ID, w.function.ID, "")
			w.deliver(tx, 1, w.instance.ID, w.instance.ID)
			w.deliver(tx, 2, w.instance.ID, other.ID)
			return nil
		})
		var poll syncline.Lease
		var lanes []syncline.Lane
		w.update(func(tx store.Tx) (err error) {
			if poll, _, err = tx.ClaimPoll(w.env.ID, w.instance.ID, "n", start, seconds(60)); err != nil {
				return err
			}
			lanes, err = tx.ClaimLanes("n", start, seconds(60), 10)
			return err
		})
		if len(lanes) != 2 {
			t.Fatalf("claimed %+v", lanes)
		}
		w.update(func(tx store.Tx) error { return tx.DeleteConnection(w.env.ID, w.connection.ID, seconds(5)) })

		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Connection(w.env.ID, w.connection.ID); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			_, err := tx.ConnectionByKey(w.env.ID, w.integration.ID, "customer-1")
			return err
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.Instance(w.env.ID, w.instance.ID); return err })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateConnection(&w.connection) })
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteConnection(w.env.ID, w.connection.ID, start) })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error {
			return tx.FencePoll(w.env.ID, w.instance.ID, w.instance.Epoch, poll.Epoch)
		})
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.FenceLane(w.env.ID, w.instance.ID, w.instance.Epoch, 1) })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error { return tx.ExtendLane(w.env.ID, w.instance.ID, 1, seconds(99)) })
		w.fails(syncline.CodeFenced, func(tx store.Tx) error {
			return tx.ExtendPoll(w.env.ID, w.instance.ID, poll.Epoch, seconds(99))
		})
		w.fails(syncline.CodeNotFound, func(tx store.Tx) error {
			return tx.AppendEvents([]*syncline.Event{{EnvironmentID: w.env.ID, LaneID: w.instance.ID}})
		})
		if due := read(w, func(r store.Reader) ([]syncline.SyncInstance, error) { return r.DueInstances(seconds(999), 10) }); len(due) != 0 {
			t.Errorf("due: %+v", due)
		}
		one := read(w, func(r store.Reader) (syncline.DeliveryState, error) { return r.DeliveryState(w.env.ID, 1) })
		if one.Status != syncline.DeliveryProcessed || one.OpenEvents != 0 || one.Reason == "" || !one.UpdatedAt.Equal(seconds(5)) {
			t.Errorf("a delivery whose events were all dropped: %+v", one)
		}
		two := read(w, func(r store.Reader) (syncline.DeliveryState, error) { return r.DeliveryState(w.env.ID, 2) })
		if two.Status != syncline.DeliveryRouted || two.OpenEvents != 1 || two.Reason != "" {
			t.Errorf("a delivery that has an event left: %+v", two)
		}
		for _, e := range read(w, func(r store.Reader) ([]syncline.Event, error) { return r.EventsOf(w.env.ID, 1) }) {
			if e.Status != syncline.EventDropped || e.LastError == "" {
				t.Errorf("event %+v", e)
			}
		}
		if n := read(w, store.Reader.Backlog); n != 1 {
			t.Errorf("backlog %d, want that of the other connection", n)
		}
	}},
	{"a connection made again has a new id", func(t *testing.T, w *world) {
		w.update(func(tx store.Tx) error {
			w.ok(tx.DeleteConnection(w.env.ID, w.connection.ID, start))
			again := w.newConnection(tx, "customer-1")
			if again.ID <= w.connection.ID {
				t.Errorf("id %d after %d was deleted", again.ID, w.connection.ID)
			}
			i := w.newInstance(tx, again.ID, w.function.ID, "")
			if i.ID <= w.instance.ID {
				t.Errorf("instance id %d after %d was deleted", i.ID, w.instance.ID)
			}
			return nil
		})
	}},
}
