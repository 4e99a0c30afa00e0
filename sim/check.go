package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"syncline"
	"syncline/internal/feed"
	"syncline/internal/store"
)

// row is what of a record the checks look at.
type row struct {
	version int
	deleted bool
}

func rowOf(r *syncline.Record) (row, error) {
	var o object
	if err := json.Unmarshal(r.Payload, &o); err != nil {
		return row{}, fmt.Errorf("the payload of %s: %w", r.ID, err)
	}
	return row{o.Version, r.Deleted()}, nil
}

// table reads the collection and checks what holds of every one: positions are
// distinct and rise, and time does not fall with them.
func (w *world) table(ctx context.Context) (map[string]row, error) {
	rows := map[string]row{}
	err := w.store.View(ctx, func(r store.Reader) error {
		c, err := r.Collection(w.subj.Environment.ID, w.subj.Connection.ID, w.model)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		var last int64
		var at time.Time
		var bad error
		err = r.ScanRecords(w.subj.Environment.ID, c.ID, store.RecordQuery{Limit: 10_000}, func(rec *syncline.Record) bool {
			if rec.Seq <= last || rec.LastModifiedAt.Before(at) {
				bad = fmt.Errorf("record %s at %d, %s comes after %d, %s", rec.ID, rec.Seq, rec.LastModifiedAt, last, at)
				return false
			}
			if by := rec.Writer.Lineage; by != 0 && by <= w.emptied {
				bad = fmt.Errorf("record %s was written by a poll that began before the cache was emptied", rec.ID)
				return false
			}
			last, at = rec.Seq, rec.LastModifiedAt
			rows[rec.ID], bad = rowOf(rec)
			return bad == nil
		})
		if err == nil {
			err = bad
		}
		return err
	})
	return rows, err
}

// checkVisible checks, after each commit, that no record went back to an older
// version than one that was visible before.
func (w *world) checkVisible(ctx context.Context) error {
	rows, err := w.table(ctx)
	if err != nil {
		return err
	}
	for id, r := range rows {
		if r.version < w.visible[id] && !r.deleted {
			return fmt.Errorf("record %s went back from version %d to %d", id, w.visible[id], r.version)
		}
		w.visible[id] = max(w.visible[id], r.version)
		if r.deleted {
			// A tombstone keeps the last payload; what it stands for is newer.
			w.visible[id] = max(w.visible[id], r.version)
		}
	}
	return nil
}

// checkEnd checks the cache against the upstream, and the reader's copy against
// the cache.
func (w *world) checkEnd(ctx context.Context) error {
	rows, err := w.table(ctx)
	if err != nil {
		return err
	}
	for id, o := range w.up.objects {
		r, there := rows[id]
		if o.deleted {
			if there && !r.deleted && !w.o.LoseHooks && !w.contested[id] {
				return fmt.Errorf("%s is deleted upstream and in the cache with version %d", id, r.version)
			}
			continue
		}
		if !there || r.deleted || r.version != o.Version {
			return fmt.Errorf("%s has version %d upstream; the cache has %+v", id, o.Version, r)
		}
	}
	for {
		n := len(w.reader.copy)
		before := w.reader.cursor
		if _, err := w.reader.read(ctx, 7); err != nil {
			return err
		}
		if before == w.reader.cursor && n == len(w.reader.copy) {
			break
		}
	}
	for id, r := range rows {
		if got, there := w.reader.copy[id]; !there || got != r {
			return fmt.Errorf("the reader that kept its cursor has %+v of %s; the cache has %+v", got, id, r)
		}
	}
	if len(w.reader.copy) != len(rows) {
		return fmt.Errorf("the reader has %d records, the cache %d", len(w.reader.copy), len(rows))
	}
	return nil
}

// reader keeps a copy of the collection by cursor.
type reader struct {
	store  store.Store
	query  feed.Query
	cursor string
	copy   map[string]row
}

func newReader(s store.Store, env, connection int64, model string) *reader {
	return &reader{store: s, query: feed.Query{EnvironmentID: env, ConnectionID: connection, Model: model}, copy: map[string]row{}}
}

// read takes one page. refused says that the cursor was too old and that the
// reader starts over, as the error tells it to.
func (r *reader) read(ctx context.Context, limit int) (refused bool, err error) {
	q := r.query
	q.Cursor, q.Limit = r.cursor, limit
	page, err := feed.Read(ctx, r.store, q)
	if syncline.CodeOf(err) == syncline.CodeInvalid && r.cursor != "" {
		r.cursor = ""
		clear(r.copy)
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for i := range page.Changes {
		c := &page.Changes[i]
		if r.copy[c.ID], err = rowOf(&c.Record); err != nil {
			return false, err
		}
		r.cursor = c.Cursor
	}
	return false, nil
}
