package route

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/crash"
	"syncline/internal/inbox"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// Router reads the inbox and routes what is in it.
type Router struct {
	Store store.Store
	Inbox inbox.Log
	Clock clock.Clock
	Log   *slog.Logger
	// Webhook is an integration's webhook section, with its overrides.
	Webhook func(i *syncline.Integration) (*provider.Webhook, error)
	// Wake tells the dispatcher that lanes have events. It returns at once.
	Wake func()
	// ParkedExpiry is how long a delivery waits for a connection; default 7 days.
	ParkedExpiry time.Duration

	once  sync.Once
	dirty chan struct{}
	mu    sync.Mutex
	moved map[integrationKey]bool // integrations whose parked deliveries are to be tried again
}

type integrationKey struct{ env, id int64 }

const (
	// batch is how many entries one transaction routes.
	batch = 256
	// idle is the longest that the router sleeps.
	idle = 2 * time.Second
	// expireEvery is how often parked deliveries are looked at for expiry.
	expireEvery = time.Minute
	// parkedPage bounds how many parked deliveries of one integration one
	// change tries again.
	parkedPage = 10_000
)

func (r *Router) init() {
	r.dirty = make(chan struct{}, 1)
	r.moved = map[integrationKey]bool{}
}

// Changed says that connections or functions of an integration changed: its
// parked deliveries are tried again, before newer ones are routed. It returns
// at once.
func (r *Router) Changed(env, integrationID int64) {
	r.once.Do(r.init)
	r.mu.Lock()
	r.moved[integrationKey{env, integrationID}] = true
	r.mu.Unlock()
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

func (r *Router) takeMoved() []integrationKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	keys := make([]integrationKey, 0, len(r.moved))
	for k := range r.moved {
		keys = append(keys, k)
	}
	clear(r.moved)
	return keys
}

// Run routes until ctx ends. It returns an error when the inbox or the store
// cannot be read; started again, it goes on where it stopped.
func (r *Router) Run(ctx context.Context) error {
	r.once.Do(r.init)
	// A change may have been made just before an earlier process ended.
	if err := r.markAllMoved(ctx); err != nil {
		return ended(ctx, err)
	}
	var expired time.Time
	for {
		appended := r.Inbox.Appended()
		for _, k := range r.takeMoved() {
			if err := r.reroute(ctx, k); err != nil {
				r.Changed(k.env, k.id)
				return ended(ctx, err)
			}
		}
		n, err := r.routeBatch(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		if now := r.Clock.Now(); now.Sub(expired) >= expireEvery {
			if err := r.expire(ctx, now); err != nil {
				return ended(ctx, err)
			}
			expired = now
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-appended:
		case <-r.dirty:
		case <-r.Clock.After(idle):
		}
	}
}

func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (r *Router) markAllMoved(ctx context.Context) error {
	return r.Store.View(ctx, func(v store.Reader) error {
		environments, err := v.Environments()
		if err != nil {
			return err
		}
		for _, e := range environments {
			integrations, err := v.Integrations(e.ID)
			if err != nil {
				return err
			}
			for _, i := range integrations {
				r.Changed(e.ID, i.ID)
			}
		}
		return nil
	})
}

// routeBatch routes the entries that come next and returns how many there
// were. What they became and the new position commit together, so that each is
// routed exactly once; the commit need not wait for the disk, since the inbox
// can be read again.
func (r *Router) routeBatch(ctx context.Context) (int, error) {
	var after int64
	err := r.Store.View(ctx, func(v store.Reader) (err error) {
		after, err = v.RouterPosition()
		return err
	})
	if err != nil {
		return 0, err
	}
	entries, err := r.Inbox.Read(ctx, after, batch)
	if err != nil || len(entries) == 0 {
		return 0, err
	}
	originals, err := r.originals(ctx, entries)
	if err != nil {
		return 0, err
	}
	events := 0
	err = r.Store.Update(ctx, store.Relaxed, func(tx store.Tx) error {
		position, err := tx.RouterPosition()
		if err != nil {
			return err
		}
		if position != after {
			return nil // another router was here; look again
		}
		w := r.newWork(tx)
		for _, e := range entries {
			if e.Delivery != nil {
				err = w.route(e.Delivery, 0)
			} else {
				err = w.redelivered(e, originals[e.Redelivered])
			}
			if err != nil {
				return err
			}
		}
		events = w.events
		return tx.SetRouterPosition(entries[len(entries)-1].Position)
	})
	if err != nil {
		return 0, err
	}
	crash.Point(crash.AfterRoute)
	if events > 0 {
		r.Wake()
	}
	return len(entries), nil
}

// originals reads the deliveries that entries say were delivered again.
func (r *Router) originals(ctx context.Context, entries []inbox.Entry) (map[int64]*syncline.Delivery, error) {
	byEnv := map[int64][]int64{}
	for _, e := range entries {
		if e.Delivery == nil {
			byEnv[e.EnvironmentID] = append(byEnv[e.EnvironmentID], e.Redelivered)
		}
	}
	return r.read(ctx, byEnv)
}

func (r *Router) read(ctx context.Context, byEnv map[int64][]int64) (map[int64]*syncline.Delivery, error) {
	all := map[int64]*syncline.Delivery{}
	for env, positions := range byEnv {
		found, err := r.Inbox.Get(ctx, env, positions)
		if err != nil {
			return nil, err
		}
		for p, d := range found {
			all[p] = d
		}
	}
	return all, nil
}
