package nodejs_test

import (
	"testing"

	"go.uber.org/goleak"

	"syncline"
	"syncline/internal/fn/enginetest"
	"syncline/internal/fn/nodejs"
	"syncline/internal/fn/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a runner of its own; the test is skipped where there is no Node.js.
func node(t *testing.T, o worker.Options) *nodejs.Runner {
	t.Helper()
	if _, err := nodejs.Find(t.Context(), ""); err != nil {
		t.Skip(err)
	}
	r := &nodejs.Runner{Options: o}
	t.Cleanup(r.Close)
	return r
}

func TestTheSuiteOfEngines(t *testing.T) {
	t.Parallel()
	enginetest.JavaScript(t, syncline.EngineNode, node(t, worker.Options{}))
}
