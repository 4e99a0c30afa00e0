package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"

	"syncline"
	"syncline/internal/inbox"
)

const columns = `position, environment_id, integration_id, connection_id, redelivered, delivery_id, method, path, headers, body, received_at, watermark`

// readBytes bounds the bodies of one Read: a page of huge deliveries is cut
// short, but never empty.
const readBytes = 64 << 20

func scan(rows *sql.Rows) (inbox.Entry, error) {
	var e inbox.Entry
	var d syncline.Delivery
	var headers []byte
	var received int64
	if err := rows.Scan(&d.Position, &d.EnvironmentID, &d.IntegrationID, &d.ConnectionID, &e.Redelivered, &d.DeliveryID,
		&d.Method, &d.Path, &headers, &d.Body, &received, &d.Watermark); err != nil {
		return e, err
	}
	d.ReceivedAt = timeOf(received)
	e.Position, e.EnvironmentID, e.ReceivedAt = d.Position, d.EnvironmentID, d.ReceivedAt
	if e.Redelivered != 0 {
		return e, nil
	}
	var err error
	if d.Headers, err = decodeHeaders(headers); err != nil {
		return e, err
	}
	e.Delivery = &d
	return e, nil
}

// Read lists entries beyond after, in order.
func (l *Log) Read(ctx context.Context, after int64, limit int) ([]inbox.Entry, error) {
	rows, err := l.readDB.QueryContext(ctx, `SELECT `+columns+` FROM entries WHERE position > ? ORDER BY position LIMIT ?`, after, limit)
	if err != nil {
		return nil, unavailable(l.path, err)
	}
	defer rows.Close()
	var entries []inbox.Entry
	size := 0
	for size < readBytes && rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, unavailable(l.path, err)
		}
		if e.Delivery != nil {
			size += len(e.Delivery.Body)
		}
		entries = append(entries, e)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(l.path, err)
	}
	return entries, nil
}

// Get reads deliveries by position.
func (l *Log) Get(ctx context.Context, env int64, positions []int64) (map[int64]*syncline.Delivery, error) {
	list, err := json.Marshal(positions)
	if err != nil {
		return nil, err
	}
	rows, err := l.readDB.QueryContext(ctx, `SELECT `+columns+` FROM entries
		WHERE position IN (SELECT value FROM json_each(?)) AND environment_id = ? AND redelivered = 0`, string(list), env)
	if err != nil {
		return nil, unavailable(l.path, err)
	}
	defer rows.Close()
	found := make(map[int64]*syncline.Delivery, len(positions))
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, unavailable(l.path, err)
		}
		found[e.Position] = e.Delivery
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(l.path, err)
	}
	return found, nil
}

// Sizes are the sizes of deliveries' bodies.
func (l *Log) Sizes(ctx context.Context, env int64, positions []int64) (map[int64]int, error) {
	list, err := json.Marshal(positions)
	if err != nil {
		return nil, err
	}
	// length() of a blob reads its header alone.
	rows, err := l.readDB.QueryContext(ctx, `SELECT position, coalesce(length(body), 0) FROM entries
		WHERE position IN (SELECT value FROM json_each(?)) AND environment_id = ? AND redelivered = 0`, string(list), env)
	if err != nil {
		return nil, unavailable(l.path, err)
	}
	defer rows.Close()
	sizes := make(map[int64]int, len(positions))
	for rows.Next() {
		var position int64
		var size int
		if err := rows.Scan(&position, &size); err != nil {
			return nil, unavailable(l.path, err)
		}
		sizes[position] = size
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(l.path, err)
	}
	return sizes, nil
}

// purgeStep is how many entries one transaction of Purge looks at.
const purgeStep = 500

// Purge removes old entries that are not needed any more.
func (l *Log) Purge(ctx context.Context, before time.Time, keep func(positions []int64) ([]int64, error)) (int, error) {
	removed := 0
	after := int64(0)
	for {
		positions, err := l.older(ctx, before, after)
		if err != nil || len(positions) == 0 {
			return removed, err
		}
		after = positions[len(positions)-1]
		needed, err := keep(positions)
		if err != nil {
			return removed, err
		}
		kept := make(map[int64]bool, len(needed))
		for _, p := range needed {
			kept[p] = true
		}
		gone := positions[:0:0]
		for _, p := range positions {
			if !kept[p] {
				gone = append(gone, p)
			}
		}
		if len(gone) == 0 {
			continue
		}
		if err := l.remove(ctx, gone); err != nil {
			return removed, err
		}
		removed += len(gone)
	}
}

func (l *Log) older(ctx context.Context, before time.Time, after int64) ([]int64, error) {
	rows, err := l.readDB.QueryContext(ctx, `SELECT position FROM entries WHERE position > ? AND received_at < ? ORDER BY position LIMIT ?`,
		after, before.UnixMicro(), purgeStep)
	if err != nil {
		return nil, unavailable(l.path, err)
	}
	defer rows.Close()
	var positions []int64
	for rows.Next() {
		var p int64
		if err := rows.Scan(&p); err != nil {
			return nil, unavailable(l.path, err)
		}
		positions = append(positions, p)
	}
	return positions, rows.Err()
}

// remove deletes entries on the writer's goroutine, between two batches.
func (l *Log) remove(ctx context.Context, positions []int64) error {
	j := &job{d: &syncline.Delivery{}, remove: positions, done: make(chan struct{})}
	if err := l.enqueue(ctx, j); err != nil {
		return err
	}
	<-j.done
	return j.err
}
