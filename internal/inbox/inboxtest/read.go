package inboxtest

import (
	"bytes"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline/internal/inbox"
)

var readTests = []test{
	{"an empty inbox has nothing", func(t *testing.T, open Open) {
		l := open(t)
		equal(t, "Last", mustLast(t, l), int64(0))
		if entries := mustRead(t, l, 0, 10); len(entries) != 0 {
			t.Errorf("%+v", entries)
		}
		if found := mustGet(t, l, 1, 1, 2, 3); len(found) != 0 {
			t.Errorf("%+v", found)
		}
	}},
	{"reading goes on beyond a position, in order, within the limit", func(t *testing.T, open Open) {
		l := open(t)
		var want []int64
		for i := range 7 {
			want = append(want, mustAppend(t, l, delivery(i), inbox.Key{}).Position)
		}
		var got []int64
		for after := int64(0); ; {
			entries := mustRead(t, l, after, 3)
			if len(entries) > 3 {
				t.Fatalf("%d entries; the limit is 3", len(entries))
			}
			if len(entries) == 0 {
				break
			}
			for _, e := range entries {
				got = append(got, e.Position)
			}
			after = got[len(got)-1]
		}
		equal(t, "positions", got, want)
		equal(t, "Last", mustLast(t, l), want[6])
	}},
	{"deliveries are found only by their environment", func(t *testing.T, open Open) {
		l := open(t)
		r := mustAppend(t, l, delivery(1), inbox.Key{})
		if found := mustGet(t, l, 2, r.Position); len(found) != 0 {
			t.Errorf("another environment sees %+v", found)
		}
	}},
	{"who has a receipt can read the entry", func(t *testing.T, open Open) {
		l := open(t)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 10 {
					r, err := l.Append(t.Context(), delivery(i*100+j), inbox.Key{})
					if err != nil {
						t.Error(err)
						return
					}
					entries, err := l.Read(t.Context(), r.Position-1, 1)
					if err != nil || len(entries) != 1 || entries[0].Position != r.Position {
						t.Errorf("position %d is not visible: %+v, %v", r.Position, entries, err)
					}
					if last, err := l.Last(t.Context()); err != nil || last < r.Position {
						t.Errorf("Last is %d, %v after position %d", last, err, r.Position)
					}
				}
			})
		}
		wg.Wait()
	}},
	{"a reader that follows by position misses nothing, whatever writers do", func(t *testing.T, open Open) {
		l := open(t)
		const writers, each = 8, 40
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					d := delivery(i*each + j)
					if _, err := l.Append(t.Context(), d, id(d.DeliveryID)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		defer wg.Wait()
		ctx := soon(t)
		seen := map[string]bool{}
		for after := int64(0); len(seen) < writers*each; {
			appended := l.Appended()
			entries := mustRead(t, l, after, 16)
			for _, e := range entries {
				if e.Position <= after {
					t.Fatalf("position %d after %d", e.Position, after)
				}
				after = e.Position
				seen[e.Delivery.DeliveryID] = true
			}
			if len(entries) > 0 {
				continue
			}
			select {
			case <-appended:
			case <-ctx.Done():
				t.Fatalf("%d of %d were seen", len(seen), writers*each)
			}
		}
	}},
	{"an append wakes whoever asked before it, a redelivery too", func(t *testing.T, open Open) {
		l := open(t)
		for range 2 {
			appended := l.Appended()
			select {
			case <-appended:
				t.Fatal("nothing was appended")
			default:
			}
			mustAppend(t, l, delivery(1), id("d-1"))
			select {
			case <-appended:
			case <-soon(t).Done():
				t.Fatal("nobody was woken")
			}
		}
	}},
}

var purgeTests = []test{
	{"what is old and not needed goes; the rest stays", func(t *testing.T, open Open) {
		l := open(t)
		var p []int64
		for i := range 6 {
			p = append(p, mustAppend(t, l, delivery(i), id(delivery(i).DeliveryID)).Position)
		}
		mustAppend(t, l, delivery(0), id("d-0")) // a note, as old as its original
		var asked []int64
		n, err := l.Purge(t.Context(), start.Add(4*time.Second), func(positions []int64) ([]int64, error) {
			asked = append(asked, positions...)
			return []int64{p[1]}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n != 4 || len(asked) != 5 {
			t.Errorf("%d were removed, %d asked about; want 4 of 5", n, len(asked))
		}
		var left []int64
		for _, e := range mustRead(t, l, 0, 10) {
			left = append(left, e.Position)
		}
		equal(t, "left", left, []int64{p[1], p[4], p[5]})
	}},
	{"every old entry is met once, in whatever order their times are", func(t *testing.T, open Open) {
		l := open(t)
		const n = 1300 // more than an engine looks at together
		var want []int64
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				d := delivery(i)
				// Many share a time, and later positions may have earlier ones.
				d.ReceivedAt = start.Add(-time.Duration(i%7) * time.Second)
				fresh := i%5 == 0
				if fresh {
					d.ReceivedAt = start.Add(time.Hour)
				}
				r, err := l.Append(t.Context(), d, inbox.Key{})
				if err != nil {
					t.Error(err)
				} else if !fresh {
					mu.Lock()
					defer mu.Unlock()
					want = append(want, r.Position)
				}
			})
		}
		wg.Wait()
		var asked []int64
		removed, err := l.Purge(t.Context(), start.Add(time.Minute), func(positions []int64) (needed []int64, err error) {
			asked = append(asked, positions...)
			for _, p := range positions {
				if p%2 == 0 {
					needed = append(needed, p)
				}
			}
			return needed, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(want)
		slices.Sort(asked)
		equal(t, "asked", asked, want)
		odd := 0
		for _, p := range want {
			odd += int(p % 2)
		}
		equal(t, "removed", removed, odd)
		equal(t, "left", len(mustRead(t, l, 0, n+1)), n-odd)
	}},
	{"large bodies go like others", func(t *testing.T, open Open) {
		l := open(t)
		for i := range 4 {
			d := delivery(0)
			d.Body = bytes.Repeat([]byte{byte(i)}, 5_000_000)
			mustAppend(t, l, d, inbox.Key{})
		}
		n, err := l.Purge(t.Context(), start.Add(time.Hour), func([]int64) ([]int64, error) { return nil, nil })
		if err != nil || n != 4 || len(mustRead(t, l, 0, 10)) != 0 {
			t.Errorf("%d were removed, %v; want all 4", n, err)
		}
	}},
	{"positions never come back", func(t *testing.T, open Open) {
		l := open(t)
		last := mustAppend(t, l, delivery(1), id("d-1")).Position
		if _, err := l.Purge(t.Context(), start.Add(time.Hour), func([]int64) ([]int64, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		equal(t, "Last", mustLast(t, l), last)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t)
		equal(t, "Last after a reopen", mustLast(t, l), last)
		r := mustAppend(t, l, delivery(1), id("d-1"))
		if r.Duplicate || r.Position <= last {
			t.Errorf("after the purge: %+v; the last position was %d", r, last)
		}
	}},
	{"a purge that cannot ask removes nothing", func(t *testing.T, open Open) {
		l := open(t)
		r := mustAppend(t, l, delivery(1), inbox.Key{})
		cannot := errors.New("cannot ask")
		n, err := l.Purge(t.Context(), start.Add(time.Hour), func([]int64) ([]int64, error) { return nil, cannot })
		if !errors.Is(err, cannot) || n != 0 {
			t.Errorf("%d, %v; want that error", n, err)
		}
		if found := mustGet(t, l, 1, r.Position); len(found) != 1 {
			t.Error("it was removed")
		}
	}},
	{"appends go on while it purges", func(t *testing.T, open Open) {
		l := open(t)
		for i := range 40 {
			d := delivery(i)
			d.ReceivedAt = start
			mustAppend(t, l, d, inbox.Key{})
		}
		var once sync.Once
		n, err := l.Purge(t.Context(), start.Add(time.Second), func([]int64) ([]int64, error) {
			once.Do(func() { mustAppend(t, l, delivery(100), inbox.Key{}) })
			return nil, nil
		})
		if err != nil || n != 40 {
			t.Errorf("%d were removed, %v", n, err)
		}
		if left := mustRead(t, l, 0, 10); len(left) != 1 {
			t.Errorf("%d are left; want the newest", len(left))
		}
	}},
}
