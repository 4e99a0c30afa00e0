package proxy_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
)

func TestAPauseIsAnsweredAsTheAPIWould(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(429)
	})
	c := newClient(t, proxy.Config{})
	r := request(url, fn.HTTPArgs{Retries: 3})
	r.Connection.ID = 5
	first, err := c.Do(t.Context(), r)
	if err != nil || first.Status != 429 || first.Attempts != 1 || !strings.Contains(first.Reason, "1h0m0s") || !strings.Contains(first.Reason, "10m0s") {
		t.Fatalf("first = %+v, %v", first, err)
	}
	for _, p := range []proxy.Priority{proxy.PriorityCall, proxy.PriorityWebhook, proxy.PriorityPoll} {
		r.Priority = p
		next, err := c.Do(t.Context(), r)
		if err != nil || next.Status != 429 || next.Attempts != 0 || !next.RateLimited || next.Header.Get("Retry-After") != "3600" ||
			!json.Valid(next.Body) || !strings.Contains(string(next.Body), "was not sent") {
			t.Errorf("next = %+v, %v", next, err)
		}
	}
	s, err := c.Stream(t.Context(), r, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(s.Reader)
	if _ = s.Reader.Close(); s.Status != 429 || !json.Valid(text) {
		t.Errorf("streamed: %d %s", s.Status, text)
	}
	r.Connection = &syncline.Connection{ID: 6}
	if _, err := c.Do(t.Context(), r); err != nil || calls.Load() != 2 {
		t.Errorf("another connection: %v, %d calls", err, calls.Load())
	}
}

func TestARunsLogTellsOfItsRequests(t *testing.T) {
	t.Parallel()
	calls := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(429)
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
	r := request(srv.URL, fn.HTTPArgs{Endpoint: "/x?page=2", Retries: 1})
	r.Provider.Proxy.Query = map[string]string{"key": "${accessToken}"}
	var lines []syncline.LogLine
	r.Log = func(l syncline.LogLine) { lines = append(lines, l) }
	if _, err := newClient(t, proxy.Config{Clock: newEager()}).Do(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	u := srv.URL + "/x?page=2"
	for i, want := range []struct {
		level syncline.LogLevel
		text  string
	}{
		{syncline.LogError, "GET " + u + " 429 in 0 ms [attempt 1 of 2]"},
		{syncline.LogWarn, "the request is tried again in 2s (rate limit, status 429) [1 of 1]"},
		{syncline.LogInfo, "GET " + u + " 200 in 0 ms [attempt 2 of 2]"},
	} {
		if i >= len(lines) || lines[i].Level != want.level || lines[i].Message != want.text {
			t.Fatalf("lines = %+v; want %+v at %d", lines, want, i)
		}
	}
	var data map[string]any
	if err := json.Unmarshal(lines[2].Data, &data); err != nil || data["type"] != "http" || data["status"] != 200.0 || data["attempt"] != 2.0 || data["bytes"] != 5.0 || data["url"] != u {
		t.Errorf("data = %s", lines[2].Data)
	}
	lines = nil
	r.Provider.Proxy.BaseURL = "http://127.0.0.1:1"
	r.Args.Retries = 0
	_, err := newClient(t, proxy.Config{}).Do(t.Context(), r)
	if hostErr(t, err); len(lines) == 0 || lines[0].Level != syncline.LogError || !strings.Contains(lines[0].Message, "ECONNREFUSED") || !strings.Contains(string(lines[0].Data), `"code":"ECONNREFUSED"`) {
		t.Errorf("lines = %+v", lines)
	}
}

func TestAnErrorSaysWhyItWasNotTriedAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := newClient(t, proxy.Config{}).Do(ctx, request("http://127.0.0.1:1", fn.HTTPArgs{Retries: 3}))
	if e := hostErr(t, err); !strings.Contains(e.Message, "the run has no time left to wait 3s") {
		t.Errorf("error = %+v", e)
	}
}

func TestBaseURLOverridesCanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	c := newClient(t, proxy.Config{Overrides: proxy.Overrides{Off: true}})
	_, err := c.Do(t.Context(), request("https://api.example.com", fn.HTTPArgs{BaseURLOverride: srv.URL}))
	if e := hostErr(t, err); e.Code != syncline.CodeForbidden || !strings.Contains(e.Message, "--base-url-override") {
		t.Errorf("error = %+v", e)
	}
	r := request("https://api.example.com", fn.HTTPArgs{})
	r.BaseURL = srv.URL // the integration's own
	if _, err := c.Do(t.Context(), r); err != nil {
		t.Error(err)
	}
}

func TestAnOverrideGetsTheCredentialsAndAnotherHostDoesNot(t *testing.T) {
	t.Parallel()
	seen := make(chan http.Header, 1)
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { seen <- r.Header })
	c := newClient(t, proxy.Config{})
	for endpoint, want := range map[string]string{"/x": "Bearer " + token, srv.URL + "/x": "Bearer " + token} {
		if _, err := c.Do(t.Context(), request("https://api.example.com", fn.HTTPArgs{Endpoint: endpoint, BaseURLOverride: srv.URL})); err != nil {
			t.Fatal(err)
		}
		if got := (<-seen).Get("Authorization"); got != want {
			t.Errorf("%s: %q", endpoint, got)
		}
	}
	if _, err := c.Do(t.Context(), request("https://api.example.com", fn.HTTPArgs{Endpoint: srv.URL + "/x"})); err != nil {
		t.Fatal(err)
	}
	if got := (<-seen).Get("Authorization"); got != "" {
		t.Errorf("a host that is not the base got %q", got)
	}
}

func TestHostsThatAreDenied(t *testing.T) {
	t.Parallel()
	open := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://files.corp.example/x", http.StatusFound)
	})
	policy := outbound.Policy{AllowPrivateNetworks: true, DenyHosts: []string{"api.evil.example", ".corp.example", "[::1]", "127.0.0.9"}}
	c := newClient(t, proxy.Config{Policy: policy})
	for _, base := range []string{"https://api.evil.example", "https://API.evil.example.", "https://a.b.corp.example:8443", "http://[::1]:80", "http://127.0.0.9", open.URL} {
		_, err := c.Do(t.Context(), request(base, fn.HTTPArgs{Endpoint: "/x"}))
		if e := hostErr(t, err); e.Code != syncline.CodeForbidden || !strings.Contains(e.Message, outbound.DenyFlag) {
			t.Errorf("%s: %+v", base, e)
		}
	}
}

func TestConnectionsAreReusedOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, h2 := range []bool{true, false} {
		var conns atomic.Int32
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
		srv.EnableHTTP2 = h2
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		}
		srv.StartTLS()
		t.Cleanup(srv.Close)
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		c := newClient(t, proxy.Config{TLS: &tls.Config{RootCAs: roots}})
		want := map[bool]string{true: "HTTP/2.0", false: "HTTP/1.1"}[h2]
		for range 20 {
			resp, err := c.Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			if err != nil || string(resp.Body) != want {
				t.Fatalf("%s, %v; want %s", resp.Body, err, want)
			}
			resp.Release()
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%s: %d connections for 20 requests", want, n)
		}
	}
}

func TestAnAttemptsTimeIsTheRequestsOwn(t *testing.T) {
	t.Parallel()
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := newClient(t, proxy.Config{}).Do(t.Context(), request(url, fn.HTTPArgs{TimeoutMS: 40}))
	if e := hostErr(t, err); e.NetCode != "ECONNABORTED" || !strings.Contains(e.Message, "timeout of 40ms exceeded") {
		t.Errorf("error = %+v", e)
	}
}

func TestWhatWaitsForMemorySaysSo(t *testing.T) {
	t.Parallel()
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, zeros(1<<20)) })
	c := newClient(t, proxy.Config{MaxResponseBody: 1 << 20, MaxMemory: 2 << 20})
	var held []*proxy.Response
	var err error
	for range 4 { // nobody releases
		var resp *proxy.Response
		if resp, err = c.Do(t.Context(), request(url, fn.HTTPArgs{TimeoutMS: 200})); err != nil {
			break
		}
		held = append(held, resp)
	}
	if e := hostErr(t, err); !strings.Contains(e.Message, "--proxy-memory-limit") || len(held) == 0 {
		t.Errorf("error = %+v after %d", e, len(held))
	}
	for _, resp := range held {
		resp.Release()
	}
	if _, err := c.Do(t.Context(), request(url, fn.HTTPArgs{})); err != nil {
		t.Error(err)
	}
}
