package api

import (
	"net/http"
	"strconv"

	"syncline"
	"syncline/internal/store"
)

// heldJSON is deletes of one model that wait to be confirmed.
type heldJSON struct {
	ID          int64  `json:"id"`
	Integration string `json:"provider_config_key"`
	Connection  string `json:"connection_id"`
	Model       string `json:"model"`
	Variant     string `json:"variant"`
	// Deletes of Live records were missing from the poll that listed everything.
	Deletes int    `json:"deletes"`
	Live    int    `json:"live"`
	RunID   string `json:"run_id"`
	HeldAt  string `json:"held_at"`
}

// listHeldDeletes is GET /records/deletes.
func (s *server) listHeldDeletes(c *call) (reply, error) {
	q, err := c.params("limit", "page")
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
	out := []heldJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		list, err := r.HeldWindows(c.env.ID, store.Page{Limit: limit, Offset: page * limit})
		if err != nil {
			return err
		}
		names := namesOf(r, c.env.ID)
		for _, w := range list {
			one := heldJSON{ID: w.ID, Deletes: w.Deletes, Live: w.Live, HeldAt: isoTime(w.HeldAt)}
			coll, err := r.CollectionByID(c.env.ID, w.CollectionID)
			if err != nil {
				return err
			}
			one.Model, one.Variant = syncline.SplitModel(coll.Model)
			k, err := r.Connection(c.env.ID, coll.ConnectionID)
			if syncline.CodeOf(err) == syncline.CodeNotFound {
				continue // its records go with it
			}
			if err != nil {
				return err
			}
			one.Connection = k.ConnectionID
			if one.Integration, err = names.integration(k.IntegrationID); err != nil {
				return err
			}
			run, err := r.Run(c.env.ID, w.RunID)
			if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
				return err
			}
			one.RunID = run.UUID
			out = append(out, one)
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"deletes": out})
}

func (s *server) confirmDeletes(c *call) (reply, error) {
	id, err := s.heldID(c)
	if err != nil {
		return reply{}, err
	}
	result, err := s.Deletes.Confirm(c.Context(), c.env.ID, id)
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"id": id, "deleted": result.Deleted})
}

func (s *server) discardDeletes(c *call) (reply, error) {
	id, err := s.heldID(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.Deletes.Discard(c.Context(), c.env.ID, id); err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"id": id, "deleted": 0})
}

func (s *server) heldID(c *call) (int64, error) {
	if _, err := c.params(); err != nil {
		return 0, err
	}
	id, err := strconv.ParseInt(c.PathValue("id"), 10, 64)
	if err != nil || id <= 0 || s.Deletes == nil {
		return 0, unknown(http.StatusNotFound, "not_found", "there are no held deletes %q", c.PathValue("id"))
	}
	return id, nil
}
