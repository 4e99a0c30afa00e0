package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// purgeStep and purgeBytes bound what one transaction of Purge removes.
const (
	purgeStep  = 500
	purgeBytes = 32 << 20
)

// aged is an entry that is old enough to go.
type aged struct {
	position   int64
	receivedAt time.Time
	size       int64
}

// Purge removes old entries that are not needed any more, oldest first, some
// in each transaction; appends do not wait for it. What it has removed when it
// fails stays removed, and is counted. Several processes may purge at the same
// time.
func (l *Log) Purge(ctx context.Context, before time.Time, keep func(positions []int64) ([]int64, error)) (int, error) {
	removed := 0
	var after *aged
	for {
		old, err := l.older(ctx, before, after)
		if err != nil || len(old) == 0 {
			return removed, err
		}
		after = &aged{position: old[len(old)-1].position, receivedAt: old[len(old)-1].receivedAt}
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
			count, err := l.remove(ctx, gone[:n])
			if err != nil {
				return removed, err
			}
			removed += count
			gone = gone[n:]
		}
	}
}

// older lists entries received before t, oldest first, beyond after. It walks
// inbox_entries_by_time, and so meets old entries only.
func (l *Log) older(ctx context.Context, t time.Time, after *aged) (old []aged, err error) {
	each := func(rows pgx.Rows) error {
		var a aged
		err := rows.Scan(&a.position, &a.receivedAt, &a.size)
		old = append(old, a)
		return err
	}
	if after == nil {
		after = &aged{receivedAt: time.Unix(minTime, 0)}
	}
	err = l.query(ctx, `SELECT position, received_at, size FROM inbox_entries
		WHERE (received_at, position) > ($1, $2) AND received_at < $3 ORDER BY received_at, position LIMIT $4`, each,
		after.receivedAt, after.position, t, int64(purgeStep))
	return old, err
}

// minTime is before any time of receipt, in seconds since 1970: the year 0.
const minTime = -62_167_219_200

// remove deletes entries and returns how many were still there. Should it run
// again after a connection was lost, it finds what the first one left.
func (l *Log) remove(ctx context.Context, gone []aged) (int, error) {
	positions := make([]int64, len(gone))
	for i := range gone {
		positions[i] = gone[i].position
	}
	slices.Sort(positions) // of two that purge, both lock them in this order
	var removed int64
	var s state
	err := l.query(ctx, `SELECT removed, newest, used FROM inbox_remove($1)`, func(rows pgx.Rows) error {
		return rows.Scan(&removed, &s.last, &s.used)
	}, positions)
	if err != nil {
		return 0, err
	}
	l.notice(s)
	return int(removed), nil
}
