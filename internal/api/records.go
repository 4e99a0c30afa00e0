package api

import (
	"io"
	"net/http"

	"syncline/internal/feed"
	"syncline/internal/store"
)

// listRecords is GET /records: one page of a model's changes, which is written
// while it is read.
func (s *server) listRecords(c *call) (reply, error) {
	q, err := c.params("model", "variant", "cursor", "limit", "filter", "modified_after", "delta", "ids", "ids[]")
	if err != nil {
		return reply{}, err
	}
	limit, err := q.integer("limit", feed.DefaultLimit, 1, feed.MaxLimit)
	if err != nil {
		return reply{}, err
	}
	fq, err := s.recordsQuery(c, q)
	if err != nil {
		return reply{}, err
	}
	fq.Cursor, fq.Limit, fq.Budget = q.Get("cursor"), limit, int(s.MaxPage)
	page, err := s.records.Open(c.Context(), fq)
	if err != nil {
		return reply{}, as(badQuery, err)
	}
	if whole := page.Whole(); whole != nil {
		return reply{json: whole}, nil
	}
	return reply{stream: func(w io.Writer) error { return page.Write(c.Context(), w) }}, nil
}

// countRecords is GET /records/count: how many changes all pages have together.
func (s *server) countRecords(c *call) (reply, error) {
	q, err := c.params("model", "variant", "filter", "modified_after", "delta", "ids", "ids[]")
	if err != nil {
		return reply{}, err
	}
	fq, err := s.recordsQuery(c, q)
	if err != nil {
		return reply{}, err
	}
	n, err := s.records.Count(c.Context(), fq)
	if err != nil {
		return reply{}, as(badQuery, err)
	}
	return ok(struct {
		Count int `json:"count"`
	}{n})
}

// recordsQuery reads what selects records: the headers and the parameters that
// do not depend on paging.
func (s *server) recordsQuery(c *call, q query) (fq feed.Query, err error) {
	names, err := c.connectionHeaders()
	if err != nil {
		return fq, err
	}
	fq = feed.Query{EnvironmentID: c.env.ID, Variant: q.Get("variant"), IDs: q.list("ids")}
	if fq.Model, err = q.required("model"); err != nil {
		return fq, err
	}
	if fq.Actions, err = feed.ParseActions(q.Get("filter")); err != nil {
		return fq, as(badQuery, err)
	}
	if fq.ModifiedAfter, err = q.instant("modified_after"); err != nil {
		return fq, err
	}
	if fq.ModifiedAfter.IsZero() {
		if fq.ModifiedAfter, err = q.instant("delta"); err != nil { // its deprecated name
			return fq, err
		}
	}
	fq.IntegrationID, fq.ConnectionID, err = s.namedConnection(c, names)
	return fq, err
}

// connectionHeaders are the integration and the connection that headers name.
func (c *call) connectionHeaders() (names [2]string, err error) {
	for i, header := range []string{"Provider-Config-Key", "Connection-Id"} {
		if names[i] = c.Header.Get(header); names[i] == "" {
			return names, as(badHeaders, invalid(http.CanonicalHeaderKey(header), "the header %s is missing", header))
		}
	}
	return names, nil
}

func (s *server) namedConnection(c *call, names [2]string) (integrationID, connectionID int64, err error) {
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		// Nango answers 400 here, also for what is not there.
		i, k, err := connection(r, c.env.ID, names[0], names[1], http.StatusBadRequest)
		integrationID, connectionID = i.ID, k.ID
		return err
	})
	return integrationID, connectionID, err
}

// pruneInput is the body of PATCH /records/prune.
type pruneInput struct {
	Model       string `json:"model"`
	Variant     string `json:"variant"`
	UntilCursor string `json:"until_cursor"`
	Limit       *int   `json:"limit"`
}

// pruneRecords is PATCH /records/prune: payloads go, metadata stays.
func (s *server) pruneRecords(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var in pruneInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	fq := feed.PruneQuery{EnvironmentID: c.env.ID, Model: in.Model, Variant: in.Variant, Until: in.UntilCursor}
	var wrong []error
	if in.Model == "" {
		wrong = append(wrong, invalid("model", "model is missing"))
	}
	if in.UntilCursor == "" {
		wrong = append(wrong, invalid("until_cursor", "until_cursor is missing").
			WithHint("it is _nango_metadata.cursor of the last record to prune"))
	}
	if in.Limit != nil {
		if fq.Limit = *in.Limit; fq.Limit < 1 || fq.Limit > feed.MaxPruneLimit {
			wrong = append(wrong, invalid("limit", "limit is %d; it must be between 1 and %d", fq.Limit, feed.MaxPruneLimit))
		}
	}
	if err := joined(wrong); err != nil {
		return reply{}, as(badBody, err)
	}
	names, err := c.connectionHeaders()
	if err != nil {
		return reply{}, err
	}
	if fq.IntegrationID, fq.ConnectionID, err = s.namedConnection(c, names); err != nil {
		return reply{}, err
	}
	done, err := s.pruner.Prune(c.Context(), fq)
	if err != nil {
		return reply{}, as(badBody, err)
	}
	return ok(struct {
		Count   int  `json:"count"`
		HasMore bool `json:"has_more"`
	}{done.Count, done.More})
}
