package api

import (
	"net/http"

	"syncline/internal/feed"
	"syncline/internal/store"
)

// listRecords is GET /records: one page of a model's changes.
func (s *server) listRecords(c *call) (reply, error) {
	q, err := c.params("model", "variant", "cursor", "limit", "filter", "modified_after", "delta", "ids", "ids[]")
	if err != nil {
		return reply{}, err
	}
	var names [2]string
	for i, header := range []string{"Provider-Config-Key", "Connection-Id"} {
		if names[i] = c.Header.Get(header); names[i] == "" {
			return reply{}, as(badHeaders, invalid(http.CanonicalHeaderKey(header), "the header %s is missing", header))
		}
	}
	fq := feed.Query{EnvironmentID: c.env.ID, Variant: q.Get("variant"), Cursor: q.Get("cursor"), IDs: q.list("ids")}
	if fq.Model, err = q.required("model"); err != nil {
		return reply{}, err
	}
	if fq.Limit, err = q.integer("limit", feed.DefaultLimit, 1, feed.MaxLimit); err != nil {
		return reply{}, err
	}
	if fq.Actions, err = feed.ParseActions(q.Get("filter")); err != nil {
		return reply{}, as(badQuery, err)
	}
	if fq.ModifiedAfter, err = q.instant("modified_after"); err != nil {
		return reply{}, err
	}
	if fq.ModifiedAfter.IsZero() {
		if fq.ModifiedAfter, err = q.instant("delta"); err != nil { // its deprecated name
			return reply{}, err
		}
	}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		// Nango answers 400 here, also for what is not there.
		i, k, err := connection(r, c.env.ID, names[0], names[1], http.StatusBadRequest)
		fq.IntegrationID, fq.ConnectionID = i.ID, k.ID
		return err
	})
	if err != nil {
		return reply{}, err
	}
	page, err := feed.Read(c.Context(), s.Store, fq)
	if err != nil {
		return reply{}, as(badQuery, err)
	}
	return reply{json: page.AppendJSON(nil)}, nil
}
