package postgres_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/inbox/postgres"
)

// BenchmarkAppend is without the time of the disk: the server for tests does not
// wait for it.
func BenchmarkAppend(b *testing.B) {
	body := []byte(strings.Repeat("x", 2000))
	var n atomic.Int64
	put := func(l *postgres.Log) {
		id := fmt.Sprint(n.Add(1))
		d := &syncline.Delivery{EnvironmentID: 1, IntegrationID: 1, DeliveryID: id, Method: "POST", Path: "/webhook/e/i", Body: body, ReceivedAt: start}
		if _, err := l.Append(b.Context(), d, inbox.Key{ID: id}); err != nil {
			b.Error(err)
		}
	}
	b.Run("alone", func(b *testing.B) {
		l := open(b, database(b), postgres.Options{})
		for b.Loop() {
			put(l)
		}
	})
	for _, processes := range []int{1, 2} {
		b.Run(fmt.Sprintf("64 callers of %d processes", processes), func(b *testing.B) {
			dsn := database(b)
			var logs []*postgres.Log
			for range processes {
				logs = append(logs, open(b, dsn, postgres.Options{}))
			}
			var caller, commits atomic.Int64
			b.SetParallelism(32) // times GOMAXPROCS
			b.RunParallel(func(p *testing.PB) {
				l := logs[int(caller.Add(1))%processes]
				for p.Next() {
					put(l)
				}
			})
			for _, l := range logs {
				commits.Add(l.Commits())
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
			b.ReportMetric(float64(b.N)/float64(commits.Load()), "appends/commit")
		})
	}
	b.Run("last", func(b *testing.B) {
		l := open(b, database(b), postgres.Options{})
		put(l)
		for b.Loop() {
			if _, err := l.Last(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}
