package host

import (
	"context"
	"encoding/json"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/records"
	"syncline/internal/store"
)

// chunk is how many records one transaction of a poll writes: enough to be
// fast, few enough that webhooks do not wait for it.
const chunk = 1000

// Poll is the host of one poll run. Each batch commits by itself, under the
// instance's epoch and the poll's lease.
type Poll struct {
	*session // of which run's Models and Warnings are kept current
	warns    map[string]bool
	// ends are the delete-tracking windows that end with the run's success, by model.
	ends map[string]int64
}

var _ fn.Host = (*Poll)(nil)

// NewPoll makes the host of a poll that holds lease. watermark is the store's position
// at its start. run is updated as batches commit.
func NewPoll(d *Deps, s *Subject, lease syncline.Lease, run *syncline.Run, watermark int64) *Poll {
	run.Models = map[string]syncline.ModelResult{}
	return &Poll{session: newSession(d, s, run, lease, watermark), warns: map[string]bool{}, ends: map[string]int64{}}
}

// Call answers one host call.
func (p *Poll) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	if result, handled, err := p.shared(ctx, method, args); handled {
		return result, err
	}
	switch method {
	case fn.MethodBatchSave:
		return p.batch(ctx, records.OpSave, args)
	case fn.MethodBatchUpdate:
		return p.batch(ctx, records.OpUpdate, args)
	case fn.MethodBatchDelete:
		return p.batch(ctx, records.OpDelete, args)
	case fn.MethodSetMergingStrategy:
		return nil, p.setMergingStrategy(args)
	case fn.MethodGetRecordsByIDs:
		return p.recordsByIDs(ctx, args)
	case fn.MethodTrackDeletesStart:
		return nil, p.trackDeletesStart(ctx, args)
	case fn.MethodTrackDeletesEnd:
		return p.trackDeletesEnd(ctx, args)
	case fn.MethodDeletePrevious:
		return p.deletePrevious(ctx, args)
	case fn.MethodListRecords:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.listRecords(ctx, args, records.NewOverlay(p.subject.Environment.ID, p.subject.Connection.ID))
	case fn.MethodTriggerSync, fn.MethodStartSync:
		return nil, p.command(ctx, method, args)
	case fn.MethodGetCheckpoint:
		return p.checkpoint(ctx)
	case fn.MethodSaveCheckpoint:
		c, err := checkpointArgs(args)
		if err != nil {
			return nil, err
		}
		return nil, p.setCheckpoint(ctx, c)
	case fn.MethodClearCheckpoint:
		return nil, p.setCheckpoint(ctx, nil)
	case fn.MethodGetConnection:
		return p.describe(ctx, args, nil)
	case fn.MethodGetMetadata:
		return p.metadata(ctx)
	case fn.MethodSetMetadata, fn.MethodUpdateMetadata:
		return nil, p.setMetadata(ctx, method, args)
	}
	return nil, notOffered(method)
}

func notOffered(method string) error {
	return syncline.Errorf(syncline.CodeInvalid, "nango.%s is not offered by this version of Syncline", method)
}

func (p *Poll) batch(ctx context.Context, op records.Op, raw json.RawMessage) (json.RawMessage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	model, batch, rules, invalid, err := p.batchArgs(op, raw)
	if err != nil {
		return nil, err
	}
	guard := p.guard(model, rules, p.writer(), false)
	target := p.target(model)
	for _, part := range batch.Chunks(chunk) {
		var run syncline.Run
		var unknown int
		err := p.commit(ctx, func(tx store.Tx) error {
			result, err := records.Apply(tx, target, part, guard, p.deps.Clock.Now())
			if err != nil {
				return err
			}
			result.Invalid = invalid
			run = *p.run
			run.Models = WithResult(run.Models, model, result)
			unknown = result.Unknown
			if result.Contested > 0 {
				if err := p.contested(tx, result.Contested); err != nil {
					return err
				}
			}
			return tx.UpdateRun(&run)
		})
		if err != nil {
			return nil, err
		}
		*p.run = run
		invalid = 0 // counted
		if unknown > 0 {
			p.warnUnknown(op, model, unknown)
		}
	}
	return json.RawMessage("true"), nil
}

func (p *Poll) writer() syncline.Writer {
	return syncline.Writer{Lineage: p.run.Lineage, RunID: p.run.ID}
}

func (p *Poll) target(model string) records.Target {
	return records.Target{EnvironmentID: p.subject.Environment.ID, ConnectionID: p.subject.Connection.ID, Model: p.collection(model)}
}

// contested counts records that a batch left alone. Where the sync asks for it,
// the next poll begins once more at the checkpoint that stands now: the batch
// came after it.
func (p *Poll) contested(tx store.Tx, n int) error {
	i, err := tx.Instance(p.subject.Environment.ID, p.subject.Instance.ID)
	if err != nil {
		return err
	}
	i.Reconcile.Contested += n
	if p.subject.Function.Active.Manifest.RewindContested && p.run.Mode == syncline.ModeNormal && i.Reconcile.Rewind == nil {
		i.Reconcile.Rewind = &syncline.Rewind{Checkpoint: i.PollCheckpoint, LastSyncDate: i.LastSyncDate}
	}
	return tx.UpdateInstance(&i)
}

// warnUnknown says, once per model and operation, that ids were not found.
func (p *Poll) warnUnknown(op records.Op, model string, n int) {
	if key := op.String() + model; !p.warns[key] {
		p.warns[key] = true
		p.run.Warnings = append(p.run.Warnings, unknownWarning(op, model, n))
		p.Log(syncline.LogLine{Level: syncline.LogWarn, Message: unknownWarning(op, model, n)})
	}
}

// WithResult is the results of a run with those of one more write to a model.
func WithResult(models map[string]syncline.ModelResult, model string, r syncline.ModelResult) map[string]syncline.ModelResult {
	sum := make(map[string]syncline.ModelResult, len(models)+1)
	for name, result := range models {
		sum[name] = result
	}
	sum[model] = sum[model].Add(r)
	return sum
}

func (p *Poll) recordsByIDs(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	model, ids, err := p.idsArgs(raw)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var out json.RawMessage
	err = p.deps.Store.View(ctx, func(r store.Reader) error {
		found, err := records.NewOverlay(p.subject.Environment.ID, p.subject.Connection.ID).Read(r, p.collection(model), ids)
		if err != nil {
			return err
		}
		out, err = renderRecords(found)
		return err
	})
	return out, err
}

func (p *Poll) checkpoint(ctx context.Context) (json.RawMessage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var c json.RawMessage
	err := p.deps.Store.View(ctx, func(r store.Reader) error {
		i, err := r.Instance(p.subject.Environment.ID, p.subject.Instance.ID)
		c = i.PollCheckpoint
		return err
	})
	return c, err
}

// setCheckpoint commits a checkpoint. Batches committed before it, in call
// order, so it never runs ahead of its records.
func (p *Poll) setCheckpoint(ctx context.Context, c json.RawMessage) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c != nil {
		if err := p.checkCheckpoint(c); err != nil {
			return err
		}
	}
	return p.commit(ctx, func(tx store.Tx) error {
		i, err := tx.Instance(p.subject.Environment.ID, p.subject.Instance.ID)
		if err != nil {
			return err
		}
		i.PollCheckpoint = c
		return tx.UpdateInstance(&i)
	})
}

// command triggers or starts syncs, at once.
func (p *Poll) command(ctx context.Context, method string, raw json.RawMessage) error {
	c, err := p.commandArgs(method, raw)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var reset []int64
	err = p.commit(ctx, func(tx store.Tx) (err error) {
		reset, err = p.carryOut(tx, &c)
		return err
	})
	if err == nil {
		p.deps.Syncs.Commanded(reset)
	}
	return err
}

func (p *Poll) metadata(ctx context.Context) (json.RawMessage, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var c syncline.Connection
	err := p.deps.Store.View(ctx, func(r store.Reader) (err error) {
		c, err = r.Connection(p.subject.Environment.ID, p.subject.Connection.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return renderMetadata(c.Metadata)
}

func (p *Poll) setMetadata(ctx context.Context, method string, raw json.RawMessage) error {
	change, err := metadataArgs(raw)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkMetadata(change, method == fn.MethodSetMetadata); err != nil {
		return err
	}
	err = p.commit(ctx, func(tx store.Tx) error {
		return changeMetadata(tx, p.subject, p.deps.Clock, func(m map[string]any) map[string]any {
			return mergeMetadata(m, change, method == fn.MethodSetMetadata)
		})
	})
	if err == nil {
		p.deps.ConnectionsChanged(p.subject.Environment.ID, p.subject.Integration.ID)
	}
	return err
}

// commit makes a durable transaction under the run's fence, with the log lines
// that have come in.
func (p *Poll) commit(ctx context.Context, fn func(tx store.Tx) error) error {
	lines := p.logs.take(false)
	err := p.deps.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		if err := p.Fence(tx); err != nil {
			return err
		}
		if len(lines) > 0 {
			if err := tx.AppendLogs(p.subject.Environment.ID, p.run.ID, lines); err != nil {
				return err
			}
		}
		return fn(tx)
	})
	if err != nil {
		p.logs.putBack(lines)
	}
	return err
}

// Fence fails when the instance's epoch or the poll's lease moved.
func (p *Poll) Fence(tx store.Tx) error {
	return tx.FencePoll(p.subject.Environment.ID, p.subject.Instance.ID, p.subject.Instance.Epoch, p.lease.Epoch)
}

// TakeLogs ends the run's log: it returns the lines that were not written yet,
// and adds the run's last warnings.
func (p *Poll) TakeLogs() []syncline.LogLine {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.invalid.warnings() {
		p.run.Warnings = append(p.run.Warnings, w)
		p.Log(syncline.LogLine{Level: syncline.LogWarn, Message: w})
	}
	p.invalid = invalids{}
	return p.logs.take(true)
}
