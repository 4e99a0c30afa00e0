package schedule

import (
	"context"
	"slices"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/records"
	"syncline/internal/store"
)

// Control carries out commands on sync instances.
type Control struct {
	Store store.Store
	Clock clock.Clock
	// Wake tells the ticker that something may be due; Cancel ends the running poll of
	// an instance whose epoch moved. Both return at once.
	Wake   func()
	Cancel func(instanceID int64)
}

// TriggerOptions are the options of a trigger.
type TriggerOptions struct {
	Reset      bool // forget checkpoints and the last sync date
	EmptyCache bool // remove the sync's records; needs Reset
	// Reconcile makes the next poll fetch everything, with the cache kept. What
	// runs goes on to its end first.
	Reconcile bool
}

// Trigger asks for one poll outside of the schedule: at once, or right after
// the poll that runs now. A reset moves the instance's epoch, so that whatever
// runs at that moment can no longer write.
func (c *Control) Trigger(ctx context.Context, env, instanceID int64, o TriggerOptions) error {
	if o.EmptyCache && !o.Reset {
		return syncline.Errorf(syncline.CodeInvalid, "emptyCache needs reset").
			WithHint("set reset to true too: a sync that goes on from its checkpoint would not fetch the removed records again").WithField("opts.emptyCache")
	}
	err := c.update(ctx, env, instanceID, func(tx store.Tx, i *syncline.SyncInstance) error { return c.trigger(tx, i, o) })
	if err == nil {
		if o.Reset {
			c.Cancel(instanceID)
		}
		c.Wake()
	}
	return err
}

// TriggerIn is [Control.Trigger] within a transaction; [Control.Commanded] is
// called after its commit.
func (c *Control) TriggerIn(tx store.Tx, env, instanceID int64, reset, emptyCache bool) error {
	return updateIn(tx, env, instanceID, func(tx store.Tx, i *syncline.SyncInstance) error {
		return c.trigger(tx, i, TriggerOptions{Reset: reset, EmptyCache: emptyCache})
	})
}

// StartIn is [Control.Start] within a transaction.
func (c *Control) StartIn(tx store.Tx, env, instanceID int64) error {
	return updateIn(tx, env, instanceID, c.start)
}

// Commanded makes commands known that were carried out within a transaction;
// reset are the instances that were reset.
func (c *Control) Commanded(reset []int64) {
	for _, id := range reset {
		c.Cancel(id)
	}
	c.Wake()
}

func (c *Control) trigger(tx store.Tx, i *syncline.SyncInstance, o TriggerOptions) error {
	i.TriggerPending = true
	if o.Reconcile {
		i.Reconcile.Requested = true
	}
	if !o.Reset {
		return nil
	}
	i.Epoch++
	i.PollCheckpoint, i.WebhookCheckpoint = nil, nil
	i.LastSyncDate = time.Time{}
	i.PollFailures = 0
	i.Reconcile, i.Progress = syncline.Reconcile{}, syncline.Progress{}
	if err := tx.ReleasePoll(i.EnvironmentID, i.ID, i.PollLease.Epoch); err != nil {
		return err
	}
	return eachCollection(tx, i, func(id int64) error {
		if o.EmptyCache {
			return tx.EmptyCollection(i.EnvironmentID, id)
		}
		return records.CloseWindows(tx, i.EnvironmentID, id, c.Clock.Now())
	})
}

// eachCollection calls fn for the collections that an instance writes to.
func eachCollection(tx store.Tx, i *syncline.SyncInstance, fn func(id int64) error) error {
	f, err := tx.Function(i.EnvironmentID, i.FunctionID)
	if err != nil {
		return err
	}
	var ids []int64
	for model := range f.Active.Manifest.Models {
		coll, err := tx.Collection(i.EnvironmentID, i.ConnectionID, syncline.CollectionModel(model, i.Variant))
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			continue
		}
		if err != nil {
			return err
		}
		ids = append(ids, coll.ID)
	}
	slices.Sort(ids) // the order in which everyone locks them
	for _, id := range ids {
		if err := fn(id); err != nil {
			return err
		}
	}
	return nil
}

// Start starts the schedule: one poll at once, then by its frequency. A
// schedule that runs already is left alone.
func (c *Control) Start(ctx context.Context, env, instanceID int64) error {
	err := c.update(ctx, env, instanceID, c.start)
	if err == nil {
		c.Wake()
	}
	return err
}

func (c *Control) start(_ store.Tx, i *syncline.SyncInstance) error {
	if i.State != syncline.InstanceStarted {
		i.State = syncline.InstanceStarted
		i.NextDueAt = c.Clock.Now()
	}
	return nil
}

// Pause stops the schedule. A poll that runs goes on to its end; webhooks are
// handled as before.
func (c *Control) Pause(ctx context.Context, env, instanceID int64) error {
	return c.update(ctx, env, instanceID, func(_ store.Tx, i *syncline.SyncInstance) error {
		i.State = syncline.InstancePaused
		i.NextDueAt = time.Time{}
		return nil
	})
}

// SetFrequency overrides the sync's frequency for the instance; "" goes back
// to the sync's own.
func (c *Control) SetFrequency(ctx context.Context, env, instanceID int64, frequency string) error {
	if frequency != "" {
		if _, err := syncline.ParseFrequency(frequency); err != nil {
			return err
		}
	}
	err := c.update(ctx, env, instanceID, func(tx store.Tx, i *syncline.SyncInstance) error {
		i.FrequencyOverride = frequency
		now := c.Clock.Now()
		if i.State != syncline.InstanceStarted || !i.NextDueAt.After(now) {
			return nil
		}
		f, err := tx.Function(env, i.FunctionID)
		if err != nil {
			return err
		}
		interval, err := Interval(i, &f.Active.Manifest)
		if err != nil {
			return err
		}
		i.NextDueAt = Next(i.ID, interval, now, i.PollFailures)
		return nil
	})
	if err == nil {
		c.Wake()
	}
	return err
}

func (c *Control) update(ctx context.Context, env, id int64, change func(store.Tx, *syncline.SyncInstance) error) error {
	return c.Store.Update(ctx, store.Durable, func(tx store.Tx) error { return updateIn(tx, env, id, change) })
}

func updateIn(tx store.Tx, env, id int64, change func(store.Tx, *syncline.SyncInstance) error) error {
	i, err := tx.Instance(env, id)
	if err != nil {
		return err
	}
	if err := change(tx, &i); err != nil {
		return err
	}
	return tx.UpdateInstance(&i)
}
