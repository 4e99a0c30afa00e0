package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"math"
	"slices"
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

// purgeStep and purgeBytes bound what one transaction of Purge removes: appends
// wait behind it, and a large body is many pages to free.
const (
	purgeStep  = 500
	purgeBytes = 4 << 20
)

// aged is an entry that is old enough to go.
type aged struct {
	position, receivedAt, size int64
}

// Purge removes old entries that are not needed any more.
func (l *Log) Purge(ctx context.Context, before time.Time, keep func(positions []int64) ([]int64, error)) (int, error) {
	removed := 0
	after := aged{receivedAt: math.MinInt64}
	for {
		old, err := l.older(ctx, before, after)
		if err != nil || len(old) == 0 {
			return removed, err
		}
		after = old[len(old)-1]
		positions := make([]int64, len(old))
		for i := range old {
			positions[i] = old[i].position
		}
		needed, err := keep(positions)
		if err != nil {
			return removed, err
		}
		kept := make(map[int64]bool, len(needed))
		for _, p := range needed {
			kept[p] = true
		}
		gone := slices.DeleteFunc(old, func(a aged) bool { return kept[a.position] })
		for len(gone) > 0 {
			n, size := 0, int64(0)
			for n < len(gone) && (n == 0 || size+gone[n].size <= purgeBytes) {
				size += gone[n].size
				n++
			}
			if err := l.remove(ctx, gone[:n]); err != nil {
				return removed, err
			}
			removed += n
			gone = gone[n:]
		}
	}
}

// olderSQL walks entries_by_time, so that it meets old entries only, and not
// their bodies: the length of one stands in the row's first page. Without the
// hint SQLite would look at every entry, in the order of position.
const olderSQL = `SELECT position, received_at, coalesce(length(body), 0) FROM entries INDEXED BY entries_by_time
	WHERE (received_at, position) > (?, ?) AND received_at < ? ORDER BY received_at, position LIMIT ?`

// older lists entries received before t, oldest first, beyond after.
func (l *Log) older(ctx context.Context, t time.Time, after aged) ([]aged, error) {
	rows, err := l.readDB.QueryContext(ctx, olderSQL, after.receivedAt, after.position, t.UnixMicro(), purgeStep)
	if err != nil {
		return nil, unavailable(l.path, err)
	}
	defer rows.Close()
	var old []aged
	for rows.Next() {
		var a aged
		if err := rows.Scan(&a.position, &a.receivedAt, &a.size); err != nil {
			return nil, unavailable(l.path, err)
		}
		old = append(old, a)
	}
	if err := rows.Err(); err != nil {
		return nil, unavailable(l.path, err)
	}
	return old, nil
}

// remove deletes entries on the writer's goroutine, between two batches.
func (l *Log) remove(ctx context.Context, gone []aged) error {
	positions := make([]int64, len(gone))
	for i := range gone {
		positions[i] = gone[i].position
	}
	j := &job{d: &syncline.Delivery{}, remove: positions, done: make(chan struct{})}
	if err := l.enqueue(ctx, j); err != nil {
		return err
	}
	<-j.done
	return j.err
}
