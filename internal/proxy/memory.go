package proxy

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// memory bounds what the bodies of all responses take together while they are
// read and handed on.
//
// A response that has begun to be read holds memory and needs more; if all did,
// none could end. So room for one largest response is kept apart: whoever
// cannot get more waits for that room, in order of arrival, ends, and gives all back.
type memory struct {
	shared  *semaphore.Weighted
	size    int64         // of shared
	reserve chan struct{} // holds one: the reader that uses the room kept apart
}

// newMemory makes a budget of limit bytes for responses of at most largest.
func newMemory(limit, largest int64) *memory {
	size := max(limit-largest, 1<<20)
	return &memory{shared: semaphore.NewWeighted(size), size: size, reserve: make(chan struct{}, 1)}
}

// share is what one response holds.
type share struct {
	m    *memory
	held int64
	over bool // uses the room kept apart
}

// grow waits until n bytes more may be used. Its error is ctx's.
func (s *share) grow(ctx context.Context, n int64) error {
	if s.over {
		return nil
	}
	if s.m.shared.TryAcquire(n) {
		s.held += n
		return nil
	}
	if s.held == 0 && n <= s.m.size {
		if err := s.m.shared.Acquire(ctx, n); err != nil {
			return err
		}
		s.held = n
		return nil
	}
	select {
	case s.m.reserve <- struct{}{}:
		s.over = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// free gives everything back. It may be called again.
func (s *share) free() {
	if s == nil {
		return
	}
	if s.held > 0 {
		s.m.shared.Release(s.held)
		s.held = 0
	}
	if s.over {
		<-s.m.reserve
		s.over = false
	}
}
