package sim

import "syncline"

// Stories are the shapes of stories that are told.
func Stories() []Options {
	const ignore, newest = syncline.StrategyIgnoreIfModifiedAfter, syncline.StrategyKeepNewest
	list := []Options{
		{Name: "webhooks alone", Strategy: ignore, Partial: 30, Bulk: 20, Twice: 20, Fail: 10, Crashes: true, Faults: true, Leases: true},
		{Name: "a page loop", Strategy: ignore, Polls: FullPolls, Partial: 30, Lose: 20, Twice: 20, Crashes: true, Variant: true},
		{Name: "a page loop, with resets", Strategy: ignore, Polls: FullPolls, Models: 2, Bulk: 20, Resets: true, Empties: true, Leases: true, Fail: 10, Twice: 30},
		{Name: "prefetching", Strategy: ignore, Polls: FullPolls, Prefetch: 90, Partial: 20, Lose: 20, Crashes: true, Purges: true, PollFails: 1},
		{Name: "late webhooks", Strategy: ignore, Polls: FullPolls, Prefetch: 50, Late: 40, Reorder: 50, Twice: 30, Models: 2, Bulk: 20, Crashes: true, Faults: true},
		{Name: "late webhooks whose handlers fetch", Strategy: ignore, Polls: FullPolls, Prefetch: 50, Late: 40, Reorder: 50, Twice: 30, Fetch: 100, Lose: 10, Crashes: true},
		{Name: "incremental", Strategy: ignore, Polls: Incremental, Reconcile: 10, Partial: 30, Lose: 20, Twice: 20, Crashes: true, ListDeletes: true, Variant: true},
		{Name: "incremental, prefetching", Strategy: ignore, Polls: Incremental, Prefetch: 80, Reconcile: 10, Lose: 20, Crashes: true, Resets: true, Leases: true, Models: 2, Bulk: 20},
		{Name: "incremental, prefetching and rewinding", Strategy: ignore, Polls: Incremental, Prefetch: 80, Rewind: true, Lose: 20, Crashes: true, PollFails: 1, Faults: true, Purges: true},
		{Name: "rewinding to the middle of a listing", Strategy: ignore, Polls: Incremental, Prefetch: 80, Reconcile: 20, Rewind: true, Lose: 20, Partial: 20, Crashes: true, Resets: true, Faults: true},
		{Name: "many deletes are held", Strategy: ignore, Polls: FullPolls, MassDelete: true, Lose: 50, Crashes: true, Prefetch: 30},
		{Name: "keep newest, webhooks alone", Strategy: newest, Late: 50, Reorder: 60, Twice: 30, Partial: 40, Bulk: 20, Fail: 10, Crashes: true, Models: 2},
		{Name: "keep newest", Strategy: newest, Polls: FullPolls, Prefetch: 60, Late: 40, Reorder: 60, Twice: 30, Lose: 10, Partial: 40, Crashes: true, PollFails: 1, Faults: true, Variant: true},
		{Name: "keep newest, incremental", Strategy: newest, Polls: Incremental, Prefetch: 60, Reconcile: 10, Late: 40, Reorder: 60, Twice: 20, Lose: 10, Partial: 40, Crashes: true, ListDeletes: true, Models: 2},
		{Name: "keep newest, everything together", Strategy: newest, Polls: FullPolls, Prefetch: 60, Late: 40, Reorder: 60, Twice: 30, Lose: 10, Partial: 40, Bulk: 20, Fail: 10, PollFails: 1, MassDelete: true, Crashes: true, Leases: true, Resets: true, Empties: true, Purges: true, Faults: true, Models: 2},
	}
	for i := range list {
		list[i].Models = max(1, list[i].Models)
		list[i].Objects, list[i].Actions = 8, 4000
	}
	return list
}

// Gaps are stories of what the product is known to get wrong, and the checks
// that find it.
func Gaps() map[string]Options {
	return map[string]Options{
		"rest": {
			Name: "keep newest, deletes that tell no version", Gap: GapBareDeletes, Strategy: syncline.StrategyKeepNewest, Polls: FullPolls, Bare: 100,
			Objects: 8, Models: 1, Actions: 2000, Seed: 1,
		},
	}
}

// Story finds a story by name.
func Story(name string) (o Options, ok bool) {
	for _, s := range Stories() {
		if s.Name == name {
			return s, true
		}
	}
	return o, false
}
