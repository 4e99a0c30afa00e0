package schedule

import (
	"time"

	"syncline"
	"syncline/internal/store"
)

// Provision makes the base instance of every (connection, sync) of an
// integration that does not have one yet. A sync with auto start is due at
// once, another waits for a start command. It is called in the transaction
// that makes a connection or deploys a function.
func Provision(tx store.Tx, env, integrationID int64, now time.Time) error {
	functions, err := tx.Functions(env, integrationID)
	if err != nil {
		return err
	}
	const page = 1000
	for offset := 0; ; offset += page {
		connections, err := tx.Connections(env, store.ConnectionFilter{IntegrationID: integrationID, Page: store.Page{Limit: page, Offset: offset}})
		if err != nil {
			return err
		}
		for i := range connections {
			for j := range functions {
				if functions[j].Type != syncline.FunctionSync {
					continue
				}
				if _, err := Ensure(tx, &functions[j], connections[i].ID, syncline.BaseVariant, now); err != nil {
					return err
				}
			}
		}
		if len(connections) < page {
			return nil
		}
	}
}

// Ensure finds or makes the instance of a sync for a connection.
func Ensure(tx store.Tx, f *syncline.Function, connectionID int64, variant string, now time.Time) (syncline.SyncInstance, error) {
	i := New(f, connectionID, variant, now)
	_, err := tx.EnsureInstance(&i)
	return i, err
}

// New is an instance as it begins: due at once when the sync starts by itself,
// paused otherwise.
func New(f *syncline.Function, connectionID int64, variant string, now time.Time) syncline.SyncInstance {
	i := syncline.SyncInstance{
		UUID:          syncline.NewUUID(),
		EnvironmentID: f.EnvironmentID,
		ConnectionID:  connectionID,
		FunctionID:    f.ID,
		Variant:       variant,
		State:         syncline.InstancePaused,
		CreatedAt:     now,
	}
	if f.Active.Manifest.AutoStart {
		i.State = syncline.InstanceStarted
		i.NextDueAt = now
	}
	return i
}

// Replan moves the next poll of a function's started instances to its present
// frequency, for example after a deploy that changed it.
func Replan(tx store.Tx, f *syncline.Function, now time.Time) error {
	instances, err := tx.Instances(f.EnvironmentID, store.InstanceFilter{FunctionID: f.ID})
	if err != nil {
		return err
	}
	for _, i := range instances {
		if i.State != syncline.InstanceStarted || i.FrequencyOverride != "" || !i.NextDueAt.After(now) {
			continue
		}
		interval, err := Interval(&i, &f.Active.Manifest)
		if err != nil {
			return err
		}
		i.NextDueAt = Next(i.ID, interval, now, i.PollFailures)
		if err := tx.UpdateInstance(&i); err != nil {
			return err
		}
	}
	return nil
}
