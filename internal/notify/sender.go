// Package notify sends what Syncline owes the user's app: it takes due
// notifications from the outbox, signs them, and posts them to the
// environment's webhook URLs until they arrive or their time is up. It also
// builds the payloads.
//
// It does not decide when a notification is owed: whoever commits something
// that the app must hear of writes the row in the same commit. A notification
// is delivered at least once, with the same id each time.
package notify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/proxy/outbound"
	"syncline/internal/store"
)

// Store is what the sender needs of the main store.
type Store interface {
	Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error
	View(ctx context.Context, fn func(r store.Reader) error) error
}

// Opener opens sealed secrets; secret.Sealer is one.
type Opener interface {
	Open(env int64, purpose string, sealed syncline.Sealed) ([]byte, error)
}

// Config sets up a sender. Store and Secrets are needed; other zero fields take
// the default.
type Config struct {
	Store   Store
	Secrets Opener
	// Policy says where notifications may be sent.
	Policy outbound.Policy
	Clock  clock.Clock  // default the system's
	Logger *slog.Logger // default none
	// Rand gives the jitter, in [0, 1); default math/rand.
	Rand func() float64
	// Timeout bounds one attempt; default 20 s.
	Timeout time.Duration
	// Concurrency bounds the sends under way, over all destinations; default 64.
	Concurrency int
	// PerDestination bounds those to one URL of one environment; default 8.
	PerDestination int
	// Grace is how long Run lets sends finish when it is told to end; default 5 s.
	Grace time.Duration
	// UserAgent is sent with each notification; default "Syncline".
	UserAgent string
}

// Sender sends notifications. Its methods are safe for concurrent use.
type Sender struct {
	conf   Config
	client *http.Client
	wake   chan struct{}

	mu           sync.Mutex
	freed        chan struct{} // closed, and replaced, when a send gives its place back
	running      int
	lanes        map[lane]bool // under way
	destinations map[place]*destination
	// unnoted are outcomes that the store did not take yet. Nothing is sent
	// while there are any: what was delivered would be sent again and again.
	unnoted []outcome
}

// place is one URL of one environment.
type place struct {
	env    int64
	target string
}

// lane is one connection's notifications to one place; they go one at a time,
// in order.
type lane struct {
	place
	connection int64
}

func laneOf(n *syncline.Notification) lane {
	return lane{place{n.EnvironmentID, n.Target}, n.ConnectionID}
}

// New returns a sender; [Sender.Run] makes it work.
func New(c Config) *Sender {
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Rand == nil {
		c.Rand = rand.Float64
	}
	if c.Timeout <= 0 {
		c.Timeout = 20 * time.Second
	}
	if c.Concurrency <= 0 {
		c.Concurrency = 64
	}
	if c.PerDestination <= 0 {
		c.PerDestination = 8
	}
	if c.Grace <= 0 {
		c.Grace = 5 * time.Second
	}
	if c.UserAgent == "" {
		c.UserAgent = "Syncline"
	}
	return &Sender{
		conf: c,
		client: &http.Client{
			Transport: c.Policy.Transport(outbound.Options{ConnectTimeout: min(10*time.Second, c.Timeout)}),
			// A redirect would turn the POST into a GET, or take the payload elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		wake:         make(chan struct{}, 1),
		freed:        make(chan struct{}),
		lanes:        make(map[lane]bool),
		destinations: make(map[place]*destination),
	}
}

// Wake makes Run look at the outbox now. It never blocks; call it after a
// commit that wrote notifications.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// changes returns a channel that is closed when a send gives its place back
// after this call.
func (s *Sender) changes() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// How long Run waits at most, so that a clock that was set is noticed, and how
// it backs off from a store that fails.
const (
	maxIdle       = time.Minute
	storeBackoff  = time.Second
	storeMaxPause = 30 * time.Second
)

// Run sends due notifications until ctx ends; then it lets what is under way
// finish for Config.Grace and returns nil. Errors of the store are logged and
// tried again.
func (s *Sender) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var sends sync.WaitGroup
	var pause time.Duration
	for ctx.Err() == nil {
		freed := s.changes()
		wait, err := s.round(ctx, sending, &sends)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			if pause == 0 {
				s.conf.Logger.ErrorContext(ctx, "the outbox cannot be read or written; notifications wait", "error", err)
			}
			pause = min(max(2*pause, storeBackoff), storeMaxPause)
			select { // not woken: a failing store is left alone
			case <-ctx.Done():
			case <-s.conf.Clock.After(pause):
			}
		default:
			pause = 0
			select {
			case <-ctx.Done():
			case <-s.wake:
			case <-freed:
			case <-s.conf.Clock.After(wait):
			}
		}
	}
	finished := make(chan struct{})
	go func() {
		sends.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-s.conf.Clock.After(s.conf.Grace):
		cancel()
		<-finished
	}
	return nil
}

// round starts whatever can be started, and returns how long nothing will
// change by itself.
func (s *Sender) round(ctx, sending context.Context, sends *sync.WaitGroup) (time.Duration, error) {
	for {
		progress, err := s.pass(ctx, sending, sends, s.conf.Clock.Now())
		if err != nil {
			return 0, err
		}
		if !progress {
			break
		}
	}
	var next time.Time
	if err := s.conf.Store.View(ctx, func(r store.Reader) (err error) {
		next, err = r.NextNotification()
		return err
	}); err != nil {
		return 0, err
	}
	if next.IsZero() {
		return maxIdle, nil
	}
	wait := next.Sub(s.conf.Clock.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if wait <= 0 && s.running > 0 {
		return maxIdle, nil // due, and waiting for a place: freed says when there is one
	}
	return min(max(wait, 50*time.Millisecond), maxIdle), nil
}

// Flush tries every notification that is due now once, and returns when each of
// them was tried. It is for shutdown, when Run has ended; ctx bounds it. A
// notification that does not arrive is no error: it stays in the outbox.
func (s *Sender) Flush(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	now := s.conf.Clock.Now()
	var sends sync.WaitGroup
	defer sends.Wait()
	for {
		freed := s.changes()
		progress, err := s.pass(ctx, ctx, &sends, now)
		if err != nil {
			return err
		}
		if progress {
			continue
		}
		s.mu.Lock()
		idle := s.running == 0 && len(s.unnoted) == 0
		s.mu.Unlock()
		if idle {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-freed:
		}
	}
}

// Resend makes a notification due now, with a whole new schedule, whatever
// became of it before. It is a conflict when the environment has no URL for it
// any more.
func (s *Sender) Resend(ctx context.Context, env, id int64) error {
	var to place
	err := s.conf.Store.Update(ctx, store.Durable, func(tx store.Tx) error {
		n, err := tx.Notification(env, id)
		if err != nil {
			return err
		}
		e, err := tx.Environment(env)
		if err != nil {
			return err
		}
		if urlOf(&e, n.Target) == "" {
			return syncline.Errorf(syncline.CodeConflict, "the environment %q has no %s webhook URL to send to", e.Name, n.Target).
				WithHint("set one with PATCH /environments/current")
		}
		to = laneOf(&n).place
		n.Status, n.Attempts, n.LastError = syncline.NotificationPending, 0, ""
		n.NextAttemptAt, n.DeliveredAt = s.conf.Clock.Now(), time.Time{}
		return tx.UpdateNotification(&n)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	if d := s.destinations[to]; d != nil {
		d.until = time.Time{} // who resends by hand does not want to wait for a hold
	}
	s.mu.Unlock()
	s.Wake()
	return nil
}

func urlOf(e *syncline.Environment, target string) string {
	if target == Secondary {
		return e.WebhookURLSecondary
	}
	return e.WebhookURL
}
