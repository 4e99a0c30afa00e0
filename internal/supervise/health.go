package supervise

import (
	"sync"
	"time"

	"syncline"
)

// State is where a loop stands.
type State string

// The states of a loop.
const (
	Waiting State = "waiting" // not started yet
	Running State = "running"
	Failing State = "failing" // it failed, and waits to be started again or has not run for long since
	Done    State = "done"    // it had nothing more to do
	Stopped State = "stopped" // the group stopped it
)

// Health is what is known of one loop.
type Health struct {
	Loop     string    `json:"loop"`
	Stage    string    `json:"stage"`
	State    State     `json:"state"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	// LastError is the newest failure, with its time; "" when there was none.
	LastError    string    `json:"last_error,omitempty"`
	LastFailedAt time.Time `json:"last_failed_at,omitzero"`
}

type loop struct {
	Loop
	done chan struct{} // closed when it will not run any more

	mu     sync.Mutex
	health Health
}

func (l *loop) running(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.health.LastError != "" {
		l.health.Restarts++
	}
	l.health.State, l.health.Since = Running, at
}

func (l *loop) failed(err error, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.health.State, l.health.Since = Failing, at
	l.health.LastError, l.health.LastFailedAt = err.Error(), at
}

func (l *loop) ended(s State, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.health.State, l.health.Since = s, at
}

// settled is how long a loop has to run after a failure until it counts as
// healthy again: one that fails at once after each start never does.
const settled = 5 * time.Second

// Health reports on every loop, in the order in which they stop. A loop that
// was started again a moment ago is still failing.
func (g *Group) Health() (list []Health) {
	now := g.clock.Now()
	for _, s := range g.stages {
		for _, l := range s.loops {
			l.mu.Lock()
			h := l.health
			l.mu.Unlock()
			if h.State == Running && h.Restarts > 0 && now.Sub(h.Since) < settled {
				h.State = Failing
			}
			list = append(list, h)
		}
	}
	return list
}

// Err is nil while no loop fails; otherwise it has code unavailable and names
// the first that does.
func (g *Group) Err() error {
	for _, h := range g.Health() {
		if h.State == Failing {
			return syncline.Errorf(syncline.CodeUnavailable, "the loop %q fails: %s", h.Loop, h.LastError)
		}
	}
	return nil
}
