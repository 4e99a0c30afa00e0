package mem

import (
	"maps"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// kept is a run that shares nothing with its caller.
func kept(r syncline.Run) syncline.Run {
	r.Models, r.Warnings = maps.Clone(r.Models), slices.Clone(r.Warnings)
	return r
}

func (r *reader) Run(env, id int64) (run syncline.Run, err error) {
	if err := r.open(); err != nil {
		return run, err
	}
	run, ok := r.runs.Get(id)
	if !ok || run.EnvironmentID != env {
		return syncline.Run{}, notFound("run", id)
	}
	return kept(run), nil
}

func (r *reader) RunByUUID(env int64, uuid string) (run syncline.Run, err error) {
	if err := r.open(); err != nil {
		return run, err
	}
	run, err = first(each(&r.runs, func(r syncline.Run) bool { return r.EnvironmentID == env && r.UUID == uuid }), "run", uuid)
	return kept(run), err
}

func (r *reader) Runs(env int64, f store.RunFilter) ([]syncline.Run, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := newest(&r.runs, f.Page, func(r syncline.Run) bool {
		return r.EnvironmentID == env && (f.ConnectionID == 0 || r.ConnectionID == f.ConnectionID) && (f.InstanceID == 0 || r.InstanceID == f.InstanceID) &&
			(f.FunctionID == 0 || r.FunctionID == f.FunctionID) && (f.Kind == "" || r.Kind == f.Kind) && (f.Status == "" || r.Status == f.Status) &&
			(f.Before == 0 || r.ID < f.Before)
	})
	for i := range list {
		list[i] = kept(list[i])
	}
	return list, nil
}

func (r *reader) Logs(env, runID, after int64, n int) ([]syncline.LogLine, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	var list []syncline.LogLine
	r.logs.Ascend(after+1, func(_ int64, l log) bool {
		if l.env == env && l.line.RunID == runID {
			list = append(list, l.line)
		}
		return len(list) < limit(n)
	})
	return list, nil
}

func (r *reader) RunningRuns(n int) ([]syncline.Run, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	var list []syncline.Run
	r.running.Scan(func(id int64, _ struct{}) bool {
		run, _ := r.runs.Get(id)
		list = append(list, kept(run))
		return len(list) < limit(n)
	})
	return list, nil
}

func (t *tx) putRun(r *syncline.Run) {
	t.runs.Set(r.ID, kept(*r))
	if r.Status == syncline.RunRunning {
		t.running.Set(r.ID, struct{}{})
	} else {
		t.running.Delete(r.ID)
	}
}

func (t *tx) CreateRun(r *syncline.Run) error {
	if err := t.open(); err != nil {
		return err
	}
	t.stamp(&r.StartedAt)
	if r.UUID == "" {
		r.UUID = syncline.NewUUID()
	}
	r.ID = t.next("runs")
	if r.Lineage == 0 {
		r.Lineage = r.ID
	}
	t.putRun(r)
	return nil
}

func (t *tx) UpdateRun(r *syncline.Run) error {
	old, err := t.Run(r.EnvironmentID, r.ID)
	if err != nil {
		return err
	}
	fresh := *r
	fresh.UUID, fresh.ConnectionID, fresh.InstanceID, fresh.FunctionID, fresh.VersionID, fresh.Kind, fresh.Parent =
		old.UUID, old.ConnectionID, old.InstanceID, old.FunctionID, old.VersionID, old.Kind, old.Parent
	t.putRun(&fresh)
	return nil
}

func (t *tx) AppendLogs(env, runID int64, lines []syncline.LogLine) error {
	if len(lines) == 0 {
		return nil
	}
	if _, err := t.Run(env, runID); err != nil {
		return err
	}
	for i := range lines {
		lines[i].ID, lines[i].RunID = t.next("run_logs"), runID
		t.logs.Set(lines[i].ID, log{env, lines[i]})
	}
	return nil
}

func (r *reader) Notification(env, id int64) (n syncline.Notification, err error) {
	if err := r.open(); err != nil {
		return n, err
	}
	n, ok := r.notifications.Get(id)
	if !ok || n.EnvironmentID != env {
		return syncline.Notification{}, notFound("notification", id)
	}
	return n, nil
}

func (r *reader) Notifications(env int64, f store.NotificationFilter) ([]syncline.Notification, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	return newest(&r.notifications, f.Page, func(n syncline.Notification) bool {
		return n.EnvironmentID == env && (f.Status == "" || n.Status == f.Status) && (f.RunID == 0 || n.RunID == f.RunID)
	}), nil
}

func (r *reader) DueNotifications(now time.Time, n int) ([]syncline.Notification, error) {
	if err := r.open(); err != nil {
		return nil, err
	}
	list := each(&r.notifications, func(n syncline.Notification) bool {
		return n.Status == syncline.NotificationPending && !n.NextAttemptAt.After(now)
	})
	slices.SortStableFunc(list, func(a, b syncline.Notification) int { return a.NextAttemptAt.Compare(b.NextAttemptAt) })
	return list[:min(len(list), limit(n))], nil
}

func (r *reader) NextNotification() (at time.Time, err error) {
	if err := r.open(); err != nil {
		return at, err
	}
	r.notifications.Scan(func(_ int64, n syncline.Notification) bool {
		if n.Status == syncline.NotificationPending && (at.IsZero() || n.NextAttemptAt.Before(at)) {
			at = n.NextAttemptAt
		}
		return true
	})
	return at, nil
}

func (t *tx) CreateNotification(n *syncline.Notification) error {
	if err := t.open(); err != nil {
		return err
	}
	t.stamp(&n.CreatedAt)
	if n.UUID == "" {
		n.UUID = syncline.NewUUID()
	}
	if n.Status == "" {
		n.Status = syncline.NotificationPending
	}
	if n.NextAttemptAt.IsZero() && n.Status == syncline.NotificationPending {
		n.NextAttemptAt = n.CreatedAt
	}
	n.ID = t.next("notifications")
	t.notifications.Set(n.ID, *n)
	return nil
}

func (t *tx) UpdateNotification(n *syncline.Notification) error {
	old, err := t.Notification(n.EnvironmentID, n.ID)
	if err != nil {
		return err
	}
	if n.NextAttemptAt.IsZero() && n.Status == syncline.NotificationPending {
		t.stamp(&n.NextAttemptAt)
	}
	old.Status, old.Attempts, old.NextAttemptAt, old.LastError, old.DeliveredAt = n.Status, n.Attempts, n.NextAttemptAt, n.LastError, n.DeliveredAt
	t.notifications.Set(n.ID, old)
	return nil
}
