package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"syncline"
	"syncline/internal/fn"
)

func TestEventsOfALaneRunInOrderAndOneAtATime(t *testing.T) {
	t.Parallel()
	const lanes, events = 5, 60
	w := newWorld(t, lanes)
	var mu sync.Mutex
	got := map[string][]int{}
	busy := map[string]bool{}
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		var p struct {
			ID   string
			Lane string
			N    int
		}
		if err := json.Unmarshal(payload, &p); err != nil {
			return err
		}
		mu.Lock()
		if busy[p.Lane] {
			t.Errorf("two events of lane %s run at once", p.Lane)
		}
		busy[p.Lane] = true
		got[p.Lane] = append(got[p.Lane], p.N)
		mu.Unlock()
		err := save(ctx, h, string(payload))
		mu.Lock()
		busy[p.Lane] = false
		mu.Unlock()
		return err
	}
	w.start()
	for n := range events {
		for lane := range lanes {
			w.deliver(lane, fmt.Sprintf(`{"id":"x","lane":"%d","n":%d}`, lane, n))
		}
	}
	w.settled()
	for lane, order := range got {
		for n, v := range order {
			if v != n {
				t.Fatalf("lane %s ran its events in the order %v", lane, order)
			}
		}
	}
	for lane := range lanes {
		if c := w.cache(lane); c["x"] != fmt.Sprintf(`{"id":"x","lane":"%d","n":%d}`, lane, events-1) {
			t.Errorf("lane %d left %v", lane, c)
		}
	}
}

func TestAHandlerThatThrowsLeavesNothingAndIsRetriedUntilDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var tries atomic.Int32
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		if err := save(ctx, h, string(payload)); err != nil {
			return err
		}
		if string(payload) == `{"id":"bad"}` {
			tries.Add(1)
			return &fn.ScriptError{Name: "TypeError", Message: "it broke"}
		}
		return nil
	}
	w.start()
	first := w.deliver(0, `{"id":"a"}`)
	bad := w.deliver(0, `{"id":"bad"}`)
	last := w.deliver(0, `{"id":"b"}`)
	w.settled()
	if c := w.cache(0); len(c) != 2 || c["a"] == "" || c["b"] == "" {
		t.Errorf("the cache has %v; want a and b only", c)
	}
	if e := w.event(bad.ID); e.Status != syncline.EventDead || e.Attempts != 5 || e.LastError != "TypeError: it broke" || tries.Load() != 5 {
		t.Errorf("the bad event is %+v after %d tries", e, tries.Load())
	}
	for _, id := range []int64{first.ID, last.ID} {
		if e := w.event(id); e.Status != syncline.EventDone {
			t.Errorf("event %d is %s", id, e.Status)
		}
	}
	failures := 0
	for _, told := range w.told {
		if told.result == nil {
			failures++
		}
	}
	if failures != 1 {
		t.Errorf("the app was told of %d failures; want one, when the event died", failures)
	}
}

func TestAnUnavailableWorldHoldsTheLaneWithoutSpendingAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	var tries atomic.Int32
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		if string(payload) == `{"id":"a"}` && tries.Add(1) <= 8 {
			return &fn.ScriptError{Name: "AxiosError", Message: "Request failed with status code 503", Status: 503}
		}
		return save(ctx, h, string(payload))
	}
	w.start()
	a := w.deliver(0, `{"id":"a"}`)
	b := w.deliver(0, `{"id":"b"}`)
	w.deliver(1, `{"id":"other"}`)
	w.settled()
	if e := w.event(a.ID); e.Status != syncline.EventDone || e.Attempts != 0 {
		t.Errorf("the event is %+v; want done with no attempts spent", e)
	}
	if w.event(b.ID).Status != syncline.EventDone || w.cache(1)["other"] == "" {
		t.Error("what came after it, or another lane, was not handled")
	}
}

func TestReadsInAHandlerSeeItsOwnWritesAndThoseOfEarlierEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var seen []string
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		if err := save(ctx, h, string(payload)); err != nil {
			return err
		}
		out, err := h.Call(ctx, fn.MethodGetRecordsByIDs, json.RawMessage(`{"model":"Issue","ids":["a","b",7]}`))
		seen = append(seen, string(out))
		return err
	}
	w.deliver(0, `{"id":"a","v":1}`)
	w.deliver(0, `{"id":7,"v":2}`)
	w.start()
	w.settled()
	want := []string{`{"a":{"id":"a","v":1}}`, `{"7":{"id":7,"v":2},"a":{"id":"a","v":1}}`}
	if fmt.Sprint(seen) != fmt.Sprint(want) {
		t.Errorf("the handlers saw %v; want %v", seen, want)
	}
}

func TestAWriteBeyondTheLimitNamesItAndLeavesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		for i := range 11 {
			batch := make([]string, 1000)
			for j := range batch {
				batch[j] = fmt.Sprintf(`{"id":"%d-%d"}`, i, j)
			}
			if err := save(ctx, h, batch...); err != nil {
				return err
			}
		}
		return nil
	}
	w.start()
	e := w.deliver(0, `{}`)
	w.settled()
	got := w.event(e.ID)
	if got.Status != syncline.EventDead || len(w.cache(0)) != 0 {
		t.Errorf("the event is %s and the cache has %d records", got.Status, len(w.cache(0)))
	}
	if want := "a webhook run may write 10000 records; this one wrote 11000"; len(got.LastError) < len(want) || got.LastError[:len(want)] != want {
		t.Errorf("the error is %q", got.LastError)
	}
}

func TestLargeDeliveriesOfALaneAreLoadedFewAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	handled := 0
	w.onWebhook = func(context.Context, fn.Host, json.RawMessage) error {
		handled++
		return nil
	}
	large := `{"x":"` + strings.Repeat("x", 3<<20) + `"}`
	for range 5 {
		w.deliver(0, large)
	}
	w.start()
	w.settled()
	if handled != 5 {
		t.Errorf("%d of 5 were handled", handled)
	}
	if w.most > 1 {
		t.Errorf("%d of 3 MB were held at once", w.most)
	}
}

func TestCallsAfterTheHandlerReturnedChangeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var late fn.Host
	w.onWebhook = func(_ context.Context, h fn.Host, _ json.RawMessage) error {
		late = h
		return nil
	}
	w.start()
	w.deliver(0, `{}`)
	w.settled()
	if err := save(t.Context(), late, `{"id":"late"}`); syncline.CodeOf(err) != syncline.CodeFenced {
		t.Errorf("a late batchSave returned %v", err)
	}
	if len(w.cache(0)) != 0 {
		t.Error("a late batchSave was kept")
	}
}

func TestAResetWhileAnEventRunsDiscardsItsEffectsAndRunsItAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	var tries atomic.Int32
	w.onWebhook = func(ctx context.Context, h fn.Host, payload json.RawMessage) error {
		n := tries.Add(1)
		if n == 1 {
			err := w.ctl.Trigger(ctx, w.env.ID, w.instances[0].ID, resetAll)
			if err != nil {
				return errors.New("reset: " + err.Error())
			}
		}
		return save(ctx, h, fmt.Sprintf(`{"id":"try%d"}`, n))
	}
	w.start()
	e := w.deliver(0, `{}`)
	w.settled()
	if c := w.cache(0); len(c) != 1 || c["try2"] == "" {
		t.Errorf("the cache has %v; want what the second try wrote", c)
	}
	if w.event(e.ID).Status != syncline.EventDone {
		t.Error("the event is not done")
	}
}
