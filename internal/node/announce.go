package node

import (
	"time"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/fn/host"
	"syncline/internal/notify"
	"syncline/internal/store"
)

// announcer writes the notifications that runs owe the user's app.
type announcer struct{}

// Announce writes the rows of one run and model; none when the environment
// has no webhook URL.
func (announcer) Announce(tx store.Tx, s *host.Subject, run *syncline.Run, model string, result *syncline.ModelResult, now time.Time) error {
	env, err := tx.Environment(s.Environment.ID) // the URL may have been set since the run began
	if err != nil {
		return err
	}
	if env.WebhookURL == "" && env.WebhookURLSecondary == "" {
		return nil
	}
	e := notify.SyncEvent{
		ConnectionID: s.Connection.ConnectionID, ProviderConfigKey: s.Integration.UniqueKey, SyncName: s.Function.Name,
		SyncVariant: s.Instance.Variant, Model: model, SyncType: run.SyncType, ModifiedAfter: run.StartedAt,
	}
	i, err := tx.Instance(s.Environment.ID, s.Instance.ID)
	if err != nil {
		return err
	}
	from, to := s.Instance.PollCheckpoint, i.PollCheckpoint
	if run.Kind == syncline.RunWebhook {
		from, to = s.Instance.WebhookCheckpoint, i.WebhookCheckpoint
	}
	if from != nil || to != nil {
		e.Checkpoints = &notify.Checkpoints{From: from, To: to}
	}
	if result != nil {
		e.Results = *result
	} else {
		e.Failure = &notify.Failure{Type: string(run.ErrorCode), Description: run.Error, StartedAt: run.StartedAt, FailedAt: now}
	}
	for _, n := range notify.Rows(&env, s.Connection.ID, run.ID, "sync", notify.SyncPayload(e), now) {
		if err := tx.CreateNotification(n); err != nil {
			return err
		}
	}
	return nil
}

// AnnounceAction writes the rows of an asynchronous action that ended.
func (announcer) AnnounceAction(tx store.Tx, j *syncline.Job, now time.Time) error {
	env, err := tx.Environment(j.EnvironmentID)
	if err != nil {
		return err
	}
	payload := notify.ActionPayload(j.ConnectionKey, j.IntegrationKey, j.UUID, api.ActionStatusURL(j.UUID))
	for _, n := range notify.Rows(&env, j.ConnectionID, j.RunID, notify.AsyncAction, payload, now) {
		if err := tx.CreateNotification(n); err != nil {
			return err
		}
	}
	return nil
}
