package dispatch

import (
	"fmt"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// RetryPolicy says how often an event is tried and how long a lane waits.
type RetryPolicy struct {
	// Attempts is how often an event that fails by itself is tried; default 5.
	Attempts int
	// MaxWait is how long a lane waits for a world that is unavailable before
	// the event at its head is given up; default 24 h.
	MaxWait time.Duration
}

// attemptDelays are the waits after the first, second … failed attempt: with
// the default of five attempts the event is dead within two minutes.
var attemptDelays = []time.Duration{time.Second, 5 * time.Second, 20 * time.Second, time.Minute}

// worldDelay is the wait after the nth failure in a row (from 1) for which the
// world is to blame: 1 s, doubling, up to 5 minutes.
func worldDelay(n int) time.Duration {
	return min(time.Second<<min(n-1, 10), 5*time.Minute)
}

// next decides what becomes of the event at a lane's head that failed with
// err, and when the lane goes on.
func (p RetryPolicy) next(e *syncline.Event, lane *syncline.Lane, err error, now time.Time) {
	e.LastError = err.Error()
	e.UpdatedAt = now
	lane.Backoff++
	if fn.Unavailable(err) {
		if lane.WaitingSince.IsZero() {
			lane.WaitingSince = now
		}
		if waited := now.Sub(lane.WaitingSince); waited < p.MaxWait {
			lane.NotBefore = now.Add(worldDelay(lane.Backoff))
			lane.Reason = fmt.Sprintf("waiting since %s for: %s", lane.WaitingSince.Format(time.RFC3339), e.LastError)
			return
		}
		e.LastError = fmt.Sprintf("given up after waiting %s for: %s", p.MaxWait, e.LastError)
		die(e, lane)
		return
	}
	e.Attempts++
	if e.Attempts >= p.Attempts {
		die(e, lane)
		return
	}
	lane.WaitingSince = time.Time{}
	lane.NotBefore = now.Add(attemptDelays[min(e.Attempts, len(attemptDelays))-1])
	lane.Reason = fmt.Sprintf("attempt %d of %d failed: %s", e.Attempts, p.Attempts, e.LastError)
}

// die makes the event a dead letter; the lane goes on at once.
func die(e *syncline.Event, lane *syncline.Lane) {
	e.Status = syncline.EventDead
	settle(lane)
}

// settle forgets why the lane waited.
func settle(lane *syncline.Lane) {
	lane.Backoff, lane.Reason = 0, ""
	lane.NotBefore, lane.WaitingSince = time.Time{}, time.Time{}
}
