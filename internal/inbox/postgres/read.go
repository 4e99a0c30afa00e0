package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"syncline"
	"syncline/internal/inbox"
)

const columns = `position, environment_id, integration_id, connection_id, redelivered, delivery_id, method, path, headers, body, received_at, watermark`

// readBytes bounds what one Read returns: a page of huge deliveries is cut
// short, but never empty.
const readBytes = 64 << 20

// readSQL cuts the page at the server, which would otherwise send all of it.
// Sizes stand in the rows themselves: bodies that are not sent are not read.
const readSQL = `SELECT ` + columns + ` FROM
	(SELECT *, (sum(size) OVER (ORDER BY position))::bigint - size AS before FROM
		(SELECT ` + columns + `, size FROM inbox_entries WHERE position > $1 ORDER BY position LIMIT $2) page) summed
	WHERE before < $3 ORDER BY position`

// Read lists entries beyond after, in order; at most limit, and at most as many
// as have 64 MiB together, but one at least when there is one.
func (l *Log) Read(ctx context.Context, after int64, limit int) ([]inbox.Entry, error) {
	var entries []inbox.Entry
	err := l.query(ctx, readSQL, func(rows pgx.Rows) error {
		e, err := scan(rows)
		entries = append(entries, e)
		return err
	}, after, int64(max(limit, 0)), int64(readBytes))
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// Get reads deliveries by position.
func (l *Log) Get(ctx context.Context, env int64, positions []int64) (map[int64]*syncline.Delivery, error) {
	found := make(map[int64]*syncline.Delivery, len(positions))
	err := l.query(ctx, `SELECT `+columns+` FROM inbox_entries
		WHERE position = ANY ($1::bigint[]) AND environment_id = $2 AND redelivered = 0`, func(rows pgx.Rows) error {
		e, err := scan(rows)
		found[e.Position] = e.Delivery
		return err
	}, positions, env)
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Sizes are the sizes of deliveries' bodies in bytes. They are read without the
// bodies.
func (l *Log) Sizes(ctx context.Context, env int64, positions []int64) (map[int64]int, error) {
	sizes := make(map[int64]int, len(positions))
	// The length of a body that is stored apart stands in its row.
	err := l.query(ctx, `SELECT position, octet_length(body)::bigint FROM inbox_entries
		WHERE position = ANY ($1::bigint[]) AND environment_id = $2 AND redelivered = 0`, func(rows pgx.Rows) error {
		var position, size int64
		err := rows.Scan(&position, &size)
		sizes[position] = int(size)
		return err
	}, positions, env)
	if err != nil {
		return nil, err
	}
	return sizes, nil
}

// query calls each for every row. A list of positions that is nil finds nothing.
func (l *Log) query(ctx context.Context, sql string, each func(rows pgx.Rows) error, args ...any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.reading(ctx, l.readers, func(pc *pgxpool.Conn) (again bool, err error) {
		rows, err := pc.Query(ctx, sql, args...)
		if err != nil {
			return true, failed(ctx, err)
		}
		defer rows.Close()
		again = true
		for rows.Next() {
			again = false
			if err := each(rows); err != nil {
				return false, syncline.Errorf(syncline.CodeInternal, "inbox: %w, in: %s", err, sql)
			}
		}
		if err := rows.Err(); err != nil {
			return again, failed(ctx, err)
		}
		return false, nil
	})
}

func scan(rows pgx.Rows) (inbox.Entry, error) {
	var e inbox.Entry
	var d syncline.Delivery
	var connection, delivery, method, path, headers []byte
	var received time.Time
	if err := rows.Scan(&d.Position, &d.EnvironmentID, &d.IntegrationID, &connection, &e.Redelivered, &delivery,
		&method, &path, &headers, &d.Body, &received, &d.Watermark); err != nil {
		return e, err
	}
	d.ConnectionID, d.DeliveryID, d.Method, d.Path = string(connection), string(delivery), string(method), string(path)
	d.ReceivedAt = received.UTC()
	e.Position, e.EnvironmentID, e.ReceivedAt = d.Position, d.EnvironmentID, d.ReceivedAt
	if e.Redelivered != 0 {
		return e, nil
	}
	if len(d.Body) == 0 {
		d.Body = nil
	}
	if len(bytes.TrimSpace(headers)) > 0 {
		if err := json.Unmarshal(headers, &d.Headers); err != nil {
			return e, err
		}
	}
	e.Delivery = &d
	return e, nil
}
