package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v84/github"

	"syncline/sdk"
)

// CloseIssueInput is what the action's caller sends.
type CloseIssueInput struct {
	Number int    `json:"number"`
	Reason string `json:"reason,omitempty" jsonschema:"completed or not_planned"`
}

// CloseIssueOutput is what it gets.
type CloseIssueOutput struct {
	URL   string `json:"url"`
	State string `json:"state"`
}

// closeIssue uses the client that Go programs use for GitHub. Its requests go
// through Syncline: with the connection's credentials, and where the integration
// says that GitHub is.
var closeIssue = sdk.Action[CloseIssueInput, CloseIssueOutput]{
	Name:        "close-issue",
	Integration: "github",
	Description: "Closes one issue of the connection's repository",
	Metadata:    settings,
	Exec: func(ctx context.Context, h *sdk.Handle, in CloseIssueInput) (out CloseIssueOutput, err error) {
		s, err := settings.Get(ctx, h)
		if err != nil {
			return out, err
		}
		owner, name, ok := strings.Cut(s.Repository, "/")
		if !ok {
			return out, fmt.Errorf("the connection's metadata has no repository as owner/name, but %q", s.Repository)
		}
		change := &github.IssueRequest{State: github.Ptr("closed")}
		if in.Reason != "" {
			change.StateReason = &in.Reason
		}
		client := github.NewClient(h.HTTPClient("https://api.github.com/"))
		issue, _, err := client.Issues.Edit(ctx, owner, name, in.Number, change)
		var refused *github.ErrorResponse
		if errors.As(err, &refused) && refused.Response.StatusCode == http.StatusNotFound {
			return out, &sdk.ActionError{Type: "not_found", Message: fmt.Sprintf("there is no issue %d in %s", in.Number, s.Repository)}
		}
		if err != nil {
			return out, err
		}
		h.Log("issue closed", "number", in.Number, "url", issue.GetHTMLURL())
		return CloseIssueOutput{URL: issue.GetHTMLURL(), State: issue.GetState()}, nil
	},
}
