package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"syncline"
	"syncline/internal/inbox"
)

// maxBatch and maxBatchBytes bound what shares a commit.
const (
	maxBatch      = 512
	maxBatchBytes = 64 << 20
)

// The states of a job. Only a waiting one can be given up by its caller.
const (
	jobWaiting int32 = iota
	jobTaken
	jobGivenUp
)

type job struct {
	d       *syncline.Delivery
	headers []byte
	key     inbox.Key
	hash    []byte
	remove  []int64 // instead of a delivery: positions to delete
	state   atomic.Int32
	done    chan struct{}
	receipt inbox.Receipt
	err     error
}

// Append makes d durable, see [inbox.Log]. A caller that gives up before its
// delivery is being written gets its context's error, and nothing is stored; once
// it is being written, Append waits for the outcome. A zero ReceivedAt is
// stamped with the time.
func (l *Log) Append(ctx context.Context, d *syncline.Delivery, key inbox.Key) (inbox.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return inbox.Receipt{}, err
	}
	size := int64(len(d.Body))
	defer l.queued.Add(-size)
	if err := l.room(l.queued.Add(size)); err != nil {
		return inbox.Receipt{}, err
	}
	if d.ReceivedAt.IsZero() {
		d.ReceivedAt = l.o.Clock.Now()
	}
	headers, err := json.Marshal(d.Headers)
	if err != nil {
		return inbox.Receipt{}, syncline.Errorf(syncline.CodeInternal, "encode headers: %w", err)
	}
	sum := sha256.Sum256(d.Body)
	j := &job{d: d, headers: headers, key: key, hash: sum[:], done: make(chan struct{})}
	if err := l.enqueue(ctx, j); err != nil {
		return inbox.Receipt{}, err
	}
	select {
	case <-j.done:
		return j.receipt, j.err
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobGivenUp) {
			return inbox.Receipt{}, ctx.Err()
		}
		<-j.done // it is being written: a few milliseconds
		return j.receipt, j.err
	}
}

// room refuses what would pass the limits with n more bytes.
func (l *Log) room(n int64) error {
	if used := l.size.Load(); used+n > l.o.MaxBytes {
		return syncline.Errorf(syncline.CodeUnavailable, "the inbox holds %d bytes; its limit is %d", used, l.o.MaxBytes).
			WithHint("raise --inbox-max-bytes, or find out why deliveries are not processed")
	}
	if l.o.MinFreeDisk > 0 {
		var fs unix.Statfs_t
		if err := unix.Statfs(filepath.Dir(l.path), &fs); err == nil {
			if free := int64(fs.Bavail) * fs.Bsize; free-n < l.o.MinFreeDisk {
				return syncline.Errorf(syncline.CodeUnavailable, "the inbox's disk has %d bytes left; the limit is %d", free, l.o.MinFreeDisk).
					WithHint("free space, or lower --inbox-min-free-disk")
			}
		}
	}
	return nil
}

func (l *Log) enqueue(ctx context.Context, j *job) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return errClosed
	}
	select {
	case l.queue <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer is the goroutine that owns the write connection.
type writer struct {
	l      *Log
	conn   *sql.Conn
	find   *sql.Stmt
	insert *sql.Stmt
}

func newWriter(ctx context.Context, l *Log) (*writer, error) {
	conn, err := l.writeDB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{l: l, conn: conn}
	if w.find, err = conn.PrepareContext(ctx, `SELECT position FROM entries
		WHERE environment_id = ? AND integration_id = ? AND connection_id = ? AND dedupe_key = ? AND body_hash = ?
		AND redelivered = 0 AND received_at >= ? ORDER BY position LIMIT 1`); err != nil {
		return nil, err
	}
	if w.insert, err = conn.PrepareContext(ctx, `INSERT INTO entries (environment_id, integration_id, connection_id, redelivered, delivery_id,
		dedupe_key, body_hash, method, path, headers, body, received_at, watermark) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`); err != nil {
		return nil, err
	}
	var last sql.NullInt64
	if err := conn.QueryRowContext(ctx, `SELECT seq FROM sqlite_sequence WHERE name = 'entries'`).Scan(&last); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	l.last.Store(last.Int64)
	w.measure(ctx)
	return w, nil
}

func (w *writer) run() {
	defer close(w.l.exited)
	defer w.conn.Close()
	for {
		j, ok := <-w.l.queue
		if !ok {
			return
		}
		batch := []*job{j}
		size := len(j.d.Body)
	gather:
		for len(batch) < maxBatch && size < maxBatchBytes {
			select {
			case j, ok := <-w.l.queue:
				if !ok {
					break gather
				}
				batch = append(batch, j)
				size += len(j.d.Body)
			default:
				break gather
			}
		}
		w.commit(batch)
	}
}

// commit writes a batch with one fsync and tells its callers.
func (w *writer) commit(batch []*job) {
	// The batch belongs to several callers: no one's context may end it.
	ctx := context.Background()
	taken := batch[:0]
	for _, j := range batch {
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			taken = append(taken, j)
		}
	}
	if len(taken) == 0 {
		return
	}
	last, err := w.write(ctx, taken)
	stored, removed := int64(0), false
	for _, j := range taken {
		removed = removed || j.remove != nil
		if err != nil {
			j.err = unavailable(w.l.path, err)
		} else if !j.receipt.Duplicate {
			j.d.Position = j.receipt.Position
			stored += int64(len(j.d.Body))
		}
	}
	// Before the callers know, so that the next append meets the limit, or the
	// space that a purge made. What appends need is estimated, and measured
	// when nobody waits for it.
	switch {
	case err != nil:
	case removed:
		w.measure(ctx)
	default:
		w.l.size.Add(stored)
	}
	if err == nil && last > w.l.last.Load() { // not only removals
		// Before the callers know: who has a receipt finds its entry by Last.
		w.l.last.Store(last)
		w.l.commits.Add(1)
		w.l.announce()
	}
	for _, j := range taken {
		close(j.done)
	}
	if err != nil {
		w.l.o.Logger.Error("deliveries could not be stored", "deliveries", len(taken), "err", err)
		return
	}
	if !removed {
		w.measure(ctx)
	}
}

func (w *writer) write(ctx context.Context, batch []*job) (last int64, err error) {
	if _, err := w.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return 0, err
	}
	last = w.l.last.Load()
	for _, j := range batch {
		p, err := w.put(ctx, j)
		last = max(last, p)
		if err != nil {
			// SQLite may have rolled back by itself: then this fails, harmlessly.
			_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
			return 0, err
		}
	}
	if _, err := w.conn.ExecContext(ctx, "COMMIT"); err != nil {
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK")
		return 0, err
	}
	return last, nil
}

func (w *writer) put(ctx context.Context, j *job) (int64, error) {
	if j.remove != nil {
		list, err := json.Marshal(j.remove)
		if err == nil {
			_, err = w.conn.ExecContext(ctx, `DELETE FROM entries WHERE position IN (SELECT value FROM json_each(?))`, string(list))
		}
		return w.l.last.Load(), err
	}
	d := j.d
	var key any
	var original int64
	if j.key.ID != "" {
		key = j.key.ID
		since := int64(0)
		if j.key.Within > 0 {
			since = d.ReceivedAt.Add(-j.key.Within).UnixMicro()
		}
		err := w.find.QueryRowContext(ctx, d.EnvironmentID, d.IntegrationID, d.ConnectionID, j.key.ID, j.hash, since).Scan(&original)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
	}
	headers, body := j.headers, d.Body
	if original != 0 {
		headers, body = []byte("[]"), nil // the original has them
	}
	r, err := w.insert.ExecContext(ctx, d.EnvironmentID, d.IntegrationID, d.ConnectionID, original, d.DeliveryID,
		key, j.hash, d.Method, d.Path, string(headers), body, d.ReceivedAt.UnixMicro(), d.Watermark)
	if err != nil {
		return 0, err
	}
	position, err := r.LastInsertId()
	if err != nil {
		return 0, err
	}
	j.receipt = inbox.Receipt{Position: position}
	if original != 0 {
		j.receipt = inbox.Receipt{Position: original, Duplicate: true}
	}
	return position, nil
}

// measure reads how large the log is.
func (w *writer) measure(ctx context.Context) {
	var pages, free, size int64
	for pragma, into := range map[string]*int64{"page_count": &pages, "freelist_count": &free, "page_size": &size} {
		if err := w.conn.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(into); err != nil {
			return
		}
	}
	w.l.size.Store((pages - free) * size)
}

func timeOf(us int64) time.Time { return time.UnixMicro(us).UTC() }

func decodeHeaders(text []byte) (headers []syncline.Header, err error) {
	if len(bytes.TrimSpace(text)) > 0 {
		err = json.Unmarshal(text, &headers)
	}
	return headers, err
}
