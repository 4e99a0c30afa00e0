package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/supervise"
)

// peers are the processes on one database; postgres.Peers is what they are
// there, alone what one with an embedded database has.
type peers interface {
	// Lead runs run while this process has a role that one has at a time.
	Lead(ctx context.Context, role string, run func(ctx context.Context) error) error
	// Try runs fn if this process can have the role now.
	Try(ctx context.Context, role string, fn func(ctx context.Context) error) error
	// Alone runs fn when no other process is in it.
	Alone(ctx context.Context, role string, fn func(ctx context.Context) error) error
	// Notify tells the others something that they would find out later.
	Notify(signal string)
	// ReleaseLost frees the leases of processes that are gone.
	ReleaseLost(ctx context.Context) (int64, error)
	Close()
}

// alone is a process that is the only one on its data.
type alone struct{}

func (alone) Lead(ctx context.Context, _ string, run func(ctx context.Context) error) error {
	return run(ctx)
}

func (alone) Try(ctx context.Context, _ string, fn func(ctx context.Context) error) error {
	return fn(ctx)
}

func (alone) Alone(ctx context.Context, _ string, fn func(ctx context.Context) error) error {
	return fn(ctx)
}
func (alone) Notify(string)                              {}
func (alone) ReleaseLost(context.Context) (int64, error) { return 0, nil }
func (alone) Close()                                     {}

// The roles that are named more than once.
const (
	roleRouter = "router"
	roleNotify = "notifications"
)

// led is a loop that runs in one process at a time.
func (n *node) led(role string, run func(ctx context.Context) error) supervise.Loop {
	return supervise.Until(role, func(ctx context.Context) error { return n.peers.Lead(ctx, role, run) })
}

// What processes tell each other. Each finds it out by itself too, a little
// later: other processes have no part in what is right, only in what is soon.
const (
	signalInbox   = "inbox"
	signalLanes   = "lanes"
	signalPolls   = "polls"
	signalJobs    = "jobs"
	signalNotify  = "notify"
	signalChanged = "changed" // of an integration: with its environment and id
	signalCancel  = "cancel"  // of a poll: with its instance
)

// told is an inbox whose appends the process that routes is told of, when it is
// another one.
type told struct {
	inbox.Log
	n *node
}

// Append appends, and tells.
func (t told) Append(ctx context.Context, d *syncline.Delivery, key inbox.Key) (inbox.Receipt, error) {
	r, err := t.Log.Append(ctx, d, key)
	if err == nil && !t.n.routing.Load() {
		t.n.peers.Notify(signalInbox)
	}
	return r, err
}

// route routes while this process has the role.
func (n *node) route(ctx context.Context) error {
	n.routing.Store(true)
	defer n.routing.Store(false)
	return n.router.Run(ctx)
}

// routed: lanes have events.
func (n *node) routed() {
	n.lanes.Wake()
	n.peers.Notify(signalLanes)
}

// due: polls may be due.
func (n *node) due() {
	n.ticker.Wake()
	n.peers.Notify(signalPolls)
}

// announced: notifications were written.
func (n *node) announced() {
	n.sender.Wake()
	n.peers.Notify(signalNotify)
}

// changed: connections or functions of an integration did.
func (n *node) changed(env, integrationID int64) {
	n.router.Changed(env, integrationID)
	n.peers.Notify(fmt.Sprint(signalChanged, " ", env, " ", integrationID))
}

// cancel: an instance's poll, wherever it runs.
func (n *node) cancel(instanceID int64) {
	n.polls.Cancel(instanceID)
	n.peers.Notify(fmt.Sprint(signalCancel, " ", instanceID))
}

// woken takes what another process said; "" is whatever it may have been.
func (n *node) woken(signal string) {
	if !n.wired.Load() {
		return // everything looks when it starts
	}
	what, of, _ := strings.Cut(signal, " ")
	switch what {
	case "":
		n.lanes.Wake()
		n.ticker.Wake()
		n.actions.Wake()
		n.sender.Wake()
		n.endpoints.Forget()
		n.router.ChangedAny()
	case signalInbox:
		n.router.Look()
	case signalLanes:
		n.lanes.Wake()
	case signalPolls:
		n.ticker.Wake()
	case signalJobs:
		n.actions.Wake()
	case signalNotify:
		n.sender.Wake()
	case signalChanged:
		var env, id int64
		if _, err := fmt.Sscan(of, &env, &id); err == nil {
			n.endpoints.Forget()
			n.lookForIntegrations()
			n.router.Changed(env, id)
			n.ticker.Wake()
		}
	case signalCancel:
		var id int64
		if _, err := fmt.Sscan(of, &id); err == nil {
			n.polls.Cancel(id)
		}
	}
}

const (
	// reapEvery is how often runs are looked for whose process died unnoticed.
	reapEvery = 5 * time.Second
	// goneEvery is how often processes are looked for that are gone.
	goneEvery = time.Second
	// lookEvery is how often the outbox is looked at though nobody said that there
	// is something in it, and parkedEvery how often parked deliveries are.
	lookEvery   = 2 * time.Second
	parkedEvery = 30 * time.Second
)

// reap ends what other processes left when they died.
func (n *node) reap(ctx context.Context) error {
	looked := n.clock.Now() // at the start, wire has
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.clock.After(goneEvery):
		}
		released, err := n.peers.ReleaseLost(ctx)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("cannot free the leases of processes that are gone", "err", err)
		}
		now := n.clock.Now()
		if released == 0 && now.Sub(looked) < reapEvery {
			continue
		}
		looked = now
		if _, err := n.polls.Reap(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("cannot end the runs of processes that died", "err", err)
		}
		if _, err := n.actions.Reap(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("cannot end the actions of processes that died", "err", err)
		}
		if released > 0 {
			n.routed()
			n.due()
		}
	}
}

// look finds out what others did not say, or what was not heard.
func (n *node) look(ctx context.Context) error {
	for parked := n.clock.Now(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-n.clock.After(lookEvery):
		}
		n.sender.Wake()
		if now := n.clock.Now(); now.Sub(parked) >= parkedEvery {
			parked = now
			n.router.ChangedAny()
		}
	}
}

// hooks tell the stages what the API changed.
type hooks struct{ n *node }

func (h hooks) ConnectionsChanged(env, integrationID int64) {
	h.n.endpoints.Forget()
	h.n.lookForIntegrations()
	h.n.changed(env, integrationID)
	h.n.ticker.Wake()
}

func (h hooks) FunctionsChanged(env, integrationID int64) {
	h.n.changed(env, integrationID)
	h.n.ticker.Wake()
}

func (h hooks) SchedulesChanged() { h.n.due() }
func (h hooks) JobsChanged() {
	h.n.actions.Wake()
	h.n.peers.Notify(signalJobs)
}
func (h hooks) NotificationsChanged() { h.n.announced() }
