package sim

import (
	"hash/fnv"
	"math/rand/v2"
)

// Kind is what kind of thing happens.
type Kind uint8

// The kinds of actions.
const (
	kindChange  Kind = iota // the upstream changes
	kindDeliver             // a webhook that is on its way arrives
	kindRoute
	kindPoll // a poll worker takes a step
	kindLane // a lane worker takes a step
	kindRead
	kindReadAll
	kindForget // a reader goes back to an earlier cursor
	kindClock
	kindReset
	kindCrash
	kindHang
	kindReap // runs of the dead are ended
	kindPurge
	kindOperate // held deletes are confirmed or discarded
	kindFault   // something befalls the next commit
	nKinds
)

// Action is one choice of a story: who does something, and the choices that it
// makes on the way. One that cannot be done now does nothing.
type Action struct {
	Kind   Kind
	Who    uint8
	Choice uint64
}

// weights are how often each kind of action comes.
func (o *Options) weights() [nKinds]int {
	w := [nKinds]int{kindChange: 100, kindDeliver: 50, kindRoute: 110, kindPoll: 420, kindLane: 500, kindRead: 60, kindReadAll: 15, kindForget: 6, kindClock: 12}
	set := func(when bool, k Kind, n int) {
		if when {
			w[k] = n
		}
	}
	if o.Polls == NoPolls {
		w[kindPoll] = 0
	}
	if o.Late == 0 && o.Twice == 0 {
		w[kindDeliver] = 0
	}
	set(o.Resets, kindReset, 3)
	set(o.Crashes, kindCrash, 14)
	set(o.Crashes, kindHang, 3)
	set(o.Crashes || o.Leases, kindReap, 10)
	set(o.Purges, kindPurge, 12)
	set(o.MassDelete, kindOperate, 10)
	set(o.Faults, kindFault, 40)
	set(o.Leases, kindClock, 25)
	return w
}

// Actions makes the story of a seed.
func Actions(o Options) []Action {
	name := fnv.New64a()
	_, _ = name.Write([]byte(o.Name)) // cannot fail
	r := rand.New(rand.NewPCG(o.Seed, name.Sum64()))
	weights := o.weights()
	total := 0
	for k := range weights {
		weights[k] = weights[k] * 4 >> r.IntN(3) // each seed has its own pace
		total += weights[k]
	}
	list := make([]Action, o.Actions)
	for i := range list {
		n := r.IntN(total)
		var k Kind
		for k = range nKinds {
			if n -= weights[k]; n < 0 {
				break
			}
		}
		list[i] = Action{Kind: k, Who: uint8(r.IntN(16)), Choice: r.Uint64()}
	}
	return list
}

// choices are drawn from an action's own number.
type choices uint64

func (c *choices) next() uint64 {
	*c += 0x9e3779b97f4a7c15
	z := uint64(*c)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// pick draws a number below n.
func (c *choices) pick(n int) int { return int(c.next() % uint64(n)) }

// chance is true in a percentage of cases.
func (c *choices) chance(percent int) bool { return percent > 0 && c.pick(100) < percent }
