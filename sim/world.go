package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/dispatch"
	"syncline/internal/fn/host"
	"syncline/internal/inbox"
	"syncline/internal/records"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// world is one story as it is told.
type world struct {
	o     Options
	store *harness
	inbox inbox.Log
	clock *clock.Fake
	up    *upstream
	deps  *host.Deps
	subj  host.Subject // less the instance
	ctl   *schedule.Control
	polls *dispatch.Polls // for its Reap

	instances []*instance
	colls     []*collection // by model, then instance
	lanes     [2]*worker
	hooks     []*hook         // by delivery id
	mail      []*hook         // on their way
	received  map[int64]*hook // by inbox position
	answers   map[string][]snap

	choices choices // of the action that is done now
	tick    int     // counts commits
	acting  *worker
	fault   int // befalls the next commit
	resting bool
	out     io.Writer // where the story is told; nil: nowhere

	staged   []func() // what a transaction did, should it commit
	effect   func()   // what the next commit did
	observed map[int64]*[3]int

	bad    *Violation
	counts Counts
}

// instance is one sync instance.
type instance struct {
	id      int64
	variant string
	polls   [2]*worker
	colls   [2]*collection // by model
	done    int            // events since the last reset
	handled map[int64]bool
	// windows are when delete-tracking windows began.
	windows map[int64]int
}

// Violation is what was not as it must be.
type Violation struct {
	Check string // its name
	Text  string
}

func (v *Violation) Error() string { return v.Check + ": " + v.Text }

func (w *world) fail(check, format string, args ...any) {
	if w.bad == nil {
		w.bad = &Violation{check, fmt.Sprintf(format, args...)}
		w.tell("WRONG: %s", w.bad)
	}
}

func (w *world) tell(format string, args ...any) {
	if w.out != nil {
		fmt.Fprintf(w.out, format+"\n", args...)
	}
}

// Tell tells a story on an empty store and checks it. The error is a
// [Violation]; at is the action that met it, len(actions) when it was met after
// the last. out gets the story in words; it may be nil.
func Tell(ctx context.Context, s store.Store, o Options, actions []Action, out io.Writer) (counts Counts, at int, err error) {
	w := &world{
		o: o, clock: clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), up: newUpstream(&o), inbox: o.Inbox, out: out,
		received: map[int64]*hook{}, answers: map[string][]snap{}, observed: map[int64]*[3]int{},
	}
	if w.inbox == nil {
		w.inbox = NewInbox()
	}
	w.store = &harness{s, w}
	defer w.stopAll()
	if err := w.setUp(ctx); err != nil {
		return w.counts, 0, err
	}
	for at = range actions {
		w.act(ctx, actions[at])
		if w.bad != nil {
			return w.counts, at, w.bad
		}
	}
	w.rest(ctx)
	if w.bad != nil {
		err = w.bad
	}
	return w.counts, len(actions), err
}

func (w *world) setUp(ctx context.Context) error {
	now := w.clock.Now()
	w.deps = &host.Deps{Store: w.store, Clock: w.clock, Upstream: w, Connections: w, MaxLogLines: 10, ConnectionsChanged: func(int64, int64) {}}
	if w.o.MassDelete {
		w.deps.MassDelete = records.MassDelete{Records: 1, Percent: 20}
	}
	w.ctl = &schedule.Control{Store: w.store, Clock: w.clock, Wake: func() {}, Cancel: w.cancel}
	w.polls = &dispatch.Polls{Lease: leaseTime, Engine: &dispatch.Engine{
		Host: w.deps, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Announcer: w, Announced: func() {},
	}}
	models := map[string]json.RawMessage{}
	for m := range w.o.Models {
		models[modelNames[m]] = json.RawMessage(`{}`)
	}
	variants := []string{syncline.BaseVariant}
	if w.o.Variant {
		variants = append(variants, "eu")
	}
	return w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		s := &w.subj
		s.Environment = syncline.Environment{UUID: syncline.NewUUID(), Name: "sim", CreatedAt: now}
		if err := tx.CreateEnvironment(&s.Environment); err != nil {
			return err
		}
		env := s.Environment.ID
		s.Integration = syncline.Integration{EnvironmentID: env, UniqueKey: "sim", Provider: "sim", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateIntegration(&s.Integration); err != nil {
			return err
		}
		s.Connection = syncline.Connection{EnvironmentID: env, IntegrationID: s.Integration.ID, ConnectionID: "c", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateConnection(&s.Connection); err != nil {
			return err
		}
		if err := tx.PutBundle(env, "hash", []byte("x")); err != nil {
			return err
		}
		s.Function = syncline.Function{EnvironmentID: env, IntegrationID: s.Integration.ID, Type: syncline.FunctionSync, Name: "things", Enabled: true, CreatedAt: now}
		if err := tx.DeployFunction(&s.Function, &syncline.FunctionVersion{BundleHash: "hash", DeployedAt: now, Manifest: syncline.Manifest{
			Type: syncline.FunctionSync, Name: "things", Frequency: "every hour", Models: models, HasOnWebhook: true, WebhookSubscriptions: []string{"*"},
			RewindContested: w.o.Rewind,
		}}); err != nil {
			return err
		}
		w.instances, w.colls = nil, nil
		for _, variant := range variants {
			i, err := schedule.Ensure(tx, &s.Function, s.Connection.ID, variant, now)
			if err != nil {
				return err
			}
			in := &instance{id: i.ID, variant: variant, windows: map[int64]int{}, handled: map[int64]bool{}}
			w.instances = append(w.instances, in)
			for m := range w.o.Models {
				c := newCollection(w, in, m)
				in.colls[m] = c
				w.colls = append(w.colls, c)
			}
		}
		return nil
	})
}

// act does one action.
func (w *world) act(ctx context.Context, a Action) {
	w.choices = choices(a.Choice)
	w.clock.Advance(time.Duration(w.choices.pick(200)) * time.Millisecond)
	who := int(a.Who)
	in := w.instances[who%len(w.instances)]
	c := w.colls[who%len(w.colls)]
	switch a.Kind {
	case kindChange:
		w.change(ctx)
	case kindDeliver:
		w.deliverMail(ctx)
	case kindRoute:
		w.route(ctx)
	case kindPoll:
		w.stepPoll(ctx, in, who/4%2)
	case kindLane:
		w.stepLane(ctx, who/8)
	case kindRead:
		c.readers[who/8].read(ctx, 1+w.choices.pick(5))
	case kindReadAll:
		c.readers[who/8].readAll(ctx)
	case kindForget:
		c.readers[who/8].forget()
	case kindClock:
		w.jump()
	case kindReset:
		w.reset(ctx, in)
	case kindCrash:
		w.crash(ctx)
	case kindHang:
		w.hang()
	case kindReap:
		w.reap(ctx)
	case kindPurge:
		w.purge(ctx, c)
	case kindOperate:
		w.operate(ctx, w.choices.pick(2) > 0)
	case kindFault:
		w.fault = 1 + w.choices.pick(3)
	default:
	}
}

// jump moves the clock: a little, back, or beyond every lease.
func (w *world) jump() {
	switch n := w.choices.pick(10); {
	case n < 3:
		w.counts[ClockBack]++
		w.tell("the clock goes back two minutes")
		w.clock.Advance(-2 * time.Minute)
	case n < 6 && w.o.Leases:
		w.tell("the clock goes ahead half an hour: leases end")
		w.clock.Advance(30 * time.Minute)
	default:
		w.clock.Advance(2 * time.Second)
	}
}

// What befalls a commit.
const (
	faultAbort     = 1 + iota // it fails
	faultRerun                // its function runs twice
	faultAmbiguous            // it stands, and its caller is told that it may not
)

var (
	errInjected = syncline.Errorf(syncline.CodeUnavailable, "the store went away")
	errAgain    = errors.New("once more")
)

// harness is the store as the product sees it: the one under test, with what
// befalls commits. It counts them and looks at what each left.
type harness struct {
	store.Store
	w *world
}

func (h *harness) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	w := h.w
	fault := w.fault
	if w.acting == nil || w.resting {
		fault = 0
	} else {
		w.fault = 0
	}
	body := func(tx store.Tx) error {
		w.staged = w.staged[:0]
		return fn(tx)
	}
	if fault == faultAbort || fault == faultRerun {
		err := h.Store.Update(ctx, d, func(tx store.Tx) error {
			if err := body(tx); err != nil {
				return err
			}
			return errAgain
		})
		if !errors.Is(err, errAgain) {
			return err
		}
		if fault == faultAbort {
			w.counts[Aborted]++
			w.tell("  (the commit fails)")
			return errInjected
		}
		w.counts[Rerun]++
	}
	if err := h.Store.Update(ctx, d, body); err != nil {
		return err
	}
	w.committed(ctx)
	if fault == faultAmbiguous {
		w.counts[Ambiguous]++
		w.tell("  (the commit stands, but who made it is told that it may not)")
		return errInjected
	}
	return nil
}

// committed looks at what a commit left.
func (w *world) committed(ctx context.Context) {
	w.counts[Steps]++
	w.tick++
	for _, f := range w.staged {
		f()
	}
	w.staged = w.staged[:0]
	if f := w.effect; f != nil {
		w.effect = nil
		f()
	}
	for _, c := range w.colls {
		c.observe(ctx)
	}
}

// view reads the store.
func (w *world) view(ctx context.Context, fn func(r store.Reader) error) {
	if err := w.store.View(ctx, fn); err != nil {
		w.fail("error", "a read failed: %v", err)
	}
}

func (w *world) instanceNow(ctx context.Context, id int64) (i syncline.SyncInstance) {
	w.view(ctx, func(r store.Reader) (err error) {
		i, err = r.Instance(w.subj.Environment.ID, id)
		return err
	})
	return i
}

// reset forgets what an instance knows, and perhaps its cache, with the
// product's own command.
func (w *world) reset(ctx context.Context, in *instance) {
	empty := w.o.Empties && w.choices.pick(2) == 0
	w.counts[Resets]++
	w.effect = func() {
		in.done = 0
		clear(in.windows)
		if empty {
			for _, c := range in.colls {
				if c != nil {
					c.emptied()
				}
			}
		}
	}
	w.tell("the sync %s is reset, empty cache: %t", in.variant, empty)
	if empty {
		w.counts[Empties]++
	}
	if err := w.ctl.Trigger(ctx, w.subj.Environment.ID, in.id, schedule.TriggerOptions{Reset: true, EmptyCache: empty}); err != nil {
		w.fail("error", "reset: %v", err)
	}
}

// purge removes tombstones that nothing is under way for. Retention keeps them
// for days; whatever is late by more than that is not told of here.
func (w *world) purge(ctx context.Context, c *collection) {
	if c.in.polls[0] != nil || c.in.polls[1] != nil {
		return
	}
	before, some := w.clock.Now().Add(time.Hour), false
	for i := range c.seen {
		s := &c.seen[i]
		switch {
		case !s.there && s.inFlight > 0 && s.floor.version > 0 && w.o.keepNewest():
			return // there may be a marker
		case s.there && s.deleted && s.inFlight > 0:
			if s.deletedAt.Before(before) {
				before = s.deletedAt
			}
		case s.there && s.deleted:
			some = true
		}
	}
	coll, ok := c.row(ctx)
	if !some || !ok {
		return
	}
	n := 0
	err := w.store.Update(ctx, store.Durable, func(tx store.Tx) (err error) {
		if _, err := tx.LockCollection(c.env(), coll.ID); err != nil {
			return err
		}
		n, err = tx.PurgeDeleted(c.env(), coll.ID, before, 100)
		return err
	})
	if err != nil {
		w.fail("error", "purge: %v", err)
	}
	if n > 0 {
		w.counts[Purged] += n
		w.tell("retention removes %d tombstones of %s", n, c.key)
		c.forgetPurged(ctx)
	}
}

// operate decides about deletes that are held.
func (w *world) operate(ctx context.Context, confirm bool) {
	env := w.subj.Environment.ID
	var held []syncline.DeleteWindow
	w.view(ctx, func(r store.Reader) (err error) {
		held, err = r.HeldWindows(env, store.Page{})
		return err
	})
	slices.SortFunc(held, func(a, b syncline.DeleteWindow) int { return int(a.ID - b.ID) })
	for i := range held {
		h := &held[i]
		now := w.clock.Now()
		err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
			if !confirm {
				_, err := records.DiscardWindow(tx, env, h.ID, now)
				return err
			}
			run, err := tx.Run(env, h.RunID)
			if err != nil {
				return err
			}
			coll, err := tx.CollectionByID(env, h.CollectionID)
			if err != nil {
				return err
			}
			model, _ := syncline.SplitModel(coll.Model)
			g := records.Guard{Strategy: syncline.StrategyOverride, Writer: syncline.Writer{Lineage: run.Lineage, RunID: run.ID}}
			_, result, err := records.ConfirmWindow(tx, env, h.ID, g, now)
			if err != nil {
				return err
			}
			run.Models = host.WithResult(run.Models, model, result)
			w.stage(func() {
				for _, c := range w.colls {
					if c.key == coll.Model {
						c.swept(ctx, h.ID)
					}
				}
			})
			return tx.UpdateRun(&run)
		})
		if err != nil {
			w.fail("error", "held deletes: %v", err)
		}
		if confirm {
			w.counts[Confirmed]++
			w.tell("the held deletes %d are confirmed", h.ID)
		} else {
			w.counts[Discarded]++
			w.tell("the held deletes %d are discarded", h.ID)
		}
	}
}

// newest is the newest position that was observed: where the cache stands,
// whatever the store says.
func (w *world) newest() (seq int64) {
	for _, c := range w.colls {
		seq = max(seq, c.lastSeq)
	}
	return seq
}

func (w *world) stage(f func()) { w.staged = append(w.staged, f) }

// Describe is not asked for.
func (w *world) Describe(context.Context, *syncline.Integration, *syncline.Connection, host.DescribeOptions) (json.RawMessage, error) {
	return nil, errors.New("not asked for")
}

// Announce tells nobody.
func (w *world) Announce(store.Tx, *host.Subject, *syncline.Run, string, *syncline.ModelResult, time.Time) error {
	return nil
}

// Failure is a story that met a violation.
type Failure struct {
	Options   Options
	Actions   []Action // up to the one that met it
	Violation *Violation
}

func (f *Failure) Error() string {
	return fmt.Sprintf("%q, seed %d, action %d: %s", f.Options.Name, f.Options.Seed, len(f.Actions), f.Violation)
}

func (f *Failure) Unwrap() error { return f.Violation }

// Run tells the story of a seed. What is wrong with it is a [Failure].
func Run(ctx context.Context, s store.Store, o Options) (Counts, error) {
	actions := Actions(o)
	counts, at, err := Tell(ctx, s, o, actions, nil)
	var v *Violation
	if errors.As(err, &v) {
		err = &Failure{o, actions[:min(at+1, len(actions))], v}
	}
	return counts, err
}

// Words is a story in words.
func Words(ctx context.Context, s store.Store, o Options, actions []Action) string {
	var b strings.Builder
	_, _, _ = Tell(ctx, s, o, actions, &b) // what is wrong is in the words
	return b.String()
}
