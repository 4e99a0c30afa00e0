package route

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
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
	any   bool                    // all may be

	// Of Run's goroutine alone:
	position int64 // of the inbox, up to which routing is done
	passes   map[integrationKey]*pass
	expired  time.Time // when parked deliveries were last looked at for expiry
}

type integrationKey struct{ env, id int64 }

const (
	// batch is how many entries one transaction routes.
	batch = 256
	// idle is the longest that the router sleeps.
	idle = 2 * time.Second
	// expireEvery is how often parked deliveries are looked at for expiry.
	expireEvery = time.Minute
)

func (r *Router) init() {
	r.dirty = make(chan struct{}, 1)
	r.moved = map[integrationKey]bool{}
	r.passes = map[integrationKey]*pass{}
}

// Changed says that connections or functions of an integration changed: its
// parked deliveries are tried again, before newer ones are routed. It returns
// at once.
func (r *Router) Changed(env, integrationID int64) {
	r.once.Do(r.init)
	r.mu.Lock()
	r.moved[integrationKey{env, integrationID}] = true
	r.mu.Unlock()
	r.kick()
}

// Look makes the router look into the inbox now. It returns at once.
func (r *Router) Look() {
	r.once.Do(r.init)
	r.kick()
}

func (r *Router) kick() {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// ChangedAny is Changed for every integration: something may have changed that
// this process was not told of.
func (r *Router) ChangedAny() {
	r.once.Do(r.init)
	r.mu.Lock()
	r.any = true
	r.mu.Unlock()
	r.kick()
}

func (r *Router) takeMoved() []integrationKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.any {
		r.any = false
		for k := range r.passes { // the others have nothing parked
			r.moved[k] = true
		}
	}
	keys := make([]integrationKey, 0, len(r.moved))
	for k := range r.moved {
		keys = append(keys, k)
	}
	clear(r.moved)
	return keys
}

// Run routes until ctx ends. One process should route at a time; should two, each
// delivery is routed by one of them all the same. It returns an error when the inbox or the store
// cannot be used; started again, it goes on where it stopped. Nothing that a
// delivery holds makes it stop.
func (r *Router) Run(ctx context.Context) error {
	r.once.Do(r.init)
	if err := r.start(ctx); err != nil {
		return ended(ctx, err)
	}
	for {
		appended := r.Inbox.Appended() // before the read, so that nothing is missed
		n, err := r.step(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		if n > 0 && ctx.Err() == nil {
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

// step does what is to be done now and returns how many entries it routed. After
// another router it begins anew.
func (r *Router) step(ctx context.Context) (int, error) {
	n, err := r.next(ctx)
	if errors.Is(err, errElsewhere) {
		r.Log.Warn("another process routed deliveries: this one begins anew")
		return 1, r.start(ctx)
	}
	return n, err
}

// next tries parked deliveries first, then what comes next in the inbox.
func (r *Router) next(ctx context.Context) (int, error) {
	for _, k := range r.takeMoved() {
		if err := r.reroute(ctx, k); err != nil {
			r.Changed(k.env, k.id)
			return 0, err
		}
	}
	n, err := r.routeBatch(ctx)
	if err != nil {
		return n, err
	}
	if now := r.Clock.Now(); now.Sub(r.expired) >= expireEvery {
		if err := r.expire(ctx, now); err != nil {
			return n, err
		}
		r.expired = now
	}
	return n, nil
}

// start reads where an earlier process stopped, and has every parked delivery
// tried again: a change may have been made just before that process ended.
func (r *Router) start(ctx context.Context) error {
	err := r.Store.View(ctx, func(v store.Reader) (err error) {
		if r.position, err = v.RouterPosition(); err != nil {
			return err
		}
		clear(r.passes)
		clear(r.passes)
		err = eachParked(v, func(s *syncline.DeliveryState) bool {
			p := r.passOf(integrationKey{s.EnvironmentID, s.IntegrationID})
			p.unsorted = append(p.unsorted, s.Position)
			return true
		})
		for k := range r.passes {
			r.Changed(k.env, k.id)
		}
		return err
	})
	if err != nil {
		return err
	}
	// The end of the inbox is read after the position: another process may
	// append and route while this one starts, and what it routed was in the
	// inbox before.
	last, err := r.Inbox.Last(ctx)
	if err != nil {
		return err
	}
	if r.position > last {
		return syncline.Errorf(syncline.CodeConflict, "deliveries up to position %d were routed, but the inbox ends at %d", r.position, last).
			WithHint("the inbox was lost or is older than the main store: restore both from the same backup")
	}
	return nil
}

// ended is err, unless ctx ended: then it is why, and no failure.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}
