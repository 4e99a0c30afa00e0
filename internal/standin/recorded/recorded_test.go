package recorded

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestItAnswersWhatWasRecordedAndNothingElse(t *testing.T) {
	t.Parallel()
	f := &Fixture{}
	err := json.Unmarshal([]byte(`{"api": {
		"get": {
			"/items": [
				{"request": {"params": {"page": "1"}}, "response": [1], "status": 200, "headers": {"X-Next": "2", "Content-Length": "999"}},
				{"request": {"params": {"page": "2", "size": 5}}, "response": [2], "status": 206, "headers": {}}
			],
			"text": {"request": {}, "response": "plain", "status": 200, "headers": {"content-type": "text/plain"}}
		},
		"post": {"/search": {"request": {"data": {"q": "a", "n": 1}}, "response": {"found": true}, "status": 201, "headers": {}}}
	}}`), f)
	if err != nil {
		t.Fatal(err)
	}
	s := New(f)
	for _, c := range []struct {
		method, url, body string
		status            int
		want              string
	}{
		{"GET", "/items?page=1", "", 200, "[1]"},
		{"GET", "/items?size=5&page=2", "", 206, "[2]"},
		{"GET", "/items?page=2", "", 404, "no fixture"},
		{"GET", "/items", "", 404, "no fixture"},
		{"GET", "/text", "", 200, "plain"},
		{"POST", "/search", `{"n": 1, "q": "a"}`, 201, `{"found": true}`},
		{"POST", "/search", `{"n": 2, "q": "a"}`, 404, "no fixture"},
		{"DELETE", "/text", "", 404, "no fixture"},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader(c.body))
		s.ServeHTTP(w, r)
		got, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if w.Code != c.status || !strings.Contains(string(got), c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.url, w.Code, got)
		}
		if w.Code == http.StatusOK && w.Header().Get("Content-Length") != "" {
			t.Error("the length of the recorded connection was sent")
		}
	}
	if n := len(s.Unknown()); n != 4 {
		t.Errorf("%d requests are unknown: %v", n, s.Unknown())
	}
}
