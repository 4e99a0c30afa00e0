package github

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ServeHTTP answers GET /repos/{owner}/{name}/issues, and GET and PATCH of
// …/issues/{number}.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests++
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	if s.o.Token != "" && r.Header.Get("Authorization") != "Bearer "+s.o.Token {
		problem(w, http.StatusUnauthorized, "Bad credentials")
		return
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/repos/"+s.repository()+"/issues")
	switch {
	case r.Method == http.MethodPatch && ok && rest != "":
		s.patch(w, r, strings.TrimPrefix(rest, "/"))
	case r.Method != http.MethodGet || !ok:
		problem(w, http.StatusNotFound, "Not Found")
	case rest == "":
		s.list(w, r)
	default:
		s.get(w, strings.TrimPrefix(rest, "/"))
	}
}

func problem(w http.ResponseWriter, status int, message string) {
	reply(w, status, map[string]string{"message": message, "documentation_url": "https://docs.github.com/rest"})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) get(w http.ResponseWriter, number string) {
	n, err := strconv.Atoi(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.issues[n]; err == nil && i != nil {
		reply(w, http.StatusOK, s.json(i))
		return
	}
	problem(w, http.StatusNotFound, "Not Found")
}

// patch changes the title or the state of an issue.
func (s *Server) patch(w http.ResponseWriter, r *http.Request, number string) {
	n, _ := strconv.Atoi(number) // 0 is no issue
	var in struct{ Title, State *string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		problem(w, http.StatusBadRequest, "Problems parsing JSON")
		return
	}
	if in.State != nil && *in.State != "open" && *in.State != "closed" {
		problem(w, http.StatusUnprocessableEntity, "Validation Failed: state is neither open nor closed")
		return
	}
	s.change("edited", n, func(i *Issue) {
		if in.Title != nil {
			i.Title = *in.Title
		}
		if in.State != nil {
			i.State = *in.State
		}
	})
	s.get(w, number)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	page, per := atLeastOne(q.Get("page"), 1), min(atLeastOne(q.Get("per_page"), 30), 100)
	var since time.Time
	if text := q.Get("since"); text != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			problem(w, http.StatusUnprocessableEntity, "Validation Failed: since is not a timestamp")
			return
		}
	}
	all := s.selected(q, since)
	from, to := min((page-1)*per, len(all)), min(page*per, len(all))
	var links []string
	link := func(rel string, n int) {
		v := url.Values{}
		for k, values := range q {
			v[k] = values
		}
		v.Set("page", strconv.Itoa(n))
		links = append(links, fmt.Sprintf(`<http://%s%s?%s>; rel="%s"`, r.Host, r.URL.Path, v.Encode(), rel))
	}
	if page > 1 {
		link("prev", page-1)
	}
	if to < len(all) {
		link("next", page+1)
		link("last", (len(all)+per-1)/per)
	}
	if page > 1 {
		link("first", 1)
	}
	if len(links) > 0 {
		w.Header().Set("Link", strings.Join(links, ", "))
	}
	s.pass(page)
	reply(w, http.StatusOK, all[from:to])
}

// selected lists issues as they are now, filtered and sorted as GitHub does.
func (s *Server) selected(q url.Values, since time.Time) []map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := q.Get("state")
	if state == "" {
		state = "open"
	}
	var issues []*Issue
	for _, i := range s.issues {
		if state != "all" && i.State != state {
			continue
		}
		if !i.UpdatedAt.Before(since) {
			issues = append(issues, i)
		}
	}
	slices.SortFunc(issues, func(a, b *Issue) int {
		c := a.CreatedAt.Compare(b.CreatedAt)
		if q.Get("sort") == "updated" {
			c = a.UpdatedAt.Compare(b.UpdatedAt)
		}
		if c == 0 {
			c = a.Number - b.Number
		}
		if q.Get("direction") != "asc" {
			c = -c
		}
		return c
	})
	list := make([]map[string]any, 0, len(issues))
	for _, i := range issues {
		list = append(list, s.json(i))
	}
	return list
}

func atLeastOne(text string, otherwise int) int {
	if n, err := strconv.Atoi(text); err == nil && n >= 1 {
		return n
	}
	return otherwise
}

// Gate holds the answer of a page of the list, whose content is already
// decided: a slow poll.
type Gate struct {
	page    int
	reached chan struct{}
	release chan struct{}
}

// Reached is closed when a request for the page waits.
func (g *Gate) Reached() <-chan struct{} { return g.reached }

// Release lets the answer go.
func (g *Gate) Release() { close(g.release) }

// Hold makes the next request for a page wait until the gate is released.
func (s *Server) Hold(page int) *Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = &Gate{page: page, reached: make(chan struct{}), release: make(chan struct{})}
	return s.gate
}

func (s *Server) pass(page int) {
	s.mu.Lock()
	g := s.gate
	if g == nil || g.page != page {
		s.mu.Unlock()
		return
	}
	s.gate = nil
	s.mu.Unlock()
	close(g.reached)
	<-g.release
}
