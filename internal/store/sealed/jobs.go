package sealed

import (
	"encoding/binary"
	"time"

	"syncline"
)

// Inputs and results of jobs are sealed as payloads are. Jobs are kept for days,
// so that they are not moved to another key: the key that sealed one stays
// configured until it has expired.

// placeOfJob names the part of a job. The UUID, whose length is not fixed, comes last.
func placeOfJob(j *syncline.Job, part string) []byte {
	b := make([]byte, 0, 8+len(part)+len(j.UUID))
	b = binary.BigEndian.AppendUint64(b, uint64(j.ConnectionID))
	b = append(b, part...)
	return append(b, j.UUID...)
}

const (
	jobInput  = "job input/"
	jobResult = "job result/"
)

// closePart seals a part of a job that is the vault's own.
func (v *vault) closePart(j *syncline.Job, part string, keyID *string, text *[]byte) error {
	if *keyID != "" {
		return syncline.Errorf(syncline.CodeInternal, "job %s is written with the id of a key, %q: its %s must be plain, and the id empty", j.UUID, *keyID, part)
	}
	if !v.seal || len(*text) == 0 {
		return nil
	}
	id, sealed, err := v.sealer.Seal(j.EnvironmentID, placeOfJob(j, part), *text)
	if err != nil {
		return syncline.Errorf(syncline.CodeOf(err), "seal a part of job %s: %w", j.UUID, err)
	}
	*keyID, *text = id, sealed
	return nil
}

func (v *vault) openPart(j *syncline.Job, part string, keyID *string, text *[]byte) error {
	id := *keyID
	if id == "" || len(*text) == 0 {
		*keyID = ""
		return nil
	}
	if !v.sealer.HasKey(id) {
		return syncline.Errorf(syncline.CodeInternal, "a part of job %s is sealed with key %q, which is not configured", j.UUID, id).
			WithHint("add that key after the one that seals")
	}
	plain, err := v.sealer.Open(j.EnvironmentID, id, placeOfJob(j, part), *text)
	if err != nil {
		return syncline.Errorf(syncline.CodeOf(err), "a part of job %s, sealed with key %q, cannot be opened: %w", j.UUID, id, withoutHint(err))
	}
	*keyID, *text = "", plain
	return nil
}

// openJob opens a job that is the caller's own.
func (v *vault) openJob(j *syncline.Job) error {
	if err := v.openPart(j, jobInput, &j.InputKeyID, (*[]byte)(&j.Input)); err != nil {
		return err
	}
	return v.openPart(j, jobResult, &j.ResultKeyID, (*[]byte)(&j.Result))
}

func (v *vault) openJobs(list []syncline.Job, err error) ([]syncline.Job, error) {
	for i := range list {
		if err == nil {
			err = v.openJob(&list[i])
		}
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (r *reader) Job(env, id int64) (syncline.Job, error) {
	j, err := r.Reader.Job(env, id)
	if err == nil {
		err = r.vault.openJob(&j)
	}
	return j, err
}

func (r *reader) JobByUUID(env int64, uuid string) (syncline.Job, error) {
	j, err := r.Reader.JobByUUID(env, uuid)
	if err == nil {
		err = r.vault.openJob(&j)
	}
	return j, err
}

func (r *reader) LostJobs(now time.Time, limit int) ([]syncline.Job, error) {
	return r.vault.openJobs(r.Reader.LostJobs(now, limit))
}

func (t *tx) CreateJob(j *syncline.Job) error {
	if j.UUID == "" {
		j.UUID = syncline.NewUUID() // what it is sealed for
	}
	own := *j
	if err := t.vault.closePart(&own, jobInput, &own.InputKeyID, (*[]byte)(&own.Input)); err != nil {
		return err
	}
	if err := t.vault.closePart(&own, jobResult, &own.ResultKeyID, (*[]byte)(&own.Result)); err != nil {
		return err
	}
	if err := t.writer.CreateJob(&own); err != nil {
		return err
	}
	own.Input, own.InputKeyID, own.Result, own.ResultKeyID = j.Input, "", j.Result, ""
	*j = own
	return nil
}

func (t *tx) ClaimJobs(owner string, now, until time.Time, perEnvironment, max int) ([]syncline.Job, error) {
	return t.vault.openJobs(t.writer.ClaimJobs(owner, now, until, perEnvironment, max))
}

func (t *tx) UpdateJob(j *syncline.Job) error {
	own := *j
	if err := t.vault.closePart(&own, jobResult, &own.ResultKeyID, (*[]byte)(&own.Result)); err != nil {
		return err
	}
	err := t.writer.UpdateJob(&own)
	j.Lease = own.Lease
	return err
}
