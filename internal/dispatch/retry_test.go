package dispatch

import (
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
)

func TestAnEventThatFailsByItselfIsDeadAfterFiveAttemptsWithinTwoMinutes(t *testing.T) {
	t.Parallel()
	p := RetryPolicy{Attempts: 5, MaxWait: 24 * time.Hour}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	e := &syncline.Event{Status: syncline.EventPending}
	lane := &syncline.Lane{}
	tries := 0
	for e.Status == syncline.EventPending {
		tries++
		p.next(e, lane, &fn.ScriptError{Name: "TypeError", Message: "x is undefined"}, now)
		if e.Status == syncline.EventPending && !lane.NotBefore.After(now) {
			t.Fatal("the lane does not back off")
		}
		now = later(now, lane.NotBefore)
	}
	if tries != 5 || e.Attempts != 5 || now.Sub(start) > 2*time.Minute {
		t.Errorf("%d tries, %d attempts in %s; want 5 within 2m", tries, e.Attempts, now.Sub(start))
	}
	if !lane.NotBefore.IsZero() || lane.Reason != "" {
		t.Errorf("after the dead letter the lane still waits: %+v", lane)
	}
}

func TestAnUnavailableWorldSpendsNoAttemptsForADay(t *testing.T) {
	t.Parallel()
	p := RetryPolicy{Attempts: 5, MaxWait: 24 * time.Hour}
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	now := start
	e := &syncline.Event{Status: syncline.EventPending}
	lane := &syncline.Lane{}
	for e.Status == syncline.EventPending {
		p.next(e, lane, &fn.ScriptError{Name: "AxiosError", Message: "Request failed with status code 503", Status: 503}, now)
		if e.Attempts != 0 {
			t.Fatal("an attempt was spent")
		}
		if wait := lane.NotBefore.Sub(now); e.Status == syncline.EventPending && (wait < time.Second || wait > 5*time.Minute) {
			t.Fatalf("the lane waits %s", wait)
		}
		now = later(now, lane.NotBefore)
	}
	if waited := now.Sub(start); waited < 24*time.Hour || waited > 24*time.Hour+6*time.Minute {
		t.Errorf("given up after %s; want 24h", waited)
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
