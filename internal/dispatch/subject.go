package dispatch

import (
	"context"
	"fmt"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/store"
)

// loadSubject reads what a run of an instance is about. The deployed version
// is resolved here, when the run starts.
func loadSubject(r store.Reader, env, instanceID int64) (*host.Subject, error) {
	var s host.Subject
	var err error
	if s.Instance, err = r.Instance(env, instanceID); err != nil {
		return nil, err
	}
	if s.Environment, err = r.Environment(env); err != nil {
		return nil, err
	}
	if s.Connection, err = r.Connection(env, s.Instance.ConnectionID); err != nil {
		return nil, err
	}
	if s.Integration, err = r.Integration(env, s.Connection.IntegrationID); err != nil {
		return nil, err
	}
	s.Function, err = r.Function(env, s.Instance.FunctionID)
	return &s, err
}

// newRun begins a run of a subject's function.
func newRun(s *host.Subject, kind syncline.RunKind, now time.Time) *syncline.Run {
	return &syncline.Run{
		UUID:          syncline.NewUUID(),
		EnvironmentID: s.Environment.ID,
		ConnectionID:  s.Connection.ID,
		InstanceID:    s.Instance.ID,
		FunctionID:    s.Function.ID,
		VersionID:     s.Function.Active.ID,
		Kind:          kind,
		Status:        syncline.RunRunning,
		Attempt:       1,
		StartedAt:     now,
	}
}

// newCall is the call of a run, less its input.
func (e *Engine) newCall(s *host.Subject, run *syncline.Run, entry fn.Entry) fn.Call {
	hash := s.Function.Active.BundleHash
	env := s.Environment.ID
	load := func(ctx context.Context, hash string) (source []byte, err error) {
		err = e.Host.Store.View(ctx, func(r store.Reader) error {
			source, err = r.Bundle(env, hash)
			return err
		})
		return source, err
	}
	c := fn.Call{
		EnvironmentID: env,
		RunID:         run.ID,
		Entry:         entry,
		Engine:        s.Function.Active.Manifest.Engine,
		BundleHash:    hash,
		Bundle:        func(ctx context.Context) ([]byte, error) { return load(ctx, hash) },
		Library:       load,
		Context: fn.Context{
			Environment:       s.Environment.Name,
			ConnectionID:      s.Connection.ConnectionID,
			ProviderConfigKey: s.Integration.UniqueKey,
			Provider:          s.Integration.Provider,
			Function:          s.Function.Name,
			FunctionType:      s.Function.Type,
			Variant:           s.Instance.Variant,
			RunID:             run.UUID,
			Paginate:          e.Paginate(s.Integration.Provider),
		},
	}
	// A full poll is to fetch everything, as the first one did.
	if last := s.Instance.LastSyncDate; !last.IsZero() && run.Mode != syncline.ModeFull {
		c.Context.LastSyncDate = last.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	return c
}

func warmKey(s *host.Subject) string {
	return fmt.Sprintf("%d/%d/%d", s.Connection.ID, s.Function.Active.ID, s.Instance.ID)
}
