package mem

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"syncline"
)

// givenJob is a job that shares nothing with the store.
func givenJob(j syncline.Job) syncline.Job {
	j.Input, j.Result = bytes.Clone(j.Input), bytes.Clone(j.Result)
	return j
}

func (r *reader) Job(env, id int64) (j syncline.Job, err error) {
	if err := r.open(); err != nil {
		return j, err
	}
	j, ok := r.jobs.Get(id)
	if !ok || j.EnvironmentID != env {
		return syncline.Job{}, notFound("job", id)
	}
	return givenJob(j), nil
}

func (r *reader) JobByUUID(env int64, uuid string) (j syncline.Job, err error) {
	if err := r.open(); err != nil {
		return j, err
	}
	j, err = first(each(&r.jobs, func(j syncline.Job) bool { return j.EnvironmentID == env && j.UUID == uuid }), "job", uuid)
	return givenJob(j), err
}

// busy counts the jobs of an environment that are under way.
func (r *reader) busy(env int64, now time.Time) int {
	return len(each(&r.jobs, func(j syncline.Job) bool { return j.EnvironmentID == env && !j.Attended && !free(j.Lease, now) }))
}

// dueJobs are an environment's pending jobs that nobody holds, the first first.
func (r *reader) dueJobs(env int64, now time.Time) []syncline.Job {
	list := each(&r.jobs, func(j syncline.Job) bool {
		return j.EnvironmentID == env && j.Status == syncline.JobPending && free(j.Lease, now)
	})
	slices.SortFunc(list, func(a, b syncline.Job) int { return cmp.Or(a.NotBefore.Compare(b.NotBefore), cmp.Compare(a.ID, b.ID)) })
	return list
}

func (r *reader) NextJob(now time.Time, perEnvironment int) (at time.Time, err error) {
	if err := r.open(); err != nil {
		return at, err
	}
	r.environments.Scan(func(env int64, _ syncline.Environment) bool {
		if due := r.dueJobs(env, now); len(due) > 0 && r.busy(env, now) < perEnvironment && (at.IsZero() || due[0].NotBefore.Before(at)) {
			at = due[0].NotBefore
		}
		return true
	})
	if !at.IsZero() && at.Before(now) {
		at = utc(now)
	}
	return at, nil
}

func (r *reader) LostJobs(now time.Time, n int) ([]syncline.Job, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.jobs, func(j syncline.Job) bool { return j.Status == syncline.JobRunning && free(j.Lease, now) })
	list = list[:min(limit(n), len(list))]
	for i := range list {
		list[i] = givenJob(list[i])
	}
	return list, nil
}

func (t *tx) CreateJob(j *syncline.Job) error {
	if _, err := t.Connection(j.EnvironmentID, j.ConnectionID); err != nil {
		return err
	}
	if _, err := t.Function(j.EnvironmentID, j.FunctionID); err != nil {
		return err
	}
	t.stamp(&j.CreatedAt)
	if j.UUID == "" {
		j.UUID = syncline.NewUUID()
	}
	if j.Status == "" {
		j.Status = syncline.JobPending
	}
	if j.NotBefore.IsZero() {
		j.NotBefore = j.CreatedAt
	}
	if j.Lease.Owner != "" {
		j.Lease.Epoch = 1
	}
	j.ID = t.next("jobs")
	t.putJob(*j)
	return nil
}

func (t *tx) putJob(j syncline.Job) {
	j = givenJob(j)
	j.NotBefore, j.CreatedAt, j.FinishedAt, j.Lease.Until = utc(j.NotBefore), utc(j.CreatedAt), utc(j.FinishedAt), utc(j.Lease.Until)
	t.jobs.Set(j.ID, j)
}

func (t *tx) ClaimJobs(owner string, now, until time.Time, perEnvironment, n int) ([]syncline.Job, error) {
	if err := t.open(); err != nil || n <= 0 {
		return nil, err
	}
	var lists [][]syncline.Job
	t.environments.Scan(func(env int64, _ syncline.Environment) bool {
		due := slices.DeleteFunc(t.dueJobs(env, now), func(j syncline.Job) bool { return j.NotBefore.After(now) })
		lists = append(lists, due[:min(len(due), max(0, perEnvironment-t.busy(env, now)))])
		return true
	})
	var claimed []syncline.Job
	for place := 0; len(claimed) < n; place++ {
		more := false
		for _, list := range lists {
			if place < len(list) && len(claimed) < n {
				j := list[place]
				j.Lease = syncline.Lease{Owner: owner, Epoch: j.Lease.Epoch + 1, Until: utc(until)}
				t.putJob(j)
				claimed, more = append(claimed, givenJob(j)), true
			}
		}
		if !more {
			break
		}
	}
	return claimed, nil
}

func (t *tx) TakeJob(env, id int64, owner string, now, until time.Time) (lease syncline.Lease, ok bool, err error) {
	j, err := t.Job(env, id)
	if err != nil || j.Ended() || !free(j.Lease, now) {
		return lease, false, err
	}
	j.Lease = syncline.Lease{Owner: owner, Epoch: j.Lease.Epoch + 1, Until: utc(until)}
	t.putJob(j)
	return j.Lease, true, nil
}

// heldJob finds a job that is held under an epoch.
func (t *tx) heldJob(env, id, leaseEpoch int64) (syncline.Job, error) {
	j, err := t.Job(env, id)
	if err == nil && (j.Lease.Epoch != leaseEpoch || j.Lease.Owner == "") {
		err = fenced("the lease of job %d is no longer held", id)
	}
	return j, err
}

func (t *tx) ExtendJob(env, id, leaseEpoch int64, until time.Time) error {
	j, err := t.heldJob(env, id, leaseEpoch)
	if err == nil {
		j.Lease.Until = until
		t.putJob(j)
	}
	return err
}

func (t *tx) FenceJob(env, id, leaseEpoch int64) error {
	_, err := t.heldJob(env, id, leaseEpoch)
	return err
}

func (t *tx) UpdateJob(j *syncline.Job) error {
	old, err := t.heldJob(j.EnvironmentID, j.ID, j.Lease.Epoch)
	if err != nil {
		return err
	}
	old.Status, old.Attempts, old.NotBefore, old.RunID, old.FinishedAt = j.Status, j.Attempts, j.NotBefore, j.RunID, j.FinishedAt
	old.Result, old.ResultKeyID = j.Result, j.ResultKeyID
	if j.Status != syncline.JobRunning {
		old.Lease.Owner, old.Lease.Until = "", time.Time{}
		j.Lease.Owner, j.Lease.Until = "", time.Time{}
	}
	t.putJob(old)
	return nil
}

func (t *tx) DeleteJob(env, id, leaseEpoch int64) error {
	if _, err := t.heldJob(env, id, leaseEpoch); err != nil {
		return err
	}
	t.jobs.Delete(id)
	return nil
}

func (t *tx) PurgeJobs(before time.Time, n int) (int, error) {
	if err := t.open(); err != nil {
		return 0, err
	}
	old := each(&t.jobs, func(j syncline.Job) bool { return !j.FinishedAt.IsZero() && j.FinishedAt.Before(before) })
	old = old[:min(limit(n), len(old))]
	for _, j := range old {
		t.jobs.Delete(j.ID)
	}
	return len(old), nil
}

// checkpoint is that of an action for a connection.
type checkpoint struct {
	connection, function int64
	value                json.RawMessage
}

func checkpointKey(env, connectionID, functionID int64) string {
	return fmt.Sprintf("%d/%d/%d", env, connectionID, functionID)
}

func (r *reader) Checkpoint(env, connectionID, functionID int64) (json.RawMessage, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	c, _ := r.checkpoints.Get(checkpointKey(env, connectionID, functionID))
	return bytes.Clone(c.value), nil
}

func (t *tx) SetCheckpoint(env, connectionID, functionID int64, c json.RawMessage) error {
	if _, err := t.Connection(env, connectionID); err != nil {
		return err
	}
	key := checkpointKey(env, connectionID, functionID)
	if c == nil {
		t.checkpoints.Delete(key)
	} else {
		t.checkpoints.Set(key, checkpoint{connectionID, functionID, bytes.Clone(c)})
	}
	return nil
}

func (t *tx) forgetCheckpoints(match func(checkpoint) bool) {
	var gone []string
	t.checkpoints.Scan(func(key string, c checkpoint) bool {
		if match(c) {
			gone = append(gone, key)
		}
		return true
	})
	for _, key := range gone {
		t.checkpoints.Delete(key)
	}
}
