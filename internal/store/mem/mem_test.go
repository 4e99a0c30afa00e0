package mem_test

import (
	"testing"

	"go.uber.org/goleak"

	"syncline/internal/store"
	"syncline/internal/store/mem"
	"syncline/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		s := mem.New(nil)
		t.Cleanup(func() { s.Close() })
		return s
	})
}
