package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/store"
)

// lane lists the positions of the pending events of a connection's only lane.
func (w *world) lane(c syncline.Connection) (positions []int64) {
	w.t.Helper()
	w.view(func(r store.Reader) error {
		instances, err := r.Instances(w.env.ID, store.InstanceFilter{ConnectionID: c.ID})
		if err != nil || len(instances) == 0 {
			return err
		}
		events, err := r.PendingEvents(w.env.ID, instances[0].ID, 10_000)
		for _, e := range events {
			positions = append(positions, e.Position)
		}
		return err
	})
	return positions
}

func TestParkedDeliveriesGoFirstInTheOrderOfTheirReceipt(t *testing.T) {
	t.Parallel()
	for name, tell := range map[string]bool{"the router was told": true, "the signal is on its way still": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deploy("issues", "issues")
			var want []int64
			for i := range 20 {
				if i%2 == 0 {
					w.receive(w.delivery("o/other")) // stays parked
				}
				want = append(want, w.receive(w.delivery("o/r")))
			}
			w.settle()
			c := w.connect("customer-1", "o/r")
			want = append(want, w.receive(w.delivery("o/r")))
			if tell {
				w.changed()
			}
			w.settle()
			if diff := cmp.Diff(want, w.lane(c)); diff != "" {
				t.Errorf("the lane (-want +got):\n%s", diff)
			}
			for i, p := range want {
				events := w.events(p)
				if first := i == len(want)-1; len(events) != 1 || (events[0].Replay == 0) != first {
					t.Errorf("delivery %d: %+v", p, events)
				}
			}
			w.wantStatus(want[0]-1, syncline.DeliveryParked, "o/other")
			w.changed()
			w.settle()
			if got := w.lane(c); len(got) != len(want) {
				t.Errorf("told again, the lane has %d events; want %d", len(got), len(want))
			}
		})
	}
}

func TestAConnectionThatChangesLaterIsNoticedToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	c := w.connect("customer-1", "o/r")
	early := w.receive(w.delivery("o/second"))
	w.receive(w.delivery("o/r"))
	w.settle()
	w.clock.Advance(time.Hour)
	c.ConnectionConfig["repository"] = []any{"o/r", "o/second"}
	c.UpdatedAt = w.clock.Now()
	w.update(func(tx store.Tx) error { u := c; return tx.UpdateConnection(&u) })
	late := w.receive(w.delivery("o/second"))
	w.settle() // nobody told the router
	if got, want := w.lane(c), []int64{early + 1, early, late}; !slices.Equal(got, want) {
		t.Errorf("the lane is %v; want %v", got, want)
	}
}

func TestManyMoreParkedDeliveriesThanOnePage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	var want []int64
	for i := range 3*batch + 5 {
		if i%3 == 0 {
			w.receive(w.delivery("o/other"))
		} else {
			want = append(want, w.receive(w.delivery("o/r")))
		}
	}
	w.settle()
	c := w.connect("customer-1", "o/r")
	w.changed()
	w.settle()
	if diff := cmp.Diff(want, w.lane(c)); diff != "" {
		t.Errorf("the lane (-want +got):\n%s", diff)
	}
}

func TestAStartLooksAtParkedDeliveries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	p := w.receive(w.delivery("o/r"))
	w.settle()
	w.connect("customer-1", "o/r") // and the process dies before it tells
	w.restart()
	w.settle()
	w.wantStatus(p, syncline.DeliveryRouted, "")
}

func TestParkedDeliveriesExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	d := w.delivery("o/r")
	first := w.receive(d)
	w.settle()
	w.clock.Advance(3 * 24 * time.Hour)
	second := w.receive(w.delivery("o/r"))
	w.settle()
	w.clock.Advance(4*24*time.Hour - time.Minute)
	w.settle()
	w.wantStatus(first, syncline.DeliveryParked, "")
	w.clock.Advance(time.Minute)
	w.settle()
	w.wantStatus(first, syncline.DeliveryExpired, "parked for 168h0m0s: no connection has")
	w.wantStatus(second, syncline.DeliveryParked, "")
	c := w.connect("customer-1", "o/r")
	w.changed()
	w.settle()
	if got := w.lane(c); !slices.Equal(got, []int64{second}) {
		t.Errorf("the lane is %v; want %d alone", got, second)
	}
	// Delivered again, it is driven again.
	again := *d
	w.receive(&again)
	w.settle()
	if s := w.wantStatus(first, syncline.DeliveryRouted, ""); s.Duplicates != 1 {
		t.Errorf("%+v", s)
	}
}

func TestARedeliveryIsCountedAndDrivesAgainWhatCameToNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		before func(w *world, p int64) // after it was routed once
		status syncline.DeliveryStatus
		events int // in the end
	}{
		{"a delivery that waits", func(*world, int64) {}, syncline.DeliveryRouted, 1},
		{"a processed one", func(w *world, p int64) { w.finish(p, syncline.EventDone, "") }, syncline.DeliveryProcessed, 1},
		{"a dead one", func(w *world, p int64) { w.finish(p, syncline.EventDead, "it threw") }, syncline.DeliveryRouted, 2},
		{"a dead one whose connection was deleted", func(w *world, p int64) {
			w.finish(p, syncline.EventDead, "it threw")
			w.view(func(r store.Reader) error {
				c, err := r.ConnectionByKey(w.env.ID, w.github.ID, "customer-1")
				if err == nil {
					w.update(func(tx store.Tx) error { return tx.DeleteConnection(w.env.ID, c.ID, start) })
				}
				return err
			})
		}, syncline.DeliveryDead, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deploy("issues", "issues")
			w.connect("customer-1", "o/r")
			d := w.delivery("o/r")
			p := w.receive(d)
			w.settle()
			tc.before(w, p)
			again := *d
			if w.receive(&again) != p {
				t.Fatal("it was not recognised")
			}
			w.settle()
			s := w.wantStatus(p, tc.status, "")
			if events := w.events(p); s.Duplicates != 1 || s.Events != tc.events || len(events) != tc.events || events[len(events)-1].Replay != tc.events-1 {
				t.Errorf("%+v, events %+v", s, events)
			}
		})
	}
}

func TestADeadDeliveryThatIsDrivenAgainCanSucceedAndDieAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.deploy("copy", "issues")
	w.connect("customer-1", "o/r")
	d := w.delivery("o/r")
	p := w.receive(d)
	w.settle()
	first := w.events(p)
	for i, status := range []syncline.EventStatus{syncline.EventDone, syncline.EventDead} {
		e := first[i]
		e.Status, e.LastError = status, "it threw"
		w.update(func(tx store.Tx) error { return tx.UpdateEvent(&e) })
	}
	w.wantStatus(p, syncline.DeliveryDead, "it threw")
	redeliver := func() {
		again := *d
		w.receive(&again)
		w.settle()
	}
	for n := 1; n <= 2; n++ {
		redeliver()
		s := w.wantStatus(p, syncline.DeliveryRouted, "delivered again")
		events := w.events(p)
		newest := events[len(events)-1]
		if len(events) != 2+n || newest.LaneID != first[1].LaneID || newest.Replay != n || newest.Watermark != d.Watermark || s.OpenEvents != 1 || s.DeadEvents != 0 {
			t.Fatalf("round %d: %+v, %+v", n, s, events)
		}
		if n == 1 {
			w.finish(p, syncline.EventDead, "it threw again")
			w.wantStatus(p, syncline.DeliveryDead, "it threw again")
		}
	}
	w.finish(p, syncline.EventDone, "")
	if s := w.wantStatus(p, syncline.DeliveryProcessed, ""); s.DeadEvents != 0 || s.OpenEvents != 0 {
		t.Errorf("%+v", s)
	}
}

func TestARedeliveryOfAnIgnoredOneIsRoutedOnceASyncSubscribes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.connect("customer-1", "o/r")
	d := w.delivery("o/r")
	p := w.receive(d)
	w.settle()
	again := *d
	w.receive(&again)
	w.settle()
	if s := w.wantStatus(p, syncline.DeliveryIgnored, ""); s.Duplicates != 1 {
		t.Errorf("%+v", s)
	}
	w.deploy("issues", "issues")
	again = *d
	w.receive(&again)
	w.settle()
	s := w.wantStatus(p, syncline.DeliveryRouted, "")
	if events := w.events(p); s.Duplicates != 2 || len(events) != 1 || events[0].Replay != 1 {
		t.Errorf("%+v, %+v", s, events)
	}
}

func TestRedeliveriesInOneBatchWithTheirOriginals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/r")
	var positions []int64
	for range 2 * originalsAtOnce { // more than are looked up at once
		d := w.delivery("o/r")
		positions = append(positions, w.receive(d))
		again := *d
		w.receive(&again)
	}
	w.settle()
	for _, p := range positions {
		if s := w.wantStatus(p, syncline.DeliveryRouted, ""); s.Duplicates != 1 || s.Events != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestThePayloadOfAnEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.github.Config.Webhook = []byte(`{"verify":[{"scheme":"token","header":"X-Token"}]}`)
	d := w.delivery("o/r")
	d.Headers = append(d.Headers,
		syncline.Header{Name: "X-Token", Value: "secret"}, syncline.Header{Name: "Authorization", Value: "secret"},
		syncline.Header{Name: "X-Two", Value: "a"}, syncline.Header{Name: "x-two", Value: "b"})
	e := &syncline.Event{Type: "issues", DeliveryID: "d-1", ReceivedAt: start}
	payload, info, err := Payloads{Webhook: w.router.Webhook}.Payload(&w.github, d, e)
	if err != nil || string(payload) != string(d.Body) {
		t.Fatalf("%s, %v", payload, err)
	}
	want := &syncline.WebhookInfo{Type: "issues", DeliveryID: "d-1", ReceivedAt: start, Headers: map[string]string{
		"x-github-event": "issues", "x-github-delivery": "d-1", "x-two": "a, b",
	}}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(fmt.Sprint(info), "secret") {
		t.Error("a secret is shown to the function")
	}
}
