package sim_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/sim"
)

// A simulation that finds nothing proves nothing. Each fault stands in for one
// mechanism of the product that does not work; docs/testing.md has the seed of
// a story that finds it, and the check that does.
type fault struct {
	standIn string // its name in the table
	story   string
	check   string
	store   func(store.Store) store.Store
	inbox   func() inbox.Log
}

func faults() []fault {
	tx := func(wrap func(tx store.Tx) store.Tx) func(store.Store) store.Store {
		return func(s store.Store) store.Store { return wrapped{s, wrap} }
	}
	return []fault{
		{standIn: "blind", story: "a page loop", check: "stale", store: func(s store.Store) store.Store { return blind{s} }},
		{standIn: "blind", story: "late webhooks whose handlers fetch", check: "stale", store: func(s store.Store) store.Store { return blind{s} }},
		{standIn: "stuck", story: "a page loop", check: "watermark", store: func(s store.Store) store.Store { return &stuck{Store: s} }},
		{standIn: "disowned", story: "incremental, prefetching", check: "lineage", store: tx(func(tx store.Tx) store.Tx { return disownedTx{tx} })},
		{standIn: "adopted", story: "prefetching", check: "stale", store: func(s store.Store) store.Store {
			newest := new(int64)
			return wrapped{s, func(tx store.Tx) store.Tx { return adoptedTx{tx, newest} }}
		}},
		{standIn: "unordered", story: "a page loop", check: "reader", store: func(s store.Store) store.Store { return &unordered{Store: s} }},
		{standIn: "unordered", story: "keep newest", check: "reader", store: func(s store.Store) store.Store { return &unordered{Store: s} }},
		{standIn: "unfenced", story: "a page loop, with resets", check: "fencing", store: tx(func(tx store.Tx) store.Tx { return unfencedTx{tx} })},
		{standIn: "unfenced", story: "webhooks alone", check: "fencing", store: tx(func(tx store.Tx) store.Tx { return unfencedTx{tx} })},
		{standIn: "forgetful", story: "webhooks alone", check: "stale", inbox: func() inbox.Log { return forgetful{sim.NewInbox()} }},
		{standIn: "unguarded replays", story: "webhooks alone", check: "stale", store: tx(func(tx store.Tx) store.Tx { return replaysTx{tx} })},
		{standIn: "half a drain", story: "webhooks alone", check: "once", store: half("UpdateEvent")},
		{standIn: "half a routing", story: "webhooks alone", check: "stale", store: half("SetRouterPosition")},
		{standIn: "half a batch", story: "prefetching", check: "counts", store: half("UpdateRun")},
		{standIn: "tombstones without versions", story: "keep newest, webhooks alone", check: "stale", store: tx(func(tx store.Tx) store.Tx { return unversionedTx{tx} })},
		{standIn: "no markers", story: "keep newest, webhooks alone", check: "stale", store: tx(func(tx store.Tx) store.Tx { return markerlessTx{tx} })},
		{standIn: "no field versions", story: "keep newest, webhooks alone", check: "stale", store: tx(func(tx store.Tx) store.Tx { return fieldlessTx{tx} })},
		{standIn: "untouched", story: "a page loop", check: "deletes", store: tx(func(tx store.Tx) store.Tx { return untouchedTx{tx} })},
		{standIn: "epochs that stay", story: "a page loop, with resets", check: "once", store: tx(func(tx store.Tx) store.Tx { return stayingTx{tx} })},
		{standIn: "unpurged", story: "prefetching", check: "reader", store: func(s store.Store) store.Store { return unpurged{s} }},
	}
}

// wrapped is a store whose transactions are not what they should be.
type wrapped struct {
	store.Store
	wrap func(tx store.Tx) store.Tx
}

func (s wrapped) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, d, func(tx store.Tx) error { return fn(s.wrap(tx)) })
}

// blind is a store whose position is always ahead: watermarks made of it guard
// nothing.
type blind struct{ store.Store }

func (b blind) Position(ctx context.Context) (int64, error) {
	p, err := b.Store.Position(ctx)
	return p + 1_000_000, err
}

// stuck tells the position of 20 questions ago: watermarks that do not move on
// give way to what the data was made of.
type stuck struct {
	store.Store
	told []int64
}

func (s *stuck) Position(ctx context.Context) (int64, error) {
	p, err := s.Store.Position(ctx)
	if s.told = append(s.told, p); len(s.told) > 20 {
		s.told = s.told[1:]
	}
	return s.told[0], err
}

// disownedTx does not say who wrote a record: own writes are not recognised.
type disownedTx struct{ store.Tx }

func (t disownedTx) RecordsByID(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordsByID(env, collection, ids)
	return disowned(found), err
}

func (t disownedTx) RecordHeads(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordHeads(env, collection, ids)
	return disowned(found), err
}

func disowned(found map[string]*syncline.Record) map[string]*syncline.Record {
	for _, r := range found {
		r.Writer.Lineage, r.Writer.LaneID, r.Writer.EventID = 0, 0, 0
	}
	return found
}

// adoptedTx says that the newest poll wrote what webhooks wrote: foreign writes
// are taken for own ones.
type adoptedTx struct {
	store.Tx
	newest *int64
}

func (t adoptedTx) CreateRun(r *syncline.Run) error {
	err := t.Tx.CreateRun(r)
	if r.Kind == syncline.RunPoll {
		*t.newest = r.Lineage
	}
	return err
}

func (t adoptedTx) RecordsByID(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordsByID(env, collection, ids)
	return t.adopted(found), err
}

func (t adoptedTx) RecordHeads(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordHeads(env, collection, ids)
	return t.adopted(found), err
}

func (t adoptedTx) adopted(found map[string]*syncline.Record) map[string]*syncline.Record {
	for _, r := range found {
		if r.Writer.LaneID != 0 {
			r.Writer.Lineage = *t.newest
		}
	}
	return found
}

// unordered is a store where a transaction takes its positions and becomes
// visible to readers only after two more: as without the collection's lock.
type unordered struct {
	store.Store
	puts   int
	hidden map[[2]int64]bool
}

type unorderedTx struct {
	store.Tx
	put map[[2]int64]bool
}

func (t unorderedTx) PutRecords(env, collection int64, records []*syncline.Record) error {
	for _, r := range records {
		t.put[[2]int64{collection, r.Seq}] = true
	}
	return t.Tx.PutRecords(env, collection, records)
}

func (u *unordered) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	var put map[[2]int64]bool
	err := u.Store.Update(ctx, d, func(tx store.Tx) error {
		put = map[[2]int64]bool{}
		return fn(unorderedTx{tx, put})
	})
	if err != nil || len(put) == 0 {
		return err
	}
	switch u.puts++; u.puts % 5 {
	case 0:
		u.hidden = put
	case 2:
		u.hidden = nil
	}
	return nil
}

func (u *unordered) View(ctx context.Context, fn func(r store.Reader) error) error {
	return u.Store.View(ctx, func(r store.Reader) error { return fn(unorderedReader{r, u.hidden}) })
}

type unorderedReader struct {
	store.Reader
	hidden map[[2]int64]bool
}

func (r unorderedReader) ScanRecords(env, collection int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	return r.Reader.ScanRecords(env, collection, q, func(rec *syncline.Record) bool {
		return r.hidden[[2]int64{collection, rec.Seq}] || fn(rec)
	})
}

// unfencedTx lets anyone commit.
type unfencedTx struct{ store.Tx }

func (unfencedTx) FencePoll(int64, int64, int64, int64) error { return nil }
func (unfencedTx) FenceLane(int64, int64, int64, int64) error { return nil }

// forgetful is an inbox that knows no duplicate: a delivery that comes twice is two.
type forgetful struct{ inbox.Log }

func (f forgetful) Append(ctx context.Context, d *syncline.Delivery, _ inbox.Key) (inbox.Receipt, error) {
	return f.Log.Append(ctx, d, inbox.Key{})
}

// replaysTx takes a replay for an event that has just come.
type replaysTx struct{ store.Tx }

func (t replaysTx) AppendEvents(events []*syncline.Event) error {
	for _, e := range events {
		e.Replay = 0
	}
	return t.Tx.AppendEvents(events)
}

// half is a store that commits some transactions up to a call, and then fails:
// as if effects were not in one transaction, and the process died between two.
func half(call string) func(store.Store) store.Store {
	return func(s store.Store) store.Store { return &halved{Store: s, call: call} }
}

type halved struct {
	store.Store
	call string
	n    int
}

var errHalf = syncline.Errorf(syncline.CodeUnavailable, "the process died in the middle of a commit")

func (h *halved) Update(ctx context.Context, d store.Durability, fn func(tx store.Tx) error) error {
	cut := false
	err := h.Store.Update(ctx, d, func(tx store.Tx) error {
		t := &halvedTx{Tx: tx, h: h}
		err := fn(t)
		if cut = t.cut; cut {
			return nil
		}
		return err
	})
	if cut {
		return errHalf
	}
	return err
}

type halvedTx struct {
	store.Tx
	h        *halved
	put, cut bool
}

func (t *halvedTx) PutRecords(env, collection int64, records []*syncline.Record) error {
	t.put = true
	return t.Tx.PutRecords(env, collection, records)
}

func (t *halvedTx) AppendEvents(events []*syncline.Event) error {
	t.put = true
	return t.Tx.AppendEvents(events)
}

func (t *halvedTx) here(call string) error {
	if t.cut {
		return errHalf
	}
	if call == t.h.call && t.put {
		if t.h.n++; t.h.n%4 == 0 {
			t.cut = true
			return errHalf
		}
	}
	return nil
}

func (t *halvedTx) UpdateEvent(e *syncline.Event) error {
	if err := t.here("UpdateEvent"); err != nil {
		return err
	}
	return t.Tx.UpdateEvent(e)
}

func (t *halvedTx) SetRouterPosition(p int64) error {
	if err := t.here("SetRouterPosition"); err != nil {
		return err
	}
	return t.Tx.SetRouterPosition(p)
}

func (t *halvedTx) UpdateRun(r *syncline.Run) error {
	if r.Kind == syncline.RunPoll {
		if err := t.here("UpdateRun"); err != nil {
			return err
		}
	}
	return t.Tx.UpdateRun(r)
}

// unversionedTx forgets the versions of tombstones.
type unversionedTx struct{ store.Tx }

func (t unversionedTx) RecordsByID(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordsByID(env, collection, ids)
	for _, r := range found {
		if r.Deleted() && r.LastAction != "" {
			r.Version, r.FieldVersions = "", nil
		}
	}
	return found, err
}

// markerlessTx keeps no deletions of records that were never there.
type markerlessTx struct{ store.Tx }

func (t markerlessTx) PutRecords(env, collection int64, records []*syncline.Record) error {
	var kept []*syncline.Record
	for _, r := range records {
		if r.LastAction != "" {
			kept = append(kept, r)
		}
	}
	return t.Tx.PutRecords(env, collection, kept)
}

// fieldlessTx keeps no versions of single fields.
type fieldlessTx struct{ store.Tx }

func (t fieldlessTx) RecordsByID(env, collection int64, ids []string) (map[string]*syncline.Record, error) {
	found, err := t.Tx.RecordsByID(env, collection, ids)
	for _, r := range found {
		r.FieldVersions = nil
	}
	return found, err
}

// untouchedTx does not note what delete tracking saw.
type untouchedTx struct{ store.Tx }

func (untouchedTx) TouchRecords(int64, int64, int64, []string) error { return nil }

// stayingTx does not move an instance's epoch at a reset.
type stayingTx struct{ store.Tx }

func (t stayingTx) UpdateInstance(i *syncline.SyncInstance) error {
	old, err := t.Tx.Instance(i.EnvironmentID, i.ID)
	if err == nil && old.Epoch != i.Epoch {
		i.Epoch = old.Epoch
	}
	return t.Tx.UpdateInstance(i)
}

// unpurged does not know that tombstones were removed: it refuses no cursor.
type unpurged struct{ store.Store }

func (u unpurged) View(ctx context.Context, fn func(r store.Reader) error) error {
	return u.Store.View(ctx, func(r store.Reader) error { return fn(unpurgedReader{r}) })
}

type unpurgedReader struct{ store.Reader }

func (r unpurgedReader) Collection(env, connection int64, model string) (syncline.Collection, error) {
	c, err := r.Reader.Collection(env, connection, model)
	c.PurgedSeq = 0
	return c, err
}

// find tells a story with the fault.
func (f *fault) find(seed int) (*sim.Failure, error) {
	o, ok := sim.Story(f.story)
	if !ok {
		return nil, fmt.Errorf("there is no story %q", f.story)
	}
	o.Seed, o.Actions = uint64(seed), 2000
	_, err := sim.Run(context.Background(), f.open(), f.options(o))
	var failure *sim.Failure
	if !errors.As(err, &failure) {
		return nil, err
	}
	return failure, nil
}

func (f *fault) open() store.Store {
	s := store.Store(mem.New(nil))
	if f.store != nil {
		s = f.store(s)
	}
	return s
}

func (f *fault) options(o sim.Options) sim.Options {
	if f.inbox != nil {
		o.Inbox = f.inbox()
	}
	return o
}

var row = regexp.MustCompile(`^\| .* \| ([a-z ]+): .* \| "([^"]+)" \| (\d+) \| ` + "`([a-z ]+)`" + `: .* \|$`)

// The table in docs/testing.md says which seed finds which fault.
func TestTheSeedsOfTheTableFindTheFaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	seeds := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if m := row.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			seeds[m[1]+"/"+m[2]+"/"+m[4]], _ = strconv.Atoi(m[3])
		}
	}
	for _, f := range faults() {
		t.Run(f.standIn+" in "+f.story, func(t *testing.T) {
			t.Parallel()
			key := f.standIn + "/" + f.story + "/" + f.check
			if seed, listed := seeds[key]; listed {
				found, err := f.find(seed)
				if err != nil {
					t.Fatal(err)
				}
				if found != nil && found.Violation.Check == f.check {
					return
				}
				t.Logf("seed %d finds %v", seed, found)
			}
			for seed := 1; seed <= 40; seed++ {
				found, err := f.find(seed)
				if err != nil {
					t.Fatal(err)
				}
				if found != nil && found.Violation.Check == f.check {
					t.Fatalf("write seed %d into docs/testing.md for %s: %s", seed, key, found.Violation)
				} else if found != nil {
					t.Logf("seed %d finds %v", seed, found)
				}
			}
			t.Errorf("40 stories found nothing wrong with %s", key)
		})
	}
}
