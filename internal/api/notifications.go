package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"syncline"
	"syncline/internal/store"
)

// notificationJSON is a notification as the API shows it.
type notificationJSON struct {
	ID            int64                       `json:"id"`
	UUID          string                      `json:"uuid"`
	Status        syncline.NotificationStatus `json:"status"`
	Type          string                      `json:"type"`
	Target        string                      `json:"target"`
	ConnectionID  string                      `json:"connection_id"`
	Attempts      int                         `json:"attempts"`
	NextAttemptAt *string                     `json:"next_attempt_at"`
	LastError     string                      `json:"last_error"`
	CreatedAt     string                      `json:"created_at"`
	DeliveredAt   *string                     `json:"delivered_at"`
	Payload       json.RawMessage             `json:"payload"`
}

func showNotification(n *syncline.Notification, connectionID string) notificationJSON {
	out := notificationJSON{
		ID: n.ID, UUID: n.UUID, Status: n.Status, Type: n.Type, Target: n.Target, ConnectionID: connectionID, Attempts: n.Attempts,
		LastError: n.LastError, CreatedAt: isoTime(n.CreatedAt), DeliveredAt: isoTimeOrNull(n.DeliveredAt), Payload: n.Payload,
	}
	if n.Status == syncline.NotificationPending {
		out.NextAttemptAt = isoTimeOrNull(n.NextAttemptAt)
	}
	return out
}

func (s *server) listNotifications(c *call) (reply, error) {
	q, err := c.params("status", "run", "limit", "page")
	if err != nil {
		return reply{}, err
	}
	limit, err := q.integer("limit", defaultRows, 1, maxRows)
	if err != nil {
		return reply{}, err
	}
	page, err := q.integer("page", 0, 0, 1_000_000)
	if err != nil {
		return reply{}, err
	}
	if err := oneOf(q, "status", syncline.NotificationPending, syncline.NotificationDelivered, syncline.NotificationFailed); err != nil {
		return reply{}, err
	}
	filter := store.NotificationFilter{Status: syncline.NotificationStatus(q.Get("status")), Page: store.Page{Limit: limit, Offset: page * limit}}
	out := []notificationJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		if uuid := q.Get("run"); uuid != "" {
			run, err := r.RunByUUID(c.env.ID, uuid)
			if syncline.CodeOf(err) == syncline.CodeNotFound {
				return unknown(http.StatusNotFound, "not_found", "there is no run %q in this environment", uuid)
			}
			if err != nil {
				return err
			}
			filter.RunID = run.ID
		}
		list, err := r.Notifications(c.env.ID, filter)
		if err != nil {
			return err
		}
		names := namesOf(r, c.env.ID)
		for i := range list {
			connectionID, err := names.connection(list[i].ConnectionID)
			if err != nil {
				return err
			}
			out = append(out, showNotification(&list[i], connectionID))
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"notifications": out})
}

// resendNotification makes a notification due at once, also one that was
// delivered or given up. Its uuid stays, so that the receiver can tell.
func (s *server) resendNotification(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	missing := unknown(http.StatusNotFound, "not_found", "there is no notification %q in this environment", c.PathValue("id"))
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil {
		return reply{}, missing
	}
	var n syncline.Notification
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
		n, err = tx.Notification(c.env.ID, id)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return missing
		}
		if err != nil {
			return err
		}
		n.Status, n.Attempts, n.NextAttemptAt = syncline.NotificationPending, 0, s.Clock.Now()
		return tx.UpdateNotification(&n)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.NotificationsChanged()
	return ok(map[string]bool{"success": true})
}
