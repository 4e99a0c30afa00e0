package main

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"syncline/sdk"
)

// Issue is a record of the cache, as your app reads it.
type Issue struct {
	ID        string    `json:"id"`
	Number    int       `json:"number"`
	Title     string    `json:"title"`
	State     string    `json:"state" jsonschema:"open or closed"`
	Body      *string   `json:"body"`
	Author    string    `json:"author"`
	Labels    []string  `json:"labels"`
	Comments  int       `json:"comments"`
	URL       string    `json:"url"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Settings are what your app says of a connection.
type Settings struct {
	Repository string `json:"repository" jsonschema:"owner/name"`
}

// Cursor is where the next poll goes on.
type Cursor struct {
	Since time.Time `json:"since"`
}

var (
	settings sdk.Metadata[Settings]
	cursor   sdk.Checkpoint[Cursor]
)

var issues = sdk.Sync[Issue]{
	Name:        "issues",
	Integration: "github",
	Description: "Issues of one repository, by webhook within moments and by polling for what webhooks missed",
	Every:       30 * time.Second,
	// A slow poll does not overwrite what a webhook wrote while it was fetching.
	Model:                sdk.Model[Issue]{Name: "GithubIssue", Merge: sdk.IgnoreIfModifiedAfter},
	Metadata:             settings,
	Checkpoint:           cursor,
	WebhookSubscriptions: []string{"issues"},
	Exec:                 pollIssues,
	OnWebhook:            onIssue,
}

func pollIssues(ctx context.Context, h *sdk.SyncHandle[Issue]) error {
	s, err := settings.Get(ctx, h)
	if err != nil {
		return err
	}
	// Oldest change first, so that the checkpoint can move on after every page.
	query := url.Values{"state": {"all"}, "sort": {"updated"}, "direction": {"asc"}}
	last, found, err := cursor.Get(ctx, h)
	if err != nil {
		return err
	}
	if found {
		query.Set("since", last.Since.Format(time.RFC3339))
	}
	request := sdk.Request{Endpoint: "/repos/" + s.Repository + "/issues", Query: query, Retries: 3}
	pages := sdk.Paginate[apiIssue](ctx, h, request, &sdk.Pagination{Type: sdk.LinkPagination, LinkRel: "next", LimitName: "per_page", Limit: 50})
	for page, err := range pages {
		if err != nil {
			return err
		}
		var records []Issue
		for _, i := range page {
			// GitHub lists pull requests among the issues.
			if i.PullRequest == nil {
				records = append(records, i.record())
			}
		}
		if err := h.BatchSave(ctx, records...); err != nil {
			return err
		}
		if err := cursor.Save(ctx, h, Cursor{Since: page[len(page)-1].UpdatedAt}); err != nil {
			return err
		}
	}
	return nil
}

func onIssue(ctx context.Context, h *sdk.SyncHandle[Issue], w *sdk.Webhook) error {
	var event struct {
		Action string
		Issue  apiIssue
	}
	if err := w.Decode(&event); err != nil {
		return err
	}
	switch event.Action {
	case "deleted", "transferred":
		return h.BatchDelete(ctx, strconv.FormatInt(event.Issue.ID, 10))
	}
	// opened, edited, closed, reopened, labeled …: each carries the whole issue.
	return h.BatchSave(ctx, event.Issue.record())
}

// apiIssue is what the REST API and the webhooks have in common, as far as it is
// needed here.
type apiIssue struct {
	ID          int64
	Number      int
	Title       string
	State       string
	Body        *string
	User        *struct{ Login string }
	Labels      []struct{ Name string }
	Comments    int
	HTMLURL     string    `json:"html_url"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	PullRequest *struct{} `json:"pull_request"`
}

func (i apiIssue) record() Issue {
	author := "ghost"
	if i.User != nil {
		author = i.User.Login
	}
	labels := []string{}
	for _, l := range i.Labels {
		labels = append(labels, l.Name)
	}
	return Issue{
		ID: strconv.FormatInt(i.ID, 10), Number: i.Number, Title: i.Title, State: i.State, Body: i.Body, Author: author, Labels: labels,
		Comments: i.Comments, URL: i.HTMLURL, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt,
	}
}
