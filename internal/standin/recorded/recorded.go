// Package recorded is a stand-in for any external API: it answers requests from
// recorded ones, in the format of function fixtures (*.test.json, the section
// "api": method → path → request and response).
package recorded

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
)

// Fixture is what of a *.test.json file a stand-in needs.
type Fixture struct {
	// API maps a method in lower case and a path to what was recorded of it.
	API map[string]map[string]Exchanges `json:"api"`
	// Nango holds what the function's host calls give and are given.
	Nango struct {
		Metadata   map[string]any              `json:"getMetadata"`
		Connection map[string]any              `json:"getConnection"`
		Saved      map[string][]map[string]any `json:"batchSave"`
		Deleted    map[string][]map[string]any `json:"batchDelete"`
	} `json:"nango"`
	Input  json.RawMessage `json:"input"`
	Output json.RawMessage `json:"output"`
}

// Exchanges are requests to one method and path; a file has one or a list.
type Exchanges []Exchange

// Exchange is one request with its response.
type Exchange struct {
	Request struct {
		Params any `json:"params"` // an object, or a query string
		Data   any `json:"data"`
	} `json:"request"`
	Response json.RawMessage   `json:"response"`
	Status   int               `json:"status"`
	Headers  map[string]string `json:"headers"`
}

// UnmarshalJSON reads one exchange or a list.
func (e *Exchanges) UnmarshalJSON(text []byte) error {
	var list []Exchange
	if err := json.Unmarshal(text, &list); err == nil {
		*e = list
		return nil
	}
	var one Exchange
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*e = Exchanges{one}
	return nil
}

// Load reads a fixture.
func Load(file string) (*Fixture, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := &Fixture{}
	if err := json.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return f, nil
}

// Server answers from fixtures. It is an http.Handler.
type Server struct {
	fixtures []*Fixture

	mu      sync.Mutex
	unknown []string
}

// New makes a stand-in that answers from fixtures, the first that knows a request.
func New(fixtures ...*Fixture) *Server { return &Server{fixtures: fixtures} }

// Unknown are the requests that no fixture knows; they were answered with 404.
func (s *Server) Unknown() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.unknown...)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	for _, f := range s.fixtures {
		for _, e := range f.find(r) {
			if !e.asked(r.URL.Query(), body) {
				continue
			}
			for name, value := range e.Headers {
				switch strings.ToLower(name) {
				// These are of the connection that was recorded.
				case "content-length", "content-encoding", "transfer-encoding", "connection", "date", "keep-alive":
				default:
					w.Header().Set(name, value)
				}
			}
			w.WriteHeader(e.Status)
			_, _ = w.Write(text(e.Response))
			return
		}
	}
	s.mu.Lock()
	s.unknown = append(s.unknown, fmt.Sprintf("%s %s %s", r.Method, r.URL, body))
	s.mu.Unlock()
	http.Error(w, `{"message":"no fixture has this request"}`, http.StatusNotFound)
}

// find is what was recorded of a method and path.
func (f *Fixture) find(r *http.Request) Exchanges {
	paths := f.API[strings.ToLower(r.Method)]
	for _, path := range []string{r.URL.Path, r.URL.EscapedPath()} {
		for _, name := range []string{path, strings.TrimPrefix(path, "/")} {
			if e, ok := paths[name]; ok {
				return e
			}
		}
	}
	return nil
}

// asked reports whether a request is the recorded one: the same query and the
// same body, where the record has one.
func (e *Exchange) asked(query url.Values, body []byte) bool {
	want := url.Values{}
	switch params := e.Request.Params.(type) {
	case string:
		if parsed, err := url.ParseQuery(strings.TrimPrefix(params, "?")); err == nil {
			want = parsed
		}
	case map[string]any:
		for name, value := range params {
			want.Set(name, fmt.Sprint(value))
		}
	}
	if len(want) != len(query) {
		return false
	}
	for name := range want {
		if strings.Join(query[name], ",") != strings.Join(want[name], ",") {
			return false
		}
	}
	if e.Request.Data == nil {
		return true
	}
	var data any
	return json.Unmarshal(body, &data) == nil && reflect.DeepEqual(data, e.Request.Data)
}

// text is a response as it goes over the wire: text as it is, anything else as JSON.
func text(response json.RawMessage) []byte {
	var s string
	if json.Unmarshal(response, &s) == nil {
		return []byte(s)
	}
	return response
}
