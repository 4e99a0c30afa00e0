package host

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/records"
	"syncline/internal/store"
)

// Drain is what the events of one lane stage until they commit together: one
// overlay, a savepoint for each event. It is used by one event at a time.
type Drain struct {
	deps    *Deps
	subject *Subject
	overlay *records.Overlay
	// metadata and checkpoint are changes in the order made; the readers of an event
	// see those of the events before it.
	metadata   []metadataChange
	checkpoint []json.RawMessage // nil clears
	commands   []command
	lease      syncline.Lease
	reset      []int64 // instances that the commit reset
}

type metadataChange struct {
	change  map[string]any
	replace bool
}

// NewDrain begins with what is committed. lease is the lane's.
func NewDrain(d *Deps, s *Subject, lease syncline.Lease) *Drain {
	return &Drain{deps: d, subject: s, lease: lease, overlay: records.NewOverlay(s.Environment.ID, s.Connection.ID)}
}

// Size is how many records and bytes are staged.
func (d *Drain) Size() (records, bytes int) { return d.overlay.Size() }

type mark struct {
	overlay              records.Mark
	metadata, checkpoint int
	commands             int
}

func (d *Drain) mark() mark {
	return mark{d.overlay.Mark(), len(d.metadata), len(d.checkpoint), len(d.commands)}
}

// Event is the host of one webhook event's run.
type Event struct {
	*session
	drain    *Drain
	event    *syncline.Event
	from, to mark
	ended    bool
	counted  map[string]int // records by collection that the schema does not allow
}

var _ fn.Host = (*Event)(nil)

// Begin starts an event over what the drain has staged.
func (d *Drain) Begin(e *syncline.Event, run *syncline.Run) *Event {
	m := d.mark()
	return &Event{session: newSession(d.deps, d.subject, run, d.lease, e.Watermark), drain: d, event: e, from: m, to: m, counted: map[string]int{}}
}

// Keep ends the event and keeps its effects for the commit.
func (e *Event) Keep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.to, e.ended = e.drain.mark(), true
}

// Discard ends the event and forgets its effects.
func (e *Event) Discard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.drain.overlay.Rollback(e.from.overlay)
	e.drain.metadata = e.drain.metadata[:e.from.metadata]
	e.drain.checkpoint = e.drain.checkpoint[:e.from.checkpoint]
	e.drain.commands = e.drain.commands[:e.from.commands]
	e.to, e.ended = e.from, true
}

// Call answers one host call.
func (e *Event) Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	if result, handled, err := e.shared(ctx, method, args); handled {
		return result, err
	}
	if method == fn.MethodSetMergingStrategy {
		return nil, e.setMergingStrategy(args)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil, syncline.Errorf(syncline.CodeFenced, "nango.%s was called after the handler had returned", method).
			WithHint("await every call before onWebhook returns")
	}
	switch method {
	case fn.MethodBatchSave:
		return e.batch(records.OpSave, args)
	case fn.MethodBatchUpdate:
		return e.batch(records.OpUpdate, args)
	case fn.MethodBatchDelete:
		return e.batch(records.OpDelete, args)
	case fn.MethodGetRecordsByIDs:
		return e.recordsByIDs(ctx, args)
	case fn.MethodGetCheckpoint:
		return e.readCheckpoint(ctx)
	case fn.MethodSaveCheckpoint:
		c, err := checkpointArgs(args)
		if err != nil {
			return nil, err
		}
		if err := e.checkCheckpoint(c); err != nil {
			return nil, err
		}
		e.drain.checkpoint = append(e.drain.checkpoint, c)
		return nil, nil
	case fn.MethodClearCheckpoint:
		e.drain.checkpoint = append(e.drain.checkpoint, nil)
		return nil, nil
	case fn.MethodGetConnection:
		return e.describe(ctx, args, e.stage)
	case fn.MethodGetMetadata:
		return e.metadata(ctx)
	case fn.MethodListRecords:
		return e.listRecords(ctx, args, e.drain.overlay)
	case fn.MethodTriggerSync, fn.MethodStartSync:
		return nil, e.command(ctx, method, args)
	case fn.MethodSetMetadata, fn.MethodUpdateMetadata:
		change, err := metadataArgs(args)
		if err != nil {
			return nil, err
		}
		if err := e.checkMetadata(change, method == fn.MethodSetMetadata); err != nil {
			return nil, err
		}
		e.drain.metadata = append(e.drain.metadata, metadataChange{change, method == fn.MethodSetMetadata})
		return nil, nil
	case fn.MethodTrackDeletesStart, fn.MethodTrackDeletesEnd, fn.MethodDeletePrevious:
		return nil, syncline.Errorf(syncline.CodeInvalid, "nango.%s was called in onWebhook: a webhook does not tell of everything that there is", method).
			WithHint("track deletes in exec, around a complete listing; in onWebhook use batchDelete")
	}
	return nil, notOffered(method)
}

func (e *Event) batch(op records.Op, raw json.RawMessage) (json.RawMessage, error) {
	model, batch, rules, invalid, err := e.batchArgs(op, raw)
	if err != nil {
		return nil, err
	}
	w := syncline.Writer{LaneID: e.event.LaneID, EventID: e.event.ID}
	guard := e.guard(model, rules, w, e.event.Replay > 0)
	if err := e.drain.overlay.Stage(e.from.overlay, e.collection(model), batch, guard); err != nil {
		return nil, err
	}
	e.counted[e.collection(model)] += invalid
	return json.RawMessage("true"), nil
}

func (e *Event) recordsByIDs(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	model, ids, err := e.idsArgs(raw)
	if err != nil {
		return nil, err
	}
	var out json.RawMessage
	err = e.deps.Store.View(ctx, func(r store.Reader) error {
		found, err := e.drain.overlay.Read(r, e.collection(model), ids)
		if err != nil {
			return err
		}
		out, err = renderRecords(found)
		return err
	})
	return out, err
}

func (e *Event) readCheckpoint(ctx context.Context) (json.RawMessage, error) {
	if n := len(e.drain.checkpoint); n > 0 {
		return e.drain.checkpoint[n-1], nil
	}
	var c json.RawMessage
	err := e.deps.Store.View(ctx, func(r store.Reader) error {
		i, err := r.Instance(e.subject.Environment.ID, e.subject.Instance.ID)
		c = i.WebhookCheckpoint
		return err
	})
	return c, err
}

// stage changes a connection as it is stored to what the event sees.
func (e *Event) stage(c *syncline.Connection) {
	for _, m := range e.drain.metadata {
		c.Metadata = mergeMetadata(c.Metadata, m.change, m.replace)
	}
}

// command stages a command; what it names must be there already.
func (e *Event) command(ctx context.Context, method string, raw json.RawMessage) error {
	c, err := e.commandArgs(method, raw)
	if err != nil {
		return err
	}
	err = e.deps.Store.View(ctx, func(r store.Reader) error {
		_, err := e.instancesOf(r, &c)
		return err
	})
	if err == nil {
		e.drain.commands = append(e.drain.commands, c)
	}
	return err
}

func (e *Event) metadata(ctx context.Context) (json.RawMessage, error) {
	var c syncline.Connection
	err := e.deps.Store.View(ctx, func(r store.Reader) (err error) {
		c, err = r.Connection(e.subject.Environment.ID, e.subject.Connection.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.stage(&c)
	return renderMetadata(c.Metadata)
}

// Commit applies the event's effects. run has its id already; its Models and
// Warnings are filled.
func (e *Event) Commit(tx store.Tx, run *syncline.Run, now time.Time) error {
	results, err := e.drain.overlay.Commit(tx, e.from.overlay, e.to.overlay, run.ID, now)
	if err != nil {
		return err
	}
	run.Models, run.Warnings = map[string]syncline.ModelResult{}, nil
	contested := 0
	for _, collection := range slices.Sorted(maps.Keys(results)) {
		model, _ := syncline.SplitModel(collection)
		r := results[collection]
		r.Invalid = e.counted[collection]
		run.Models[model] = r
		contested += r.Contested
		run.Warnings = append(run.Warnings, Warnings(model, r)...)
	}
	run.Warnings = append(run.Warnings, e.invalid.warnings()...)
	if changes := e.drain.metadata[e.from.metadata:e.to.metadata]; len(changes) > 0 {
		err := changeMetadata(tx, e.subject, e.deps.Clock, func(m map[string]any) map[string]any {
			for _, c := range changes {
				m = mergeMetadata(m, c.change, c.replace)
			}
			return m
		})
		if err != nil {
			return err
		}
	}
	for i := range e.drain.commands[e.from.commands:e.to.commands] {
		reset, err := e.carryOut(tx, &e.drain.commands[e.from.commands+i])
		if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound { // deleted since
			return err
		}
		e.drain.reset = append(e.drain.reset, reset...)
	}
	n := e.to.checkpoint
	if n == e.from.checkpoint && contested == 0 {
		return nil
	}
	i, err := tx.Instance(e.subject.Environment.ID, e.subject.Instance.ID)
	if err != nil {
		return err
	}
	if n > e.from.checkpoint {
		i.WebhookCheckpoint = e.drain.checkpoint[n-1]
	}
	i.Reconcile.Contested += contested
	return tx.UpdateInstance(&i)
}

// Lock locks every collection that the drain writes to, in ascending id.
func (d *Drain) Lock(tx store.Tx, now time.Time) error {
	d.reset = nil // the commit may run again
	return d.overlay.LockAll(tx, now)
}

// ChangedMetadata reports whether the drain changes the connection's metadata.
func (d *Drain) ChangedMetadata() bool { return len(d.metadata) > 0 }

// Committed is called after the drain's commit: it tells the schedule what was
// commanded.
func (d *Drain) Committed() {
	if len(d.commands) > 0 {
		d.deps.Syncs.Commanded(d.reset)
	}
}

// TakeLogs ends the event's log.
func (e *Event) TakeLogs() []syncline.LogLine {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.invalid.warnings() {
		e.Log(syncline.LogLine{Level: syncline.LogWarn, Message: w})
	}
	return e.logs.take(true)
}
