package github_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"syncline/internal/standin/github"
)

const (
	owner, name = "acme", "rockets"
	token       = "gho_test"
	secret      = "a webhook secret"
)

func newStandin(t *testing.T) *github.Server {
	t.Helper()
	payloads, err := github.LoadPayloads(".")
	if err != nil {
		t.Fatal(err)
	}
	return github.New(github.Options{Owner: owner, Name: name, Token: token, Secret: secret, Payloads: payloads})
}

func get(t *testing.T, h http.Handler, target, bearer string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// numbers are the numbers of the issues of an answer, in its order.
func numbers(t *testing.T, w *httptest.ResponseRecorder) []int {
	t.Helper()
	var list []struct {
		Number int `json:"number"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &list); w.Code != http.StatusOK || err != nil {
		t.Fatalf("answered %d %s, %v", w.Code, w.Body, err)
	}
	out := []int{}
	for _, i := range list {
		out = append(out, i.Number)
	}
	return out
}

func TestTheListIsFilteredAndSortedAsGitHubDoes(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	for n := range 4 {
		s.Create(fmt.Sprintf("Issue %d", n+1)) // a second apart
	}
	second := s.Issues()[1].UpdatedAt.Format("2006-01-02T15:04:05Z")
	fourth := s.Issues()[3].UpdatedAt.Format("2006-01-02T15:04:05Z")
	s.Edit(1, "Edited")
	s.Close(3)
	const list = "/repos/acme/rockets/issues"
	for _, c := range []struct {
		name, query string
		want        []int
	}{
		{"only open issues, the newest first, unless asked otherwise", "", []int{4, 2, 1}},
		{"every state", "state=all", []int{4, 3, 2, 1}},
		{"closed issues", "state=closed", []int{3}},
		{"by change, the oldest first", "state=all&sort=updated&direction=asc", []int{2, 4, 1, 3}},
		{"by change, the newest first", "state=all&sort=updated", []int{3, 1, 4, 2}},
		{"changed since, the moment itself included", "state=all&sort=updated&direction=asc&since=" + fourth, []int{4, 1, 3}},
		{"since a moment that all have passed", "state=all&since=" + second, []int{4, 3, 2, 1}},
		{"a page beyond the last is empty", "state=all&page=9", []int{}},
		{"a page that is no number is the first", "state=all&page=x&per_page=2", []int{4, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := numbers(t, get(t, s, list+"?"+c.query, token)); !slices.Equal(got, c.want) {
				t.Errorf("lists %v, want %v", got, c.want)
			}
		})
	}
}

var nextLink = regexp.MustCompile(`<([^>]+)>; rel="next"`)

func TestFollowingNextLinksVisitsEachIssueOnce(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	for n := range 7 {
		s.Create(fmt.Sprintf("Issue %d", n+1))
	}
	var got []int
	target, pages := "/repos/acme/rockets/issues?state=all&sort=updated&direction=asc&per_page=3", 0
	for target != "" {
		w := get(t, s, target, token)
		got = append(got, numbers(t, w)...)
		pages++
		target = ""
		if m := nextLink.FindStringSubmatch(w.Header().Get("Link")); m != nil {
			u, err := url.Parse(m[1])
			if err != nil {
				t.Fatal(err)
			}
			if q := u.Query(); q.Get("per_page") != "3" || q.Get("sort") != "updated" {
				t.Errorf("the link %s lost what was asked for", m[1])
			}
			target = u.RequestURI()
		}
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7}; pages != 3 || !slices.Equal(got, want) {
		t.Errorf("%d pages list %v, want 3 with %v", pages, got, want)
	}
}

func TestAPageHoldsAtMostAHundredIssues(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	for range 101 {
		s.Create("One of many")
	}
	if got := numbers(t, get(t, s, "/repos/acme/rockets/issues?per_page=500", token)); len(got) != 100 {
		t.Errorf("a page holds %d issues", len(got))
	}
	if got := numbers(t, get(t, s, "/repos/acme/rockets/issues", token)); len(got) != 30 {
		t.Errorf("a page holds %d issues by default", len(got))
	}
}

func TestRequestsThatGitHubRefusesAreRefused(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	s.Create("The only one")
	for _, c := range []struct {
		name, method, target, bearer string
		status                       int
	}{
		{"one issue", "GET", "/repos/acme/rockets/issues/1", token, 200},
		{"without a token", "GET", "/repos/acme/rockets/issues", "", 401},
		{"with another token", "GET", "/repos/acme/rockets/issues/1", "gho_other", 401},
		{"an issue that is not there", "GET", "/repos/acme/rockets/issues/2", token, 404},
		{"an issue whose number is a word", "GET", "/repos/acme/rockets/issues/one", token, 404},
		{"another repository", "GET", "/repos/acme/trains/issues", token, 404},
		{"a repository whose name goes on", "GET", "/repos/acme/rockets/issuesque", token, 404},
		{"a write", "POST", "/repos/acme/rockets/issues", token, 404},
		{"since that is no time", "GET", "/repos/acme/rockets/issues?since=yesterday", token, 422},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, nil)
			if c.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+c.bearer)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != c.status {
				t.Errorf("answered %d %s, want %d", w.Code, w.Body, c.status)
			}
		})
	}
}

func TestAHeldPageAnswersWithWhatItReadBefore(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	s.Create("Before")
	gate := s.Hold(1)
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		r := httptest.NewRequest(http.MethodGet, "/repos/acme/rockets/issues", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		answer <- w
	}()
	<-gate.Reached()
	s.Edit(1, "After")
	// The gate holds one request; others pass.
	if got := numbers(t, get(t, s, "/repos/acme/rockets/issues", token)); len(got) != 1 {
		t.Errorf("another request lists %v", got)
	}
	gate.Release()
	var list []struct{ Title string }
	if err := json.Unmarshal((<-answer).Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Title != "Before" {
		t.Errorf("the held page lists %+v, %v", list, err)
	}
}

func TestAnInterceptorAnswersInstead(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	if w := get(t, s, "/repos/acme/rockets/issues", token); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "1" {
		t.Errorf("answered %d", w.Code)
	}
	s.Intercept(nil)
	if w := get(t, s, "/repos/acme/rockets/issues", token); w.Code != http.StatusOK {
		t.Errorf("answered %d", w.Code)
	}
	if s.Requests() != 2 {
		t.Errorf("counted %d requests", s.Requests())
	}
}

func TestAnIssueIsChangedByPatch(t *testing.T) {
	t.Parallel()
	s := newStandin(t)
	s.Create("one")
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{"/issues/1", `{"state":"closed","title":"done"}`, http.StatusOK}, {"/issues/1", `{"state":"x"}`, http.StatusUnprocessableEntity},
		{"/issues/1", `{`, http.StatusBadRequest}, {"/issues/2", `{}`, http.StatusNotFound}, {"/issues", `{}`, http.StatusNotFound},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPatch, "/repos/acme/rockets"+c.path, strings.NewReader(c.body))
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("PATCH %s %s answered %d %s", c.path, c.body, w.Code, w.Body)
		}
	}
	if i := s.Issues()[0]; i.State != "closed" || i.Title != "done" {
		t.Errorf("the issue is %+v", i)
	}
}
