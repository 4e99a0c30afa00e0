package feed

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/store"
)

// Source is where pages are read from. It is safe for concurrent use.
//
// With a replica, the primary store still decides: it knows the collection, so
// it says whether a cursor can be read from, and whether there is anything new.
// The replica gives the rows, as far as it has them. A page comes from the
// replica's snapshot alone or from the primary's; where the replica's ends
// before the primary's does, the page has a next cursor, and the page after it
// comes from the primary. So a reader that was told of a change finds it, however
// far the replica lags.
type Source struct {
	Store store.Store
	// Replica is a copy of Store that may lag behind it; nil: there is none.
	Replica store.Store
	Clock   clock.Clock  // default: the system's
	Log     *slog.Logger // default: nothing is logged

	downUntil atomic.Int64 // Unix nanoseconds; the replica failed and is left alone until then
	copied    sync.Map     // ids of environments that the replica was seen to be a copy of
}

// How long a replica is waited for, and left alone after it failed.
const (
	replicaAnswers = 2 * time.Second  // until its first answer
	replicaReads   = 30 * time.Second // for one chunk
	replicaRests   = 5 * time.Second
)

// errBehind says that the replica cannot serve a page: it is too far behind.
var errBehind = errors.New("the replica is behind")

// replica is the replica if it can be asked now.
func (s *Source) replica() store.Store {
	if s.Replica == nil || s.now().UnixNano() < s.downUntil.Load() {
		return nil
	}
	return s.Replica
}

func (s *Source) now() time.Time {
	if s.Clock == nil {
		return time.Now()
	}
	return s.Clock.Now()
}

// replicaFailed leaves the replica alone for a while.
func (s *Source) replicaFailed(err error) {
	now := s.now()
	if old := s.downUntil.Swap(now.Add(replicaRests).UnixNano()); old < now.UnixNano() && s.Log != nil {
		s.Log.Warn("the read replica fails; reads go to the primary", "for", replicaRests, "err", err)
	}
}

// viewReplica runs fn on a snapshot of the replica in which coll, as the primary
// has it, is known as it is now, or not much older: with the position after and
// all that was removed for good. Otherwise the error is errBehind. A replica
// that fails is left alone for a while.
func (s *Source) viewReplica(ctx context.Context, replica store.Store, coll *syncline.Collection, after int64, fn func(r store.Reader, lagging *syncline.Collection) error) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	patience := time.AfterFunc(replicaAnswers, cancel)
	defer patience.Stop()
	err := replica.View(bounded, func(r store.Reader) error {
		c, err := r.CollectionByID(coll.EnvironmentID, coll.ID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return errBehind
		}
		if err != nil {
			return err
		}
		patience.Reset(replicaReads)
		// A database that is no copy of ours has other collections under the
		// same ids.
		if err := s.checkCopy(ctx, r, coll.EnvironmentID); err != nil {
			return err
		}
		if c.ConnectionID != coll.ConnectionID || c.Model != coll.Model || !c.CreatedAt.Equal(coll.CreatedAt) {
			return syncline.Errorf(syncline.CodeConflict, "the read replica is not a copy of the primary: collection %d differs", coll.ID)
		}
		if c.LastSeq <= after || c.PurgedSeq < coll.PurgedSeq {
			return errBehind
		}
		return fn(r, &c)
	})
	if err != nil && !errors.Is(err, errBehind) && ctx.Err() == nil {
		s.replicaFailed(err)
	}
	return err
}

// checkCopy checks, once for each environment, that the replica's is the primary's.
func (s *Source) checkCopy(ctx context.Context, replica store.Reader, env int64) error {
	if _, done := s.copied.Load(env); done {
		return nil
	}
	theirs, err := replica.Environment(env)
	if err != nil {
		return err
	}
	var ours syncline.Environment
	err = s.Store.View(ctx, func(r store.Reader) (err error) {
		ours, err = r.Environment(env)
		return err
	})
	if err != nil {
		return err
	}
	if ours.UUID != theirs.UUID {
		return syncline.Errorf(syncline.CodeConflict, "the read replica is not a copy of the primary: the environment %s differs", ours.Name)
	}
	s.copied.Store(env, true)
	return nil
}
