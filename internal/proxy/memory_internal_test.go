package proxy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsBoundedAndNobodyWaitsForEver(t *testing.T) {
	t.Parallel()
	const limit, largest, step = 8 << 20, 2 << 20, 256 << 10
	m := newMemory(limit, largest)
	var held, peak atomic.Int64
	var wg sync.WaitGroup
	for range 64 { // together they would need 128 MiB, and each needs more while it holds some
		wg.Go(func() {
			s := &share{m: m}
			var mine int64
			for mine < largest {
				if err := s.grow(t.Context(), step); err != nil {
					t.Error(err)
					break
				}
				mine += step
				n := held.Add(step)
				for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
				}
			}
			held.Add(-mine)
			s.free()
			s.free() // again does nothing
		})
	}
	wg.Wait()
	if p := peak.Load(); p > limit {
		t.Errorf("%d bytes were held at a time; the limit is %d", p, limit)
	}
	if !m.shared.TryAcquire(m.size) || len(m.reserve) != 0 {
		t.Error("something was not given back")
	}
}

func TestAWaitForMemoryEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(4<<20, 1<<20)
		all := &share{m: m}
		for _, n := range []int64{3 << 20, 1} { // the shared part, then the room kept apart
			if err := all.grow(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, s := range []*share{{m: m}, {m: m, held: 0, over: false}} {
			if err := s.grow(ctx, 2<<20); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error = %v", err)
			}
			s.free()
		}
		all.free()
		if err := (&share{m: m}).grow(t.Context(), 3<<20); err != nil {
			t.Error(err)
		}
	})
}
