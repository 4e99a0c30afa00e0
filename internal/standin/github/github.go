// Package github is a local stand-in for GitHub, for the demo and for tests: it
// serves the REST endpoints of issues as GitHub does, and makes signed webhooks
// of GitHub's own published payloads. It shares no code with what it tests: it
// is the other side.
package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options set up a stand-in.
type Options struct {
	Owner, Name string   // the repository
	Token       string   // what callers must send; "" takes any
	Secret      string   // webhooks are signed with it
	Payloads    Payloads // of the webhooks
}

// Issue is one issue.
type Issue struct {
	ID                   int64
	Number               int
	Title, Body, State   string
	Labels               []string
	Comments             int
	CreatedAt, UpdatedAt time.Time
	PullRequest          bool
}

// Server is the stand-in. It is an http.Handler for the REST API.
type Server struct {
	o Options

	mu        sync.Mutex
	now       time.Time // moves a second with each change
	issues    map[int]*Issue
	last      int
	delivery  int
	requests  int
	gate      *Gate
	intercept func(http.ResponseWriter, *http.Request) bool
}

// firstID is where ids of issues begin; GitHub's are large.
const firstID = 2_000_000_000

// New makes a stand-in with an empty repository.
func New(o Options) *Server {
	return &Server{o: o, now: time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC), issues: map[int]*Issue{}}
}

// Intercept lets f answer requests instead: it returns whether it did. nil
// goes back to normal.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Requests is how many REST requests were made.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// Create opens an issue.
func (s *Server) Create(title string) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.tick()
	i := &Issue{
		ID: firstID + int64(s.last), Number: s.last, Title: title, State: "open", Body: "Described by its title.",
		Labels: []string{"bug"}, CreatedAt: s.now, UpdatedAt: s.now,
	}
	s.issues[i.Number] = i
	return s.event("opened", i)
}

// Edit changes an issue's title.
func (s *Server) Edit(number int, title string) *Event {
	return s.change("edited", number, func(i *Issue) { i.Title = title })
}

// Close closes an issue.
func (s *Server) Close(number int) *Event {
	return s.change("closed", number, func(i *Issue) { i.State = "closed" })
}

// Delete removes an issue.
func (s *Server) Delete(number int) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.issues[number]
	if i == nil {
		return nil
	}
	delete(s.issues, number)
	s.tick()
	i.UpdatedAt = s.now
	return s.event("deleted", i)
}

func (s *Server) change(action string, number int, f func(*Issue)) *Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.issues[number]
	if i == nil {
		return nil
	}
	f(i)
	s.tick()
	i.UpdatedAt = s.now
	return s.event(action, i)
}

func (s *Server) tick() { s.now = s.now.Add(time.Second) }

// Issues lists what is in the repository, by number.
func (s *Server) Issues() []Issue {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Issue, 0, len(s.issues))
	for _, i := range s.issues {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(a, b Issue) int { return a.Number - b.Number })
	return list
}

func (s *Server) repository() string { return s.o.Owner + "/" + s.o.Name }

// json is an issue as the REST API and the webhooks show it.
func (s *Server) json(i *Issue) map[string]any {
	labels := make([]map[string]any, 0, len(i.Labels))
	for n, l := range i.Labels {
		labels = append(labels, map[string]any{"id": n + 1, "name": l, "color": "d73a4a", "default": true})
	}
	out := map[string]any{
		"id": i.ID, "number": i.Number, "title": i.Title, "body": i.Body, "state": i.State, "labels": labels, "comments": i.Comments,
		"url":        fmt.Sprintf("https://api.github.com/repos/%s/issues/%d", s.repository(), i.Number),
		"html_url":   fmt.Sprintf("https://github.com/%s/issues/%d", s.repository(), i.Number),
		"created_at": i.CreatedAt.Format(time.RFC3339), "updated_at": i.UpdatedAt.Format(time.RFC3339),
		"user": map[string]any{"login": "octocat", "id": 1, "type": "User"},
	}
	if i.PullRequest {
		out["pull_request"] = map[string]any{"url": strings.Replace(out["url"].(string), "/issues/", "/pulls/", 1)}
	}
	return out
}
