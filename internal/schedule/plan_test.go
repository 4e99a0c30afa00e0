package schedule_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"syncline"
	"syncline/internal/schedule"
)

func TestNextIsWithinOneIntervalAndInPhase(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Int64Range(1, 1<<40).Draw(t, "id")
		interval := time.Duration(rapid.Int64Range(int64(syncline.MinFrequency), int64(syncline.MaxFrequency)).Draw(t, "interval")).Truncate(time.Microsecond)
		now := time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(t, "now")).UTC()
		next := schedule.Next(id, interval, now, 0)
		if wait := next.Sub(now); wait <= 0 || wait > interval {
			t.Fatalf("due after %s of %s", wait, interval)
		}
		if again := schedule.Next(id, interval, next, 0); again.Sub(next) != interval {
			t.Fatalf("out of step: %s, not %s", again.Sub(next), interval)
		}
		// After any downtime it runs once and is in step again.
		down := next.Add(time.Duration(rapid.Int64Range(0, 1000).Draw(t, "down")) * interval / 3)
		if d := schedule.Next(id, interval, down, 0).Sub(next); d%interval != 0 {
			t.Fatalf("out of step after downtime: %s", d)
		}
	})
}

func TestInstancesMadeTogetherDoNotFireTogether(t *testing.T) {
	t.Parallel()
	const n, interval = 1000, time.Minute
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var bySecond [60]int
	for id := range int64(n) {
		bySecond[int(schedule.Next(id+1, interval, now, 0).Sub(now).Seconds())%60]++
	}
	for s, c := range bySecond {
		if c > 2*n/60 {
			t.Errorf("%d of %d are due in second %d", c, n, s)
		}
	}
}

func TestFailuresStretchShortIntervalsOnly(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	if wait := schedule.Next(1, 30*time.Second, now, 1).Sub(now); wait > 30*time.Second {
		t.Errorf("after one failure the poll waits %s", wait)
	}
	if wait := schedule.Next(1, 30*time.Second, now, 4).Sub(now); wait < 4*time.Minute || wait > 5*time.Minute {
		t.Errorf("after four failures the poll waits %s", wait)
	}
	if wait := schedule.Next(1, 30*time.Second, now, 1000).Sub(now); wait < 15*time.Minute || wait > 16*time.Minute {
		t.Errorf("after a thousand failures the poll waits %s", wait)
	}
	if wait := schedule.Next(1, 24*time.Hour, now, 50).Sub(now); wait > 48*time.Hour {
		t.Errorf("a daily poll waits %s", wait)
	}
}
