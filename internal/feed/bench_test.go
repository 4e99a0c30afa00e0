package feed_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
	"syncline/internal/store/postgres/pgtest"
	"syncline/internal/store/sqlite"
)

// BenchmarkPage writes pages of 10,000 records of 1 KB to a client that takes
// them at once.
func BenchmarkPage(b *testing.B) {
	for name, open := range map[string]func() (store.Store, error){
		"sqlite": func() (store.Store, error) {
			return sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "s.db"), sqlite.Options{})
		},
		"postgres": func() (store.Store, error) {
			return postgres.Open(b.Context(), pgtest.Empty(b), postgres.Options{})
		},
	} {
		b.Run(name, func(b *testing.B) {
			const rows = 10_000
			s, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			q := fill(b, s, rows, 1<<10)
			source := &feed.Source{Store: s}
			for b.Loop() {
				p, err := source.Open(b.Context(), q)
				if err != nil {
					b.Fatal(err)
				}
				if err := p.Write(b.Context(), io.Discard); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*rows/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// fill makes a collection of records, and the query of all of it.
func fill(b *testing.B, s store.Store, rows, size int) feed.Query {
	b.Helper()
	var q feed.Query
	update := func(fn func(tx store.Tx) error) {
		if err := s.Update(context.Background(), store.Relaxed, fn); err != nil {
			b.Fatal(err)
		}
	}
	var coll int64
	update(func(tx store.Tx) (err error) {
		env := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&env); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: env.ID, UniqueKey: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		k := syncline.Connection{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: "c1"}
		if err := tx.CreateConnection(&k); err != nil {
			return err
		}
		q = feed.Query{EnvironmentID: env.ID, IntegrationID: i.ID, ConnectionID: k.ID, Model: "Issue", Limit: feed.MaxLimit}
		coll, err = tx.EnsureCollection(env.ID, k.ID, "Issue", epoch)
		return err
	})
	text := strings.Repeat("x", size)
	for done := 0; done < rows; done += 1000 {
		update(func(tx store.Tx) error {
			seq, err := tx.NextSeq(1000)
			if err != nil {
				return err
			}
			list := make([]*syncline.Record, 1000)
			for i := range list {
				id := fmt.Sprint(done + i)
				list[i] = &syncline.Record{ID: id, Seq: seq + int64(i), Hash: make([]byte, 32), Payload: json.RawMessage(fmt.Sprintf(`{"id":%q,"text":%q}`, id, text)),
					FirstSeenAt: epoch, LastModifiedAt: epoch, LastAction: syncline.ActionAdded}
			}
			return tx.PutRecords(q.EnvironmentID, coll, list)
		})
	}
	return q
}

// BenchmarkPrune prunes a collection, 1,000 records a call.
func BenchmarkPrune(b *testing.B) {
	const rows = 200_000
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "s.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	q := fill(b, s, rows, 100)
	var cursor string
	err = s.View(b.Context(), func(r store.Reader) error {
		c, err := r.Collection(q.EnvironmentID, q.ConnectionID, q.Model)
		cursor = feed.Cursor(c.ID, c.LastSeq)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	p := &feed.Pruner{Store: s}
	n := 0
	for b.Loop() {
		done, err := p.Prune(b.Context(), feed.PruneQuery{EnvironmentID: q.EnvironmentID, ConnectionID: q.ConnectionID, Model: q.Model, Until: cursor})
		if err != nil {
			b.Fatal(err)
		}
		n += done.Count
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
