package proxy_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	var calls int
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Api-Key") != "" {
			t.Error("a credential went to another origin")
		}
		w.Write([]byte("elsewhere"))
	}))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch r.URL.Path {
		case "/echo":
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Got", r.Method+" "+r.Header.Get("X-Mine")+" "+r.Header.Get("Authorization"))
			w.Write(append([]byte{0xff, 0}, body...))
		case "/fail":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/large":
			w.Write(make([]byte, 2000))
		}
	}))
	t.Cleanup(s.Close)
	client := proxy.New(proxy.Config{Policy: outbound.Policy{AllowPrivateNetworks: true}, MaxResponseBody: 1000})
	t.Cleanup(client.Close)

	text := "hello"
	got, err := client.Fetch(t.Context(), fn.FetchArgs{URL: s.URL + "/echo?a=b", Method: "POST", Headers: map[string]string{"x-mine": "1"}, Body: &text})
	if err != nil || got.Status != 200 || got.Encoding != "base64" || got.Body != base64.StdEncoding.EncodeToString([]byte("\xff\x00hello")) || got.Headers["x-got"] != "POST 1" {
		t.Errorf("%+v %v", got, err)
	}
	calls = 0
	if got, err = client.Fetch(t.Context(), fn.FetchArgs{URL: s.URL + "/fail", Method: "GET"}); err != nil || got.Status != 503 || calls != 1 {
		t.Errorf("%+v %v after %d calls: there are no retries", got, err, calls)
	}
	got, err = client.Fetch(t.Context(), fn.FetchArgs{URL: s.URL + "/away", Method: "GET", Headers: map[string]string{"authorization": "Bearer x", "x-api-key": "y"}})
	if err != nil || got.Body != base64.StdEncoding.EncodeToString([]byte("elsewhere")) {
		t.Errorf("%+v %v", got, err)
	}
	public := proxy.New(proxy.Config{})
	t.Cleanup(public.Close)
	for name, c := range map[string]struct {
		client *proxy.Client
		url    string
		code   syncline.Code
	}{
		"a relative URL":       {client, "/echo", syncline.CodeInvalid},
		"a file":               {client, "file:///etc/passwd", syncline.CodeInvalid},
		"a private address":    {public, s.URL + "/echo", syncline.CodeForbidden},
		"too large a response": {client, s.URL + "/large", syncline.CodeTooLarge},
		"nobody there":         {client, "http://127.0.0.1:1/", syncline.CodeUpstream},
	} {
		_, err := c.client.Fetch(t.Context(), fn.FetchArgs{URL: c.url, Method: "GET"})
		var failed *fn.HostError
		if !errors.As(err, &failed) || failed.Code != c.code || failed.Name != "TypeError" || !strings.HasPrefix(failed.Message, "uncontrolledFetch: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
