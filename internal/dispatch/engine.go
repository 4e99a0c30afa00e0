package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// Announcer writes the notification that a run owes the user's app for one
// model, in the run's own commit. result is nil when the run failed.
type Announcer interface {
	Announce(tx store.Tx, s *host.Subject, run *syncline.Run, model string, result *syncline.ModelResult, now time.Time) error
}

// Engine is what lanes and polls have in common.
type Engine struct {
	Host   *host.Deps
	Runner fn.Runner
	Clock  clock.Clock
	Log    *slog.Logger
	// Announcer writes notifications; Announced is called after their commit.
	Announcer Announcer
	Announced func()
	// Paginate is a provider's default pagination in the catalogue's format, nil for none.
	Paginate func(provider string) json.RawMessage
	// Runs reports whether this process can run a version of a function: those in Go
	// are compiled in. nil: it can run any.
	Runs   func(v *syncline.FunctionVersion) bool
	Limits fn.Limits // CPU, memory, calls, logs and output; wall time is by kind
	// Most is what no setting of an environment or a function goes beyond; zero
	// fields bound nothing.
	Most syncline.RunLimits
}

// limits are those of a run: what its function's settings say, within what the
// operator allows, and else the defaults of the server.
func (e *Engine) limits(s *host.Subject, wall, mostWall time.Duration) fn.Limits {
	most := e.Most
	most.Wall = mostWall
	set := s.Settings().Limits.Within(most)
	l := e.Limits
	l.Wall = wall
	take := func(to *time.Duration, v time.Duration) {
		if v != 0 {
			*to = v
		}
	}
	take(&l.Wall, set.Wall)
	take(&l.CPU, set.CPU)
	if set.Memory != 0 {
		l.Memory = set.Memory
	}
	if set.HostCalls != 0 {
		l.HostCalls = set.HostCalls
	}
	if set.LogLines != 0 {
		l.LogLines = set.LogLines
	}
	if set.Output != 0 {
		l.Output = set.Output
	}
	return l
}

// fail notes in run why it failed.
func fail(run *syncline.Run, status syncline.RunStatus, err error, now time.Time) {
	run.Status, run.FinishedAt = status, now
	run.ErrorCode, run.Error = codeOf(err), err.Error()
}

// codeOf is the code that a run's error is shown with. What a function throws
// is a script error, unless it comes from a host call.
func codeOf(err error) syncline.Code {
	var script *fn.ScriptError
	if errors.As(err, &script) {
		if script.HostCode != "" {
			return script.HostCode
		}
		return syncline.CodeScript
	}
	return syncline.CodeOf(err)
}

// errorLine is the log line of a run that failed.
func errorLine(err error, now time.Time) syncline.LogLine {
	l := syncline.LogLine{At: now, Level: syncline.LogError, Message: err.Error()}
	var script *fn.ScriptError
	if errors.As(err, &script) && script.Stack != "" {
		l.Data, _ = json.Marshal(map[string]string{"stack": script.Stack})
	}
	return l
}

// fenced reports whether err says that the work is no longer this process's to
// commit, or that the function was told so.
func fenced(err error) bool { return codeOf(err) == syncline.CodeFenced }

func canceled(ctx context.Context, err error) bool {
	return ctx.Err() != nil && err != nil
}

// announceFailure writes one notification per model of a run that failed.
func (e *Engine) announceFailure(tx store.Tx, s *host.Subject, run *syncline.Run, now time.Time) error {
	for model := range s.Function.Active.Manifest.Models {
		if err := e.Announcer.Announce(tx, s, run, model, nil, now); err != nil {
			return err
		}
	}
	return nil
}
