package postgres

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
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL`, scanInstance, id, env)
}

func (r *reader) Instances(env int64, f store.InstanceFilter) ([]syncline.SyncInstance, error) {
	w := where(`SELECT `+instanceColumns+` FROM sync_instances WHERE environment_id = $1 AND deleted_at IS NULL`, env)
	if f.ConnectionID != 0 {
		w.add(` AND connection_id = ?`, f.ConnectionID)
	}
	if f.FunctionID != 0 {
		w.add(` AND function_id = ?`, f.FunctionID)
	}
	if f.Variant != "" {
		w.add(` AND variant = ?`, f.Variant)
	}
	if f.Stalled {
		w.add(` AND progress::jsonb ->> 'stalled_at' IS NOT NULL`)
	}
	w.add(` ORDER BY id`)
	return all(r, w.sql.String(), scanInstance, w.args...)
}

func (r *reader) DueInstances(now time.Time, n int) ([]syncline.SyncInstance, error) {
	// Two halves, each with its own partial index; a triggered instance is
	// only in the first.
	return all(r, `SELECT `+instanceColumns+` FROM (
			SELECT * FROM sync_instances WHERE deleted_at IS NULL AND trigger_pending
				AND (poll_lease_owner = '' OR poll_lease_until <= $1)
			UNION ALL
			(SELECT * FROM sync_instances WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL
				AND next_due_at <= $1 AND NOT trigger_pending AND (poll_lease_owner = '' OR poll_lease_until <= $1)
				ORDER BY next_due_at, id LIMIT $2)) AS due
		ORDER BY trigger_pending DESC, next_due_at NULLS FIRST, id LIMIT $2`, scanInstance, now, limit(n))
}

func (r *reader) NextDue() (time.Time, error) {
	at, _, err := maybe(r, `SELECT min(next_due_at) FROM sync_instances
		WHERE deleted_at IS NULL AND state = 'started' AND next_due_at IS NOT NULL`, (*row).time)
	return at, err
}

// findInstance fills i with the live instance of its connection, function and
// variant, if there is one.
func (t *tx) findInstance(i *syncline.SyncInstance) (found bool, err error) {
	live, found, err := maybe(&t.reader, `SELECT `+instanceColumns+` FROM sync_instances
		WHERE environment_id = $1 AND connection_id = $2 AND function_id = $3 AND variant = $4 AND deleted_at IS NULL`, scanInstance,
		i.EnvironmentID, i.ConnectionID, i.FunctionID, i.Variant)
	if found {
		*i = live
	}
	return found, err
}

func (t *tx) EnsureInstance(i *syncline.SyncInstance) (created bool, err error) {
	if i.Variant == "" {
		i.Variant = syncline.BaseVariant
	}
	if found, err := t.findInstance(i); err != nil || found {
		return false, err
	}
	// The instances of a connection are made one after the other, and not while
	// the connection or the function is being deleted.
	_, err = one(&t.reader, missing{"connection", i.ConnectionID}, `SELECT id FROM connections
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE`, (*row).int64, i.ConnectionID, i.EnvironmentID)
	if err != nil {
		return false, err
	}
	if err := t.holdFunction(i.EnvironmentID, i.FunctionID); err != nil {
		return false, err
	}
	if found, err := t.findInstance(i); err != nil || found {
		return false, err
	}
	epoch, err := t.number(`SELECT coalesce(max(epoch), 0) + 1 FROM sync_instances
		WHERE environment_id = $1 AND connection_id = $2 AND function_id = $3 AND variant = $4 AND deleted_at IS NOT NULL`,
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
	i.ID, err = t.insert("sync instance", i.UUID, `INSERT INTO sync_instances (uuid, environment_id, connection_id, function_id, variant, state,
		frequency_override, epoch, next_due_at, trigger_pending, poll_lease_owner, poll_lease_epoch, poll_run_id, last_poll_run_id,
		last_sync_date, poll_failures, poll_checkpoint, webhook_checkpoint, reconcile, progress, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', 0, $11, $12, $13, $14, $15, $16, $17, $18, $19) ON CONFLICT DO NOTHING RETURNING id`,
		i.UUID, i.EnvironmentID, i.ConnectionID, i.FunctionID, i.Variant, string(i.State), i.FrequencyOverride, i.Epoch,
		i.NextDueAt, i.TriggerPending, i.PollRunID, i.LastPollRunID,
		i.LastSyncDate, i.PollFailures, i.PollCheckpoint, i.WebhookCheckpoint, jsonValue{i.Reconcile}, jsonValue{i.Progress}, i.CreatedAt)
	if err != nil {
		return false, err
	}
	_, err = t.exec(`INSERT INTO lanes (id, environment_id, lease_owner, lease_epoch, pending, backoff, reason)
		VALUES ($1, $2, '', 0, 0, 0, '')`, i.ID, i.EnvironmentID)
	return err == nil, err
}

func (t *tx) UpdateInstance(i *syncline.SyncInstance) error {
	n, err := t.exec(`UPDATE sync_instances SET state = $1, frequency_override = $2, epoch = $3, next_due_at = $4, trigger_pending = $5,
		poll_run_id = $6, last_poll_run_id = $7, last_sync_date = $8, poll_failures = $9, poll_checkpoint = $10, webhook_checkpoint = $11,
		reconcile = $12, progress = $16 WHERE id = $13 AND environment_id = $14 AND deleted_at IS NULL AND epoch <= $3
		AND ($15 = 0 OR xmin::text::bigint = $15 OR xmin = pg_current_xact_id()::xid)`,
		string(i.State), i.FrequencyOverride, i.Epoch, i.NextDueAt, i.TriggerPending,
		i.PollRunID, i.LastPollRunID, i.LastSyncDate, i.PollFailures, i.PollCheckpoint, i.WebhookCheckpoint, jsonValue{i.Reconcile}, i.ID, i.EnvironmentID,
		t.seen[rowOf{"sync_instances", i.ID}], jsonValue{i.Progress})
	if err != nil || n > 0 {
		return err
	}
	now, err := t.Instance(i.EnvironmentID, i.ID)
	if err != nil {
		return err
	}
	if now.Epoch <= i.Epoch {
		return t.stale()
	}
	return syncline.Errorf(syncline.CodeFenced, "sync instance %d is at epoch %d, beyond %d", i.ID, now.Epoch, i.Epoch)
}

func (t *tx) DeleteInstance(env, id int64, at time.Time) error {
	_, err := one(&t.reader, missing{"sync instance", id}, `SELECT id FROM sync_instances
		WHERE id = $1 AND environment_id = $2 AND deleted_at IS NULL FOR NO KEY UPDATE`, (*row).int64, id, env)
	if err != nil {
		return err
	}
	return t.deleteInstances(env, []int64{id}, at, "the sync instance was deleted")
}

// deleteInstances marks instances and their lanes deleted: their epochs move,
// so that running work cannot commit, their polls are unplanned, and what
// waits in their lanes is dropped for the reason.
func (t *tx) deleteInstances(env int64, ids []int64, at time.Time, reason string) error {
	for _, id := range ids {
		n, err := t.exec(`UPDATE sync_instances SET deleted_at = $1, epoch = epoch + 1, next_due_at = NULL, trigger_pending = false
			WHERE id = $2 AND environment_id = $3 AND deleted_at IS NULL`, at, id, env)
		if err != nil {
			return err
		}
		if n == 0 {
			continue // deleted by somebody else since it was listed
		}
		if _, err := t.exec(`UPDATE lanes SET deleted_at = $1 WHERE id = $2 AND environment_id = $3`, at, id, env); err != nil {
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
	var err error
	lease.Epoch, ok, err = maybe(&t.reader, `UPDATE sync_instances SET poll_lease_owner = $1, poll_lease_epoch = poll_lease_epoch + 1, poll_lease_until = $2
		WHERE id = $3 AND environment_id = $4 AND deleted_at IS NULL AND (poll_lease_owner = '' OR poll_lease_until <= $5)
		RETURNING poll_lease_epoch`, (*row).int64, owner, until, instanceID, env, now)
	if err != nil || ok {
		return lease, ok, err
	}
	_, err = t.Instance(env, instanceID)
	return syncline.Lease{}, false, err
}

func (t *tx) ExtendPoll(env, instanceID, leaseEpoch int64, until time.Time) error {
	n, err := t.exec(`UPDATE sync_instances SET poll_lease_until = $1
		WHERE id = $2 AND environment_id = $3 AND poll_lease_epoch = $4 AND poll_lease_owner <> '' AND deleted_at IS NULL`,
		until, instanceID, env, leaseEpoch)
	if err == nil && n == 0 {
		err = fenced("poll lease of sync instance", instanceID)
	}
	return err
}

func (t *tx) ReleasePoll(env, instanceID, leaseEpoch int64) error {
	_, err := t.exec(`UPDATE sync_instances SET poll_lease_owner = '', poll_lease_until = NULL
		WHERE id = $1 AND environment_id = $2 AND poll_lease_epoch = $3`, instanceID, env, leaseEpoch)
	return err
}

func (t *tx) FencePoll(env, instanceID, instanceEpoch, leaseEpoch int64) error {
	return t.fence(`SELECT epoch, deleted_at, poll_lease_epoch, poll_lease_owner FROM sync_instances
		WHERE id = $1 AND environment_id = $2 FOR NO KEY UPDATE`, env, instanceID, instanceEpoch, leaseEpoch)
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
