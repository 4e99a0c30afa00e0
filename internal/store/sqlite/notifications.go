package sqlite

import (
	"time"

	"syncline"
	"syncline/internal/store"
)

const notificationColumns = `id, uuid, environment_id, connection_id, run_id, target, type, payload, status, attempts,
	next_attempt_at, last_error, created_at, delivered_at`

func scanNotification(r *row) syncline.Notification {
	return syncline.Notification{
		ID: r.int64(), UUID: r.text(), EnvironmentID: r.int64(), ConnectionID: r.int64(), RunID: r.int64(), Target: r.text(), Type: r.text(),
		Payload: r.bytes(), Status: syncline.NotificationStatus(r.text()), Attempts: r.int(), NextAttemptAt: r.time(),
		LastError: r.text(), CreatedAt: r.time(), DeliveredAt: r.time(),
	}
}

func (r *reader) Notification(env, id int64) (syncline.Notification, error) {
	return one(r, missing{"notification", id}, `SELECT `+notificationColumns+` FROM notifications
		WHERE id = ? AND environment_id = ?`, scanNotification, id, env)
}

func (r *reader) Notifications(env int64, f store.NotificationFilter) ([]syncline.Notification, error) {
	where, args := ` FROM notifications WHERE environment_id = ?`, []any{env}
	if f.Status != "" {
		where, args = where+` AND status = ?`, append(args, string(f.Status))
	}
	if f.RunID != 0 {
		where, args = where+` AND run_id = ?`, append(args, f.RunID)
	}
	return all(r, `SELECT `+notificationColumns+where+` ORDER BY id DESC LIMIT ? OFFSET ?`, scanNotification,
		append(args, limit(f.Page.Limit), f.Page.Offset)...)
}

func (r *reader) DueNotifications(now time.Time, n int) ([]syncline.Notification, error) {
	return all(r, `SELECT `+notificationColumns+` FROM notifications
		WHERE status = 'pending' AND next_attempt_at <= ? ORDER BY next_attempt_at, id LIMIT ?`, scanNotification, now, limit(n))
}

func (r *reader) NextNotification() (time.Time, error) {
	var at time.Time
	err := r.query(`SELECT min(next_attempt_at) FROM notifications WHERE status = 'pending'`, func(r *row) error {
		at = r.time()
		return nil
	})
	return at, err
}

func (t *tx) CreateNotification(n *syncline.Notification) error {
	t.stamp(&n.CreatedAt)
	if n.UUID == "" {
		n.UUID = syncline.NewUUID()
	}
	if n.Status == "" {
		n.Status = syncline.NotificationPending
	}
	if n.NextAttemptAt.IsZero() && n.Status == syncline.NotificationPending {
		n.NextAttemptAt = n.CreatedAt // due at once
	}
	_, id, err := t.exec(`INSERT INTO notifications (uuid, environment_id, connection_id, run_id, target, type, payload, status, attempts,
		next_attempt_at, last_error, created_at, delivered_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		n.UUID, n.EnvironmentID, n.ConnectionID, n.RunID, n.Target, n.Type, n.Payload, string(n.Status), n.Attempts,
		n.NextAttemptAt, n.LastError, n.CreatedAt, n.DeliveredAt)
	if err != nil {
		return err
	}
	n.ID = id
	return nil
}

func (t *tx) UpdateNotification(n *syncline.Notification) error {
	if n.NextAttemptAt.IsZero() && n.Status == syncline.NotificationPending {
		t.stamp(&n.NextAttemptAt)
	}
	return t.exec1(missing{"notification", n.ID}, `UPDATE notifications SET status = ?, attempts = ?, next_attempt_at = ?, last_error = ?, delivered_at = ?
		WHERE id = ? AND environment_id = ?`,
		string(n.Status), n.Attempts, n.NextAttemptAt, n.LastError, n.DeliveredAt, n.ID, n.EnvironmentID)
}
