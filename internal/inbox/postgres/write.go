package postgres

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"syncline"
	"syncline/internal/inbox"
)

const (
	// maxBatch and maxBatchBytes bound what shares a commit.
	maxBatch      = 512
	maxBatchBytes = 32 << 20
	// writeTime bounds a commit, the waits for a connection and for other
	// processes' commits among it: senders do not wait much longer.
	writeTime = 15 * time.Second
	// maxAttempts is how often a batch is tried that certainly was not stored.
	maxAttempts = 3
)

// write is the goroutine that appends. It ends when the queue is closed.
func (l *Log) write() {
	defer close(l.exited)
	for {
		j, ok := <-l.queue
		if !ok {
			return
		}
		batch := []*job{j}
		size := len(j.d.Body)
	gather:
		for len(batch) < maxBatch && size < maxBatchBytes {
			select {
			case j, ok := <-l.queue:
				if !ok {
					break gather
				}
				batch = append(batch, j)
				size += len(j.d.Body)
			default:
				break gather
			}
		}
		l.commit(batch)
	}
}

// commit writes a batch in one transaction and tells its callers.
func (l *Log) commit(batch []*job) {
	taken := batch[:0]
	for _, j := range batch {
		if j.state.CompareAndSwap(jobWaiting, jobTaken) {
			taken = append(taken, j)
		}
	}
	if len(taken) == 0 {
		return
	}
	// The batch belongs to several callers: no one's context may end it.
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	w := newWritten(taken)
	err := l.attempt(ctx, w)
	for n := 1; n < maxAttempts && isTransient(err) && ctx.Err() == nil; n++ {
		err = l.attempt(ctx, w)
	}
	if errors.Is(err, context.DeadlineExceeded) { // ours, not that of a caller
		err = late(err)
	}
	if err == nil {
		// Before the callers know: who has a receipt was announced, and the next
		// append meets the limit.
		l.commits.Add(1)
		l.notice(state{last: w.base + int64(len(taken)), used: w.used})
	}
	for i, j := range taken {
		switch {
		case err != nil:
			j.err = err
		case w.originals[i] != 0:
			j.receipt = inbox.Receipt{Position: w.originals[i], Duplicate: true}
		default:
			j.receipt = inbox.Receipt{Position: w.base + int64(i) + 1}
			j.d.Position = j.receipt.Position
		}
		close(j.done)
	}
	if err != nil {
		l.o.Logger.Error("deliveries could not be stored", slog.Int("deliveries", len(taken)), slog.Any("err", err))
	}
}

// written is a batch as inbox_append takes it, and what it returns.
type written struct {
	args      []any
	base      int64 // the position before the batch
	originals []int64
	used      int64
}

func newWritten(batch []*job) *written {
	n := len(batch)
	var (
		environments, integrations, watermarks, sizes, firsts    = make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
		connections, deliveries, methods, paths, headers, bodies = make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
		keys                                                     = make([][]byte, n)
		received                                                 = make([]time.Time, n)
		since                                                    = make([]*time.Time, n)
	)
	first := make(map[string]int64, n)
	for i, j := range batch {
		d := j.d
		environments[i], integrations[i], watermarks[i] = d.EnvironmentID, d.IntegrationID, d.Watermark
		connections[i], deliveries[i] = []byte(d.ConnectionID), []byte(d.DeliveryID)
		methods[i], paths[i], headers[i], bodies[i] = []byte(d.Method), []byte(d.Path), j.headers, d.Body
		if d.Body == nil {
			bodies[i] = []byte{} // nil is NULL
		}
		received[i], keys[i], firsts[i] = d.ReceivedAt, j.dedupe, int64(i)+1
		sizes[i] = entrySize + int64(len(d.ConnectionID)+len(d.DeliveryID)+len(d.Path)+len(j.headers)+len(d.Body))
		if j.dedupe == nil {
			continue
		}
		if at, ok := first[string(j.dedupe)]; ok {
			firsts[i] = at
		} else {
			first[string(j.dedupe)] = firsts[i]
		}
		if j.within > 0 {
			t := d.ReceivedAt.Add(-j.within)
			since[i] = &t
		}
	}
	return &written{args: []any{environments, integrations, connections, deliveries, methods, paths, headers, bodies, received, watermarks,
		sizes, int64(entrySize), keys, since, firsts}}
}

// begin opens the transaction. Its commit returns when the disk, and the
// standbys that the server waits for, have it, whatever the server's default is.
// The server ends it by itself when this process vanishes between the statements:
// other processes wait for its lock.
var begin = []string{
	"BEGIN ISOLATION LEVEL READ COMMITTED",
	"SET LOCAL synchronous_commit = on",
	"SET LOCAL idle_in_transaction_session_timeout = '5s'",
}

// attempt runs the transaction, in one journey. A connection on which it failed
// is not used again: the pool sees that it is not idle.
func (l *Log) attempt(ctx context.Context, w *written) (err error) {
	pc, err := l.acquire(ctx, l.writers)
	if err != nil {
		return err
	}
	defer pc.Release()
	b := &pgx.Batch{}
	for _, s := range begin {
		b.Queue(s)
	}
	b.Queue(`SELECT base, originals, used FROM inbox_append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`, w.args...)
	b.Queue("COMMIT")
	results := pc.SendBatch(ctx, b)
	defer results.Close() // once COMMIT was answered, nothing that follows undoes it
	for range begin {
		if _, err := results.Exec(); err != nil {
			return failed(ctx, err)
		}
	}
	if err := results.QueryRow().Scan(&w.base, &w.originals, &w.used); err != nil {
		return failed(ctx, err)
	}
	tag, err := results.Exec()
	switch {
	case err != nil:
		return failed(ctx, err)
	case tag.String() != "COMMIT":
		return syncline.Errorf(syncline.CodeInternal, "inbox: the transaction ended with %s", tag)
	case len(w.originals) != len(w.args[0].([]int64)):
		return syncline.Errorf(syncline.CodeInternal, "inbox: %d deliveries have %d receipts", len(w.args[0].([]int64)), len(w.originals))
	}
	return nil
}
