package feed_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/records"
	"syncline/internal/store"
)

// large is a store with one collection of many large records, which are made
// when they are read. It counts what is held of them.
type large struct {
	store.Store
	store.Reader
	rows, size int
	fail       map[int]error // by View, the first is 1: after some of its rows
	views      int
	open       int   // snapshots
	given      int64 // bytes of payloads
	purged     int64
}

func (l *large) View(_ context.Context, fn func(r store.Reader) error) error {
	l.views++
	l.open++
	defer func() { l.open-- }()
	return fn(l)
}

func (l *large) Collection(env, connectionID int64, model string) (syncline.Collection, error) {
	return syncline.Collection{ID: 7, EnvironmentID: env, ConnectionID: connectionID, Model: model, LastSeq: int64(l.rows), PurgedSeq: l.purged}, nil
}

func (l *large) CollectionByID(env, _ int64) (syncline.Collection, error) {
	return l.Collection(env, 1, "Issue")
}

func (l *large) ScanRecords(_, _ int64, q store.RecordQuery, fn func(*syncline.Record) bool) error {
	for n, seq := 0, q.After+1; seq <= min(q.Until, int64(l.rows)) && n < q.Limit; n, seq = n+1, seq+1 {
		if err := l.fail[l.views]; err != nil && n == 50 {
			return err
		}
		payload := fmt.Sprintf(`{"id":"%d","text":"%s"}`, seq, strings.Repeat("x", l.size))
		l.given += int64(len(payload))
		if !fn(&syncline.Record{ID: fmt.Sprint(seq), Seq: seq, Payload: json.RawMessage(payload), LastAction: syncline.ActionAdded, LastModifiedAt: epoch, FirstSeenAt: epoch}) {
			break
		}
	}
	return nil
}

// slow is a client: between its parts it looks at what the server holds.
type slow struct {
	*large
	bytes.Buffer
	most, writes int64
	snapshots    int
}

func (s *slow) Write(b []byte) (int, error) {
	s.writes++
	// What was read and has not left yet, with its metadata.
	held := max(s.given-int64(s.Len()), int64(len(b)))
	s.most, s.snapshots = max(s.most, held), s.snapshots+s.open
	return s.Buffer.Write(b)
}

type page struct {
	Records []struct {
		ID string `json:"id"`
	} `json:"records"`
	NextCursor *string `json:"next_cursor"`
}

func decode(t *testing.T, data []byte) (p page) {
	t.Helper()
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatalf("%d bytes are not valid JSON: %v", len(data), err)
	}
	return p
}

func TestALargePageIsNotHeldWhileASlowClientReadsIt(t *testing.T) {
	t.Parallel()
	rows := 10_000
	if testing.Short() {
		rows = 1000
	}
	l := &large{rows: rows, size: 8 << 10}
	out := &slow{large: l}
	q := feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000, Budget: 100 << 20}
	s, err := (&feed.Source{Store: l}).Open(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if s.Whole() != nil {
		t.Fatal("it is said to be one chunk")
	}
	if err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	p := decode(t, out.Bytes())
	if len(p.Records) != rows || p.NextCursor != nil || p.Records[rows-1].ID != fmt.Sprint(rows) {
		t.Errorf("%d records, next %v", len(p.Records), p.NextCursor)
	}
	if out.most > 1<<20 || out.snapshots > 0 {
		t.Errorf("%d bytes were held at most, and a snapshot during %d of %d writes", out.most, out.snapshots, out.writes)
	}
	t.Logf("%d bytes in %d writes; at most %d were held", out.Len(), out.writes, out.most)
}

func TestABudgetEndsTheAnswer(t *testing.T) {
	t.Parallel()
	l := &large{rows: 10_000, size: 8 << 10}
	for name, c := range map[string]struct {
		limit, budget, least, most int
	}{
		"the default":                  {10_000, 0, feed.DefaultBudget - 10<<10, feed.DefaultBudget + 100},
		"a small one":                  {10_000, 100_000, 90_000, 100_100},
		"of less than one record":      {10_000, 1, 8 << 10, 9 << 10},
		"that ends where a chunk does": {10_000, 256 << 10, 256<<10 - 10<<10, 256<<10 + 100},
		"a limit before it":            {1000, 0, 8 << 20, 9 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "the default" && testing.Short() {
				t.Skip("it is large")
			}
			seen, cursor := 0, ""
			for range 2 {
				var out bytes.Buffer
				s, err := (&feed.Source{Store: l}).Open(t.Context(), feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: c.limit, Budget: c.budget, Cursor: cursor})
				if err != nil {
					t.Fatal(err)
				}
				if whole := s.Whole(); whole != nil {
					out.Write(whole)
				} else if err := s.Write(t.Context(), &out); err != nil {
					t.Fatal(err)
				}
				if out.Len() < c.least || out.Len() > c.most {
					t.Errorf("%d bytes; want %d to %d", out.Len(), c.least, c.most)
				}
				p := decode(t, out.Bytes())
				n := len(p.Records)
				if n == 0 || p.Records[0].ID != fmt.Sprint(seen+1) || p.Records[n-1].ID != fmt.Sprint(seen+n) || p.NextCursor == nil || *p.NextCursor != feed.Cursor(7, int64(seen+n)) {
					t.Fatalf("%d records after %d, next %v", n, seen, p.NextCursor)
				}
				seen, cursor = seen+n, *p.NextCursor
			}
		})
	}
}

func TestAPageThatCannotBeReadOnEndsWithANextCursor(t *testing.T) {
	t.Parallel()
	broken := syncline.Errorf(syncline.CodeUnavailable, "the disk is gone")
	l := &large{rows: 10_000, size: 1 << 10, fail: map[int]error{3: broken}}
	s, err := (&feed.Source{Store: l}).Open(t.Context(), feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := s.Write(t.Context(), &out); !errors.Is(err, broken) {
		t.Errorf("Write returns %v", err)
	}
	p := decode(t, out.Bytes())
	if n := len(p.Records); n < 400 || n > 1000 || p.NextCursor == nil || *p.NextCursor != feed.Cursor(7, int64(n)) {
		t.Errorf("%d records, next %v", n, p.NextCursor)
	}
	l.fail[l.views+1] = broken
	if _, err := (&feed.Source{Store: l}).Open(t.Context(), feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000}); !errors.Is(err, broken) {
		t.Errorf("an error of the first chunk: %v", err)
	}
}

func TestAPageEndsBeforeWhatWasRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	l := &large{rows: 10_000, size: 1 << 10}
	s, err := (&feed.Source{Store: l}).Open(t.Context(), feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = s.Write(t.Context(), writer(func(b []byte) (int, error) {
		l.purged = 9000
		return out.Write(b)
	}))
	p := decode(t, out.Bytes())
	if n := len(p.Records); err != nil || n > 500 || p.NextCursor == nil {
		t.Fatalf("%d records, next %v, %v", n, p.NextCursor, err)
	}
	_, err = feed.Read(t.Context(), l, feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Cursor: *p.NextCursor})
	if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), "too old") {
		t.Errorf("the next page: %v", err)
	}

	l = &large{rows: 10_000, size: 1 << 10}
	got, err := feed.Read(t.Context(), &purging{large: l, at: 100}, feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000})
	if err != nil || len(got.Changes) != 10_000 || got.NextCursor != "" {
		t.Errorf("what was removed lies behind: %d records, next %q, %v", len(got.Changes), got.NextCursor, err)
	}
}

// purging removes what lies before position at once a page has begun.
type purging struct {
	*large
	at int64
}

func (p *purging) View(ctx context.Context, fn func(r store.Reader) error) error {
	defer func() { p.purged = p.at }()
	return p.large.View(ctx, fn)
}

type writer func(b []byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestAClientThatIsGoneEndsThePage(t *testing.T) {
	t.Parallel()
	l := &large{rows: 10_000, size: 8 << 10}
	s, err := (&feed.Source{Store: l}).Open(t.Context(), feed.Query{EnvironmentID: 1, ConnectionID: 1, Model: "Issue", Limit: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	gone, writes := errors.New("gone"), 0
	err = s.Write(t.Context(), writer(func(b []byte) (int, error) {
		if writes++; writes == 3 {
			return 0, gone
		}
		return len(b), nil
	}))
	if !errors.Is(err, gone) || writes != 3 || l.views > 4 {
		t.Errorf("%v after %d writes and %d chunks", err, writes, l.views)
	}
}

// A stream says what AppendJSON says of the same page, however it is cut into
// chunks, and whatever is written meanwhile.
func TestAStreamIsThePage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var ids []string
	for i := range 40 {
		size := 100
		if i%10 == 3 {
			size = 300_000 // a chunk of its own
		}
		id := fmt.Sprint(i)
		ids = append(ids, id)
		f.write(records.OpSave, "Issue", fmt.Sprintf(`{"id":%q,"text":%q}`, id, strings.Repeat("é", size/2)))
	}
	f.write(records.OpDelete, "Issue", `{"id":"5"}`, `{"id":"6"}`)
	for name, change := range map[string]func(q *feed.Query){
		"everything":      func(*feed.Query) {},
		"a limit":         func(q *feed.Query) { q.Limit = 7 },
		"a filter":        func(q *feed.Query) { q.Actions, _ = feed.ParseActions("deleted") },
		"ids":             func(q *feed.Query) { q.IDs = append([]string{"x", "7", "7"}, ids...) },
		"ids and a limit": func(q *feed.Query) { q.IDs, q.Limit = ids, 13 },
		"few ids":         func(q *feed.Query) { q.IDs = []string{"13", "6", "3"} },
		"no ids":          func(q *feed.Query) { q.IDs = []string{} },
		"a time":          func(q *feed.Query) { q.ModifiedAfter = epoch.Add(12 * time.Millisecond) },
		"a budget":        func(q *feed.Query) { q.Budget = 400_000 },
		"nothing":         func(q *feed.Query) { q.Model = "Label" },
	} {
		t.Run(name, func(t *testing.T) {
			q := f.query
			change(&q)
			want, err := feed.Read(t.Context(), f.store, q)
			if err != nil {
				t.Fatal(err)
			}
			s, err := (&feed.Source{Store: f.store}).Open(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if whole := s.Whole(); whole != nil {
				out.Write(whole)
			} else if err := s.Write(t.Context(), &out); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want.AppendJSON(nil)), out.String()); diff != "" {
				t.Error(diff[:min(len(diff), 2000)])
			}
			all := f.query
			all.Limit = 1000
			if name == "ids" {
				p, err := feed.Read(t.Context(), f.store, all)
				if diff := cmp.Diff(seen(p), seen(want)); err != nil || diff != "" {
					t.Error(err, diff)
				}
			}
		})
	}
}

func TestARecordThatChangesWhileAPageIsReadIsNotInItTwice(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 30 {
		f.write(records.OpSave, "Issue", fmt.Sprintf(`{"id":"%d","text":%q}`, i, strings.Repeat("x", 50_000)))
	}
	s, err := (&feed.Source{Store: f.store}).Open(t.Context(), f.query)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	changed := false
	err = s.Write(t.Context(), writer(func(b []byte) (int, error) {
		if !changed {
			f.write(records.OpSave, "Issue", `{"id":"0","text":"new"}`, `{"id":"29","text":"new"}`)
		}
		changed = true
		return out.Write(b)
	}))
	if err != nil {
		t.Fatal(err)
	}
	p := decode(t, out.Bytes())
	if n := len(p.Records); n != 29 || p.Records[n-1].ID != "28" || p.NextCursor != nil {
		t.Errorf("%d records, next %v", n, p.NextCursor)
	}
	q := f.query
	q.Cursor = f.read(feed.Query{EnvironmentID: q.EnvironmentID, IntegrationID: q.IntegrationID, ConnectionID: q.ConnectionID, Model: "Issue", IDs: []string{"28"}}).Changes[0].Cursor
	if diff := cmp.Diff([]string{"0:updated", "29:updated"}, seen(f.read(q))); diff != "" {
		t.Error(diff)
	}
}
