package route

import (
	"fmt"
	"slices"
	"time"

	"syncline"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// A pass is what the router remembers of an integration's parked deliveries
// between one look at them and the next. Deliveries of which the same is known
// are decided alike; so a look decides once for each kind, and reads only the
// deliveries that are not to stay. The store has the truth: a position that is
// remembered but not parked any more is skipped when its turn comes.
type pass struct {
	began time.Time
	// covered holds connections as they were, by id, when a pass was made for
	// their sake.
	covered map[int64]time.Time
	// section tells by which webhook section the kinds were read.
	section string
	kinds   map[string]*kind
	// unsorted are positions whose kind is not known: each look reads them.
	unsorted []int64
}

// kind is what decides about a delivery, and the parked deliveries that have it.
type kind struct {
	named     string // the connection in the URL
	reading   provider.Reading
	positions []int64
}

const (
	// maxKinds and maxKindBytes bound what is remembered of one integration;
	// deliveries beyond are read at each look.
	maxKinds     = 4096
	maxKindBytes = 4 << 10
)

func (r *Router) passOf(k integrationKey) *pass {
	p := r.passes[k]
	if p == nil {
		p = &pass{covered: map[int64]time.Time{}, kinds: map[string]*kind{}}
		r.passes[k] = p
	}
	return p
}

// sectionOf names the webhook section of an integration.
func sectionOf(i *syncline.Integration) string {
	return i.Provider + " " + string(i.Config.Webhook)
}

// add remembers a delivery that was parked.
func (p *pass) add(it *item) {
	p.read(it.section)
	d := it.delivery
	key := fmt.Sprintf("%q %q %q", d.ConnectionID, it.reading.Type, it.reading.Matches) // %q tells all bytes apart
	known := p.kinds[key]
	switch {
	case known != nil:
		known.positions = append(known.positions, d.Position)
	case len(key) > maxKindBytes || len(p.kinds) >= maxKinds:
		p.unsorted = append(p.unsorted, d.Position)
	default:
		p.kinds[key] = &kind{d.ConnectionID, provider.Reading{Type: it.reading.Type, Matches: it.reading.Matches}, []int64{d.Position}}
	}
}

// read says by which section the kinds are read from now on. Those read by
// another are worth nothing.
func (p *pass) read(section string) {
	if p.section != section {
		p.scatter()
		p.section = section
	}
}

// scatter forgets the kinds.
func (p *pass) scatter() {
	for _, k := range p.kinds {
		p.unsorted = append(p.unsorted, k.positions...)
	}
	clear(p.kinds)
}

// drop forgets deliveries that are not parked any more.
func (p *pass) drop(gone map[int64]bool) {
	isGone := func(position int64) bool { return gone[position] }
	for key, k := range p.kinds {
		if k.positions = slices.DeleteFunc(k.positions, isGone); len(k.positions) == 0 {
			delete(p.kinds, key)
		}
	}
	p.unsorted = slices.DeleteFunc(p.unsorted, isGone)
}

// take removes and returns what may not stay parked, in the order of receipt:
// the kinds that moves names, and what has no kind.
func (p *pass) take(moves []string) []int64 {
	due := p.unsorted
	p.unsorted = nil
	for _, key := range moves {
		due = append(due, p.kinds[key].positions...)
		delete(p.kinds, key)
	}
	slices.Sort(due)
	return slices.Compact(due)
}

// moves lists the kinds that would not be parked now.
func (p *pass) moves(v store.Reader, k integrationKey, w *provider.Webhook) (keys []string, err error) {
	if len(p.kinds) == 0 {
		return nil, nil
	}
	functions, err := v.Functions(k.env, k.id)
	if err != nil {
		return nil, err
	}
	for key, kind := range p.kinds {
		connections, err := match(v, k, kind.named, w, kind.reading.Matches)
		if err != nil {
			return nil, err
		}
		if Decide(&kind.reading, kind.named, connections, functions).Status != syncline.DeliveryParked {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
