package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// defaultStuck is how many cut polls in a row may leave the checkpoint where it was.
const defaultStuck = 3

func (p *Polls) stuck() int {
	if p.Stuck > 0 {
		return p.Stuck
	}
	return defaultStuck
}

// getOn decides about a poll that failed. One that was cut at a limit of time
// or work, and that has a checkpoint to go on from, is continued at once: that
// is no failure. When the checkpoint stays where it is over several of them, the
// instance is stalled: its polls are failures, and wait longer and longer, until
// one gets on.
func (p *Polls) getOn(s *host.Subject, i *syncline.SyncInstance, run *syncline.Run, err error, now time.Time) {
	moved := !bytes.Equal(i.PollCheckpoint, s.Instance.PollCheckpoint)
	limit := fn.CutAt(err)
	if moved {
		i.Progress.Stuck, i.Progress.StalledAt, i.Progress.Reason = 0, time.Time{}, ""
	}
	switch limit {
	case fn.LimitWall, fn.LimitCPU, fn.LimitHostCalls:
	default:
		return
	}
	if i.PollCheckpoint == nil {
		return // it would only begin from the start again
	}
	if !moved {
		i.Progress.Stuck++
		if i.Progress.Stuck >= p.stuck() {
			reason := run.Error
			if !i.Progress.Stalled() {
				i.Progress.StalledAt = now
			}
			i.Progress.Continued, i.Progress.Reason = 0, reason
			run.ErrorCode = syncline.CodeStalled
			run.Error = fmt.Sprintf("stalled: %d polls in a row were cut at a limit without moving the checkpoint: %s", i.Progress.Stuck, reason)
			return
		}
	}
	i.Progress.Continued++
	if moved {
		i.PollFailures = 0
	}
	run.Status = syncline.RunContinued
}

// progressLine tells in the log what became of a run that was cut.
func progressLine(run *syncline.Run, now time.Time) syncline.LogLine {
	if run.Status == syncline.RunContinued {
		return syncline.LogLine{At: now, Level: syncline.LogInfo, Message: "the poll was cut at a limit; the next one goes on from its checkpoint at once"}
	}
	return syncline.LogLine{At: now, Level: syncline.LogError, Message: run.Error}
}

// lineageStart is when the first of the polls began that the run continues:
// what changed upstream since then may not have been seen.
func lineageStart(r store.Reader, run *syncline.Run) (time.Time, error) {
	if run.Lineage == run.ID || run.Lineage == 0 {
		return run.StartedAt, nil
	}
	first, err := r.Run(run.EnvironmentID, run.Lineage)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return run.StartedAt, nil
	}
	return first.StartedAt, err
}

// previousDeletes remembers, by bundle, whether it mentions
// deleteRecordsFromPreviousExecutions.
type previousDeletes struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxRemembered is how many bundles are remembered.
const maxRemembered = 10_000

// deletesPrevious reports whether the function of a call may call
// deleteRecordsFromPreviousExecutions. Its deletes are tracked from the run's
// beginning on, when nothing has told yet that it will: the name in its source does.
func (p *Polls) deletesPrevious(ctx context.Context, call *fn.Call) (bool, error) {
	if call.Engine == syncline.EngineGo {
		return false, nil
	}
	m := &p.previous
	m.mu.Lock()
	mentioned, known := m.seen[call.BundleHash]
	m.mu.Unlock()
	if known {
		return mentioned, nil
	}
	source, err := call.Bundle(ctx)
	if err != nil {
		return false, err
	}
	mentioned = bytes.Contains(source, []byte(fn.MethodDeletePrevious))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil || len(m.seen) >= maxRemembered {
		m.seen = map[string]bool{}
	}
	m.seen[call.BundleHash] = mentioned
	return mentioned, nil
}
