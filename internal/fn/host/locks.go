package host

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// The bounds of locks.
const (
	maxLockKey = 255 // bytes
	maxLockTTL = 24 * time.Hour
)

// lock answers the calls about locks. They take effect at once, also in
// webhook runs: a lock that came with the commit would keep nobody out.
func (s *session) lock(ctx context.Context, method string, raw json.RawMessage) (json.RawMessage, error) {
	var args struct {
		Key   string  `json:"key"`
		TTLMS float64 `json:"ttl_ms"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	env := s.subject.Environment.ID
	if method == fn.MethodReleaseAllLocks {
		return nil, s.deps.Store.Update(ctx, store.Relaxed, s.ReleaseLocks)
	}
	if args.Key == "" || len(args.Key) > maxLockKey || !utf8.ValidString(args.Key) {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s: the key is empty or longer than %d bytes", method, maxLockKey)
	}
	var ok bool
	now := s.deps.Clock.Now()
	if method == fn.MethodReleaseLock {
		err := s.deps.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
			ok, err = tx.ReleaseLock(env, args.Key, s.run.UUID, now)
			return err
		})
		return answer(ok, err)
	}
	ttl := time.Duration(args.TTLMS * float64(time.Millisecond))
	if args.TTLMS <= 0 || args.TTLMS > float64(maxLockTTL.Milliseconds()) {
		return nil, syncline.Errorf(syncline.CodeInvalid, "tryAcquireLock: ttlMs is %v; it is from 1 to %d (24 hours)", args.TTLMS, maxLockTTL.Milliseconds())
	}
	l := syncline.Lock{
		EnvironmentID: env, Key: args.Key, Owner: s.run.UUID, Until: now.Add(ttl),
		Kind: s.run.Kind, InstanceID: s.subject.Instance.ID, LeaseEpoch: s.lease.Epoch,
	}
	if s.lease.Epoch == 0 {
		l.InstanceID = 0
	}
	s.locked.Store(true) // also when it is not known whether the write took place
	err := s.deps.Store.Update(ctx, store.Relaxed, func(tx store.Tx) (err error) {
		if ok, err = tx.AcquireLock(&l, now); err != nil || ok {
			return err
		}
		held, err := tx.Lock(env, args.Key)
		if err != nil {
			return err
		}
		gone, err := ownerGone(tx, &held, now)
		if err != nil || !gone {
			return err
		}
		if _, err := tx.ReleaseLock(env, held.Key, held.Owner, now); err != nil {
			return err
		}
		ok, err = tx.AcquireLock(&l, now)
		return err
	})
	return answer(ok, err)
}

func answer(ok bool, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	return json.Marshal(ok)
}

// ownerGone reports whether the run that has a lock ended without freeing it:
// the lease under which it ran is another's, or nobody's.
func ownerGone(r store.Reader, l *syncline.Lock, now time.Time) (bool, error) {
	if l.InstanceID == 0 {
		return false, nil
	}
	var lease syncline.Lease
	if l.Kind == syncline.RunWebhook {
		lane, err := r.Lane(l.EnvironmentID, l.InstanceID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		lease = lane.Lease
	} else {
		i, err := r.Instance(l.EnvironmentID, l.InstanceID)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		lease = i.PollLease
	}
	return lease.Epoch != l.LeaseEpoch || lease.Owner == "" || !lease.Until.After(now), nil
}

// Locked reports whether the run may have locks.
func (s *session) Locked() bool { return s.locked.Load() }

// ReleaseLocks frees the run's locks. It belongs to the commit of the run's end.
func (s *session) ReleaseLocks(tx store.Tx) error {
	_, err := tx.ReleaseLocks(s.subject.Environment.ID, s.run.UUID)
	return err
}
