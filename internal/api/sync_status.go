package api

import (
	"encoding/json"

	"syncline"
	"syncline/internal/store"
)

// syncStatusJSON is one sync instance as GET /sync/status shows it.
type syncStatusJSON struct {
	ID                  string                `json:"id"`
	ConnectionID        string                `json:"connection_id"`
	Name                string                `json:"name"`
	Variant             string                `json:"variant"`
	Status              string                `json:"status"`
	Type                *syncline.SyncType    `json:"type"`
	FinishedAt          *string               `json:"finishedAt"`
	NextScheduledSyncAt *string               `json:"nextScheduledSyncAt"`
	Frequency           string                `json:"frequency"`
	LatestResult        map[string]countsJSON `json:"latestResult"`
	RecordCount         map[string]int        `json:"recordCount"`
	Checkpoint          json.RawMessage       `json:"checkpoint"`
	// Ours: records that were left alone although the data differed, since the
	// newest poll that fetched everything, and when that began.
	Contested  int     `json:"contested"`
	LastFullAt *string `json:"lastFullSyncAt"`
	// Since when polls that are cut at a limit do not get on, and why; null when they do.
	StalledAt   *string `json:"stalledAt"`
	StallReason *string `json:"stallReason"`
}

// countsJSON are a model's changes in Nango's shape.
type countsJSON struct {
	Added   int `json:"added"`
	Updated int `json:"updated"`
	Deleted int `json:"deleted"`
}

// The statuses of a sync, in Nango's words.
const (
	statusRunning = "RUNNING" // a poll runs now
	statusPaused  = "PAUSED"  // the schedule does not run
	statusStopped = "STOPPED" // no poll has run yet, or the last one was cancelled
	statusSuccess = "SUCCESS"
	statusError   = "ERROR"
)

func (s *server) syncStatus(c *call) (reply, error) {
	q, err := c.params("provider_config_key", "syncs", "connection_id")
	if err != nil {
		return reply{}, err
	}
	key, err := q.required("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	names, err := q.required("syncs")
	if err != nil {
		return reply{}, err
	}
	var refs []syncRef
	if names != "*" {
		for _, word := range q.words("syncs") {
			ref := parseSyncRef(word)
			if ref.name == "" || ref.variant == "" {
				return reply{}, as(badQuery, invalid("syncs", "syncs names %q", word).WithHint("write names separated by commas, name::variant for a variant, or *"))
			}
			refs = append(refs, ref)
		}
		if len(refs) == 0 {
			return reply{}, as(badQuery, invalid("syncs", "syncs names no sync"))
		}
	}
	out := []syncStatusJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		list, err := instances(r, c.env.ID, key, q.Get("connection_id"), refs)
		if err != nil {
			return err
		}
		for i := range list {
			one, err := showSyncStatus(r, &list[i])
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"syncs": out})
}

func showSyncStatus(r store.Reader, i *selected) (syncStatusJSON, error) {
	out := syncStatusJSON{
		ID: i.UUID, ConnectionID: i.connection, Name: i.function.Name, Variant: i.Variant, Status: statusStopped,
		NextScheduledSyncAt: isoTimeOrNull(i.NextDueAt), Frequency: i.FrequencyOverride,
		LatestResult: map[string]countsJSON{}, RecordCount: map[string]int{}, Checkpoint: i.PollCheckpoint,
		Contested: i.Reconcile.Contested, LastFullAt: isoTimeOrNull(i.Reconcile.FullAt),
	}
	if i.Progress.Stalled() {
		out.StalledAt, out.StallReason = isoTimeOrNull(i.Progress.StalledAt), &i.Progress.Reason
	}
	if out.Frequency == "" {
		out.Frequency = i.function.Active.Manifest.Frequency
	}
	if i.LastPollRunID != 0 {
		run, err := r.Run(i.EnvironmentID, i.LastPollRunID)
		if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound { // past its retention
			return out, err
		}
		switch run.Status {
		case syncline.RunContinued:
			out.Status = statusRunning // it goes on at once
		case syncline.RunSuccess:
			out.Status = statusSuccess
		case syncline.RunFailed, syncline.RunReaped, syncline.RunRetrying:
			out.Status = statusError
		}
		out.FinishedAt = isoTimeOrNull(run.FinishedAt)
		if run.SyncType != "" {
			out.Type = &run.SyncType
		}
		for model, m := range run.Models {
			out.LatestResult[model] = countsJSON{m.Added, m.Updated, m.Deleted}
		}
	}
	switch {
	case i.PollRunID != 0:
		out.Status = statusRunning
	case i.State == syncline.InstancePaused:
		out.Status = statusPaused
	}
	for model := range i.function.Active.Manifest.Models {
		coll, err := r.Collection(i.EnvironmentID, i.ConnectionID, syncline.CollectionModel(model, i.Variant))
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			out.RecordCount[model] = 0
			continue
		}
		if err != nil {
			return out, err
		}
		if out.RecordCount[model], err = r.CountRecords(i.EnvironmentID, coll.ID); err != nil {
			return out, err
		}
	}
	return out, nil
}
