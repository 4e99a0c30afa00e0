package postgres

import (
	"context"
	"testing"
	"time"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/store/postgres/pgtest"
)

func openTest(t *testing.T) *Log {
	t.Helper()
	l, err := Open(t.Context(), pgtest.Empty(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func jobOf(id string, within, at time.Duration) *job {
	d := &syncline.Delivery{EnvironmentID: 1, Body: []byte("body"), ReceivedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(at)}
	return &job{d: d, headers: []byte("[]"), dedupe: dedupe(d, inbox.Key{ID: id}), within: within, done: make(chan struct{})}
}

func TestDeliveriesOfOneBatchAreComparedAsIfTheyCameAlone(t *testing.T) {
	t.Parallel()
	const minute = time.Minute
	for name, one := range map[string]bool{"in one batch": true, "one by one": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := openTest(t)
			l.commit([]*job{jobOf("b", minute, 0)}) // position 1
			var batch []*job
			var want []int64 // positions of the originals
			for _, c := range []struct {
				id       string
				within   time.Duration
				at       time.Duration
				original int64
			}{
				{"a", minute, -time.Hour, 2},
				{"a", minute, 0, 3}, // the first is too old
				{"b", minute, minute, 1},
				{"a", minute, 30 * time.Second, 3},
				{"", 0, 0, 6},
				{"", 0, 0, 7},
				{"a", minute, minute, 3},
				{"a", minute, minute + time.Second, 9}, // notes are not originals
				{"b", minute, 90 * time.Second, 10},
				{"a", 0, 24 * time.Hour, 2}, // counts forever
				{"a", minute, 2 * minute, 9},
			} {
				batch = append(batch, jobOf(c.id, c.within, c.at))
				want = append(want, c.original)
			}
			if one {
				l.commit(append([]*job(nil), batch...))
			} else {
				for _, j := range batch {
					l.commit([]*job{j})
				}
			}
			for i, j := range batch {
				expected := inbox.Receipt{Position: want[i], Duplicate: want[i] != int64(i)+2}
				if j.err != nil || j.receipt != expected {
					t.Errorf("delivery %d: %+v, %v; want %+v", i, j.receipt, j.err, expected)
				}
			}
		})
	}
}

func TestAnAppendThatWasGivenUpIsNotWritten(t *testing.T) {
	t.Parallel()
	l := openTest(t)
	gone, stays := jobOf("a", 0, 0), jobOf("b", 0, 0)
	gone.state.Store(jobGivenUp)
	l.commit([]*job{gone, stays})
	l.commit([]*job{gone})
	if last, err := l.Last(context.Background()); err != nil || last != 1 || stays.receipt.Position != 1 || l.Commits() != 1 {
		t.Errorf("the newest is %d, %v; the receipt %+v", last, err, stays.receipt)
	}
}

// A state may be read before a commit and arrive after it.
func TestAnOldStateIsPassedOver(t *testing.T) {
	t.Parallel()
	l := &Log{appended: make(chan struct{})}
	for _, c := range []struct{ told, want state }{
		{state{last: 2, used: 20}, state{last: 2, used: 20}},
		{state{last: 1, used: 10}, state{last: 2, used: 20}},
		{state{last: 2, used: 15}, state{last: 2, used: 15}},
		{state{last: 2, used: 20}, state{last: 2, used: 15}},
		{state{last: 3, used: 30}, state{last: 3, used: 30}},
	} {
		woken := l.Appended()
		before := l.seen
		l.notice(c.told)
		if l.seen != c.want {
			t.Errorf("told %+v, it knows %+v; want %+v", c.told, l.seen, c.want)
		}
		select {
		case <-woken:
			if before.last == c.want.last {
				t.Errorf("told %+v, it woke somebody for nothing", c.told)
			}
		default:
			if before.last != c.want.last {
				t.Errorf("told %+v, it woke nobody", c.told)
			}
		}
	}
}
