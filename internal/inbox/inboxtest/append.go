package inboxtest

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"syncline"
	"syncline/internal/inbox"
)

var appendTests = []test{
	{"a delivery comes back as it was received", func(t *testing.T, open Open) {
		l := open(t)
		d := delivery(1)
		d.ConnectionID = "customer-1"
		d.Headers = []syncline.Header{{Name: "Z", Value: "1"}, {Name: "a", Value: "ü"}, {Name: "Z", Value: "2"}, {Name: "Empty"}}
		r := mustAppend(t, l, d, id("d-1"))
		if d.Position != r.Position || r.Duplicate {
			t.Errorf("receipt %+v; the delivery's position is %d", r, d.Position)
		}
		equal(t, "Get", mustGet(t, l, 1, r.Position)[r.Position], d)
		entries := mustRead(t, l, 0, 10)
		equal(t, "Read", entries, []inbox.Entry{{Position: r.Position, Delivery: d, EnvironmentID: 1, ReceivedAt: d.ReceivedAt}})
	}},
	{"bodies are bytes of any kind and any size", func(t *testing.T, open Open) {
		l := open(t)
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for name, body := range map[string][]byte{
			"every byte": all, "invalid UTF-8": {0xff, 0xfe, 0x00}, "NUL": {0}, "25 MB": bytes.Repeat([]byte{0x00, 0xff, 'x'}, 25_000_000/3),
		} {
			d := delivery(1)
			d.Body = body
			r := mustAppend(t, l, d, inbox.Key{})
			if got := mustGet(t, l, 1, r.Position)[r.Position]; got == nil || !bytes.Equal(got.Body, body) {
				t.Errorf("%s: the body did not come back", name)
			}
		}
		d := delivery(1)
		d.Body = nil
		r := mustAppend(t, l, d, inbox.Key{})
		if got := mustGet(t, l, 1, r.Position)[r.Position]; got == nil || len(got.Body) != 0 {
			t.Errorf("no body: %+v", got)
		}
	}},
	{"sizes are those of the bodies, of the environment's deliveries alone", func(t *testing.T, open Open) {
		l := open(t)
		d := delivery(1)
		d.Body = bytes.Repeat([]byte{0}, 70_000)
		large := mustAppend(t, l, d, inbox.Key{})
		empty := delivery(1)
		empty.Body = nil
		none := mustAppend(t, l, empty, inbox.Key{})
		foreign := delivery(2)
		foreign.EnvironmentID = 2
		other := mustAppend(t, l, foreign, inbox.Key{})
		sizes, err := l.Sizes(t.Context(), 1, []int64{large.Position, none.Position, other.Position, 999})
		if err != nil || len(sizes) != 2 || sizes[large.Position] != 70_000 || sizes[none.Position] != 0 {
			t.Errorf("the sizes are %v, %v", sizes, err)
		}
	}},
	{"what was acknowledged is there after a reopen, and positions go on", func(t *testing.T, open Open) {
		l := open(t)
		first := mustAppend(t, l, delivery(1), id("d-1"))
		mustAppend(t, l, delivery(1), id("d-1"))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t)
		entries := mustRead(t, l, 0, 10)
		if len(entries) != 2 || entries[0].Position != first.Position || entries[1].Redelivered != first.Position {
			t.Fatalf("after the reopen: %+v", entries)
		}
		equal(t, "Last", mustLast(t, l), entries[1].Position)
		if again := mustAppend(t, l, delivery(1), id("d-1")); !again.Duplicate || again.Position != first.Position {
			t.Errorf("a redelivery after the reopen: %+v", again)
		}
		if next := mustAppend(t, l, delivery(2), id("d-2")); next.Position <= entries[1].Position {
			t.Errorf("position %d after %d", next.Position, entries[1].Position)
		}
	}},
	{"concurrent appends share commits, and each gets a position of its own", func(t *testing.T, open Open) {
		l := open(t)
		const n = 400
		positions := make([]int64, n)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				<-begin
				d := delivery(i)
				if r, err := l.Append(t.Context(), d, id(d.DeliveryID)); err != nil {
					t.Error(err)
				} else {
					positions[i] = r.Position
				}
			})
		}
		close(begin)
		wg.Wait()
		found := mustGet(t, l, 1, positions...)
		if len(found) != n {
			t.Fatalf("%d deliveries; want %d", len(found), n)
		}
		for i, p := range positions {
			if want := delivery(i); found[p].DeliveryID != want.DeliveryID || !bytes.Equal(found[p].Body, want.Body) {
				t.Fatalf("position %d holds %s; want %s", p, found[p].DeliveryID, want.DeliveryID)
			}
		}
		if c, ok := l.(Committer); ok && c.Commits() > n/2 {
			t.Errorf("%d commits for %d concurrent appends", c.Commits(), n)
		}
	}},
	{"a single append does not wait for company", func(t *testing.T, open Open) {
		l := open(t)
		for i := range 5 {
			if _, err := l.Append(soon(t), delivery(i), inbox.Key{}); err != nil {
				t.Fatal(err)
			}
		}
		if c, ok := l.(Committer); ok && c.Commits() != 5 {
			t.Errorf("%d commits for 5 appends, one after the other", c.Commits())
		}
	}},
	{"an append whose caller has gone stores nothing", func(t *testing.T, open Open) {
		l := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Append(ctx, delivery(1), id("d-1")); err == nil {
			t.Error("it was stored")
		}
		if entries := mustRead(t, l, 0, 10); len(entries) != 0 {
			t.Errorf("%+v", entries)
		}
	}},
	{"a closed inbox refuses and says so", func(t *testing.T, open Open) {
		l := open(t)
		if err := l.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := l.Append(t.Context(), delivery(1), inbox.Key{})
		wantCode(t, err, syncline.CodeUnavailable)
		wantCode(t, l.Ping(t.Context()), syncline.CodeUnavailable)
		_, err = l.Read(t.Context(), 0, 1)
		wantCode(t, err, syncline.CodeUnavailable)
		if err := l.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}},
	{"appends that are under way when it closes are stored or refused, never lost", func(t *testing.T, open Open) {
		l := open(t)
		const n = 200
		stored := make([]int64, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				r, err := l.Append(context.Background(), delivery(i), inbox.Key{})
				if err == nil {
					stored[i] = r.Position
				} else if syncline.CodeOf(err) != syncline.CodeUnavailable {
					t.Error(err)
				}
			})
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		l = open(t)
		count := 0
		for i, p := range stored {
			if p == 0 {
				continue
			}
			count++
			if d := mustGet(t, l, 1, p)[p]; d == nil || d.DeliveryID != delivery(i).DeliveryID {
				t.Errorf("delivery %d was acknowledged at %d and is not there", i, p)
			}
		}
		if got := len(mustRead(t, l, 0, n+1)); got != count {
			t.Errorf("%d entries; %d were acknowledged", got, count)
		}
	}},
}
