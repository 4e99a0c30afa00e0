package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store"
)

// An engine makes databases of one kind.
type engine interface {
	name() string
	settings() string
	start(ctx context.Context, dir string) error
	stop() error
	// openOurs opens the store in a new database; openFloor opens a new database
	// with the store's tables for plain SQL.
	openOurs(ctx context.Context) (side, error)
	openFloor(ctx context.Context) (side, error)
}

// A side is one of the two that are compared.
type side interface {
	// write commits one batch, durably.
	write(ctx context.Context, w work) error
	// read passes over a page of the rows beyond a position, in order.
	read(ctx context.Context, after int64, limit int) (n int, last int64, err error)
	// warm reads everything once.
	warm(ctx context.Context) error
	isFloor() bool
	close() error
}

//go:embed *.sql
var files embed.FS

// statements reads a file of statements that "-- name:" lines begin.
func statements(file string) map[string]string {
	text, err := files.ReadFile(file)
	if err != nil {
		panic(err) // it is embedded above
	}
	byName := map[string]string{}
	for _, part := range strings.Split(string(text), "-- name: ")[1:] {
		name, sql, _ := strings.Cut(part, "\n")
		byName[name] = strings.TrimSpace(sql)
	}
	return byName
}

// ours is the store with the kernel before it.
type ours struct {
	store      store.Store
	cleanup    func() error
	target     records.Target
	guard      records.Guard
	collection int64
}

const model = "Issue"

func newOurs(ctx context.Context, s store.Store, cleanup func() error) (*ours, error) {
	o := &ours{store: s, cleanup: cleanup}
	err := s.Update(ctx, store.Durable, func(tx store.Tx) error {
		e := syncline.Environment{Name: "bench"}
		if err := tx.CreateEnvironment(&e); err != nil {
			return err
		}
		i := syncline.Integration{EnvironmentID: e.ID, UniqueKey: "github", Provider: "github"}
		if err := tx.CreateIntegration(&i); err != nil {
			return err
		}
		c := syncline.Connection{EnvironmentID: e.ID, IntegrationID: i.ID, ConnectionID: "one"}
		if err := tx.CreateConnection(&c); err != nil {
			return err
		}
		o.target = records.Target{EnvironmentID: e.ID, ConnectionID: c.ID, Model: model}
		var err error
		o.collection, err = tx.EnsureCollection(e.ID, c.ID, model, time.Now())
		return err
	})
	o.guard = records.Guard{Strategy: syncline.StrategyOverride, Writer: syncline.Writer{Lineage: 1, RunID: 1}}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

func (o *ours) isFloor() bool { return false }

func (o *ours) close() error { return errors.Join(o.store.Close(), o.cleanup()) }

func (o *ours) write(ctx context.Context, w work) error {
	raws := make([]json.RawMessage, len(w.rows))
	for i := range w.rows {
		raws[i] = w.rows[i].given
	}
	b, err := records.NewBatch(w.op, model, raws)
	if err != nil {
		return err
	}
	var result syncline.ModelResult
	err = o.store.Update(ctx, store.Durable, func(tx store.Tx) error {
		result, err = records.Apply(tx, o.target, b, o.guard, time.Now())
		return err
	})
	if err == nil && result.Skipped+result.Contested+result.Unknown > 0 || w.isNew && result.Added != len(w.rows) {
		err = fmt.Errorf("not every record was written: %+v", result)
	}
	return err
}

func (o *ours) read(ctx context.Context, after int64, limit int) (n int, last int64, err error) {
	err = o.store.View(ctx, func(r store.Reader) error {
		return r.ScanRecords(o.target.EnvironmentID, o.collection, store.RecordQuery{After: after, Limit: limit}, func(rec *syncline.Record) bool {
			n, last = n+1, rec.Seq
			return true
		})
	})
	return n, last, err
}

func (o *ours) warm(ctx context.Context) error { return readAll(ctx, o) }

func readAll(ctx context.Context, s side) error {
	var after int64
	for {
		n, last, err := s.read(ctx, after, 1000)
		if err != nil || n < 1000 {
			return err
		}
		after = last
	}
}

// The floor's rows are all of one collection of one environment, and written by
// one run.
const (
	floorEnv        = int64(1)
	floorCollection = int64(1)
	floorRun        = int64(1)
)
