package api

import (
	"net/http"

	"syncline"
	"syncline/internal/history"
	"syncline/internal/store"
)

// recordHistory is GET /records/{id}/history: the versions of a record, newest
// first, with what changed.
func (s *server) recordHistory(c *call) (reply, error) {
	q, err := c.params("model", "variant", "limit", "cursor")
	if err != nil {
		return reply{}, err
	}
	hq := history.Query{ID: c.PathValue("id"), Cursor: q.Get("cursor")}
	if hq.Limit, err = q.integer("limit", history.DefaultLimit, 1, history.MaxLimit); err != nil {
		return reply{}, err
	}
	if hq.Of, err = s.historyOf(c, q); err != nil {
		return reply{}, err
	}
	var page history.Page
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		page, err = history.Read(r, hq)
		return err
	})
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return reply{}, unknown(http.StatusNotFound, "not_found", "%w", err)
	}
	if err != nil {
		return reply{}, as(badQuery, err)
	}
	return ok(page)
}

// recordsAsOf is GET /records/as-of: the records of a model as they were at a
// time.
func (s *server) recordsAsOf(c *call) (reply, error) {
	q, err := c.params("model", "variant", "at", "limit", "cursor")
	if err != nil {
		return reply{}, err
	}
	aq := history.AsOfQuery{Cursor: q.Get("cursor")}
	if aq.Limit, err = q.integer("limit", history.DefaultRecords, 1, history.MaxRecords); err != nil {
		return reply{}, err
	}
	if _, err = q.required("at"); err != nil {
		return reply{}, err
	}
	if aq.At, err = q.instant("at"); err != nil {
		return reply{}, err
	}
	if aq.Of, err = s.historyOf(c, q); err != nil {
		return reply{}, err
	}
	var page history.Snapshot
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		page, err = history.AsOf(r, aq)
		return err
	})
	if err != nil {
		return reply{}, as(badQuery, err)
	}
	return ok(page)
}

// historyOf reads which collection a request means: the headers, and the model
// with its variant.
func (s *server) historyOf(c *call, q query) (of history.Of, err error) {
	names, err := c.connectionHeaders()
	if err != nil {
		return of, err
	}
	of = history.Of{EnvironmentID: c.env.ID, Variant: q.Get("variant")}
	if of.Model, err = q.required("model"); err != nil {
		return of, err
	}
	of.IntegrationID, of.ConnectionID, err = s.namedConnection(c, names)
	return of, err
}
