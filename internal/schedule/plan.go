package schedule

import (
	"time"

	"syncline"
)

// maxFailureDelay bounds how far failures stretch a short interval.
const maxFailureDelay = 15 * time.Minute

// Interval is the time between two polls of an instance: the connection's
// override if there is one, else the sync's own frequency.
func Interval(i *syncline.SyncInstance, m *syncline.Manifest) (time.Duration, error) {
	if i.FrequencyOverride != "" {
		return syncline.ParseFrequency(i.FrequencyOverride)
	}
	return syncline.ParseFrequency(m.Frequency)
}

// Next is when an instance is due after now. Every instance has a phase of its
// own within the interval, by its id, so that instances that were made
// together do not fire together, and one that was down for many intervals runs
// once and falls back into step. failures is the number of failed polls in a
// row: from the second on they double the wait, up to 15 minutes or the
// interval, whichever is longer.
func Next(id int64, interval time.Duration, now time.Time, failures int) time.Time {
	us := interval.Microseconds()
	// The golden ratio spreads consecutive ids evenly over the interval.
	const golden = 0x9E3779B97F4A7C15
	phase := int64(uint64(id) * golden % uint64(us))
	at := now.UnixMicro()
	next := at - floorMod(at-phase, us) + us
	if failures > 1 {
		wait := interval
		for range failures - 1 {
			if wait *= 2; wait >= maxFailureDelay {
				wait = max(maxFailureDelay, interval)
				break
			}
		}
		if later := at + wait.Microseconds(); later > next {
			next = later - floorMod(later-phase, us) + us
		}
	}
	return time.UnixMicro(next).UTC()
}

func floorMod(a, b int64) int64 {
	if m := a % b; m >= 0 {
		return m
	}
	return a%b + b
}

// maxStallDelay bounds how far a stall stretches the time between two polls.
const maxStallDelay = 24 * time.Hour

// Stalled is when an instance is due whose polls do not get on, instead of at
// next: the wait doubles with each of the n polls that have found it stalled,
// up to a day or the interval, whichever is longer.
func Stalled(next time.Time, interval time.Duration, now time.Time, n int) time.Time {
	wait := max(interval, time.Minute)
	for range n {
		if wait *= 2; wait >= maxStallDelay {
			wait = max(maxStallDelay, interval)
			break
		}
	}
	if later := now.Add(wait); later.After(next) {
		return later
	}
	return next
}
