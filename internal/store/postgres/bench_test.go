package postgres_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/store"
	"syncline/internal/store/postgres"
)

func benchStore(b *testing.B) (*postgres.Store, syncline.Connection) {
	b.Helper()
	s := open(b, database(b))
	var c syncline.Connection
	err := s.Update(b.Context(), store.Durable, func(tx store.Tx) error {
		e := syncline.Environment{Name: "dev"}
		if err := tx.CreateEnvironment(&e); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: e.ID, UniqueKey: "github", Provider: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		c = syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "one"}
		return tx.CreateConnection(&c)
	})
	if err != nil {
		b.Fatal(err)
	}
	return s, c
}

func BenchmarkUpdate(b *testing.B) {
	for _, d := range []store.Durability{store.Durable, store.Relaxed} {
		name := map[store.Durability]string{store.Durable: "durable", store.Relaxed: "relaxed"}[d]
		write := func(s *postgres.Store, env, n int64) error {
			return s.Update(b.Context(), d, func(tx store.Tx) error {
				return tx.PutDeliveryState(&syncline.DeliveryState{EnvironmentID: env, Position: n, Status: syncline.DeliveryRouted})
			})
		}
		b.Run(name+"/alone", func(b *testing.B) {
			s, c := benchStore(b)
			for n := int64(1); b.Loop(); n++ {
				if err := write(s, c.EnvironmentID, n); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/64 callers", func(b *testing.B) {
			s, c := benchStore(b)
			var n atomic.Int64
			b.SetParallelism(32) // times GOMAXPROCS
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := write(s, c.EnvironmentID, n.Add(1)); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkPutRecords(b *testing.B) {
	const size = 1000
	payload := []byte(`{"text":"` + strings.Repeat("x", 1000) + `"}`)
	hash := make([]byte, 32)
	for _, kind := range []string{"insert", "update"} {
		b.Run(kind, func(b *testing.B) {
			s, c := benchStore(b)
			var collection int64
			put := func(n int) {
				err := s.Update(b.Context(), store.Durable, func(tx store.Tx) error {
					var err error
					if collection, err = tx.EnsureCollection(c.EnvironmentID, c.ID, "Issue", time.Now()); err != nil {
						return err
					}
					seq, err := tx.NextSeq(size)
					if err != nil {
						return err
					}
					records := make([]*syncline.Record, size)
					for i := range records {
						records[i] = &syncline.Record{ID: fmt.Sprintf("issue-%d", n*size+i), Seq: seq + int64(i), Hash: hash, Payload: payload,
							FirstSeenAt: time.Now(), LastModifiedAt: time.Now(), LastAction: syncline.ActionAdded}
					}
					return tx.PutRecords(c.EnvironmentID, collection, records)
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			put(0)
			n := 0
			for b.Loop() {
				if kind == "insert" {
					n++
				}
				put(n)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "records/s")
		})
	}
	b.Run("read by id", func(b *testing.B) {
		s, c := benchStore(b)
		collection, ids := fill(b, s, c, 10*size, payload)
		for b.Loop() {
			err := s.View(b.Context(), func(r store.Reader) error {
				found, err := r.RecordsByID(c.EnvironmentID, collection, ids[:size])
				if len(found) != size {
					return fmt.Errorf("%d found", len(found))
				}
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("scan", func(b *testing.B) {
		s, c := benchStore(b)
		collection, _ := fill(b, s, c, 10*size, payload)
		for b.Loop() {
			n := 0
			err := s.View(b.Context(), func(r store.Reader) error {
				return r.ScanRecords(c.EnvironmentID, collection, store.RecordQuery{}, func(*syncline.Record) bool { n++; return true })
			})
			if err != nil || n != 10*size {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64(b.N*10*size)/b.Elapsed().Seconds(), "records/s")
	})
}

func fill(b *testing.B, s *postgres.Store, c syncline.Connection, n int, payload []byte) (collection int64, ids []string) {
	b.Helper()
	err := s.Update(b.Context(), store.Durable, func(tx store.Tx) error {
		var err error
		if collection, err = tx.EnsureCollection(c.EnvironmentID, c.ID, "Issue", time.Now()); err != nil {
			return err
		}
		seq, err := tx.NextSeq(n)
		if err != nil {
			return err
		}
		records := make([]*syncline.Record, n)
		for i := range records {
			ids = append(ids, fmt.Sprintf("issue-%d", i))
			records[i] = &syncline.Record{ID: ids[i], Seq: seq + int64(i), Hash: make([]byte, 32), Payload: payload,
				FirstSeenAt: time.Now(), LastModifiedAt: time.Now(), LastAction: syncline.ActionAdded}
		}
		return tx.PutRecords(c.EnvironmentID, collection, records)
	})
	if err != nil {
		b.Fatal(err)
	}
	return collection, ids
}
