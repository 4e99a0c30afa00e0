package mem

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

func (r *reader) Functions(env, integrationID int64) ([]syncline.Function, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.functions, func(f syncline.Function) bool {
		return f.EnvironmentID == env && f.DeletedAt.IsZero() && (integrationID == 0 || f.IntegrationID == integrationID)
	})
	slices.SortFunc(list, func(a, b syncline.Function) int {
		return cmp.Or(cmp.Compare(a.IntegrationID, b.IntegrationID), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return list, nil
}

func (r *reader) Function(env, id int64) (f syncline.Function, err error) {
	if err := r.open(); err != nil {
		return f, err
	}
	f, ok := r.functions.Get(id)
	if !ok || f.EnvironmentID != env || !f.DeletedAt.IsZero() {
		return syncline.Function{}, notFound("function", id)
	}
	return f, nil
}

func (r *reader) function(env, integrationID int64, ft syncline.FunctionType, name string) (syncline.Function, error) {
	return first(each(&r.functions, func(f syncline.Function) bool {
		return f.EnvironmentID == env && f.IntegrationID == integrationID && f.Type == ft && f.Name == name
	}), string(ft), name)
}

func (r *reader) FunctionByName(env, integrationID int64, ft syncline.FunctionType, name string) (f syncline.Function, err error) {
	if err := r.open(); err != nil {
		return f, err
	}
	f, err = r.function(env, integrationID, ft, name)
	if err == nil && !f.DeletedAt.IsZero() {
		return syncline.Function{}, notFound(string(ft), name)
	}
	return f, err
}

func (r *reader) FunctionVersion(env, id int64) (v syncline.FunctionVersion, err error) {
	if err := r.open(); err != nil {
		return v, err
	}
	found, ok := r.versions.Get(id)
	if !ok || found.env != env {
		return v, notFound("function version", id)
	}
	return found.v, nil
}

func bundleKey(env int64, hash string) string { return fmt.Sprintf("%d/%s", env, hash) }

func (r *reader) Bundle(env int64, hash string) ([]byte, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	source, ok := r.bundles.Get(bundleKey(env, hash))
	if !ok {
		return nil, notFound("bundle", hash)
	}
	return slices.Clone(source), nil
}

func (r *reader) MissingBundles(env int64, hashes []string) ([]string, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	var missing []string
	for _, hash := range hashes {
		if _, ok := r.bundles.Get(bundleKey(env, hash)); !ok {
			missing = append(missing, hash)
		}
	}
	return missing, nil
}

func (t *tx) PutBundle(env int64, hash string, source []byte) error {
	if _, err := t.Environment(env); err != nil {
		return err
	}
	if _, ok := t.bundles.Get(bundleKey(env, hash)); !ok {
		t.bundles.Set(bundleKey(env, hash), slices.Clone(source))
	}
	return nil
}

func (t *tx) DeployFunction(f *syncline.Function, v *syncline.FunctionVersion) error {
	if _, err := t.Integration(f.EnvironmentID, f.IntegrationID); err != nil {
		return err
	}
	t.stamp(&v.DeployedAt)
	// A new or revived function is enabled; one that is deployed keeps its switch.
	known, err := t.function(f.EnvironmentID, f.IntegrationID, f.Type, f.Name)
	switch {
	case err != nil:
		known = *f
		known.ID, known.Enabled, known.Run, known.CreatedAt = t.next("functions"), true, syncline.RunSettings{}, v.DeployedAt
	case !known.DeletedAt.IsZero():
		known.Enabled = true
	}
	v.FunctionID, v.Number = known.ID, 1
	t.versions.Scan(func(_ int64, o version) bool {
		if o.v.FunctionID == known.ID {
			v.Number = max(v.Number, o.v.Number+1)
		}
		return true
	})
	v.ID = t.next("function_versions")
	manifest, err := json.Marshal(v.Manifest) // a copy that nobody shares
	if err != nil {
		return syncline.Errorf(syncline.CodeInvalid, "cannot store as JSON: %w", err)
	}
	kept := *v
	kept.Manifest = syncline.Manifest{}
	if err := json.Unmarshal(manifest, &kept.Manifest); err != nil {
		return err
	}
	t.versions.Set(v.ID, version{f.EnvironmentID, kept})
	known.DeletedAt, known.Active = time.Time{}, kept
	t.functions.Set(known.ID, known)
	f.ID, f.Enabled, f.Run, f.CreatedAt, f.DeletedAt, f.Active = known.ID, known.Enabled, known.Run, known.CreatedAt, time.Time{}, *v
	return nil
}

func (t *tx) SetFunctionRun(env, id int64, s syncline.RunSettings) error {
	f, err := t.Function(env, id)
	if err == nil {
		f.Run = s
		t.functions.Set(id, f)
	}
	return err
}

func (t *tx) SetFunctionEnabled(env, id int64, enabled bool) error {
	f, err := t.Function(env, id)
	if err == nil {
		f.Enabled = enabled
		t.functions.Set(id, f)
	}
	return err
}

func (t *tx) DeleteFunction(env, id int64, at time.Time) error {
	f, err := t.Function(env, id)
	if err != nil {
		return err
	}
	f.DeletedAt = at
	t.functions.Set(id, f)
	t.forgetCheckpoints(func(c checkpoint) bool { return c.function == id })
	t.deleteInstances(at, "the function was deleted", func(i *syncline.SyncInstance) bool { return i.FunctionID == id })
	return nil
}

func (r *reader) Instance(env, id int64) (i syncline.SyncInstance, err error) {
	if err := r.open(); err != nil {
		return i, err
	}
	i, ok := r.instances.Get(id)
	if !ok || i.EnvironmentID != env || !i.DeletedAt.IsZero() {
		return syncline.SyncInstance{}, notFound("sync instance", id)
	}
	return i, nil
}

func (r *reader) Instances(env int64, f store.InstanceFilter) ([]syncline.SyncInstance, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return each(&r.instances, func(i syncline.SyncInstance) bool {
		return i.EnvironmentID == env && i.DeletedAt.IsZero() && (f.ConnectionID == 0 || i.ConnectionID == f.ConnectionID) &&
			(f.FunctionID == 0 || i.FunctionID == f.FunctionID) && (f.Variant == "" || i.Variant == f.Variant) && (!f.Stalled || i.Progress.Stalled())
	}), nil
}

func free(l syncline.Lease, now time.Time) bool { return l.Owner == "" || !l.Until.After(now) }

func planned(i *syncline.SyncInstance) bool {
	return i.DeletedAt.IsZero() && i.State == syncline.InstanceStarted && !i.NextDueAt.IsZero()
}

func (r *reader) DueInstances(now time.Time, n int) ([]syncline.SyncInstance, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.instances, func(i syncline.SyncInstance) bool {
		return i.DeletedAt.IsZero() && free(i.PollLease, now) && (i.TriggerPending || planned(&i) && !i.NextDueAt.After(now))
	})
	slices.SortStableFunc(list, func(a, b syncline.SyncInstance) int {
		if a.TriggerPending != b.TriggerPending {
			if a.TriggerPending {
				return -1
			}
			return 1
		}
		return cmp.Or(a.NextDueAt.Compare(b.NextDueAt), cmp.Compare(a.ID, b.ID))
	})
	return list[:min(len(list), limit(n))], nil
}

func (r *reader) NextDue() (at time.Time, err error) {
	if err := r.open(); err != nil {
		return at, err
	}
	r.instances.Scan(func(_ int64, i syncline.SyncInstance) bool {
		if planned(&i) && (at.IsZero() || i.NextDueAt.Before(at)) {
			at = i.NextDueAt
		}
		return true
	})
	return at, nil
}

func (t *tx) EnsureInstance(i *syncline.SyncInstance) (created bool, err error) {
	if i.Variant == "" {
		i.Variant = syncline.BaseVariant
	}
	epoch, found := int64(1), false
	if err := t.open(); err != nil {
		return false, err
	}
	t.instances.Scan(func(_ int64, o syncline.SyncInstance) bool {
		if o.EnvironmentID != i.EnvironmentID || o.ConnectionID != i.ConnectionID || o.FunctionID != i.FunctionID || o.Variant != i.Variant {
			return true
		}
		epoch = max(epoch, o.Epoch+1)
		if o.DeletedAt.IsZero() {
			*i, found = o, true
		}
		return !found
	})
	if found {
		return false, nil
	}
	if _, err := t.Connection(i.EnvironmentID, i.ConnectionID); err != nil {
		return false, err
	}
	if _, err := t.Function(i.EnvironmentID, i.FunctionID); err != nil {
		return false, err
	}
	t.stamp(&i.CreatedAt)
	if i.UUID == "" {
		i.UUID = syncline.NewUUID()
	}
	if i.State == "" {
		i.State = syncline.InstanceStarted
	}
	i.ID, i.Epoch, i.PollLease, i.DeletedAt = t.next("sync_instances"), max(i.Epoch, epoch), syncline.Lease{}, time.Time{}
	t.instances.Set(i.ID, *i)
	t.lanes.Set(i.ID, row[syncline.Lane]{v: syncline.Lane{ID: i.ID, EnvironmentID: i.EnvironmentID}})
	return true, nil
}

func (t *tx) UpdateInstance(i *syncline.SyncInstance) error {
	now, err := t.Instance(i.EnvironmentID, i.ID)
	if err != nil {
		return err
	}
	if now.Epoch > i.Epoch {
		return fenced("sync instance %d is at epoch %d, beyond %d", i.ID, now.Epoch, i.Epoch)
	}
	fresh := *i
	fresh.UUID, fresh.ConnectionID, fresh.FunctionID, fresh.Variant = now.UUID, now.ConnectionID, now.FunctionID, now.Variant
	fresh.PollLease, fresh.CreatedAt, fresh.DeletedAt = now.PollLease, now.CreatedAt, time.Time{}
	t.instances.Set(i.ID, fresh)
	return nil
}

func (t *tx) DeleteInstance(env, id int64, at time.Time) error {
	if _, err := t.Instance(env, id); err != nil {
		return err
	}
	t.deleteInstances(at, "the sync instance was deleted", func(i *syncline.SyncInstance) bool { return i.ID == id })
	return nil
}

func (t *tx) deleteInstances(at time.Time, reason string, match func(*syncline.SyncInstance) bool) {
	for _, i := range each(&t.instances, func(i syncline.SyncInstance) bool { return i.DeletedAt.IsZero() && match(&i) }) {
		i.DeletedAt, i.NextDueAt, i.TriggerPending = at, time.Time{}, false
		i.Epoch++
		t.instances.Set(i.ID, i)
		t.dropEvents(i.ID, at, reason)
		l, _ := t.lanes.Get(i.ID)
		l.deleted = true
		t.lanes.Set(i.ID, l)
	}
}

func (t *tx) ClaimPoll(env, instanceID int64, owner string, now, until time.Time) (lease syncline.Lease, ok bool, err error) {
	i, err := t.Instance(env, instanceID)
	if err != nil || !free(i.PollLease, now) {
		return lease, false, err
	}
	i.PollLease = syncline.Lease{Owner: owner, Epoch: i.PollLease.Epoch + 1, Until: until}
	t.instances.Set(i.ID, i)
	return i.PollLease, true, nil
}

func (t *tx) ExtendPoll(env, instanceID, leaseEpoch int64, until time.Time) error {
	i, err := t.Instance(env, instanceID)
	if err != nil || i.PollLease.Epoch != leaseEpoch || i.PollLease.Owner == "" {
		return fenced("the poll lease of sync instance %d is no longer held", instanceID)
	}
	i.PollLease.Until = until
	t.instances.Set(i.ID, i)
	return nil
}

func (t *tx) ReleasePoll(env, instanceID, leaseEpoch int64) error {
	if err := t.open(); err != nil {
		return err
	}
	i, ok := t.instances.Get(instanceID)
	if ok && i.EnvironmentID == env && i.PollLease.Epoch == leaseEpoch {
		i.PollLease.Owner, i.PollLease.Until = "", time.Time{}
		t.instances.Set(i.ID, i)
	}
	return nil
}

func (t *tx) FencePoll(env, instanceID, instanceEpoch, leaseEpoch int64) error {
	i, ok := t.instances.Get(instanceID)
	return t.fence(env, instanceID, i, ok, instanceEpoch, i.PollLease, leaseEpoch)
}

func (t *tx) fence(env, id int64, i syncline.SyncInstance, found bool, instanceEpoch int64, lease syncline.Lease, leaseEpoch int64) error {
	switch {
	case !found || i.EnvironmentID != env:
		return notFound("sync instance", id)
	case !i.DeletedAt.IsZero():
		return fenced("sync instance %d was deleted", id)
	case i.Epoch != instanceEpoch:
		return fenced("sync instance %d moved from epoch %d to %d (it was reset)", id, instanceEpoch, i.Epoch)
	case lease.Epoch != leaseEpoch:
		return fenced("the lease on sync instance %d moved from epoch %d to %d (another worker has it)", id, leaseEpoch, lease.Epoch)
	case lease.Owner == "":
		return fenced("the lease on sync instance %d was released", id)
	}
	return nil
}
