package sim

import (
	"fmt"
	"strings"

	"syncline"
	"syncline/internal/inbox"
)

// Polls is what the polls of a story fetch.
type Polls int

// The kinds of polls.
const (
	NoPolls     Polls = iota
	FullPolls         // everything, by id, and what is missing is deleted
	Incremental       // what was updated since the checkpoint; without one, everything
)

// Gap is something that the product is known to get wrong.
type Gap int

// The gaps.
const (
	NoGap Gap = iota
	// GapBareDeletes: under keep_newest, deletes without a version next to polls.
	GapBareDeletes
)

// Options shape a story. Knobs that are numbers are percentages.
type Options struct {
	Name     string // of the story
	Seed     uint64
	Actions  int
	Objects  int // how many ids each model has, at most 10
	Models   int // 1 or 2
	Variant  bool
	Strategy syncline.Strategy
	Polls    Polls

	// Of webhooks: not delivered at once; delivered in another order; delivered
	// once more, later; never delivered.
	Late, Reorder, Twice, Lose int
	// Of webhooks: tell only what changed; tell deletions without a version;
	// several objects in one. Handlers: fetch the object themselves; fail.
	Partial, Bare, Bulk, Fetch, Fail int
	// Of polls: hold pages back, fetch ahead or fetch details; fetch everything
	// although they are incremental; fail.
	Prefetch, Reconcile, PollFails int
	ListDeletes                    bool // an incremental listing tells deletions too
	Rewind                         bool // the sync rewinds once to before a contested batch
	MassDelete                     bool // many deletes at once are held

	Crashes bool // the process ends; workers hang for good
	Leases  bool // leases end while their holders go on
	Resets  bool
	Empties bool // resets that empty the cache
	Purges  bool // retention removes tombstones
	Faults  bool // commits that fail, run again, or end in an error although they stand

	// Gap is something that the product is known to get wrong; stories keep clear
	// of it unless they name it. See docs/testing.md.
	Gap Gap

	// Inbox takes the deliveries; nil is one in memory.
	Inbox inbox.Log `json:"-"`
}

func (o *Options) keepNewest() bool { return o.Strategy == syncline.StrategyKeepNewest }

// inOrder reports whether webhooks are received in the order of the changes, at once.
func (o *Options) inOrder() bool { return o.Late == 0 && o.Reorder == 0 }

// monotone reports whether nothing stale may be visible after something
// fresher: what is promised in this story.
func (o *Options) monotone() bool { return o.keepNewest() || o.inOrder() || o.Fetch == 100 }

// Count names what a story counts.
type Count int

// What is counted.
const (
	Steps Count = iota // committed store operations
	Changes
	Recreations // of objects that were deleted
	Deliveries
	Late
	Reordered
	Duplicates // recognised by the inbox
	Lost
	Partials
	Polls0 // polls that began
	FullEnds
	Resumed
	Pages
	Rewinds
	Events
	Drains
	MultiDrains // that committed several events
	Failures    // of handlers
	Dead
	Replayed
	Skipped
	Contested
	Older
	Unknown
	Markers
	Resurrections
	Tracked // records that delete tracking deleted
	Held
	Confirmed
	Discarded
	LeaseLosses
	EpochLosses
	Resets
	Empties
	Purged
	ClockBack
	Reads
	Restarts // of readers whose cursor was refused
	Replays  // of readers that went back to an earlier cursor
	Differences
	Aborted
	Rerun
	Ambiguous
	Crashes
	Hung
	Reaped
	crashAt // and one more for each point
	nCounts = crashAt + Count(nPoints)
)

var countNames = [crashAt]string{
	"steps", "changes", "re-creations", "deliveries", "late hooks", "hooks out of order", "duplicates", "lost hooks", "partial hooks", "polls", "polls that ended deletes",
	"resumed polls", "pages", "rewinds", "events", "drains", "drains of several events", "failed handlers", "dead events", "replayed events", "skips", "contested",
	"older refused", "unknown", "markers", "resurrections", "tracked deletes", "held", "confirmed", "discarded", "lease losses", "epoch losses", "resets", "emptied caches",
	"purged tombstones", "clock jumps back", "reads", "refused cursors", "readers gone back", "explained differences", "aborted commits", "commits run again",
	"commits of unknown outcome", "crashes", "hung workers", "reaped runs",
}

func (c Count) String() string {
	if c >= crashAt {
		return "crashes " + point(c-crashAt).String()
	}
	return countNames[c]
}

// Counts are how often each mechanism was exercised.
type Counts [nCounts]int

// Add adds the counts of another story.
func (c *Counts) Add(o *Counts) {
	for i := range c {
		c[i] += o[i]
	}
}

// String lists the counts that are not zero.
func (c *Counts) String() string {
	var list []string
	for i, n := range c {
		if n > 0 {
			list = append(list, fmt.Sprintf("%s %d", Count(i), n))
		}
	}
	return strings.Join(list, ", ")
}

// point is where a worker stands between two of its steps.
type point int

const (
	pollClaimed point = iota
	pollBegun
	pollRequest
	pollAnswer
	pollSave
	pollSplit
	pollCheckpoint
	pollEnd
	laneClaimed
	laneRequest
	laneAnswer
	laneBetween
	laneCommit
	laneRelease
	nPoints
)

func (p point) String() string {
	return [nPoints]string{
		"after a poll is claimed", "after a poll began", "before the API answers a poll", "before the answer reaches a poll", "before a poll saves", "between two batches of a page",
		"before a poll's checkpoint", "before a poll ends", "after a lane is claimed", "before the API answers a handler", "before the answer reaches a handler",
		"between two events", "before a lane commits", "before a lane is released",
	}[p]
}

// Demands are the counts that must not be zero in many stories of these options.
func (o *Options) Demands() []Count {
	d := []Count{Steps, Changes, Recreations, Deliveries, Events, Drains, MultiDrains, Reads, Replays, Resurrections}
	add := func(when bool, more ...Count) {
		if when {
			d = append(d, more...)
		}
	}
	keep := o.keepNewest()
	add(o.Late > 0, Late)
	add(o.Reorder > 0, Reordered)
	add(o.Twice > 0, Duplicates)
	add(o.Lose > 0, Lost)
	add(o.Partial > 0, Partials)
	add(o.Fail > 0, Failures, Dead)
	add(o.Fail > 0 && o.Twice > 0, Replayed)
	add(o.Polls != NoPolls, Polls0, Pages, ClockBack)
	add(o.Polls == FullPolls, FullEnds, Tracked)
	add(o.Polls == Incremental && o.Reconcile > 0, FullEnds)
	add(o.Polls != NoPolls && !keep, Skipped, Contested)
	add(keep && o.Polls != NoPolls, Older)
	add(keep && o.Reorder > 0, Older, Markers)
	add(o.Polls == Incremental && !o.ListDeletes && o.Lose > 0, Differences)
	add(o.Rewind, Rewinds)
	add(o.MassDelete, Held, Confirmed, Discarded)
	add(o.Crashes, Crashes, Hung)
	add(o.Crashes && o.Polls != NoPolls, Resumed, Reaped)
	add(o.Leases && o.Polls != NoPolls, LeaseLosses)
	add(o.Resets, Resets, EpochLosses)
	add(o.Empties, Empties, Restarts)
	add(o.Purges, Purged, Restarts)
	add(o.Faults, Aborted, Rerun, Ambiguous)
	if o.Crashes {
		d = append(d, crashAt+Count(laneClaimed), crashAt+Count(laneBetween), crashAt+Count(laneCommit), crashAt+Count(laneRelease))
		if o.Fetch > 0 {
			d = append(d, crashAt+Count(laneRequest), crashAt+Count(laneAnswer))
		}
		if o.Polls != NoPolls {
			for _, p := range []point{pollClaimed, pollBegun, pollRequest, pollAnswer, pollSave, pollSplit, pollCheckpoint, pollEnd} {
				d = append(d, crashAt+Count(p))
			}
		}
	}
	return d
}
