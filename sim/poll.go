package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// leaseTime is how long a claim holds.
const leaseTime = time.Minute

// stepPoll lets a poll worker go on, or begin a poll when it has none.
func (w *world) stepPoll(ctx context.Context, in *instance, n int) {
	k := in.polls[n]
	if k == nil && w.choices.pick(4) > 0 {
		return // it is not due yet
	}
	if k == nil {
		full := w.o.Polls == FullPolls || w.choices.chance(w.o.Reconcile)
		k = w.spawnPoll(ctx, in, n, full)
	}
	in.polls[n] = w.step(k)
}

func (w *world) spawnPoll(ctx context.Context, in *instance, n int, full bool) *worker {
	p := &poll{w: w, in: in, full: full, owner: fmt.Sprintf("poll worker %d of %s", n, in.variant)}
	return w.spawn(ctx, p.owner, pollRequest, func(ctx context.Context, pass *pass) {
		p.pass = pass
		p.run(ctx)
	})
}

// poll is one poll: what dispatch.Polls does, and the function that it runs.
type poll struct {
	w     *world
	in    *instance
	pass  *pass
	owner string
	full  bool // it is to fetch everything
	ok    bool // it succeeded

	lease syncline.Lease
	subj  host.Subject
	row   *syncline.Run
	host  *host.Poll

	at      checkpoint
	style   listing
	first   int                   // the model that it began with
	marks   map[int]int64         // the cache's position when the newest request of a model began
	ended   map[*collection]int64 // the windows that its success ends
	refused map[*collection]int   // records that were contested, as we see it
}

// listing is how a function pages.
type listing int

const (
	plain   listing = iota // fetch, save, fetch, save
	hold                   // fetch two pages, then save the first
	ahead                  // the next page is fetched while one is saved
	details                // a page, then each of its objects
)

// checkpoint is where a function goes on.
type checkpoint struct {
	Model    int    `json:"model"`
	After    int    `json:"after"`
	Since    [2]int `json:"since"`
	Tracking bool   `json:"tracking"`
}

func (p *poll) run(ctx context.Context) {
	w := p.w
	if ok, err := p.claim(ctx); err != nil || !ok {
		p.unexpected("claim", err)
		return
	}
	if p.pass.at(pollClaimed) != nil {
		if !errors.Is(p.pass.err, errCrash) {
			p.release(ctx)
		}
		return
	}
	if err := p.begin(ctx); err != nil {
		p.unexpected("begin", err)
		p.release(ctx)
		return
	}
	position, err := w.store.Position(ctx)
	if err != nil {
		w.fail("error", "position: %v", err)
		return
	}
	p.host = host.NewPoll(w.deps, &p.subj, p.lease, p.row, position)
	if err = p.pass.at(pollBegun); err == nil {
		err = p.exec(ctx)
	}
	if err == nil {
		err = p.pass.at(pollEnd)
	}
	if errors.Is(err, errCrash) {
		return
	}
	p.finish(ctx, err)
}

// unexpected is for an error that nobody caused.
func (p *poll) unexpected(what string, err error) {
	if err != nil && !unavailable(err) && !fenced(err) {
		p.w.fail("error", "%s: %s: %v", p.owner, what, err)
	}
}

func (p *poll) env() int64 { return p.w.subj.Environment.ID }

func (p *poll) claim(ctx context.Context) (ok bool, err error) {
	w := p.w
	i := w.instanceNow(ctx, p.in.id)
	now := w.clock.Now()
	if i.PollLease.Owner != "" && i.PollLease.Until.After(now) {
		return false, nil // look before writing
	}
	err = w.store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		p.lease, ok, err = tx.ClaimPoll(p.env(), p.in.id, p.owner, now, now.Add(leaseTime))
		return err
	})
	return ok, err
}

func (p *poll) release(ctx context.Context) {
	err := p.w.store.Update(ctx, store.Relaxed, func(tx store.Tx) error { return tx.ReleasePoll(p.env(), p.in.id, p.lease.Epoch) })
	p.unexpected("release", err)
}

// begin writes the run, as dispatch.Polls.begin does.
func (p *poll) begin(ctx context.Context) error {
	w := p.w
	p.subj = w.subj
	resumed := false
	err := w.store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		i, err := tx.Instance(p.env(), p.in.id)
		if err != nil {
			return err
		}
		p.row = &syncline.Run{
			UUID: syncline.NewUUID(), EnvironmentID: p.env(), ConnectionID: p.subj.Connection.ID, InstanceID: i.ID, FunctionID: p.subj.Function.ID,
			VersionID: p.subj.Function.Active.ID, Kind: syncline.RunPoll, Status: syncline.RunRunning, Attempt: 1, StartedAt: w.clock.Now(), SyncType: syncline.SyncIncremental,
		}
		r := &i.Reconcile
		switch {
		case w.o.Polls == Incremental && p.full && !r.Full:
			r.Full, r.Requested, r.Rewind, r.Before = true, false, nil, r.Contested
			i.PollCheckpoint = nil
			p.row.Mode = syncline.ModeFull
		case r.Full:
			p.row.Mode = syncline.ModeFull
		case r.Rewind != nil:
			i.PollCheckpoint, i.LastSyncDate, r.Rewind = r.Rewind.Checkpoint, r.Rewind.LastSyncDate, nil
			p.row.Mode = syncline.ModeRewind
		}
		if i.PollCheckpoint != nil && i.LastPollRunID != 0 {
			last, err := tx.Run(p.env(), i.LastPollRunID)
			if err != nil {
				return err
			}
			if last.Status != syncline.RunSuccess {
				p.row.Lineage = last.Lineage
				resumed = true
				if last.Mode == syncline.ModeRewind && p.row.Mode == syncline.ModeNormal {
					p.row.Mode = syncline.ModeRewind
				}
			}
		}
		if err := tx.CreateRun(p.row); err != nil {
			return err
		}
		i.PollRunID, i.TriggerPending = p.row.ID, false
		p.subj.Instance = i
		w.stage(func() {
			w.counts[Polls0]++
			if resumed {
				w.counts[Resumed]++
			}
			if p.row.Mode == syncline.ModeRewind {
				w.counts[Rewinds]++
			}
			how := ""
			if p.row.Mode != syncline.ModeNormal {
				how = ", " + string(p.row.Mode)
			}
			if resumed {
				how += fmt.Sprintf(", going on for run %d", p.row.Lineage)
			}
			w.tell("%s begins run %d%s (checkpoint %s)", p.owner, p.row.ID, how, orNone(i.PollCheckpoint))
		})
		return tx.UpdateInstance(&i)
	})
	return err
}

func orNone(c json.RawMessage) string {
	if c == nil {
		return "none"
	}
	return string(c)
}

// finish writes the run's end, as dispatch.Polls.finish does.
func (p *poll) finish(ctx context.Context, err error) {
	w := p.w
	now := w.clock.Now()
	switch {
	case err == nil:
		p.row.Status = syncline.RunSuccess
	case fenced(err):
		p.row.Status = syncline.RunCanceled
	default:
		p.row.Status, p.row.Error = syncline.RunFailed, err.Error()
	}
	p.row.FinishedAt = now
	var ended syncline.Run
	end := w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		ended = *p.row
		if err := p.host.Fence(tx); err != nil {
			return err
		}
		i, err := tx.Instance(p.env(), p.in.id)
		if err != nil {
			return err
		}
		i.PollRunID, i.LastPollRunID = 0, p.row.ID
		if p.row.Status == syncline.RunSuccess {
			if err := p.host.CommitDeletes(tx, &ended, now); err != nil {
				return err
			}
			if i.Reconcile.Full || i.LastSyncDate.IsZero() {
				r := &i.Reconcile
				r.FullAt, r.Full, r.Contested, r.Before = p.row.StartedAt, false, max(0, r.Contested-r.Before), 0
			}
			i.LastSyncDate = p.row.StartedAt
		}
		if err := tx.UpdateInstance(&i); err != nil {
			return err
		}
		if err := tx.UpdateRun(&ended); err != nil {
			return err
		}
		w.stage(func() { p.finished(ctx) })
		return tx.ReleasePoll(p.env(), i.ID, p.lease.Epoch)
	})
	switch {
	case end == nil:
		p.unexpected("a call", err)
		p.ok = p.row.Status == syncline.RunSuccess
		*p.row = ended
		for _, r := range ended.Models {
			w.counts[Skipped] += r.Skipped
			w.counts[Contested] += r.Contested
			w.counts[Older] += r.Older
			w.counts[Unknown] += r.Unknown
		}
	case fenced(end):
		p.lost(ctx)
		p.row.Status = syncline.RunCanceled
		err := w.store.Update(ctx, store.Durable, func(tx store.Tx) error {
			fresh, err := tx.Run(p.env(), p.row.ID)
			if err != nil {
				return err
			}
			if fresh.Status == syncline.RunRunning { // else it was reaped
				if err := tx.UpdateRun(p.row); err != nil {
					return err
				}
			}
			return tx.ReleasePoll(p.env(), p.in.id, p.lease.Epoch)
		})
		p.unexpected("the end of a run that was fenced", err)
	default:
		p.unexpected("end", end)
		p.release(ctx)
	}
}

// finished looks at what the end of the run committed.
func (p *poll) finished(ctx context.Context) {
	w := p.w
	p.fence(ctx)
	w.tell("%s ends run %d: %s", p.owner, p.row.ID, p.row.Status)
	if p.row.Status != syncline.RunSuccess {
		return
	}
	for _, c := range p.in.colls {
		if window, ok := p.ended[c]; ok && c != nil {
			w.counts[FullEnds]++
			c.swept(ctx, window)
		}
	}
}

// lost counts why the run may not commit any more.
func (p *poll) lost(ctx context.Context) {
	i := p.w.instanceNow(ctx, p.in.id)
	if i.Epoch != p.subj.Instance.Epoch {
		p.w.counts[EpochLosses]++
		p.w.tell("%s is refused: the sync was reset", p.owner)
		return
	}
	p.w.counts[LeaseLosses]++
	p.w.tell("%s is refused: it lost its lease", p.owner)
}

// fence checks that the run might commit: nobody else has its lease, and the
// sync was not reset.
func (p *poll) fence(ctx context.Context) {
	i := p.w.instanceNow(ctx, p.in.id)
	if i.Epoch != p.subj.Instance.Epoch {
		p.w.fail("fencing", "%s committed in epoch %d after a reset, in epoch %d", p.owner, p.subj.Instance.Epoch, i.Epoch)
	}
	if i.PollLease.Epoch != p.lease.Epoch {
		p.w.fail("fencing", "%s committed with lease %d after another worker had taken lease %d", p.owner, p.lease.Epoch, i.PollLease.Epoch)
	}
}

// call makes a host call that commits.
func (p *poll) call(ctx context.Context, method string, args []byte, effect func()) (json.RawMessage, error) {
	if err := p.beat(ctx); err != nil {
		return nil, err
	}
	p.w.effect = func() {
		p.fence(ctx)
		if effect != nil {
			effect()
		}
	}
	out, err := p.host.Call(ctx, method, args)
	p.w.effect = nil
	return out, err
}

// beat extends the lease, mostly: sometimes a worker hangs for too long.
func (p *poll) beat(ctx context.Context) error {
	w := p.w
	now := w.clock.Now()
	if now.Add(leaseTime/2).Before(p.lease.Until) || w.choices.pick(3) == 0 {
		return nil
	}
	err := w.store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		return tx.ExtendPoll(p.env(), p.in.id, p.lease.Epoch, now.Add(leaseTime))
	})
	if err == nil {
		p.lease.Until = now.Add(leaseTime)
	}
	if fenced(err) {
		return errMoved
	}
	return nil
}

// exec is the function.
func (p *poll) exec(ctx context.Context) error {
	w := p.w
	p.marks, p.ended, p.refused = map[int]int64{}, map[*collection]int64{}, map[*collection]int{}
	for m := range w.o.Models {
		if _, err := p.host.Call(ctx, fn.MethodSetMergingStrategy, strategyArgs(m, &w.o)); err != nil {
			return err
		}
	}
	raw, err := p.host.Call(ctx, fn.MethodGetCheckpoint, nil)
	if err != nil {
		return err
	}
	if raw != nil {
		if err := json.Unmarshal(raw, &p.at); err != nil {
			return err
		}
	} else {
		p.at = checkpoint{After: -1, Tracking: true}
	}
	p.first = p.at.Model
	if w.choices.chance(w.o.Prefetch) {
		p.style = listing(1 + w.choices.pick(3))
	}
	if p.at.Tracking {
		for m := range w.o.Models {
			if err := p.track(ctx, m); err != nil {
				return err
			}
		}
	}
	for ; p.at.Model < w.o.Models; p.at.Model, p.at.After = p.at.Model+1, -1 {
		if err := p.list(ctx, p.at.Model); err != nil {
			return err
		}
	}
	if p.at.Tracking {
		for m := range w.o.Models {
			if _, err := p.host.Call(ctx, fn.MethodTrackDeletesEnd, modelArgs(m)); err != nil {
				return err
			}
		}
	}
	if w.o.Polls == FullPolls {
		// The next poll begins at the beginning.
		_, err = p.call(ctx, fn.MethodClearCheckpoint, nil, nil)
		return err
	}
	p.at.Model, p.at.After, p.at.Tracking = 0, -1, false
	return p.save(ctx)
}

func modelArgs(m int) []byte { return fmt.Appendf(nil, `{"model":%q}`, modelNames[m]) }

// track begins to track deletes.
func (p *poll) track(ctx context.Context, m int) error {
	c := p.in.colls[m]
	_, err := p.call(ctx, fn.MethodTrackDeletesStart, modelArgs(m), func() {
		coll, _ := c.row(ctx)
		if _, goesOn := p.in.windows[coll.WindowID]; !goesOn {
			p.in.windows[coll.WindowID] = p.w.tick
		}
		p.ended[c] = coll.WindowID
	})
	return err
}

// list pages through a model.
func (p *poll) list(ctx context.Context, m int) error {
	switch p.style {
	case hold:
		return p.listHeld(ctx, m)
	case ahead:
		return p.listAhead(ctx, m)
	case plain, details:
	}
	for {
		page, err := p.page(ctx, p.pass, m, p.at)
		if err != nil || len(page) == 0 {
			return err
		}
		fresh := page
		if p.style == details {
			fresh = nil
			for _, s := range page {
				if s, err = p.detail(ctx, s); err != nil {
					return err
				}
				if !s.deleted {
					fresh = append(fresh, s)
				}
			}
		}
		if err := p.take(ctx, m, fresh, page); err != nil {
			return err
		}
	}
}

func (p *poll) listHeld(ctx context.Context, m int) error {
	var queue [][]snap
	next, done := p.at, false
	for {
		for !done && len(queue) < 2 {
			page, err := p.page(ctx, p.pass, m, next)
			if err != nil {
				return err
			}
			if done = len(page) == 0; !done {
				queue = append(queue, page)
				next = next.beyond(m, page)
			}
		}
		if len(queue) == 0 {
			return nil
		}
		if err := p.take(ctx, m, queue[0], queue[0]); err != nil {
			return err
		}
		queue = queue[1:]
	}
}

// listAhead requests the next page before it saves one.
func (p *poll) listAhead(ctx context.Context, m int) error {
	request := p.request(ctx, m, p.at)
	defer func() { request.stop() }()
	for {
		page, err := request.wait(p.pass)
		if err != nil || len(page) == 0 {
			return err
		}
		request.stop()
		request = p.request(ctx, m, p.at.beyond(m, page))
		if err := p.take(ctx, m, page, page); err != nil {
			return err
		}
	}
}

// request is a request on its way, a coroutine of its own.
type request struct {
	next func() (point, bool)
	stop func()
	over bool
	page []snap
	err  error
}

func (p *poll) request(ctx context.Context, m int, at checkpoint) *request {
	r := &request{}
	pass := &pass{w: p.w, from: pollRequest}
	r.next, r.stop = iter.Pull(func(yield func(point) bool) {
		pass.yield = yield
		r.page, r.err = p.page(context.WithValue(ctx, passKey{}, pass), pass, m, at)
	})
	for range 1 + p.w.choices.pick(2) {
		if _, more := r.next(); !more {
			r.over = true
		}
	}
	return r
}

func (r *request) wait(p *pass) ([]snap, error) {
	for !r.over {
		at, more := r.next()
		if !more {
			break
		}
		if err := p.at(at); err != nil {
			return nil, err
		}
	}
	r.over = true
	return r.page, r.err
}

func (c checkpoint) beyond(m int, page []snap) checkpoint {
	if len(page) > 0 {
		last := page[len(page)-1]
		c.After = last.id
		c.Since[m] = last.version
	}
	return c
}

// page fetches the page of a model after a checkpoint.
func (p *poll) page(ctx context.Context, pass *pass, m int, at checkpoint) ([]snap, error) {
	query := "after=" + strconv.Itoa(at.After)
	if p.w.o.Polls == Incremental {
		query = "since=" + strconv.Itoa(at.Since[m])
		if p.w.o.ListDeletes && !at.Tracking {
			query = "deleted-" + query
		}
	}
	p.marks[m] = p.w.newest()
	page, err := p.fetch(ctx, m, query)
	if err != nil {
		return nil, err
	}
	p.w.counts[Pages]++
	return page, pass.err
}

func (p *poll) detail(ctx context.Context, s snap) (snap, error) {
	page, err := p.fetch(ctx, s.model, "id="+strconv.Itoa(s.id))
	if err != nil {
		return s, err
	}
	return page[0], nil
}

func (p *poll) fetch(ctx context.Context, m int, query string) ([]snap, error) {
	if p.w.choices.chance(p.w.o.PollFails) && !p.w.resting {
		return nil, errInjected
	}
	return p.w.fetch(ctx, p.host, m, query)
}

// take saves what was fetched and notes where to go on.
func (p *poll) take(ctx context.Context, m int, fresh, page []snap) error {
	var saves, deletes []item
	for _, s := range fresh {
		if s.deleted {
			deletes = append(deletes, item{snap: s, op: opDelete})
		} else {
			saves = append(saves, item{snap: s, op: opSave})
		}
	}
	parts := [][]item{saves, deletes}
	if len(saves) > 1 && p.w.choices.pick(4) == 0 {
		parts = [][]item{saves[:1], saves[1:], deletes}
	}
	where := pollSave
	for _, part := range parts {
		if len(part) == 0 && (p.style != plain || p.w.choices.pick(8) > 0) {
			continue // mostly: functions do make batches of nothing
		}
		if err := p.pass.at(where); err != nil {
			return err
		}
		where = pollSplit
		if err := p.batch(ctx, m, part); err != nil {
			return err
		}
	}
	p.at = p.at.beyond(m, page)
	if err := p.pass.at(pollCheckpoint); err != nil {
		return err
	}
	return p.save(ctx)
}

func (p *poll) save(ctx context.Context) error {
	args, err := json.Marshal(map[string]any{"checkpoint": p.at})
	if err != nil {
		return err
	}
	_, err = p.call(ctx, fn.MethodSaveCheckpoint, args, nil)
	return err
}

// batch writes records and looks at what became of them.
func (p *poll) batch(ctx context.Context, m int, items []item) error {
	w := p.w
	method := fn.MethodBatchSave
	if len(items) > 0 && items[0].op == opDelete {
		method = fn.MethodBatchDelete
	}
	c := p.in.colls[m]
	if w.out != nil {
		list := make([]string, len(items))
		for i, it := range items {
			list[i] = it.String()
		}
		w.tell("%s (run %d) writes: %s", p.owner, p.row.ID, strings.Join(list, "; "))
	}
	contested := 0
	_, err := p.call(ctx, method, w.batch(m, items), func() {
		if len(items) > 0 {
			contested = c.wrote(ctx, p, items)
		}
	})
	if err != nil {
		return err
	}
	p.refused[c] += contested
	if got := p.row.Models[modelNames[m]].Contested; !w.o.keepNewest() && got != p.refused[c] {
		w.fail("counts", "run %d says that %d records of %s were contested; it was %d", p.row.ID, got, c.key, p.refused[c])
	}
	return nil
}

// fetch makes a request for a page through the host API.
func (w *world) fetch(ctx context.Context, h fn.Host, m int, query string) ([]snap, error) {
	args, err := json.Marshal(fn.HTTPArgs{Method: "GET", Endpoint: strconv.Itoa(m), Query: query})
	if err != nil {
		return nil, err
	}
	out, err := h.Call(ctx, fn.MethodHTTP, args)
	if err != nil {
		return nil, err
	}
	var r fn.HTTPResult
	if err := json.Unmarshal(out, &r); err != nil {
		return nil, err
	}
	page := w.answers[r.Body]
	delete(w.answers, r.Body)
	return page, nil
}

// Do answers a request: others may take steps before the external API answers,
// and before the answer arrives.
func (w *world) Do(ctx context.Context, r host.UpstreamRequest) (*fn.HTTPResult, error) {
	args := r.Args
	pass, _ := ctx.Value(passKey{}).(*pass)
	if err := pass.at(pass.from); err != nil {
		return nil, err
	}
	m, err := strconv.Atoi(args.Endpoint)
	if err != nil {
		return nil, err
	}
	name, value, _ := strings.Cut(args.Query, "=")
	n, err := strconv.Atoi(value)
	if err != nil {
		return nil, err
	}
	var page []snap
	switch name {
	case "after":
		page = w.up.byID(m, n)
	case "since":
		page = w.up.since(m, n, false)
	case "deleted-since":
		page = w.up.since(m, n, true)
	case "id":
		page = []snap{w.up.objects[m][n].snap}
	}
	w.tell("  upstream answers %s?%s with %v", modelNames[m], args.Query, page)
	token := strconv.Itoa(len(w.answers)) + args.Query + strconv.FormatUint(w.choices.next(), 36)
	w.answers[token] = page
	if err := pass.at(pass.from + 1); err != nil {
		return nil, err
	}
	return &fn.HTTPResult{Status: 200, Body: token}, nil
}
