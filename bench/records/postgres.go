package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/records"
	"syncline/internal/store/postgres"
)

type postgresEngine struct {
	c *cluster
	n int // databases made
}

func (e *postgresEngine) name() string { return "postgres" }

func (e *postgresEngine) settings() string {
	return strings.Join(clusterSettings, " ") + ", over a socket of the same machine, both sides"
}

func (e *postgresEngine) start(ctx context.Context, dir string) (err error) {
	e.c, err = startCluster(ctx, dir)
	return err
}

func (e *postgresEngine) stop() error { return e.c.stop() }

func (e *postgresEngine) newDatabase(ctx context.Context) (dsn string, cleanup func() error, err error) {
	e.n++
	name := fmt.Sprint("bench_", e.n)
	return e.c.url(name), func() error {
		return e.c.exec(context.WithoutCancel(ctx), "DROP DATABASE "+name+" WITH (FORCE)")
	}, e.c.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0")
}

func (e *postgresEngine) openOurs(ctx context.Context) (side, error) {
	dsn, cleanup, err := e.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	s, err := postgres.Open(ctx, dsn, postgres.Options{})
	if err != nil {
		return nil, errors.Join(err, cleanup())
	}
	return newOurs(ctx, s, cleanup)
}

func (e *postgresEngine) openFloor(ctx context.Context) (_ side, err error) {
	dsn, cleanup, err := e.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	f := &postgresFloor{cleanup: cleanup, sql: statements("postgres.sql")}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	s, err := postgres.Open(ctx, dsn, postgres.Options{}) // makes the tables
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	if f.c, err = pgx.Connect(ctx, dsn); err != nil {
		return nil, err
	}
	rows, err := f.c.Query(ctx, f.sql["columns"])
	if err != nil {
		return nil, err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	f.seqColumn = slices.Index(columns, "seq")
	f.sql["read"] = strings.Replace(f.sql["read"], "{columns}", strings.Join(columns, ", "), 1)
	return f, err
}

// postgresFloor sends each batch as one statement, which is a transaction of
// its own: there is nothing faster but COPY, which cannot replace rows.
type postgresFloor struct {
	c         *pgx.Conn
	cleanup   func() error
	sql       map[string]string
	seq       int64
	seqColumn int
}

func (f *postgresFloor) isFloor() bool { return true }

func (f *postgresFloor) close() (err error) {
	if f.c != nil {
		err = f.c.Close(context.Background())
	}
	return errors.Join(err, f.cleanup())
}

func (f *postgresFloor) write(ctx context.Context, w work) error {
	ids, seqs := make([]string, len(w.rows)), make([]int64, len(w.rows))
	hashes, payloads := make([][]byte, len(w.rows)), make([][]byte, len(w.rows))
	for i := range w.rows {
		f.seq++
		ids[i], seqs[i], hashes[i], payloads[i] = w.rows[i].id, f.seq, w.rows[i].hash, w.rows[i].payload
	}
	now := time.Now()
	var err error
	switch {
	case w.op == records.OpDelete:
		_, err = f.c.Exec(ctx, f.sql["delete"], floorEnv, floorCollection, now, string(syncline.ActionDeleted), ids, seqs)
	case w.isNew:
		_, err = f.c.Exec(ctx, f.sql["insert"], floorEnv, floorCollection, now, string(syncline.ActionAdded), floorRun, floorRun, ids, seqs, hashes, payloads)
	default:
		_, err = f.c.Exec(ctx, f.sql["save"], floorEnv, floorCollection, now, string(syncline.ActionUpdated), floorRun, floorRun, ids, seqs, hashes, payloads)
	}
	return err
}

// read takes the rows as they come from the wire: nothing is decoded but the
// position.
func (f *postgresFloor) read(ctx context.Context, after int64, limit int) (n int, last int64, err error) {
	rows, err := f.c.Query(ctx, f.sql["read"], floorEnv, floorCollection, after, limit)
	if err != nil {
		return 0, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
		last = int64(binary.BigEndian.Uint64(rows.RawValues()[f.seqColumn])) //nolint:gosec // two's complement on the wire
	}
	return n, last, rows.Err()
}

func (f *postgresFloor) warm(ctx context.Context) error { return readAll(ctx, f) }
