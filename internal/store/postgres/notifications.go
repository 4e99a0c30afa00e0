package postgres

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
		WHERE id = $1 AND environment_id = $2`, scanNotification, id, env)
}

func (r *reader) Notifications(env int64, f store.NotificationFilter) ([]syncline.Notification, error) {
	w := where(`SELECT `+notificationColumns+` FROM notifications WHERE environment_id = $1`, env)
	if f.Status != "" {
		w.add(` AND status = ?`, string(f.Status))
	}
	if f.RunID != 0 {
		w.add(` AND run_id = ?`, f.RunID)
	}
	w.add(` ORDER BY id DESC`)
	w.page(f.Page)
	return all(r, w.sql.String(), scanNotification, w.args...)
}

func (r *reader) DueNotifications(now time.Time, n int) ([]syncline.Notification, error) {
	return all(r, `SELECT `+notificationColumns+` FROM notifications
		WHERE status = 'pending' AND next_attempt_at <= $1 ORDER BY next_attempt_at, id LIMIT $2`, scanNotification, now, limit(n))
}

func (r *reader) NextNotification() (time.Time, error) {
	at, _, err := maybe(r, `SELECT min(next_attempt_at) FROM notifications WHERE status = 'pending'`, (*row).time)
	return at, err
}

func (t *tx) CreateNotification(n *syncline.Notification) (err error) {
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
	n.ID, err = t.number(`INSERT INTO notifications (uuid, environment_id, connection_id, run_id, target, type, payload, status, attempts,
		next_attempt_at, last_error, created_at, delivered_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id`,
		n.UUID, n.EnvironmentID, n.ConnectionID, n.RunID, n.Target, n.Type, n.Payload, string(n.Status), n.Attempts,
		n.NextAttemptAt, n.LastError, n.CreatedAt, n.DeliveredAt)
	return err
}

func (t *tx) UpdateNotification(n *syncline.Notification) error {
	if n.NextAttemptAt.IsZero() && n.Status == syncline.NotificationPending {
		t.stamp(&n.NextAttemptAt)
	}
	return t.exec1(missing{"notification", n.ID}, `UPDATE notifications SET status = $1, attempts = $2, next_attempt_at = $3, last_error = $4, delivered_at = $5
		WHERE id = $6 AND environment_id = $7`,
		string(n.Status), n.Attempts, n.NextAttemptAt, n.LastError, n.DeliveredAt, n.ID, n.EnvironmentID)
}
