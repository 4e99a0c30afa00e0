package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// Options shape a story.
type Options struct {
	Seed    uint64
	Steps   int
	Objects int // how many ids there are
	// Prefetch lets polls fetch the next page before they save the last one.
	Prefetch bool
	// LoseHooks loses some webhooks; without it each arrives at once, in order.
	LoseHooks bool
	// Crashes ends the process between two steps, now and then.
	Crashes bool
	// Resets empties the cache now and then.
	Resets bool
}

// Counts tells how often each mechanism was exercised.
type Counts struct {
	Changes, Hooks, Lost, Polls, Pages, Events, Commits int
	Skipped, Contested, Crashes, Resets, Reads, Refused int
}

// world is one story.
type world struct {
	o      Options
	random *rand.Rand
	store  store.Store
	clock  *clock.Fake
	up     *upstream
	deps   *host.Deps
	subj   host.Subject
	model  string

	lane  []syncline.Event
	hooks map[int64]hook // by event
	// lastPoll is the newest poll, and emptied the one that was newest when the
	// cache was emptied: no earlier one may write any more.
	lastPoll, emptied int64
	polling           bool
	depth             int // how deeply others take steps while one waits
	steps             int
	epoch             int64
	crashed           error // set where a step crashes the process

	reader *reader
	// contested are the ids whose deletion by a webhook gave way to a poll that
	// wrote after it was received: they are counted, and delete tracking has to
	// find them.
	contested map[string]bool
	visible   map[string]int // the newest version of each record that was ever visible
	story     []string
	counts    Counts
}

var errCrash = errors.New("the process crashed")

// Run tells a story on an empty store and checks it; the error tells what was
// not as it must be, and the end of the story.
func Run(ctx context.Context, s store.Store, o Options) (Counts, error) {
	w := &world{
		o: o, random: rand.New(rand.NewPCG(o.Seed, 1)), store: s, clock: clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)),
		model: "Thing", hooks: map[int64]hook{}, visible: map[string]int{}, contested: map[string]bool{},
	}
	w.up = newUpstream(rand.New(rand.NewPCG(o.Seed, 2)))
	if err := w.setUp(ctx); err != nil {
		return w.counts, err
	}
	err := w.play(ctx)
	if err != nil {
		from := max(0, len(w.story)-40)
		err = fmt.Errorf("seed %d: %w\n%s", o.Seed, err, strings.Join(w.story[from:], "\n"))
	}
	return w.counts, err
}

func (w *world) tell(format string, args ...any) {
	w.story = append(w.story, fmt.Sprintf("%5d %s%s", w.steps, strings.Repeat("  ", w.depth), fmt.Sprintf(format, args...)))
}

func (w *world) setUp(ctx context.Context) error {
	now := w.clock.Now()
	return w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		w.subj.Environment = syncline.Environment{UUID: syncline.NewUUID(), Name: "sim", CreatedAt: now}
		if err := tx.CreateEnvironment(&w.subj.Environment); err != nil {
			return err
		}
		env := w.subj.Environment.ID
		w.subj.Integration = syncline.Integration{EnvironmentID: env, UniqueKey: "sim", Provider: "sim", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateIntegration(&w.subj.Integration); err != nil {
			return err
		}
		w.subj.Connection = syncline.Connection{EnvironmentID: env, IntegrationID: w.subj.Integration.ID, ConnectionID: "c", CreatedAt: now, UpdatedAt: now}
		if err := tx.CreateConnection(&w.subj.Connection); err != nil {
			return err
		}
		if err := tx.PutBundle(env, "hash", []byte("x")); err != nil {
			return err
		}
		w.subj.Function = syncline.Function{EnvironmentID: env, IntegrationID: w.subj.Integration.ID, Type: syncline.FunctionSync, Name: "things", Enabled: true, CreatedAt: now}
		if err := tx.DeployFunction(&w.subj.Function, &syncline.FunctionVersion{BundleHash: "hash", DeployedAt: now, Manifest: syncline.Manifest{
			Type: syncline.FunctionSync, Name: "things", Frequency: "every hour", Models: map[string]json.RawMessage{w.model: json.RawMessage(`{}`)},
		}}); err != nil {
			return err
		}
		w.subj.Instance = syncline.SyncInstance{
			UUID: syncline.NewUUID(), EnvironmentID: env, ConnectionID: w.subj.Connection.ID, FunctionID: w.subj.Function.ID,
			Variant: syncline.BaseVariant, State: syncline.InstanceStarted, CreatedAt: now,
		}
		_, err := tx.EnsureInstance(&w.subj.Instance)
		w.epoch = w.subj.Instance.Epoch
		w.reader = newReader(w.store, env, w.subj.Connection.ID, w.model)
		w.deps = &host.Deps{
			Store: w.store, Clock: w.clock, Upstream: w, Connections: w, MaxLogLines: 10,
			ConnectionsChanged: func(int64, int64) {},
		}
		return err
	})
}

// play takes steps, lets everything come to rest, and checks the end.
func (w *world) play(ctx context.Context) error {
	for w.steps < w.o.Steps {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	w.tell("everything comes to rest")
	for len(w.lane) > 0 {
		if err := w.drain(ctx); err != nil {
			return err
		}
	}
	w.o.Crashes, w.o.Resets = false, false
	// A full poll that nothing disturbs reconciles what is left.
	w.depth = 100
	if err := w.poll(ctx); err != nil {
		return err
	}
	return w.checkEnd(ctx)
}

// step lets one actor do one thing.
func (w *world) step(ctx context.Context) error {
	w.steps++
	w.clock.Advance(time.Duration(w.random.IntN(2000)-500) * time.Millisecond) // clocks jump
	switch n := w.random.IntN(100); {
	case n < 35:
		w.upstreamChanges(ctx)
	case n < 60:
		if len(w.lane) > 0 {
			return w.drain(ctx)
		}
	case n < 70:
		if !w.polling && w.depth == 0 {
			return w.poll(ctx)
		}
	case n < 95:
		return w.read(ctx, 1+w.random.IntN(5))
	case n < 97 && w.o.Resets:
		return w.reset(ctx)
	}
	return nil
}

// others lets others take steps while somebody waits.
func (w *world) others(ctx context.Context) error {
	if w.depth >= 2 {
		return nil
	}
	w.depth++
	defer func() { w.depth-- }()
	for range w.random.IntN(6) {
		if err := w.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// upstreamChanges makes a change whose webhook arrives at once or never.
func (w *world) upstreamChanges(ctx context.Context) {
	h := w.up.change(w.o.Objects)
	w.counts.Changes++
	w.tell("upstream: %s is version %d, deleted %t", h.object.ID, h.object.Version, h.object.deleted)
	if w.o.LoseHooks && w.random.IntN(4) == 0 {
		w.counts.Lost++
		w.tell("its webhook is lost")
		return
	}
	position, err := w.store.Position(ctx)
	if err != nil {
		w.crashed = err
		return
	}
	e := &syncline.Event{
		EnvironmentID: w.subj.Environment.ID, LaneID: w.subj.Instance.ID, Position: int64(w.counts.Hooks + 1), Type: "change",
		ReceivedAt: w.clock.Now(), UpdatedAt: w.clock.Now(), Watermark: position, Status: syncline.EventPending,
	}
	w.counts.Hooks++
	if err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error { return tx.AppendEvents([]*syncline.Event{e}) }); err != nil {
		w.crashed = err
		return
	}
	w.hooks[e.ID] = h
	w.lane = append(w.lane, *e)
}

// Do answers a request of a poll: a page as it is now, or as it was before
// others did something, or after.
func (w *world) Do(ctx context.Context, _ *syncline.Integration, _ *syncline.Connection, args fn.HTTPArgs) (*fn.HTTPResult, error) {
	if w.random.IntN(2) == 0 {
		if err := w.others(ctx); err != nil {
			return nil, err
		}
	}
	page := w.up.page(args.Query, 3)
	body, err := json.Marshal(page)
	if err != nil {
		return nil, err
	}
	w.tell("a poll reads the page beyond %q: %s", args.Query, body)
	if err := w.others(ctx); err != nil {
		return nil, err
	}
	return &fn.HTTPResult{Status: 200, Body: string(body)}, nil
}

// Describe is not asked for.
func (w *world) Describe(context.Context, *syncline.Integration, *syncline.Connection) (json.RawMessage, error) {
	return nil, errors.New("not asked for")
}

func (w *world) read(ctx context.Context, limit int) error {
	w.counts.Reads++
	refused, err := w.reader.read(ctx, limit)
	if refused {
		w.counts.Refused++
		w.tell("the reader starts over")
	}
	return err
}

// Add adds the counts of another story.
func (c *Counts) Add(o Counts) {
	c.Changes += o.Changes
	c.Hooks += o.Hooks
	c.Lost += o.Lost
	c.Polls += o.Polls
	c.Pages += o.Pages
	c.Events += o.Events
	c.Commits += o.Commits
	c.Skipped += o.Skipped
	c.Contested += o.Contested
	c.Crashes += o.Crashes
	c.Resets += o.Resets
	c.Reads += o.Reads
	c.Refused += o.Refused
}
