package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"syncline/sdk"
	"syncline/sdk/sdktest"
)

func TestTheFunctionsCanBeDeployed(t *testing.T) {
	if _, err := functions.Compile(); err != nil {
		t.Fatal(err)
	}
}

// issueJSON is an issue as GitHub sends it.
func issueJSON(number int, title string) string {
	return fmt.Sprintf(`{"id":%d,"number":%d,"title":%q,"state":"open","html_url":"https://github.com/acme/rockets/issues/%[2]d",
		"user":{"login":"octocat"},"labels":[{"name":"bug"}],"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:%02[2]dZ"}`,
		1000+number, number, title)
}

func TestAPollSavesEveryPageAndGoesOnFromThere(t *testing.T) {
	var since string
	api := http.NewServeMux()
	api.HandleFunc("GET /repos/acme/rockets/issues", func(w http.ResponseWriter, r *http.Request) {
		since = r.FormValue("since")
		if r.FormValue("page") == "2" {
			fmt.Fprintf(w, `[%s,{"id":1,"pull_request":{},"updated_at":"2026-01-01T00:00:09Z"}]`, issueJSON(2, "two"))
			return
		}
		w.Header().Set("Link", `<https://api.github.com/repos/acme/rockets/issues?page=2>; rel="next"`)
		fmt.Fprintf(w, `[%s]`, issueJSON(1, "one"))
	})
	host := &sdktest.Host{API: api, Metadata: Settings{Repository: "acme/rockets"}}
	if err := host.Poll(t.Context(), issues); err != nil {
		t.Fatal(err)
	}
	got, err := sdktest.Records[Issue](host, "GithubIssue")
	if err != nil || len(got) != 2 || got["1001"].Title != "one" || got["1002"].Labels[0] != "bug" {
		t.Errorf("the cache is %+v, %v", got, err)
	}
	if err := host.Poll(t.Context(), issues); err != nil {
		t.Fatal(err)
	}
	if since != "2026-01-01T00:00:09Z" && since != "" { // "" is the link of the second page
		t.Errorf("the second poll asked for changes since %q", since)
	}
	var c Cursor
	if found, err := host.SavedCheckpoint(&c); err != nil || !found || !c.Since.Equal(time.Date(2026, 1, 1, 0, 0, 9, 0, time.UTC)) {
		t.Errorf("the checkpoint is %v, %v, %v", c, found, err)
	}
}

func TestWebhooksSaveAndDelete(t *testing.T) {
	host := &sdktest.Host{}
	for _, c := range []struct {
		action string
		want   int
	}{{"opened", 1}, {"edited", 1}, {"deleted", 0}} {
		w := sdk.Webhook{Type: "issues", Payload: json.RawMessage(fmt.Sprintf(`{"action":%q,"issue":%s}`, c.action, issueJSON(7, c.action)))}
		if err := host.Webhook(t.Context(), issues, w); err != nil {
			t.Fatal(err)
		}
		got, err := sdktest.Records[Issue](host, "GithubIssue")
		if err != nil || len(got) != c.want {
			t.Errorf("after %s: %+v, %v", c.action, got, err)
		}
	}
}

func TestTheActionClosesAnIssue(t *testing.T) {
	api := http.NewServeMux()
	api.HandleFunc("PATCH /repos/acme/rockets/issues/7", func(w http.ResponseWriter, r *http.Request) {
		var change map[string]string
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil || change["state"] != "closed" {
			t.Errorf("the change is %v, %v", change, err)
		}
		fmt.Fprint(w, `{"number":7,"state":"closed","html_url":"https://github.com/acme/rockets/issues/7"}`)
	})
	host := &sdktest.Host{API: api, Metadata: Settings{Repository: "acme/rockets"}}
	out, err := sdktest.CallAction(t.Context(), host, closeIssue, CloseIssueInput{Number: 7})
	if err != nil || out.State != "closed" {
		t.Fatalf("%+v, %v", out, err)
	}
	var refused *sdk.ActionError
	if _, err := sdktest.CallAction(t.Context(), host, closeIssue, CloseIssueInput{Number: 8}); !errors.As(err, &refused) || refused.Type != "not_found" {
		t.Errorf("an issue that is not there: %v", err)
	}
}
