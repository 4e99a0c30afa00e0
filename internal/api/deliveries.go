package api

import (
	"syncline"
	"syncline/internal/store"
)

// deliveryJSON is what became of a delivery.
type deliveryJSON struct {
	Position    int64                   `json:"position"`
	Status      syncline.DeliveryStatus `json:"status"`
	Reason      string                  `json:"reason"`
	Type        string                  `json:"type"`
	DeliveryID  string                  `json:"delivery_id"`
	Integration string                  `json:"integration"`
	Events      int                     `json:"events"`
	OpenEvents  int                     `json:"open_events"`
	DeadEvents  int                     `json:"dead_events"`
	Duplicates  int                     `json:"duplicates"`
	ReceivedAt  string                  `json:"received_at"`
	UpdatedAt   string                  `json:"updated_at"`
}

func (s *server) listDeliveries(c *call) (reply, error) {
	q, err := c.params("integration", "status", "limit", "page")
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
	if err := oneOf(q, "status", syncline.DeliveryReceived, syncline.DeliveryRouted, syncline.DeliveryProcessed, syncline.DeliveryIgnored,
		syncline.DeliveryParked, syncline.DeliveryExpired, syncline.DeliveryDead); err != nil {
		return reply{}, err
	}
	filter := store.DeliveryFilter{Status: syncline.DeliveryStatus(q.Get("status")), Page: store.Page{Limit: limit, Offset: page * limit}}
	out := []deliveryJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		if key := q.Get("integration"); key != "" {
			i, err := integration(r, c.env.ID, key)
			if err != nil {
				return err
			}
			filter.IntegrationID = i.ID
		}
		list, err := r.Deliveries(c.env.ID, filter)
		if err != nil {
			return err
		}
		names := namesOf(r, c.env.ID)
		for i := range list {
			d := &list[i]
			key, err := names.integration(d.IntegrationID)
			if err != nil {
				return err
			}
			out = append(out, deliveryJSON{d.Position, d.Status, d.Reason, d.Type, d.DeliveryID, key, d.Events, d.OpenEvents, d.DeadEvents, d.Duplicates,
				isoTime(d.ReceivedAt), isoTime(d.UpdatedAt)})
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"deliveries": out})
}
