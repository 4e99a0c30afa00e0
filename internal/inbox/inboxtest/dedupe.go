package inboxtest

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/inbox"
)

var dedupeTests = []test{
	{"the same key and body again leaves a note", func(t *testing.T, open Open) {
		l := open(t)
		first := mustAppend(t, l, delivery(1), id("d-1"))
		d := delivery(1)
		d.ReceivedAt = start.Add(time.Hour)
		again := mustAppend(t, l, d, id("d-1"))
		equal(t, "receipt", again, inbox.Receipt{Position: first.Position, Duplicate: true})
		entries := mustRead(t, l, first.Position, 10)
		if len(entries) != 1 {
			t.Fatalf("%d entries; want the note", len(entries))
		}
		equal(t, "note", entries[0], inbox.Entry{Position: entries[0].Position, Redelivered: first.Position, EnvironmentID: 1, ReceivedAt: d.ReceivedAt})
		if got := mustGet(t, l, 1, entries[0].Position); len(got) != 0 {
			t.Errorf("the note is read as a delivery: %+v", got)
		}
	}},
	{"what differs in any part of the key is another delivery", func(t *testing.T, open Open) {
		for name, change := range map[string]func(d *syncline.Delivery, k *inbox.Key){
			"environment": func(d *syncline.Delivery, _ *inbox.Key) { d.EnvironmentID = 9 },
			"integration": func(d *syncline.Delivery, _ *inbox.Key) { d.IntegrationID = 9 },
			"endpoint":    func(d *syncline.Delivery, _ *inbox.Key) { d.ConnectionID = "other" },
			"id":          func(_ *syncline.Delivery, k *inbox.Key) { k.ID = "other" },
			"id's case":   func(_ *syncline.Delivery, k *inbox.Key) { k.ID = "D-1" },
			"body":        func(d *syncline.Delivery, _ *inbox.Key) { d.Body = []byte(`{"n": 1}`) },
			"no body":     func(d *syncline.Delivery, _ *inbox.Key) { d.Body = nil },
		} {
			t.Run(name, func(t *testing.T) {
				l := open(t)
				defer l.Close()
				d, k := delivery(1), id("d-1")
				d.EnvironmentID, k.ID = 5, "d-1 "+name
				mustAppend(t, l, d, k)
				other, key := delivery(1), id("d-1 "+name)
				other.EnvironmentID = 5
				change(other, &key)
				if r := mustAppend(t, l, other, key); r.Duplicate {
					t.Error("it was taken for a redelivery")
				}
			})
		}
	}},
	{"no key is never a duplicate", func(t *testing.T, open Open) {
		l := open(t)
		for range 3 {
			if r := mustAppend(t, l, delivery(1), inbox.Key{}); r.Duplicate {
				t.Error("it was taken for a redelivery")
			}
		}
	}},
	{"headers, path and times do not make a redelivery another delivery", func(t *testing.T, open Open) {
		l := open(t)
		mustAppend(t, l, delivery(1), id("d-1"))
		d := delivery(1)
		d.Headers, d.Path, d.Watermark = nil, "/webhook/e/i", 999
		if r := mustAppend(t, l, d, id("d-1")); !r.Duplicate {
			t.Error("it was not recognised")
		}
	}},
	{"a key with a time counts within it, from the original on", func(t *testing.T, open Open) {
		l := open(t)
		key := inbox.Key{ID: "body", Within: 5 * time.Minute}
		at := func(after time.Duration) inbox.Receipt {
			d := delivery(1)
			d.ReceivedAt = start.Add(after)
			return mustAppend(t, l, d, key)
		}
		first := at(0)
		if r := at(3 * time.Minute); !r.Duplicate || r.Position != first.Position {
			t.Errorf("after 3 minutes: %+v", r)
		}
		if r := at(5 * time.Minute); !r.Duplicate {
			t.Errorf("after 5 minutes: %+v", r)
		}
		second := at(5*time.Minute + time.Second)
		if second.Duplicate {
			t.Errorf("after more than 5 minutes: %+v", second)
		}
		if r := at(6 * time.Minute); !r.Duplicate || r.Position != second.Position {
			t.Errorf("a minute after the second: %+v", r)
		}
	}},
	{"of concurrent appends of one delivery one is the original", func(t *testing.T, open Open) {
		l := open(t)
		var originals atomic.Int64
		var wg sync.WaitGroup
		positions := make([]int64, 50)
		for i := range positions {
			wg.Go(func() {
				r, err := l.Append(t.Context(), delivery(1), id("d-1"))
				if err != nil {
					t.Error(err)
					return
				}
				if positions[i] = r.Position; !r.Duplicate {
					originals.Add(1)
				}
			})
		}
		wg.Wait()
		if originals.Load() != 1 {
			t.Errorf("%d originals", originals.Load())
		}
		for _, p := range positions {
			if p != positions[0] {
				t.Fatalf("positions %d and %d", positions[0], p)
			}
		}
		if n := len(mustRead(t, l, 0, 100)); n != len(positions) {
			t.Errorf("%d entries; want the original and a note for each other", n)
		}
	}},
}
