package notify

import "time"

// schedule are the waits between the attempts of one notification; the last one
// repeats until Lifetime is used up.
var schedule = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour}

// Lifetime is for how long a notification is attempted, counted in the waits of
// its schedule; then it is failed, and can be resent.
const Lifetime = 72 * time.Hour

// maxAttempts is how many attempts that makes.
var maxAttempts = func() int {
	n, sum := 1, time.Duration(0)
	for {
		if sum += delay(n); sum > Lifetime {
			return n
		}
		n++
	}
}()

// delay is the wait after the given attempt (1 for the first), before jitter.
func delay(attempt int) time.Duration {
	return schedule[min(attempt, len(schedule))-1]
}

// jitter is the share by which a wait is varied, up and down, so that many
// notifications that failed together do not come back together.
const jitter = 0.1

// backoff is the wait after an attempt; random is in [0, 1).
func backoff(attempt int, random float64) time.Duration {
	d := float64(delay(attempt))
	return time.Duration(d * (1 - jitter + 2*jitter*random)).Round(time.Millisecond)
}

// A destination that failed holdAfter times in a row, whatever was sent, is
// held: nothing is sent to it until the hold ends, and then one at a time until
// one arrives. Each hold in a row is twice as long as the one before.
const (
	holdAfter = 3
	holdBase  = 5 * time.Second
	holdCap   = 5 * time.Minute
)

// destination is one URL of one environment, as its answers so far show it.
type destination struct {
	running  int       // sends under way
	failures int       // in a row
	holds    int       // in a row
	until    time.Time // nothing is sent before
}

// slots is how many sends may be under way to it at once.
func (d *destination) slots(limit int) int {
	if d.holds > 0 {
		return 1 // finding out whether it is back
	}
	return limit
}

func (d *destination) succeeded() { d.failures, d.holds, d.until = 0, 0, time.Time{} }

// failed counts a failure at now; retryAfter is how long the destination asked
// to be left alone. It reports whether a hold begins.
func (d *destination) failed(now time.Time, retryAfter time.Duration) (held bool) {
	d.failures++
	if d.until.After(now) {
		return false // what was under way when the hold began
	}
	wait := min(retryAfter, holdCap)
	if d.failures >= holdAfter {
		d.holds++
		step := holdCap
		if d.holds < 8 {
			step = min(holdBase<<(d.holds-1), holdCap)
		}
		wait = max(wait, step)
	}
	if wait <= 0 {
		return false
	}
	d.until = now.Add(wait)
	return true
}
