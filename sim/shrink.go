package sim

import (
	"context"
	"errors"
	"time"

	"syncline/internal/store"
)

// Shrink looks for a smaller story that fails the same check: it leaves actions
// out, in chunks and then one by one, for as long as the rest still fails. open
// makes an empty store for each try; it stops when the time is up.
func Shrink(ctx context.Context, open func() store.Store, f *Failure, budget time.Duration) *Failure {
	ends := time.Now().Add(budget)
	small := f
	try := func(o Options, list []Action) bool {
		if time.Now().After(ends) {
			return false
		}
		_, at, err := Tell(ctx, open(), o, list, nil)
		var v *Violation
		if !errors.As(err, &v) || v.Check != f.Violation.Check {
			return false
		}
		small = &Failure{o, list[:min(at+1, len(list))], v}
		return true
	}
	if !try(f.Options, f.Actions) {
		return f // not in this kind of store
	}
	for changed := true; changed && time.Now().Before(ends); {
		changed = false
		for chunk := max(1, len(small.Actions)/2); chunk > 0; chunk /= 2 {
			for end := len(small.Actions); end > 0; end -= chunk {
				end = min(end, len(small.Actions))
				from := max(0, end-chunk)
				list := append(append([]Action(nil), small.Actions[:from]...), small.Actions[end:]...)
				if try(small.Options, list) {
					changed = true
				}
			}
		}
		for _, simpler := range small.Options.simpler() {
			if try(simpler, small.Actions) {
				changed = true
			}
		}
	}
	return small
}

// simpler are options with less in them.
func (o Options) simpler() []Options {
	var list []Options
	add := func(change func(o *Options)) {
		s := o
		if change(&s); s != o {
			list = append(list, s)
		}
	}
	add(func(o *Options) { o.Models = 1 })
	add(func(o *Options) { o.Variant = false })
	add(func(o *Options) { o.Partial = 0 })
	add(func(o *Options) { o.Bulk = 0 })
	add(func(o *Options) { o.Fail = 0 })
	add(func(o *Options) { o.PollFails = 0 })
	add(func(o *Options) { o.Prefetch = 0 })
	add(func(o *Options) { o.Reconcile = 0 })
	return list
}
