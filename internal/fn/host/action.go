package host

import (
	"context"
	"encoding/json"
	"maps"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/schema"
	"syncline/internal/store"
)

// Action is the host of the run of an action, or of an on-event function. What
// it writes commits at once, under the lease of its job.
type Action struct {
	*session
	job int64 // 0: nothing commits, see [NewStaged]
	// jobEpoch is the epoch of the job's lease.
	jobEpoch int64
	changed  bool // the metadata of a staged connection
}

var _ fn.Host = (*Action)(nil)

// NewAction makes the host of a run under a job that is held. depth is how
// many runs wait for it.
func NewAction(d *Deps, s *Subject, run *syncline.Run, job *syncline.Job, depth int) *Action {
	a := &Action{session: newSession(d, s, run, syncline.Lease{}, 0), job: job.ID, jobEpoch: job.Lease.Epoch}
	a.depth = depth
	return a
}

// NewStaged makes the host of a validate-connection run: s.Connection is not
// stored, or not with these credentials. What it does to the metadata is in
// [Action.Staged].
func NewStaged(d *Deps, s *Subject, run *syncline.Run) *Action {
	a := &Action{session: newSession(d, s, run, syncline.Lease{}, 0)}
	c := s.Connection
	a.staged.Store(&c)
	return a
}

// Staged is the connection as a validate-connection run left it; changed says
// that its metadata was changed.
func (a *Action) Staged() (c syncline.Connection, changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return *a.staged.Load(), a.changed
}

// Call answers one host call.
func (a *Action) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	if result, handled, err := a.shared(ctx, method, args); handled {
		return result, err
	}
	switch method {
	case fn.MethodGetConnection:
		return a.describe(ctx, args, nil)
	case fn.MethodGetMetadata:
		return a.metadata(ctx)
	case fn.MethodSetMetadata, fn.MethodUpdateMetadata:
		return nil, a.setMetadata(ctx, method, args)
	case fn.MethodTriggerSync, fn.MethodStartSync:
		return nil, a.command(ctx, method, args)
	case fn.MethodGetCheckpoint:
		return a.checkpoint(ctx)
	case fn.MethodSaveCheckpoint:
		c, err := checkpointArgs(args)
		if err != nil {
			return nil, err
		}
		return nil, a.setCheckpoint(ctx, c)
	case fn.MethodClearCheckpoint:
		return nil, a.setCheckpoint(ctx, nil)
	case fn.MethodBatchSave, fn.MethodBatchUpdate, fn.MethodBatchDelete, fn.MethodSetMergingStrategy, fn.MethodGetRecordsByIDs, fn.MethodListRecords,
		fn.MethodTrackDeletesStart, fn.MethodTrackDeletesEnd, fn.MethodDeletePrevious:
		return nil, syncline.Errorf(syncline.CodeInvalid, "nango.%s was called in an %s function: only syncs have records", method, a.subject.Function.Type).
			WithHint("save records in a sync; an action returns its output, and can call nango.triggerSync")
	}
	return nil, notOffered(method)
}

func (a *Action) metadata(ctx context.Context) (json.RawMessage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var c syncline.Connection
	err := a.deps.Store.View(ctx, func(r store.Reader) (err error) {
		_, c, _, err = a.connectionOf(r, "", "")
		return err
	})
	if err != nil {
		return nil, err
	}
	return renderMetadata(c.Metadata)
}

func (a *Action) setMetadata(ctx context.Context, method string, raw json.RawMessage) error {
	change, err := metadataArgs(raw)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	replace := method == fn.MethodSetMetadata
	if err := a.checkMetadata(change, replace); err != nil {
		return err
	}
	if staged := a.staged.Load(); staged != nil {
		c := *staged
		c.Metadata = mergeMetadata(maps.Clone(c.Metadata), change, replace)
		a.staged.Store(&c)
		a.changed = true
		return nil
	}
	err = a.commit(ctx, func(tx store.Tx) error {
		return changeMetadata(tx, a.subject, a.deps.Clock, func(m map[string]any) map[string]any { return mergeMetadata(m, change, replace) })
	})
	if err == nil {
		a.deps.ConnectionsChanged(a.subject.Environment.ID, a.subject.Integration.ID)
	}
	return err
}

// command triggers or starts syncs, at once.
func (a *Action) command(ctx context.Context, method string, raw json.RawMessage) error {
	if err := a.stored(method); err != nil {
		return err
	}
	c, err := a.commandArgs(method, raw)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var reset []int64
	err = a.commit(ctx, func(tx store.Tx) (err error) {
		reset, err = a.carryOut(tx, &c)
		return err
	})
	if err == nil {
		a.deps.Syncs.Commanded(reset)
	}
	return err
}

// stored refuses what a connection that is not there yet does not have.
func (a *Action) stored(method string) error {
	if a.staged.Load() == nil {
		return nil
	}
	return syncline.Errorf(syncline.CodeInvalid, "nango.%s was called in validate-connection: the connection is not there yet", method).
		WithHint("do it in post-connection-creation")
}

func (a *Action) checkpoint(ctx context.Context) (json.RawMessage, error) {
	if err := a.stored(fn.MethodGetCheckpoint); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var c json.RawMessage
	err := a.deps.Store.View(ctx, func(r store.Reader) (err error) {
		c, err = r.Checkpoint(a.subject.Environment.ID, a.subject.Connection.ID, a.subject.Function.ID)
		return err
	})
	return c, err
}

func (a *Action) setCheckpoint(ctx context.Context, c json.RawMessage) error {
	if err := a.stored(fn.MethodSaveCheckpoint); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c != nil {
		if err := a.checkCheckpoint(c); err != nil {
			return err
		}
	}
	return a.commit(ctx, func(tx store.Tx) error {
		return tx.SetCheckpoint(a.subject.Environment.ID, a.subject.Connection.ID, a.subject.Function.ID, c)
	})
}

// commit makes a durable transaction under the job's lease, with the log lines
// that have come in.
func (a *Action) commit(ctx context.Context, fn func(tx store.Tx) error) error {
	lines := a.logs.take(false)
	err := a.deps.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		if err := tx.FenceJob(a.subject.Environment.ID, a.job, a.jobEpoch); err != nil {
			return err
		}
		if len(lines) > 0 {
			if err := tx.AppendLogs(a.subject.Environment.ID, a.run.ID, lines); err != nil {
				return err
			}
		}
		return fn(tx)
	})
	if err != nil {
		a.logs.putBack(lines)
	}
	return err
}

// TakeLogs ends the run's log: it returns the lines that were not written yet,
// and adds the run's last warnings.
func (a *Action) TakeLogs() []syncline.LogLine {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.invalid.warnings() {
		a.run.Warnings = append(a.run.Warnings, w)
		a.Log(syncline.LogLine{Level: syncline.LogWarn, Message: w})
	}
	a.invalid = invalids{}
	return a.logs.take(true)
}

// Warn adds a warning to the run.
func (a *Action) Warn(message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.run.Warnings = append(a.run.Warnings, message)
	a.Log(syncline.LogLine{Level: syncline.LogWarn, Message: message})
}

// CheckInput checks the input of an action against the schema that it
// declares. doc nil is an input that was not given: it is null, or {} where the
// schema wants an object and is content with an empty one; input is what the
// function gets. What is wrong is a warning, or an error where the settings are
// strict.
func (s *Subject) CheckInput(doc json.RawMessage) (input json.RawMessage, warning string, err error) {
	raw := s.Function.Active.Manifest.Input
	if doc != nil {
		warning, err = s.check("the input", raw, doc)
		return doc, warning, err
	}
	null, empty := json.RawMessage("null"), json.RawMessage("{}")
	if len(raw) == 0 {
		return null, "", nil
	}
	check, err := schema.Compile(raw)
	if err == nil && check.Validate(null) != nil && check.Validate(empty) == nil {
		return empty, "", nil
	}
	warning, err = s.check("the input", raw, null)
	return null, warning, err
}

// CheckOutput checks what an action returned, as [Subject.CheckInput] does.
func (s *Subject) CheckOutput(doc json.RawMessage) (warning string, err error) {
	return s.check("the output", s.Function.Active.Manifest.Output, doc)
}

func (s *Subject) check(what string, raw, doc json.RawMessage) (warning string, err error) {
	way := s.Settings().Validation
	if way == syncline.ValidationOff || len(raw) == 0 {
		return "", nil
	}
	check, err := schema.Compile(raw)
	if err == nil {
		err = check.Validate(doc)
	}
	switch {
	case err == nil:
		return "", nil
	case way == syncline.ValidationStrict:
		return "", syncline.Errorf(syncline.CodeInvalid, "%s of %s is not what its schema allows: %s", what, s.Function.Name, problem(err)).
			WithHint("correct it or the schema, or set validation to warn")
	}
	return what + " is not what its schema allows: " + problem(err), nil
}
