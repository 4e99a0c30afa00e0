package sqlite

import (
	"time"

	"syncline"
	"syncline/internal/store"
)

const instanceColumns = `id, uuid, environment_id, connection_id, function_id, variant, state, frequency_override, epoch,
	next_due_at, trigger_pending, poll_lease_owner, poll_lease_epoch, poll_lease_until, poll_run_id, last_poll_run_id,
	last_sync_date, poll_failures, poll_checkpoint, webhook_checkpoint, reconcile, progress, created_at`

func scanLease(r *row) syncline.Lease {
	return syncline.Lease{Owner: r.text(), Epoch: r.int64(), Until: r.time()}
}

func scanInstance(r *row) syncline.SyncInstance {
	i := syncline.SyncInstance{
		ID: r.int64(), UUID: r.text(), EnvironmentID: r.int64(), ConnectionID: r.int64(), FunctionID: r.int64(), Variant: r.text(),
		State: syncline.InstanceState(r.text()), FrequencyOverride: r.text(), Epoch: r.int64(),
		NextDueAt: r.time(), TriggerPending: r.bool(), PollLease: scanLease(r), PollRunID: r.int64(), LastPollRunID: r.int64(),
		LastSyncDate: r.time(), PollFailures: r.int(), PollCheckpoint: r.bytes(), WebhookCheckpoint: r.bytes(),
	}
	r.json(&i.Reconcile)
	r.json(&i.Progress)
	i.CreatedAt = r.time()
	return i
}

func (r *reader) Instance(env, id int64) (syncline.SyncInstance, error) {
	return one(r, missing{"sync instance", id}, `SELECT `+instanceColumns+` FROM sync_instances
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL`, scanInstance, id, env)
}

func (r *reader) Instances(env int64, f store.InstanceFilter) ([]syncline.SyncInstance, error) {
	where, args := ` FROM sync_instances WHERE environment_id = ? AND deleted_at IS NULL`, []any{env}
	if f.ConnectionID != 0 {
		where, args = where+` AND connection_id = ?`, append(args, f.ConnectionID)
	}
	if f.FunctionID != 0 {
		where, args = where+` AND function_id = ?`, append(args, f.FunctionID)
	}
	if f.Variant != "" {
		where, args = where+` AND variant = ?`, append(args, f.Variant)
	}
	if f.Stalled {
		where += ` AND json_extract(progress, '$.stalled_at') IS NOT NULL`
	}
	return all(r, `SELECT `+instanceColumns+where+` ORDER BY id`, scanInstance, args...)
}

func (r *reader) DueInstances(now time.Time, n int) ([]syncline.SyncInstance, error) {
	// Two halves, each with its own partial index; a triggered instance is
	// only in the first.
	return all(r, `SELECT `+instanceColumns+` FROM (
			SELECT * FROM sync_instances WHERE deleted_at IS NULL AND trigger_pending = 1
				AND (poll_lease_owner = '' OR poll_lease_until <= ?1)
			UNION ALL
			SELECT * FROM sync_instances WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL
				AND next_due_at <= ?1 AND trigger_pending = 0 AND (poll_lease_owner = '' OR poll_lease_until <= ?1))
		ORDER BY trigger_pending DESC, next_due_at, id LIMIT ?2`, scanInstance, now, limit(n))
}

func (r *reader) NextDue() (time.Time, error) {
	var at time.Time
	err := r.query(`SELECT min(next_due_at) FROM sync_instances
		WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL`, func(r *row) error {
		at = r.time()
		return nil
	})
	return at, err
}

func (t *tx) EnsureInstance(i *syncline.SyncInstance) (created bool, err error) {
	if i.Variant == "" {
		i.Variant = syncline.BaseVariant
	}
	var found bool
	err = t.query(`SELECT `+instanceColumns+` FROM sync_instances
		WHERE environment_id = ? AND connection_id = ? AND function_id = ? AND variant = ? AND deleted_at IS NULL`, func(r *row) error {
		found = true
		*i = scanInstance(r)
		return nil
	}, i.EnvironmentID, i.ConnectionID, i.FunctionID, i.Variant)
	if err != nil || found {
		return false, err
	}
	if _, err := t.Connection(i.EnvironmentID, i.ConnectionID); err != nil {
		return false, err
	}
	if _, err := t.Function(i.EnvironmentID, i.FunctionID); err != nil {
		return false, err
	}
	epoch, err := t.number(`SELECT coalesce(max(epoch), 0) + 1 FROM sync_instances
		WHERE environment_id = ? AND connection_id = ? AND function_id = ? AND variant = ?`,
		i.EnvironmentID, i.ConnectionID, i.FunctionID, i.Variant)
	if err != nil {
		return false, err
	}
	t.stamp(&i.CreatedAt)
	if i.UUID == "" {
		i.UUID = syncline.NewUUID()
	}
	if i.State == "" {
		i.State = syncline.InstanceStarted
	}
	i.Epoch, i.PollLease, i.DeletedAt = max(i.Epoch, epoch), syncline.Lease{}, time.Time{}
	_, id, err := t.exec(`INSERT INTO sync_instances (uuid, environment_id, connection_id, function_id, variant, state, frequency_override, epoch,
		next_due_at, trigger_pending, poll_lease_owner, poll_lease_epoch, poll_run_id, last_poll_run_id,
		last_sync_date, poll_failures, poll_checkpoint, webhook_checkpoint, reconcile, progress, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		i.UUID, i.EnvironmentID, i.ConnectionID, i.FunctionID, i.Variant, string(i.State), i.FrequencyOverride, i.Epoch,
		i.NextDueAt, i.TriggerPending, i.PollRunID, i.LastPollRunID,
		i.LastSyncDate, i.PollFailures, i.PollCheckpoint, i.WebhookCheckpoint, jsonValue{i.Reconcile}, jsonValue{i.Progress}, i.CreatedAt)
	if err != nil {
		return false, written(err, "sync instance", i.UUID, "a connection or function")
	}
	i.ID = id
	_, _, err = t.exec(`INSERT INTO lanes (id, environment_id, lease_owner, lease_epoch, pending, backoff, reason)
		VALUES (?, ?, '', 0, 0, 0, '')`, id, i.EnvironmentID)
	return err == nil, err
}

func (t *tx) UpdateInstance(i *syncline.SyncInstance) error {
	n, _, err := t.exec(`UPDATE sync_instances SET state = ?, frequency_override = ?, epoch = ?, next_due_at = ?, trigger_pending = ?,
		poll_run_id = ?, last_poll_run_id = ?, last_sync_date = ?, poll_failures = ?, poll_checkpoint = ?, webhook_checkpoint = ?, reconcile = ?,
		progress = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL AND epoch <= ?`,
		string(i.State), i.FrequencyOverride, i.Epoch, i.NextDueAt, i.TriggerPending,
		i.PollRunID, i.LastPollRunID, i.LastSyncDate, i.PollFailures, i.PollCheckpoint, i.WebhookCheckpoint, jsonValue{i.Reconcile}, jsonValue{i.Progress},
		i.ID, i.EnvironmentID, i.Epoch)
	if err != nil || n > 0 {
		return err
	}
	now, err := t.Instance(i.EnvironmentID, i.ID)
	if err != nil {
		return err
	}
	return syncline.Errorf(syncline.CodeFenced, "sync instance %d is at epoch %d, beyond %d", i.ID, now.Epoch, i.Epoch)
}

func (t *tx) DeleteInstance(env, id int64, at time.Time) error {
	if _, err := t.Instance(env, id); err != nil {
		return err
	}
	return t.deleteInstances(env, []int64{id}, at, "the sync instance was deleted")
}

// deleteInstances marks instances and their lanes deleted: their epochs move,
// so that running work cannot commit, their polls are unplanned, and what
// waits in their lanes is dropped for the reason.
func (t *tx) deleteInstances(env int64, ids []int64, at time.Time, reason string) error {
	for _, id := range ids {
		_, _, err := t.exec(`UPDATE sync_instances SET deleted_at = ?, epoch = epoch + 1, next_due_at = NULL, trigger_pending = 0
			WHERE id = ? AND environment_id = ?`, at, id, env)
		if err != nil {
			return err
		}
		if _, _, err := t.exec(`UPDATE lanes SET deleted_at = ? WHERE id = ? AND environment_id = ?`, at, id, env); err != nil {
			return err
		}
		if err := t.dropEvents(env, id, at, reason); err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) ClaimPoll(env, instanceID int64, owner string, now, until time.Time) (syncline.Lease, bool, error) {
	lease := syncline.Lease{Owner: owner, Until: until}
	var ok bool
	err := t.query(`UPDATE sync_instances SET poll_lease_owner = ?, poll_lease_epoch = poll_lease_epoch + 1, poll_lease_until = ?
		WHERE id = ? AND environment_id = ? AND deleted_at IS NULL AND (poll_lease_owner = '' OR poll_lease_until <= ?)
		RETURNING poll_lease_epoch`, func(r *row) error {
		lease.Epoch, ok = r.int64(), true
		return nil
	}, owner, until, instanceID, env, now)
	if err != nil || ok {
		return lease, ok, err
	}
	_, err = t.Instance(env, instanceID)
	return syncline.Lease{}, false, err
}

func (t *tx) ExtendPoll(env, instanceID, leaseEpoch int64, until time.Time) error {
	n, _, err := t.exec(`UPDATE sync_instances SET poll_lease_until = ?
		WHERE id = ? AND environment_id = ? AND poll_lease_epoch = ? AND poll_lease_owner <> '' AND deleted_at IS NULL`,
		until, instanceID, env, leaseEpoch)
	if err == nil && n == 0 {
		err = fenced("poll lease of sync instance", instanceID)
	}
	return err
}

func (t *tx) ReleasePoll(env, instanceID, leaseEpoch int64) error {
	_, _, err := t.exec(`UPDATE sync_instances SET poll_lease_owner = '', poll_lease_until = NULL
		WHERE id = ? AND environment_id = ? AND poll_lease_epoch = ?`, instanceID, env, leaseEpoch)
	return err
}

func (t *tx) FencePoll(env, instanceID, instanceEpoch, leaseEpoch int64) error {
	return t.fence(`SELECT epoch, deleted_at, poll_lease_epoch, poll_lease_owner FROM sync_instances
		WHERE id = ? AND environment_id = ?`, env, instanceID, instanceEpoch, leaseEpoch)
}

func fenced(what string, id int64) error {
	return syncline.Errorf(syncline.CodeFenced, "the %s %d is no longer held", what, id)
}

// fence compares an instance's epoch and a lease with what a holder was given.
func (t *tx) fence(sql string, env, id, instanceEpoch, leaseEpoch int64) error {
	type state struct {
		epoch      int64
		deletedAt  time.Time
		leaseEpoch int64
		owner      string
	}
	s, err := one(&t.reader, missing{"sync instance", id}, sql, func(r *row) state {
		return state{r.int64(), r.time(), r.int64(), r.text()}
	}, id, env)
	switch {
	case err != nil:
		return err
	case !s.deletedAt.IsZero():
		return syncline.Errorf(syncline.CodeFenced, "sync instance %d was deleted", id)
	case s.epoch != instanceEpoch:
		return syncline.Errorf(syncline.CodeFenced, "sync instance %d moved from epoch %d to %d (it was reset)", id, instanceEpoch, s.epoch)
	case s.leaseEpoch != leaseEpoch:
		return syncline.Errorf(syncline.CodeFenced, "the lease on sync instance %d moved from epoch %d to %d (another worker has it)", id, leaseEpoch, s.leaseEpoch)
	case s.owner == "":
		return syncline.Errorf(syncline.CodeFenced, "the lease on sync instance %d was released", id)
	}
	return nil
}
