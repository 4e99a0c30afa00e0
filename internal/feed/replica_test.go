package feed_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/feed"
	"syncline/internal/records"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// lagging is a fixture on Postgres, with a standby of it that is read through a
// Source.
type lagging struct {
	*fixture
	standby *pgtest.Replica
	source  *feed.Source
	replica *counted
}

// counted counts the snapshots of a store.
type counted struct {
	store.Store
	views int
	fail  error
	hook  func() // before the next snapshot
}

func (c *counted) View(ctx context.Context, fn func(r store.Reader) error) error {
	c.views++
	if hook := c.hook; hook != nil {
		c.hook = nil
		hook()
	}
	if c.fail != nil {
		return c.fail
	}
	return c.Store.View(ctx, fn)
}

func newLagging(t *testing.T) *lagging {
	t.Helper()
	dsn := pgtest.Database(t, "store", func(ctx context.Context, dsn string) error {
		s, err := postgres.Open(ctx, dsn, postgres.Options{})
		if err != nil {
			return err
		}
		return s.Close()
	})
	standby := pgtest.Standby(t)
	primary, err := postgres.Open(t.Context(), dsn, postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { primary.Close() })
	standby.CatchUp(t)
	replica, err := postgres.OpenReadOnly(t.Context(), standby.URL(t, dsn), postgres.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { replica.Close() })
	l := &lagging{fixture: newFixtureOn(t, primary), standby: standby, replica: &counted{Store: replica}}
	l.source = &feed.Source{Store: primary, Replica: l.replica, Clock: clock.NewFake(epoch)}
	return l
}

// through reads through the replica, and reports from where the records came.
func (l *lagging) through(q feed.Query, replica bool, want ...string) feed.Page {
	l.Helper()
	before := l.replica.views
	p, err := l.source.Read(l.Context(), q)
	if err != nil {
		l.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{}, want...), seen(p)); diff != "" {
		l.Error(diff)
	}
	if asked := l.replica.views > before; asked != replica {
		l.Errorf("the replica was asked: %t", asked)
	}
	return p
}

func TestAReplicaThatLagsHidesNothing(t *testing.T) {
	l := newLagging(t)
	q := l.query
	q.Limit = 2

	l.standby.Pause(t)
	l.write(records.OpSave, "Issue", `{"id":"1"}`, `{"id":"2"}`)
	l.through(q, true, "1:added", "2:added") // the collection is not there yet
	l.standby.Resume(t)
	l.standby.CatchUp(t)
	l.write(records.OpSave, "Issue", `{"id":"3"}`)
	l.standby.CatchUp(t)

	l.standby.Pause(t)
	l.write(records.OpSave, "Issue", `{"id":"1","n":1}`, `{"id":"4"}`)
	p := l.through(q, true, "1:added", "2:added") // as the replica has it
	q.Cursor = p.NextCursor
	p = l.through(q, true, "3:added")
	if p.NextCursor == "" {
		t.Fatal("the page ends as if there were nothing more")
	}
	q.Cursor = p.NextCursor
	p = l.through(q, true, "1:updated", "4:added") // which the replica does not have: the primary gives it
	if p.NextCursor != "" {
		t.Errorf("next %q", p.NextCursor)
	}
	q.Cursor = p.Changes[1].Cursor
	l.through(q, false) // nothing new: the primary knows
	l.write(records.OpDelete, "Issue", `{"id":"2"}`)
	l.through(q, true, "2:deleted") // the cursor is beyond what the replica has

	deleted := l.query
	deleted.Actions = []syncline.Action{syncline.ActionDeleted}
	l.through(deleted, true, "2:deleted") // the replica has none that matches
	deleted.IDs = []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}
	l.through(deleted, true, "2:deleted")
	deleted.IDs = nil
	counts := func(want int, q feed.Query) {
		t.Helper()
		if n, err := l.source.Count(t.Context(), q); err != nil || n != want {
			t.Errorf("%d are counted, %v; want %d", n, err, want)
		}
	}
	counts(1, deleted)
	counts(4, l.query)
	l.standby.Resume(t)
	l.standby.CatchUp(t)
	counts(4, l.query)
	l.through(l.query, true, "3:added", "1:updated", "4:added", "2:deleted")
}

func TestACursorThatIsTooOldIsRefusedWhateverTheReplicaHas(t *testing.T) {
	l := newLagging(t)
	l.write(records.OpSave, "Issue", `{"id":"1"}`, `{"id":"2"}`, `{"id":"3"}`)
	first := l.read(l.query).Changes[0].Cursor
	l.write(records.OpDelete, "Issue", `{"id":"2"}`)
	last := l.read(l.query).Changes[2].Cursor
	l.standby.CatchUp(t)
	l.standby.Pause(t)
	coll := l.collection("Issue")
	purge := func() {
		l.update(func(tx store.Tx) error {
			n, err := tx.PurgeDeleted(coll.EnvironmentID, coll.ID, l.now.Add(time.Second), 10)
			if n != 1 {
				t.Errorf("%d were purged", n)
			}
			return err
		})
	}
	purge()
	for _, state := range []string{"behind", "up to date"} {
		q := l.query
		q.Cursor = first
		if _, err := l.source.Read(t.Context(), q); syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "too old") {
			t.Errorf("%s: %v", state, err)
		}
		q.Cursor = last
		l.through(q, false)
		q.Cursor = ""
		// Behind, it would give what was purged to a reader that begins, which
		// then could not go on.
		l.through(q, true, "1:added", "3:added")
		l.standby.Resume(t)
		l.standby.CatchUp(t)
	}

	// Between what the primary says of the cursor and what the replica gives, a
	// deletion is purged.
	q := l.query
	q.Cursor = last
	l.write(records.OpSave, "Issue", `{"id":"4"}`)
	l.write(records.OpDelete, "Issue", `{"id":"1"}`)
	l.standby.CatchUp(t)
	l.replica.hook = func() { purge(); l.standby.CatchUp(t) }
	if _, err := l.source.Read(t.Context(), q); syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "too old") {
		t.Errorf("purged meanwhile: %v", err)
	}
}

func TestAReplicaThatFailsIsLeftAlone(t *testing.T) {
	l := newLagging(t)
	now := clock.NewFake(epoch)
	l.source.Clock = now
	var raws []string
	for i := range 10 {
		raws = append(raws, fmt.Sprintf(`{"id":"%d","text":%q}`, i, strings.Repeat("x", 100_000)))
	}
	l.write(records.OpSave, "Issue", raws...)
	l.standby.CatchUp(t)
	all := make([]string, 10)
	for i := range all {
		all[i] = fmt.Sprintf("%d:added", i)
	}

	// In the middle of a page the primary takes over.
	s, err := l.source.Open(t.Context(), l.query)
	if err != nil {
		t.Fatal(err)
	}
	l.replica.fail = errors.New("canceling statement due to conflict with recovery")
	var out strings.Builder
	if err := s.Write(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if p := decode(t, []byte(out.String())); len(p.Records) != 10 || p.NextCursor != nil {
		t.Errorf("%d records, next %v", len(p.Records), p.NextCursor)
	}
	l.through(l.query, false, all...) // it was just seen to fail
	now.Advance(time.Minute)
	l.through(l.query, true, all...)
	l.through(l.query, false, all...)
	l.replica.fail = nil
	now.Advance(time.Minute)
	before := l.replica.views
	l.through(l.query, true, all...)
	if l.replica.views < before+3 {
		t.Errorf("%d chunks came from the replica", l.replica.views-before)
	}

	l.standby.Stop(t)
	l.through(l.query, true, all...)
	l.through(l.query, false, all...)
	l.standby.Start(t)

	// What is no copy at all is not believed, though it knows the collection's id.
	other := newFixture(t)
	other.write(records.OpSave, "Issue", `{"id":"other"}`)
	if other.collection("Issue").ID != l.collection("Issue").ID {
		t.Skip("the ids differ")
	}
	l.source = &feed.Source{Store: l.store, Replica: other.store}
	if p, err := l.source.Read(t.Context(), l.query); err != nil || len(p.Changes) != 10 {
		t.Errorf("%v, %v", seen(p), err)
	}
}

// A reader that keeps its cursor reconstructs the cache through a replica that
// stops and follows at random, and has all of it as soon as its pages end.
func TestReadersThroughALaggingReplicaNeverSeeAGap(t *testing.T) {
	l := newLagging(t)
	l.write(records.OpSave, "Issue", `{"id":"0","n":-1}`)
	want, got := map[string]string{"0": `{"id":"0","n":-1}`}, map[string]string{}
	q := l.query
	fromReplica := 0
	for round := range 60 {
		switch round % 6 {
		case 1:
			l.standby.Pause(t)
		case 4:
			l.standby.Resume(t)
			if round%4 == 0 {
				l.standby.CatchUp(t)
			}
		}
		for i := range 3 {
			id := fmt.Sprint((round*7 + i*i) % 17)
			if (round+i)%5 == 0 {
				l.write(records.OpDelete, "Issue", fmt.Sprintf(`{"id":%q}`, id))
				delete(want, id)
				continue
			}
			payload := fmt.Sprintf(`{"id":%q,"n":%d}`, id, round*3+i)
			l.write(records.OpSave, "Issue", payload)
			want[id] = payload
		}
		if round%3 == 0 {
			continue // the next one has more to read
		}
		for {
			q.Limit = 1 + round%4
			before := l.replica.views
			p, err := l.source.Read(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			fromReplica += l.replica.views - before
			for _, c := range p.Changes {
				q.Cursor = c.Cursor
				if c.Deleted() {
					delete(got, c.ID)
				} else {
					got[c.ID] = string(c.Payload)
				}
			}
			if p.NextCursor == "" {
				break
			}
			if p.NextCursor != q.Cursor {
				t.Fatal("the next cursor skips")
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("round %d: the reader has %v, the cache %v", round, got, want)
		}
	}
	if fromReplica == 0 {
		t.Error("the replica was never asked")
	}
}
