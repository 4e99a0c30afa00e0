package storetest

import (
	"errors"
	"testing"

	"syncline"
	"syncline/internal/store"
)

// everything is what one environment holds, as far as readers show it.
type everything struct {
	Environment   syncline.Environment
	Keys          []syncline.APIKey
	Integrations  []syncline.Integration
	Connections   []syncline.Connection
	Functions     []syncline.Function
	Instances     []syncline.SyncInstance
	Lane          syncline.Lane
	Events        []syncline.Event
	Deliveries    []syncline.DeliveryState
	Runs          []syncline.Run
	Logs          []syncline.LogLine
	Collections   []syncline.Collection
	Records       map[string]*syncline.Record
	Notifications []syncline.Notification
}

// tenant is an environment with a row in every table.
type tenant struct {
	*world
	key          syncline.APIKey
	event        syncline.Event
	run          syncline.Run
	issues       int64 // a collection
	notification syncline.Notification
	poll         syncline.Lease
	lease        syncline.Lease
}

// fill adds a row of everything that the world does not have yet.
func (w *world) fill(position int64) *tenant {
	w.t.Helper()
	n := &tenant{world: w}
	w.update(func(tx store.Tx) (err error) {
		n.key = syncline.APIKey{EnvironmentID: w.env.ID, Name: "key", Hash: []byte(w.env.UUID), CreatedAt: start}
		w.ok(tx.CreateAPIKey(&n.key))
		w.ok(tx.PutBundle(w.env.ID, "bundle of "+w.env.Name, []byte("x")))
		w.connection.Metadata = map[string]any{"team": "t"}
		w.connection.Tags = map[string]string{"tag": "v"}
		w.ok(tx.UpdateConnection(&w.connection))
		n.event = *w.deliver(tx, position, w.instance.ID)[0]
		n.run = w.newRun(tx, syncline.Run{ConnectionID: w.connection.ID, InstanceID: w.instance.ID, FunctionID: w.function.ID, Kind: syncline.RunPoll, Status: syncline.RunRunning})
		w.ok(tx.AppendLogs(w.env.ID, n.run.ID, []syncline.LogLine{{At: start, Message: "line"}}))
		n.issues = w.collection(tx, "Issue")
		w.put(tx, n.issues, start, syncline.ActionAdded, "a", "b")
		n.notification = syncline.Notification{EnvironmentID: w.env.ID, RunID: n.run.ID, CreatedAt: start}
		w.ok(tx.CreateNotification(&n.notification))
		n.poll, _, err = tx.ClaimPoll(w.env.ID, w.instance.ID, "poll", start, seconds(60))
		return err
	})
	return n
}

func (n *tenant) dump() (d everything) {
	n.t.Helper()
	env := n.env.ID
	n.view(func(r store.Reader) error {
		var errs [14]error
		d.Environment, errs[0] = r.Environment(env)
		d.Keys, errs[1] = r.APIKeys(env)
		d.Integrations, errs[2] = r.Integrations(env)
		d.Connections, errs[3] = r.Connections(env, store.ConnectionFilter{})
		d.Functions, errs[4] = r.Functions(env, 0)
		d.Instances, errs[5] = r.Instances(env, store.InstanceFilter{})
		d.Lane, errs[6] = r.Lane(env, n.instance.ID)
		d.Events, errs[7] = r.PendingEvents(env, n.instance.ID, 0)
		d.Deliveries, errs[8] = r.Deliveries(env, store.DeliveryFilter{})
		d.Runs, errs[9] = r.Runs(env, store.RunFilter{})
		d.Logs, errs[10] = r.Logs(env, n.run.ID, 0, 0)
		d.Collections, errs[11] = r.Collections(env, n.connection.ID)
		d.Records, errs[12] = r.RecordsByID(env, n.issues, []string{"a", "b"})
		d.Notifications, errs[13] = r.Notifications(env, store.NotificationFilter{})
		return errors.Join(errs[:]...)
	})
	return d
}

// got says that something was found.
func got[T any](list []T, err error) (bool, error) { return len(list) > 0, err }

var isolationTests = []test{
	{"with another environment's id nothing is found", func(t *testing.T, w *world) {
		b := w.twoTenants()
		other := w.env.ID
		e := b.env.ID
		if other == e {
			t.Fatal("the same environment")
		}
		// Each call names the rows of b with an environment; it finds them with
		// b's own, which proves the call, and nothing with the other's.
		for name, find := range map[string]func(r store.Reader, env int64) (bool, error){
			"APIKeys": func(r store.Reader, env int64) (bool, error) {
				keys, err := r.APIKeys(env)
				return len(keys) == 1 && keys[0].ID == b.key.ID, err
			},
			"Integration": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Integration(env, b.integration.ID)
				return true, err
			},
			"Connection": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Connection(env, b.connection.ID)
				return true, err
			},
			"ConnectionByKey": func(r store.Reader, env int64) (bool, error) {
				_, err := r.ConnectionByKey(env, b.integration.ID, b.connection.ConnectionID)
				return true, err
			},
			"Connections": func(r store.Reader, env int64) (bool, error) {
				return got(r.Connections(env, store.ConnectionFilter{IntegrationID: b.integration.ID}))
			},
			"CountConnections": func(r store.Reader, env int64) (bool, error) {
				n, err := r.CountConnections(env, store.ConnectionFilter{IntegrationID: b.integration.ID})
				return n > 0, err
			},
			"ConnectionsMatching": func(r store.Reader, env int64) (bool, error) {
				return got(r.ConnectionsMatching(env, b.integration.ID, syncline.MatchKey{Property: "metadata.team", Value: "t"}))
			},
			"Functions": func(r store.Reader, env int64) (bool, error) { return got(r.Functions(env, b.integration.ID)) },
			"Function": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Function(env, b.function.ID)
				return true, err
			},
			"FunctionByName": func(r store.Reader, env int64) (bool, error) {
				_, err := r.FunctionByName(env, b.integration.ID, b.function.Type, b.function.Name)
				return true, err
			},
			"FunctionVersion": func(r store.Reader, env int64) (bool, error) {
				_, err := r.FunctionVersion(env, b.version.ID)
				return true, err
			},
			"Bundle": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Bundle(env, "bundle of "+b.env.Name)
				return true, err
			},
			"Instance": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Instance(env, b.instance.ID)
				return true, err
			},
			"Instances": func(r store.Reader, env int64) (bool, error) {
				return got(r.Instances(env, store.InstanceFilter{ConnectionID: b.connection.ID}))
			},
			"DeliveryState": func(r store.Reader, env int64) (bool, error) { _, err := r.DeliveryState(env, 2); return true, err },
			"Deliveries": func(r store.Reader, env int64) (bool, error) {
				return got(r.Deliveries(env, store.DeliveryFilter{After: 1}))
			},
			"CountDeliveries": func(r store.Reader, env int64) (bool, error) {
				n, err := r.CountDeliveries(env, store.DeliveryFilter{After: 1})
				return n > 0, err
			},
			"Parked":        func(r store.Reader, env int64) (bool, error) { return got(r.Parked(env, b.integration.ID, 0)) },
			"Lane":          func(r store.Reader, env int64) (bool, error) { _, err := r.Lane(env, b.instance.ID); return true, err },
			"Event":         func(r store.Reader, env int64) (bool, error) { _, err := r.Event(env, b.event.ID); return true, err },
			"PendingEvents": func(r store.Reader, env int64) (bool, error) { return got(r.PendingEvents(env, b.instance.ID, 0)) },
			"EventsOf":      func(r store.Reader, env int64) (bool, error) { return got(r.EventsOf(env, 2)) },
			"Run":           func(r store.Reader, env int64) (bool, error) { _, err := r.Run(env, b.run.ID); return true, err },
			"RunByUUID": func(r store.Reader, env int64) (bool, error) {
				_, err := r.RunByUUID(env, b.run.UUID)
				return true, err
			},
			"Runs": func(r store.Reader, env int64) (bool, error) {
				return got(r.Runs(env, store.RunFilter{ConnectionID: b.connection.ID}))
			},
			"Logs": func(r store.Reader, env int64) (bool, error) { return got(r.Logs(env, b.run.ID, 0, 0)) },
			"Collection": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Collection(env, b.connection.ID, "Issue")
				return true, err
			},
			"Collections": func(r store.Reader, env int64) (bool, error) { return got(r.Collections(env, b.connection.ID)) },
			"RecordsByID": func(r store.Reader, env int64) (bool, error) {
				m, err := r.RecordsByID(env, b.issues, []string{"a"})
				return len(m) > 0, err
			},
			"ScanRecords": func(r store.Reader, env int64) (found bool, err error) {
				err = r.ScanRecords(env, b.issues, store.RecordQuery{}, func(*syncline.Record) bool { found = true; return true })
				return found, err
			},
			"ScanRecords, late": func(r store.Reader, env int64) (found bool, err error) {
				err = r.ScanRecords(env, b.issues, store.RecordQuery{ModifiedAfter: seconds(-1)}, func(*syncline.Record) bool { found = true; return true })
				return found, err
			},
			"CountRecords": func(r store.Reader, env int64) (bool, error) {
				n, err := r.CountRecords(env, b.issues)
				return n > 0, err
			},
			"Notification": func(r store.Reader, env int64) (bool, error) {
				_, err := r.Notification(env, b.notification.ID)
				return true, err
			},
			"Notifications": func(r store.Reader, env int64) (bool, error) {
				return got(r.Notifications(env, store.NotificationFilter{RunID: b.run.ID}))
			},
		} {
			t.Run(name, func(t *testing.T) {
				for env, want := range map[int64]bool{e: true, other: false} {
					found := read(w, func(r store.Reader) (bool, error) {
						found, err := find(r, env)
						if syncline.CodeOf(err) == syncline.CodeNotFound {
							return false, nil
						}
						return found, err
					})
					if found != want {
						t.Errorf("with environment %d of %d: found %v", env, e, found)
					}
				}
			})
		}
	}},
	{"with another environment's id nothing is changed", func(t *testing.T, w *world) {
		b := w.twoTenants()
		before := b.dump()
		env := w.env.ID
		// Rows that name the environment themselves, with w's id on b's row.
		integration, connection, instance, event, run, notification := b.integration, b.connection, b.instance, b.event, b.run, b.notification
		for _, id := range []*int64{&integration.EnvironmentID, &connection.EnvironmentID, &instance.EnvironmentID, &event.EnvironmentID, &run.EnvironmentID, &notification.EnvironmentID} {
			*id = env
		}
		integration.DisplayName, integration.UniqueKey, connection.ConnectionID, instance.State = "stolen", "stolen", "stolen", syncline.InstancePaused
		event.Status, run.Status, notification.Status = syncline.EventDead, syncline.RunFailed, syncline.NotificationFailed
		record := &syncline.Record{ID: "a", Seq: 1 << 40, LastModifiedAt: seconds(99), LastAction: syncline.ActionDeleted}
		for name, c := range map[string]struct {
			code  syncline.Code // "" where a row that is not there is no error
			write func(tx store.Tx) error
		}{
			"DeleteAPIKey":      {syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteAPIKey(env, b.key.ID) }},
			"UpdateIntegration": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateIntegration(&integration) }},
			"DeleteIntegration": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteIntegration(env, b.integration.ID, start) }},
			"CreateConnection":  {syncline.CodeNotFound, func(tx store.Tx) error { c := connection; c.ID = 0; return tx.CreateConnection(&c) }},
			"UpdateConnection":  {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateConnection(&connection) }},
			"DeleteConnection":  {syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteConnection(env, b.connection.ID, start) }},
			"DeployFunction": {syncline.CodeNotFound, func(tx store.Tx) error {
				f := b.function
				f.EnvironmentID = env
				return tx.DeployFunction(&f, &syncline.FunctionVersion{})
			}},
			"SetFunctionEnabled": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.SetFunctionEnabled(env, b.function.ID, false) }},
			"DeleteFunction":     {syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteFunction(env, b.function.ID, start) }},
			"EnsureInstance": {syncline.CodeNotFound, func(tx store.Tx) error {
				_, err := tx.EnsureInstance(&syncline.SyncInstance{EnvironmentID: env, ConnectionID: b.connection.ID, FunctionID: b.function.ID})
				return err
			}},
			"UpdateInstance": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateInstance(&instance) }},
			"DeleteInstance": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.DeleteInstance(env, b.instance.ID, start) }},
			"ClaimPoll": {syncline.CodeNotFound, func(tx store.Tx) error {
				_, _, err := tx.ClaimPoll(env, b.instance.ID, "x", seconds(99), seconds(100))
				return err
			}},
			"ExtendPoll":  {syncline.CodeFenced, func(tx store.Tx) error { return tx.ExtendPoll(env, b.instance.ID, b.poll.Epoch, seconds(999)) }},
			"ReleasePoll": {"", func(tx store.Tx) error { return tx.ReleasePoll(env, b.instance.ID, b.poll.Epoch) }},
			"FencePoll":   {syncline.CodeNotFound, func(tx store.Tx) error { return tx.FencePoll(env, b.instance.ID, b.instance.Epoch, b.poll.Epoch) }},
			"AppendEvents": {syncline.CodeNotFound, func(tx store.Tx) error {
				return tx.AppendEvents([]*syncline.Event{{EnvironmentID: env, LaneID: b.instance.ID}})
			}},
			"ExtendLane": {syncline.CodeFenced, func(tx store.Tx) error { return tx.ExtendLane(env, b.instance.ID, b.lease.Epoch, seconds(999)) }},
			"ReleaseLane": {"", func(tx store.Tx) error {
				return tx.ReleaseLane(&syncline.Lane{ID: b.instance.ID, EnvironmentID: env, Lease: b.lease, Reason: "x"})
			}},
			"FenceLane":   {syncline.CodeNotFound, func(tx store.Tx) error { return tx.FenceLane(env, b.instance.ID, b.instance.Epoch, b.lease.Epoch) }},
			"UpdateEvent": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateEvent(&event) }},
			"UpdateRun":   {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateRun(&run) }},
			"AppendLogs":  {syncline.CodeNotFound, func(tx store.Tx) error { return tx.AppendLogs(env, b.run.ID, []syncline.LogLine{{Message: "x"}}) }},
			"EnsureCollection": {syncline.CodeNotFound, func(tx store.Tx) error {
				_, err := tx.EnsureCollection(env, b.connection.ID, "Issue", start)
				return err
			}},
			"LockCollection":     {syncline.CodeNotFound, func(tx store.Tx) error { _, err := tx.LockCollection(env, b.issues); return err }},
			"PutRecords":         {syncline.CodeNotFound, func(tx store.Tx) error { return tx.PutRecords(env, b.issues, []*syncline.Record{record}) }},
			"TouchRecords":       {"", func(tx store.Tx) error { return tx.TouchRecords(env, b.issues, 9, []string{"a", "b"}) }},
			"EmptyCollection":    {syncline.CodeNotFound, func(tx store.Tx) error { return tx.EmptyCollection(env, b.issues) }},
			"UpdateNotification": {syncline.CodeNotFound, func(tx store.Tx) error { return tx.UpdateNotification(&notification) }},
		} {
			t.Run(name, func(t *testing.T) {
				wantCode(t, w.s.Update(t.Context(), store.Relaxed, c.write), c.code)
				same(t, "the other environment", b.dump(), before)
			})
		}
	}},
}

// twoTenants fills w and a second environment, which it returns. Both have
// rows of the same names.
func (w *world) twoTenants() *tenant {
	w.t.Helper()
	w.fill(1)
	other := &world{t: w.t, s: w.s}
	w.update(func(tx store.Tx) error {
		other.populate(tx, "prod")
		return tx.PutDeliveryState(&syncline.DeliveryState{Position: 3, EnvironmentID: other.env.ID, IntegrationID: other.integration.ID,
			Status: syncline.DeliveryParked, ReceivedAt: start})
	})
	b := other.fill(2)
	for _, l := range w.claim("lane", start, seconds(60), 10) {
		if l.ID == b.instance.ID {
			b.lease = l.Lease
		}
	}
	return b
}
