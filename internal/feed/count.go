package feed

import (
	"context"
	"errors"

	"syncline"
	"syncline/internal/store"
)

// Count counts the changes that reading all pages of a query would give. Its
// errors are those of [Source.Read]; Cursor, Limit and Budget play no part.
func (s *Source) Count(ctx context.Context, q Query) (n int, err error) {
	q.Cursor, q.Limit = "", 0
	if err := q.check(); err != nil {
		return 0, err
	}
	scan := q.selection(cursor{})
	count := func(r store.Reader, coll int64) (err error) {
		n, err = r.CountMatching(q.EnvironmentID, coll, scan)
		return err
	}
	w := &walk{from: s, q: q}
	if replica := s.replica(); replica != nil {
		if err := s.Store.View(ctx, func(r store.Reader) error { return w.find(r, cursor{}) }); err != nil || w.done {
			return 0, err
		}
		err := s.viewReplica(ctx, replica, &w.coll, w.coll.LastSeq-1, func(r store.Reader, c *syncline.Collection) error { return count(r, c.ID) })
		if err == nil || ctx.Err() != nil {
			return n, errors.Join(err, ctx.Err())
		}
	}
	err = s.Store.View(ctx, func(r store.Reader) error {
		if err := w.find(r, cursor{}); err != nil || w.done {
			return err
		}
		return count(r, w.coll.ID)
	})
	return n, err
}
