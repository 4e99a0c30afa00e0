package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"syncline/internal/clock"
	"syncline/internal/fn"
)

func newTestBudgets(concurrency int, rate float64) *budgets {
	return newBudgets(Config{ConnectionConcurrency: concurrency, ConnectionRate: rate}.withDefaults())
}

// must enters and fails the test when it may not.
func must(t *testing.T, b *budgets, id int64, p Priority) *turn {
	t.Helper()
	turn, pause, err := b.enter(t.Context(), id, p, b.clock.Now(), true)
	if turn == nil || pause != nil || err != nil {
		t.Fatalf("entered with %v, %v, %v", turn, pause, err)
	}
	return turn
}

// line is requests that wait, and in what order they began.
type line struct {
	t     *testing.T
	b     *budgets
	mu    sync.Mutex
	order []string
	turns chan *turn
	wg    sync.WaitGroup
}

func newLine(t *testing.T, b *budgets) *line {
	return &line{t: t, b: b, turns: make(chan *turn, 1000)}
}

// join lets a request wait. It returns when it does.
func (l *line) join(name string, p Priority) {
	arrived := l.b.clock.Now()
	l.wg.Go(func() {
		turn, pause, err := l.b.enter(l.t.Context(), 1, p, arrived, true)
		if turn == nil {
			l.t.Errorf("%s: %v, %v", name, pause, err)
			return
		}
		l.mu.Lock()
		l.order = append(l.order, name)
		l.mu.Unlock()
		l.turns <- turn
	})
	synctest.Wait()
}

// serve ends the turns one by one until everybody had one.
func (l *line) serve(first *turn) []string {
	first.leave(outcome{answered: true})
	go func() { l.wg.Wait(); close(l.turns) }()
	for turn := range l.turns {
		synctest.Wait()
		turn.leave(outcome{answered: true})
	}
	return l.order
}

func TestWebhooksDrawBeforeActionsBeforePolls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(1, 0)
		l, first := newLine(t, b), must(t, b, 1, PriorityPoll)
		for i := range 2 {
			l.join(fmt.Sprint("poll ", i), PriorityPoll)
			l.join(fmt.Sprint("call ", i), PriorityCall)
			l.join(fmt.Sprint("webhook ", i), PriorityWebhook)
		}
		if got, want := l.serve(first), []string{"webhook 0", "webhook 1", "call 0", "call 1", "poll 0", "poll 1"}; !slices.Equal(got, want) {
			t.Errorf("order = %v; want %v", got, want)
		}
		if len(b.gates) != 0 {
			t.Errorf("%d budgets are kept that are as new", len(b.gates))
		}
	})
}

func TestWhoWaitedLongestGoesFirstInTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(1, 0)
		l, first := newLine(t, b), must(t, b, 1, PriorityPoll)
		l.join("poll", PriorityPoll)
		time.Sleep(aging + time.Second)
		l.join("call", PriorityCall) // the poll is older by more than its handicap
		time.Sleep(2 * time.Second)
		l.join("webhook", PriorityWebhook) // it is not, for a webhook; but the call is passed
		if got, want := l.serve(first), []string{"webhook", "poll", "call"}; !slices.Equal(got, want) {
			t.Errorf("order = %v; want %v", got, want)
		}
	})
}

func TestAStreamOfWebhooksStarvesNoPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(1, 0)
		done := make(chan time.Duration, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10 { // ten lanes that always have a next fetch of a second
			wg.Go(func() {
				for ctx.Err() == nil {
					turn, _, _ := b.enter(ctx, 1, PriorityWebhook, b.clock.Now(), true)
					if turn == nil {
						return
					}
					time.Sleep(time.Second)
					turn.leave(outcome{answered: true})
				}
			})
		}
		synctest.Wait()
		wg.Go(func() {
			began := time.Now()
			turn, _, _ := b.enter(ctx, 1, PriorityPoll, b.clock.Now(), true)
			done <- time.Since(began)
			turn.leave(outcome{answered: true})
		})
		if waited := <-done; waited > 2*aging+11*time.Second {
			t.Errorf("the poll waited %s", waited)
		}
		cancel()
		wg.Wait()
	})
}

func TestPollsLeaveRoomForWebhooks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(8, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var begun atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if turn, _, _ := b.enter(ctx, 1, PriorityPoll, b.clock.Now(), true); turn != nil {
					begun.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := begun.Load(); n != 6 {
			t.Errorf("%d of 8 places are taken by polls; want 6", n)
		}
		began := time.Now()
		must(t, b, 1, PriorityWebhook)
		must(t, b, 1, PriorityCall)
		if time.Since(began) > 0 {
			t.Error("a webhook's fetch waited behind polls")
		}
		must(t, b, 2, PriorityPoll) // another connection has its own
		cancel()
		wg.Wait()
	})
}

func TestWhatTheAPISaysToOneHoldsForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(16, 0)
		start := time.Now()
		var mu sync.Mutex
		var began []time.Duration
		first := must(t, b, 1, PriorityWebhook)
		early := must(t, b, 1, PriorityWebhook) // under way when the limit is hit
		first.leave(outcome{answered: true, limited: true, at: b.clock.Now().Add(20 * time.Second)})
		early.leave(outcome{answered: true, limited: true}) // says the same, without a time
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				turn := must(t, b, 1, PriorityWebhook)
				mu.Lock()
				began = append(began, time.Since(start))
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
				turn.leave(outcome{answered: true})
			})
		}
		wg.Wait()
		if len(began) != 50 || began[0] < 20*time.Second {
			t.Fatalf("%d lanes went on, the first after %s", len(began), began[0])
		}
		at := map[time.Duration]int{}
		for _, d := range began {
			at[d-20*time.Second]++
		}
		for i, want := range []int{1, 2, 4, 8} {
			if got := at[time.Duration(i)*100*time.Millisecond]; got != want {
				t.Errorf("in step %d, %d began at a time; want %d: %v", i, got, want, at)
			}
		}
	})
}

func TestRefusalsWithoutATimeWaitLongerEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(4, 0)
		for _, want := range []time.Duration{0, 3 * time.Second, 6 * time.Second, 12 * time.Second} {
			began := time.Now()
			turn := must(t, b, 1, PriorityPoll)
			if got := time.Since(began); got != want {
				t.Errorf("waited %s; want %s", got, want)
			}
			turn.leave(outcome{answered: true, limited: true})
		}
		must(t, b, 1, PriorityPoll).leave(outcome{answered: true})
		must(t, b, 1, PriorityPoll).leave(outcome{answered: true, limited: true})
		began := time.Now()
		must(t, b, 1, PriorityPoll)
		if got := time.Since(began); got != 3*time.Second {
			t.Errorf("after a success it waited %s; want 3s", got)
		}
	})
}

func TestTheLastRequestOfABudgetIsHeeded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(4, 0)
		must(t, b, 1, PriorityPoll).leave(outcome{answered: true, spent: true, at: b.clock.Now().Add(time.Minute)})
		began := time.Now()
		must(t, b, 1, PriorityWebhook)
		if got := time.Since(began); got != time.Minute {
			t.Errorf("waited %s", got)
		}
	})
}

func TestAPauseThatIsTooLongIsToldAtOnceAndProbed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(4, 0)
		at := b.clock.Now().Add(time.Hour)
		waiting := must(t, b, 1, PriorityWebhook)
		var others []*turn
		for range 3 {
			others = append(others, must(t, b, 1, PriorityWebhook))
		}
		refused := make(chan *pause, 1)
		go func() { // it waits for a place when the pause comes
			_, p, _ := b.enter(t.Context(), 1, PriorityPoll, b.clock.Now(), true)
			refused <- p
		}()
		synctest.Wait()
		waiting.leave(outcome{answered: true, limited: true, at: at})
		if p := <-refused; p == nil || !p.at.Equal(at) {
			t.Errorf("who waited got %v", p)
		}
		if _, p, _ := b.enter(t.Context(), 1, PriorityWebhook, b.clock.Now(), true); p == nil || !p.at.Equal(at) {
			t.Errorf("who came got %v", p)
		}
		// What a header says may be wrong: one request finds out.
		time.Sleep(10 * time.Minute)
		for _, o := range others {
			o.leave(outcome{answered: true})
		}
		must(t, b, 1, PriorityWebhook).leave(outcome{answered: true})
		must(t, b, 1, PriorityPoll)
	})
}

func TestWhoIsNotPatientIsToldAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(4, 0)
		at := b.clock.Now().Add(time.Second)
		must(t, b, 1, PriorityPoll).leave(outcome{limited: true, at: at})
		if _, p, err := b.enter(t.Context(), 1, PriorityCall, b.clock.Now(), false); p == nil || !p.at.Equal(at) || err != nil {
			t.Errorf("got %v, %v", p, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, p, err := b.enter(ctx, 1, PriorityPoll, b.clock.Now(), true); p == nil || err != nil {
			t.Errorf("a run that ends before got %v, %v", p, err)
		}
	})
}

func TestARateSpreadsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(100, 5)
		start := time.Now()
		var at []time.Duration
		for range 12 {
			must(t, b, 1, PriorityWebhook).leave(outcome{answered: true})
			at = append(at, time.Since(start).Round(time.Millisecond))
		}
		ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
		want := []time.Duration{0, 0, 0, 0, 0, ms(200), ms(400), ms(600), ms(800), ms(1000), ms(1200), ms(1400)}
		if !slices.Equal(at, want) {
			t.Errorf("began at %v; want %v", at, want)
		}
	})
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(1, 0)
		first := must(t, b, 1, PriorityPoll)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := b.enter(ctx, 1, PriorityWebhook, b.clock.Now(), true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error = %v", err)
		}
		first.leave(outcome{answered: true})
		if len(b.gates) != 0 {
			t.Error("who went away left a trace")
		}
	})
}

func TestTooManyWaitingAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newTestBudgets(1, 0)
		ctx, cancel := context.WithCancel(t.Context())
		must(t, b, 1, PriorityPoll)
		var wg sync.WaitGroup
		for range maxQueued {
			wg.Go(func() { _, _, _ = b.enter(ctx, 1, PriorityPoll, b.clock.Now(), true) })
		}
		synctest.Wait()
		_, _, err := b.enter(ctx, 1, PriorityWebhook, b.clock.Now(), true)
		var e *fn.HostError
		if !errors.As(err, &e) || e.NetCode != "ERR_QUEUE_FULL" {
			t.Errorf("error = %v", err)
		}
		cancel()
		wg.Wait()
	})
}

func TestConnectionsThatStandStillAreForgotten(t *testing.T) {
	t.Parallel()
	c := clock.NewFake(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	b := newTestBudgets(2, 0)
	b.clock = c
	for id := range int64(2 * maxGates) {
		turn, _, _ := b.enter(t.Context(), id+1, PriorityPoll, c.Now(), true)
		turn.leave(outcome{limited: true, at: c.Now().Add(time.Second)})
		c.Advance(2 * time.Second)
	}
	if len(b.gates) > maxGates {
		t.Errorf("%d are kept", len(b.gates))
	}
}

// However requests come and go, no more run than may, and all get their turn.
func TestTheBudgetHoldsUnderLoad(t *testing.T) {
	t.Parallel()
	const most = 7
	b := newTestBudgets(most, 0)
	b.backoff, b.maxWait = time.Microsecond, time.Millisecond
	var running, polls, peak, done atomic.Int32
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			p := Priority(i % 3)
			ctx, cancel := context.WithCancel(t.Context())
			if i%10 == 9 {
				time.AfterFunc(time.Duration(i)*time.Microsecond, cancel)
			}
			defer cancel()
			for j := range 20 {
				turn, _, err := b.enter(ctx, 1, p, b.clock.Now(), true)
				if err != nil {
					return
				}
				if turn == nil {
					continue
				}
				n := running.Add(1)
				for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
				}
				if p == PriorityPoll && polls.Add(1) > most-most/4 {
					t.Error("polls took more than their part")
				}
				if p == PriorityPoll {
					polls.Add(-1)
				}
				running.Add(-1)
				turn.leave(outcome{answered: true, limited: (i+j)%17 == 0})
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if peak.Load() > most || done.Load() == 0 {
		t.Errorf("at most %d ran at a time, %d in all", peak.Load(), done.Load())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.gates[1]; g != nil && (g.running != 0 || g.waiting != 0 || g.polls != 0) {
		t.Errorf("left over: %d running, %d waiting, %d polls", g.running, g.waiting, g.polls)
	}
}
