package github_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"syncline/internal/standin/github"
)

// GitHub's documentation gives this secret, body and signature to test with.
func TestSignaturesAreGitHubs(t *testing.T) {
	t.Parallel()
	const want = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	if got := github.Sign([]byte("Hello, World!"), "It's a Secret to Everybody"); got != want {
		t.Errorf("signed %s, want %s", got, want)
	}
}

// payload is what a webhook's body says, as far as it is looked at here.
type payload struct {
	Action string `json:"action"`
	Issue  struct {
		ID        int64  `json:"id"`
		Number    int    `json:"number"`
		Title     string `json:"title"`
		State     string `json:"state"`
		NodeID    string `json:"node_id"`
		UpdatedAt string `json:"updated_at"`
	} `json:"issue"`
	Repository struct {
		FullName string `json:"full_name"`
		NodeID   string `json:"node_id"`
	} `json:"repository"`
	Sender       map[string]any `json:"sender"`
	Installation map[string]any `json:"installation"`
}

func TestWebhooksAreGitHubsPayloadsAboutOurIssues(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	s.Create("Another one")
	for _, c := range []struct {
		action, state string
		event         *github.Event
	}{
		{"opened", "open", s.Create("Opened")},
		{"edited", "open", s.Edit(2, "Edited")},
		{"closed", "closed", s.Close(2)},
		{"deleted", "closed", s.Delete(2)},
	} {
		var p payload
		if err := json.Unmarshal(c.event.Body, &p); err != nil {
			t.Fatal(err)
		}
		i := c.event.Issue
		if c.event.Action != c.action || p.Action != c.action {
			t.Errorf("the event says %s and its body %s, want %s", c.event.Action, p.Action, c.action)
		}
		if i.Number != 2 || p.Issue.ID != i.ID || p.Issue.Number != i.Number || p.Issue.Title != i.Title || p.Issue.State != c.state {
			t.Errorf("%s is about %+v, want %+v", c.action, p.Issue, i)
		}
		if p.Repository.FullName != "acme/rockets" || p.Issue.UpdatedAt != i.UpdatedAt.Format("2006-01-02T15:04:05Z") {
			t.Errorf("%s says %+v", c.action, p)
		}
		// What was not patched is as GitHub published it.
		if p.Issue.NodeID == "" || p.Repository.NodeID == "" || p.Sender["login"] == nil || p.Installation != nil {
			t.Errorf("%s is not made from the published payload: %+v", c.action, p)
		}
	}
}

func TestAnEventKeepsWhatItSaysWhenTheIssueChangesLater(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	first := s.Create("First")
	body := string(first.Body)
	second := s.Edit(1, "Second")
	if string(first.Body) != body || first.Issue.Title != "First" || !strings.Contains(body, `"First"`) {
		t.Errorf("the first event now says %+v", first.Issue)
	}
	if first.DeliveryID == second.DeliveryID || !second.Issue.UpdatedAt.After(first.Issue.UpdatedAt) {
		t.Errorf("two changes look the same: %+v and %+v", first, second)
	}
}

func TestChangesOfAnIssueThatIsNotThereAreNoEvents(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	if s.Edit(1, "x") != nil || s.Close(1) != nil || s.Delete(1) != nil {
		t.Error("an issue that is not there was changed")
	}
}

// receiver answers with a status and keeps what it got.
func receiver(t *testing.T, status int) (url string, got <-chan *http.Request, bodies <-chan string) {
	t.Helper()
	requests, texts := make(chan *http.Request, 4), make(chan string, 4)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests <- r
		texts <- string(text)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "what the receiver says")
	}))
	t.Cleanup(s.Close)
	return s.URL, requests, texts
}

func TestADeliveryCarriesGitHubsHeadersAndReportsItsAnswer(t *testing.T) {
	t.Parallel()
	e := newStandin(t).Create("Told")
	url, requests, bodies := receiver(t, http.StatusAccepted)
	a, err := e.Send(t.Context(), http.DefaultClient, url)
	if err != nil || a.Status != http.StatusAccepted || a.Body != "what the receiver says" || a.Took <= 0 {
		t.Fatalf("the answer is %+v, %v", a, err)
	}
	r, body := <-requests, <-bodies
	for header, want := range map[string]string{
		"Content-Type": "application/json", "X-GitHub-Event": "issues", "X-GitHub-Delivery": e.DeliveryID,
		"X-Hub-Signature-256": github.Sign([]byte(body), secret),
	} {
		if got := r.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if r.Method != http.MethodPost || body != string(e.Body) || !strings.HasPrefix(r.UserAgent(), "GitHub-Hookshot/") {
		t.Errorf("%s by %s brought %s", r.Method, r.UserAgent(), body)
	}
}

func TestARedeliveryHasTheSameIdAndAForgeryAnotherSignature(t *testing.T) {
	t.Parallel()
	e := newStandin(t).Create("Told twice")
	url, requests, bodies := receiver(t, http.StatusOK)
	send := func(forged bool) (id, signature, body string) {
		var err error
		if forged {
			_, err = e.SendSignedWith(t.Context(), http.DefaultClient, url, "a guess")
		} else {
			_, err = e.Send(t.Context(), http.DefaultClient, url)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := <-requests
		return r.Header.Get("X-GitHub-Delivery"), r.Header.Get("X-Hub-Signature-256"), <-bodies
	}
	id, signature, body := send(false)
	againID, againSignature, againBody := send(false)
	if againID != id || againSignature != signature || againBody != body {
		t.Error("the redelivery is another delivery")
	}
	_, forged, forgedBody := send(true)
	if forged == signature || forgedBody != body {
		t.Error("the forgery should differ in its signature alone")
	}
}

func TestMissingPayloadsSayWhichCommandInstallsThem(t *testing.T) {
	t.Parallel()
	_, err := github.LoadPayloads(t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "npm ci --prefix") {
		t.Errorf("says %v", err)
	}
}
