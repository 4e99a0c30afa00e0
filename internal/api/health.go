package api

import (
	"context"
	"time"

	"syncline"
	"syncline/internal/store"
)

// readyWithin bounds how long readiness is looked for.
const readyWithin = 5 * time.Second

// health answers as soon as the process serves requests.
func (s *server) health(*call) (reply, error) { return ok(map[string]string{"status": "ok"}) }

// ready answers 200 when work can be done: the store and what Ready checks.
func (s *server) ready(c *call) (reply, error) {
	ctx, cancel := context.WithTimeout(c.Context(), readyWithin)
	defer cancel()
	if err := s.Store.Ping(ctx); err != nil {
		return reply{}, syncline.Errorf(syncline.CodeUnavailable, "the store cannot be used: %w", err)
	}
	if s.Ready != nil {
		if err := s.Ready(ctx); err != nil {
			return reply{}, syncline.Errorf(syncline.CodeUnavailable, "not ready: %w", err)
		}
	}
	return ok(map[string]string{"status": "ready"})
}

// status counts the work that waits, of all environments.
func (s *server) status(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var received int64
	if s.Received != nil {
		var err error
		if received, err = s.Received(c.Context()); err != nil {
			return reply{}, err
		}
	}
	position, err := s.Store.Position(c.Context())
	if err != nil {
		return reply{}, err
	}
	out := struct {
		Backlog              int   `json:"backlog"`
		ReceivedNotRouted    int64 `json:"received_not_routed"`
		Parked               int   `json:"parked"`
		NotificationsPending int   `json:"notifications_pending"`
		Position             int64 `json:"position"`
	}{Position: position}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		if out.Backlog, err = r.Backlog(); err != nil {
			return err
		}
		routed, err := r.RouterPosition()
		if err != nil {
			return err
		}
		out.ReceivedNotRouted = max(received-routed, 0)
		if out.Parked, err = r.CountDeliveries(c.env.ID, store.DeliveryFilter{Status: syncline.DeliveryParked}); err != nil {
			return err
		}
		pending, err := r.Notifications(c.env.ID, store.NotificationFilter{Status: syncline.NotificationPending, Page: store.Page{Limit: maxPage}})
		out.NotificationsPending = len(pending)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(out)
}
