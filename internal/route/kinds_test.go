package route

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// counting counts the raw deliveries that are read again.
type counting struct {
	inbox.Log
	read int
}

func (c *counting) Get(ctx context.Context, env int64, positions []int64) (map[int64]*syncline.Delivery, error) {
	c.read += len(positions)
	return c.Log.Get(ctx, env, positions)
}

func TestALookAtParkedDeliveriesReadsOnlyThoseThatMove(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	c := w.connect("customer-1", "o/r")
	count := &counting{Log: w.inbox}
	w.router.Inbox = count
	const n = 300
	for range n {
		w.receive(w.delivery("o/nobody"))
	}
	waiting := w.receive(w.delivery("o/later"))
	w.settle()
	for i := range 3 {
		// A function that keeps its place in the metadata, and the signal of it.
		w.clock.Advance(time.Second)
		c.Metadata = map[string]any{"place": i}
		c.UpdatedAt = w.clock.Now()
		w.update(func(tx store.Tx) error { u := c; return tx.UpdateConnection(&u) })
		p := w.receive(w.delivery("o/r"))
		w.settle()
		w.wantStatus(p, syncline.DeliveryRouted, "")
		w.changed()
		w.settle()
	}
	if count.read != 0 {
		t.Errorf("%d parked deliveries were read, none of which could move", count.read)
	}
	w.connect("customer-2", "o/later")
	w.changed()
	w.settle()
	w.wantStatus(waiting, syncline.DeliveryRouted, "")
	if count.read != 1 {
		t.Errorf("%d parked deliveries were read to route one", count.read)
	}
	w.restart()
	w.router.Inbox = count
	w.settle()
	if count.read != 1+n {
		t.Errorf("%d were read after a start; want each of the %d parked ones once", count.read-1, n)
	}
	w.changed()
	w.settle()
	if count.read != 1+n {
		t.Error("what the start had read was read again")
	}
}

func TestParkedDeliveriesAreReadByTheOverridesOfTheirTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	w.connect("customer-1", "o/other")
	p := w.receive(w.delivery("o/r"))
	w.settle()
	w.wantStatus(p, syncline.DeliveryParked, "")
	w.github.Config.Webhook = []byte(`{"match":null,"match_all":true}`)
	w.update(func(tx store.Tx) error { i := w.github; return tx.UpdateIntegration(&i) })
	w.changed()
	w.settle()
	w.wantStatus(p, syncline.DeliveryRouted, "")
}

func TestParkedDeliveriesOfADeletedIntegrationEndEvenIfNobodyWasTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	p := w.receive(w.delivery("o/r"))
	w.settle()
	w.update(func(tx store.Tx) error { return tx.DeleteIntegration(w.env.ID, w.github.ID, start) })
	w.restart() // the process died before it told the router
	w.settle()
	w.wantStatus(p, syncline.DeliveryDead, "integration was deleted")
}

func TestAFailureWhileParkedDeliveriesAreRoutedForgetsNone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy("issues", "issues")
	var want []int64
	for range 3 * originalsAtOnce {
		want = append(want, w.receive(w.delivery("o/r")))
	}
	w.settle()
	c := w.connect("customer-1", "o/r")
	left := 1
	w.router.Store = &failingAfter{w.store, &left}
	w.changed()
	if _, err := w.router.step(t.Context()); syncline.CodeOf(err) != syncline.CodeUnavailable {
		t.Fatalf("error = %v; want unavailable", err)
	}
	w.router.Store = w.store
	w.settle()
	if diff := cmp.Diff(want, w.lane(c)); diff != "" {
		t.Errorf("the lane (-want +got):\n%s", diff)
	}
}

// failingAfter fails updates once *left were made.
type failingAfter struct {
	store.Store
	left *int
}

func (s *failingAfter) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	if *s.left == 0 {
		return syncline.Errorf(syncline.CodeUnavailable, "the disk is full")
	}
	*s.left--
	return s.Store.Update(ctx, d, fn)
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.router.passOf(integrationKey{1, 1})
	item := func(position int64, kind string) *item {
		return &item{section: "s", delivery: &syncline.Delivery{Position: position}, reading: &provider.Reading{Type: kind}}
	}
	for i := range maxKinds {
		p.add(item(int64(i+1), fmt.Sprint(i)))
	}
	p.add(item(9001, "another"))
	p.add(item(9000, strings.Repeat("x", maxKindBytes)))
	p.add(item(9002, "0")) // of a known kind
	if len(p.kinds) != maxKinds {
		t.Errorf("%d kinds; the limit is %d", len(p.kinds), maxKinds)
	}
	if got := p.take(nil); !slices.Equal(got, []int64{9000, 9001}) {
		t.Errorf("each look reads %v; want those beyond the limit", got)
	}
	p.drop(map[int64]bool{1: true, 9002: true})
	if len(p.kinds) != maxKinds-1 {
		t.Error("a kind without deliveries is remembered")
	}
	p.read("another section")
	if got := p.take(nil); len(p.kinds) != 0 || len(got) != maxKinds-1 {
		t.Errorf("%d kinds of another section are remembered, %d deliveries are to be read", len(p.kinds), len(got))
	}
}

// TestParkingUnderRandomChanges plays random histories. After a signal nothing
// is parked that could be routed; and while nothing is delivered twice, those
// deliveries of a lane that name the same account are in the order of receipt,
// also when signals are lost. (What a connection matches only since it was
// changed comes after what it had matched before.)
func TestParkingUnderRandomChanges(t *testing.T) {
	t.Parallel()
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for range rounds {
				seed := rand.Uint64()
				w.history(rand.New(rand.NewPCG(seed, 0)), ordered)
				if t.Failed() {
					t.Fatalf("with seed %d", seed)
				}
			}
		})
	}
}

func (w *world) history(random *rand.Rand, ordered bool) {
	w.t.Helper()
	repositories := []string{"o/1", "o/2", "o/3"}
	pick := func() string { return repositories[random.IntN(len(repositories))] }
	w.github = syncline.Integration{EnvironmentID: w.env.ID, UniqueKey: syncline.NewUUID(), Provider: "github"}
	w.update(func(tx store.Tx) error { return tx.CreateIntegration(&w.github) })
	sync := w.deploy("issues", "issues")
	deployed := true
	var connections []syncline.Connection
	var sent []*syncline.Delivery
	for range 40 {
		w.clock.Advance(time.Duration(1+random.IntN(40)) * time.Second)
		switch n := random.IntN(20); {
		case n < 9:
			d := w.delivery(pick())
			if random.IntN(4) == 0 {
				d.ConnectionID = fmt.Sprint("c-", random.IntN(4))
			}
			w.receive(d)
			sent = append(sent, d)
		case n < 11 && len(connections) < 4:
			connections = append(connections, w.connect(fmt.Sprint("c-", len(connections)), pick()))
		case n < 13 && len(connections) > 0:
			c := &connections[random.IntN(len(connections))]
			c.ConnectionConfig = map[string]any{"repository": []any{pick(), pick()}}
			c.UpdatedAt = w.clock.Now()
			w.update(func(tx store.Tx) error { u := *c; return tx.UpdateConnection(&u) })
		case n < 16:
			w.settle()
		case n < 17:
			w.changed()
		case n < 18:
			w.restart()
		case ordered || len(sent) == 0:
		case n < 19:
			again := *sent[random.IntN(len(sent))]
			w.receive(&again)
		default:
			deployed = !deployed
			w.update(func(tx store.Tx) error { return tx.SetFunctionEnabled(w.env.ID, sync.ID, deployed) })
		}
	}
	w.settle()
	w.changed()
	w.settle()
	for _, d := range sent {
		s := w.state(d.Position)
		if s.Status == "" {
			w.t.Errorf("delivery %d was not routed", d.Position)
		}
		if s.Status != syncline.DeliveryParked {
			continue
		}
		w.view(func(v store.Reader) error {
			k := integrationKey{w.env.ID, w.github.ID}
			section, err := w.router.Webhook(&w.github)
			if err != nil {
				return err
			}
			reading, err := section.Read(d)
			if err != nil {
				return err
			}
			functions, err := v.Functions(k.env, k.id)
			if err != nil {
				return err
			}
			found, err := match(v, k, d.ConnectionID, section, reading.Matches)
			if got := Decide(reading, d.ConnectionID, found, functions).Status; got != syncline.DeliveryParked {
				w.t.Errorf("delivery %d is parked; it could be %s", d.Position, got)
			}
			return err
		})
	}
	if !ordered {
		return
	}
	for _, c := range connections {
		lanes := map[string][]int64{}
		for _, p := range w.lane(c) {
			i := slices.IndexFunc(sent, func(d *syncline.Delivery) bool { return d.Position == p })
			account := sent[i].ConnectionID + " " + gjson.GetBytes(sent[i].Body, "repository.full_name").Str
			lanes[account] = append(lanes[account], p)
		}
		for account, lane := range lanes {
			if !slices.IsSorted(lane) {
				w.t.Errorf("the lane of %s is not in the order of receipt for %q: %v", c.ConnectionID, account, lane)
			}
		}
	}
}
