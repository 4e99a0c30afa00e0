package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"sync/atomic"
	"time"

	"syncline"
	"syncline/internal/inbox"
)

// entrySize is what an entry counts for besides what it holds: its row and its
// places in indexes.
const entrySize = 512

// The states of a job. Only a waiting one can be given up by its caller.
const (
	jobWaiting int32 = iota
	jobTaken
	jobGivenUp
)

type job struct {
	d       *syncline.Delivery
	headers []byte
	dedupe  []byte // nil: never a duplicate
	within  time.Duration
	state   atomic.Int32
	done    chan struct{} // closed when the rest is final
	receipt inbox.Receipt
	err     error
}

// Append makes d durable, see [inbox.Log]. A caller that gives up before its
// delivery is being written gets its context's error, and nothing is stored; once
// it is being written, Append waits for the outcome, at most 15 seconds. A zero
// ReceivedAt is stamped with the time. When the connection is lost during the
// commit, a delivery may be stored though the error says unavailable.
func (l *Log) Append(ctx context.Context, d *syncline.Delivery, key inbox.Key) (inbox.Receipt, error) {
	if err := ctx.Err(); err != nil {
		return inbox.Receipt{}, err
	}
	size := int64(len(d.Body))
	defer l.queued.Add(-size)
	if err := l.room(ctx, l.queued.Add(size)); err != nil {
		return inbox.Receipt{}, err
	}
	if d.ReceivedAt.IsZero() {
		d.ReceivedAt = l.o.Clock.Now()
	}
	headers, err := json.Marshal(d.Headers)
	if err != nil {
		return inbox.Receipt{}, syncline.Errorf(syncline.CodeInternal, "encode headers: %w", err)
	}
	j := &job{d: d, headers: headers, dedupe: dedupe(d, key), within: key.Within, done: make(chan struct{})}
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
		<-j.done // it is being written
		return j.receipt, j.err
	}
}

// room refuses what would pass the limit with n more bytes.
func (l *Log) room(ctx context.Context, n int64) error {
	used := l.used()
	if used+n <= l.o.MaxBytes {
		return nil
	}
	// Another process may have made space since the last commit here.
	if s, err := l.states.get(ctx); err == nil {
		if used = s.used; used+n <= l.o.MaxBytes {
			return nil
		}
	}
	return syncline.Errorf(syncline.CodeUnavailable, "the inbox holds %d bytes; its limit is %d", used, l.o.MaxBytes).
		WithHint("raise --inbox-max-bytes, or find out why deliveries are not processed")
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

// dedupe is a hash of all that a redelivery has in common with its original.
func dedupe(d *syncline.Delivery, key inbox.Key) []byte {
	if key.ID == "" {
		return nil
	}
	body := sha256.Sum256(d.Body)
	b := make([]byte, 0, 256)
	for _, n := range []int64{d.EnvironmentID, d.IntegrationID} {
		b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // as it is
	}
	for _, s := range []string{d.ConnectionID, key.ID} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(append(b, body[:]...))
	return sum[:]
}
