package supervise

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/clock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal notes what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func group(stages ...Stage) *Group {
	return New(clock.System, slog.New(slog.DiscardHandler), stages...)
}

func wait(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func TestStagesStopInOrderEachBeforeTheNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		loop := func(name string, takes time.Duration) Loop {
			return Until(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(takes)
				j.note(name)
				return ctx.Err()
			})
		}
		g := group(
			Stage{Name: "ingest", Timeout: 10 * time.Second, Loops: []Loop{loop("http", 3*time.Second), loop("listener", time.Second)}},
			Stage{Name: "work", Timeout: 10 * time.Second, Loops: []Loop{loop("lanes", 2*time.Second)}},
			Stage{Name: "outbox", Timeout: 10 * time.Second, Loops: []Loop{loop("notify", 0)}},
		)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		began := time.Now()
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if want := []string{"listener", "http", "lanes", "notify"}; !slices.Equal(j.lines, want) {
			t.Errorf("stopped in the order %q, want %q", j.lines, want)
		}
		if took := time.Since(began); took != 65*time.Second {
			t.Errorf("took %s", took)
		}
		for _, h := range g.Health() {
			if h.State != Stopped {
				t.Errorf("%s is %s", h.Loop, h.State)
			}
		}
	})
}

func TestWorkMayFinishAfterTheLoopIsToldToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var j journal
		g := group(Stage{Name: "work", Timeout: 10 * time.Second, Loops: []Loop{{Name: "lanes", Run: func(ctx, work context.Context) error {
			<-ctx.Done()
			select {
			case <-work.Done():
				j.note("ended")
			case <-time.After(9 * time.Second):
				j.note("finished")
			}
			return nil
		}}}})
		g2 := group(Stage{Name: "work", Timeout: 10 * time.Second, Loops: []Loop{{Name: "polls", Run: func(_, work context.Context) error {
			<-work.Done()
			j.note("released")
			return work.Err()
		}}}})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := g.Run(ctx); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		if err := g2.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("work was ended after %s, want 11s", took)
		}
		if want := []string{"finished", "released"}; !slices.Equal(j.lines, want) {
			t.Errorf("got %q, want %q", j.lines, want)
		}
	})
}

func TestALoopThatFailsIsStartedAgainWithGrowingWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var starts []time.Duration
		began := time.Now()
		g := group(Stage{Name: "work", Loops: []Loop{Until("router", func(ctx context.Context) error {
			starts = append(starts, time.Since(began))
			switch len(starts) {
			case 1, 2:
				return errors.New("disk full")
			case 3:
				panic("a defect")
			case 4:
				time.Sleep(steady) // long enough to begin with the shortest wait again
				return errors.New("disk full again")
			}
			return wait(ctx)
		})}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()

		time.Sleep(450 * time.Millisecond) // in the third wait
		h := g.Health()[0]
		if h.State != Failing || h.LastError != "panic: a defect" || h.Restarts != 2 {
			t.Errorf("health is %+v", h)
		}
		if err := g.Err(); syncline.CodeOf(err) != syncline.CodeUnavailable || !strings.Contains(err.Error(), `the loop "router" fails: panic: a defect`) {
			t.Errorf("Err is %v", err)
		}
		time.Sleep(2 * time.Minute)
		if h := g.Health()[0]; h.State != Running || h.Restarts != 4 || g.Err() != nil {
			t.Errorf("health is %+v", h)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ms := time.Millisecond
		if want := []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 700*ms + steady + 100*ms}; !slices.Equal(starts, want) {
			t.Errorf("started at %v, want %v", starts, want)
		}
	})
}

func TestALoopThatFailsAtOnceAfterEachStartIsNeverHealthy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := group(Stage{Name: "work", Loops: []Loop{Until("router", func(context.Context) error {
			time.Sleep(time.Second)
			return errors.New("always")
		})}})
		done := make(chan error, 1)
		go func() { done <- g.Run(t.Context()) }()
		time.Sleep(time.Second + time.Millisecond)
		for range 600 {
			time.Sleep(time.Second)
			if g.Err() == nil {
				t.Fatal("it counts as healthy")
			}
		}
		g.Stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestALoopThatHasNothingMoreToDoIsNotStartedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		starts := 0
		g := group(Stage{Name: "start", Loops: []Loop{Until("reaper", func(context.Context) error { starts++; return nil })}})
		done := make(chan error, 1)
		go func() { done <- g.Run(t.Context()) }()
		time.Sleep(time.Hour)
		if h := g.Health()[0]; starts != 1 || h.State != Done || g.Err() != nil {
			t.Errorf("%d starts, health %+v", starts, h)
		}
		g.Stop()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestStopBeforeStartStartsNothing(t *testing.T) {
	t.Parallel()
	g := group(Stage{Name: "work", Loops: []Loop{Until("x", func(context.Context) error { t.Error("it ran"); return nil })}})
	g.Stop()
	g.Stop()
	if err := g.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := g.Health()[0]; h.State != Waiting {
		t.Errorf("health is %+v", h)
	}
	if err := g.Run(t.Context()); err == nil {
		t.Error("it runs twice")
	}
}

func TestALoopThatIgnoresTheStopIsNamedAndDoesNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		flushed := false
		g := group(
			Stage{Name: "work", Timeout: 2 * time.Second, Loops: []Loop{Until("good", wait), Until("stuck", func(context.Context) error { <-release; return nil })}},
			Stage{Name: "outbox", Timeout: time.Second, Loops: []Loop{Until("notify", func(ctx context.Context) error { <-ctx.Done(); flushed = true; return nil })}},
		)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		err := g.Run(ctx)
		if err == nil || !strings.HasSuffix(err.Error(), "did not stop in time: stuck") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took != 3*time.Second+Grace || !flushed {
			t.Errorf("took %s, flushed: %t", took, flushed)
		}
		close(release)
	})
}

func TestAStopDuringTheWaitForARestartEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := group(Stage{Name: "work", Timeout: time.Second, Loops: []Loop{Until("x", func(context.Context) error { return errors.New("no") })}})
		time.AfterFunc(10*time.Second, g.Stop)
		began := time.Now()
		if err := g.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("took %s", took)
		}
	})
}
