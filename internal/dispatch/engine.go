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
