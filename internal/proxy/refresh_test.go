package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
)

// refresher hands out what a function says.
type refresher struct {
	calls atomic.Int32
	fresh func(ctx context.Context, used map[string]string) (map[string]string, error)
}

func (r *refresher) Refresh(ctx context.Context, _ *syncline.Integration, _ *syncline.Connection, used map[string]string) (map[string]string, error) {
	r.calls.Add(1)
	return r.fresh(ctx, used)
}

const freshToken = "ghp_FreshSecretToken43"

// guarded answers those who have the fresh token.
func guarded(t *testing.T) (url string, calls *atomic.Int32) {
	calls = &atomic.Int32{}
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("Authorization") != "Bearer "+freshToken {
			http.Error(w, "bad credentials", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprintf(w, "%s %s", r.Method, body)
	})
	return srv.URL, calls
}

func TestRefusedCredentialsAreRefreshedOnce(t *testing.T) {
	t.Parallel()
	fresh := func(context.Context, map[string]string) (map[string]string, error) {
		return map[string]string{"accessToken": freshToken}, nil
	}
	for name, tc := range map[string]struct {
		fresh    func(context.Context, map[string]string) (map[string]string, error)
		body     string
		status   int
		attempts int
		log      string
	}{
		"the request is made again with its body": {fresh, "payload", 200, 2, "fresh ones"},
		"there is nothing to refresh":             {func(context.Context, map[string]string) (map[string]string, error) { return nil, nil }, "payload", 401, 1, "401"},
		"the same again":                          {func(_ context.Context, used map[string]string) (map[string]string, error) { return used, nil }, "payload", 401, 1, "401"},
		"fresh ones are refused too": {func(context.Context, map[string]string) (map[string]string, error) {
			return map[string]string{"accessToken": "other"}, nil
		}, "payload", 401, 2, "401"},
		"the refresh fails": {func(_ context.Context, used map[string]string) (map[string]string, error) {
			return nil, errors.New("invalid_grant for " + used["accessToken"])
		}, "payload", 401, 1, "invalid_grant for [redacted]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, calls := guarded(t)
			r := request(url, fn.HTTPArgs{Method: "POST", Body: &tc.body})
			var lines []string
			r.Log = func(l syncline.LogLine) { lines = append(lines, l.Message) }
			source := &refresher{fresh: tc.fresh}
			resp, err := newClient(t, proxy.Config{Refresher: source}).Do(t.Context(), r)
			if err != nil || resp.Status != tc.status || resp.Attempts != tc.attempts || int(calls.Load()) != tc.attempts || source.calls.Load() != 1 {
				t.Errorf("response = %+v, %v after %d calls and %d refreshes", resp, err, calls.Load(), source.calls.Load())
			}
			if tc.status == 200 && string(resp.Body) != "POST payload" {
				t.Errorf("body = %q", resp.Body)
			}
			text := strings.Join(lines, "\n")
			if !strings.Contains(text, tc.log) || strings.Contains(text, token) || strings.Contains(text, freshToken) {
				t.Errorf("log:\n%s", text)
			}
		})
	}
}

func TestOneRefreshServesAllRequestsOfAConnection(t *testing.T) {
	t.Parallel()
	const many = 20
	var refused sync.WaitGroup
	refused.Add(many)
	release := make(chan struct{})
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+freshToken {
			refused.Done()
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	source := &refresher{fresh: func(context.Context, map[string]string) (map[string]string, error) {
		<-release
		return map[string]string{"accessToken": freshToken}, nil
	}}
	c := proxy.New(proxy.Config{Refresher: source, Policy: only("127.0.0.0/8"), ConnectionConcurrency: many})
	t.Cleanup(c.Close)
	var wg sync.WaitGroup
	var waiting atomic.Int32
	for i := range many {
		ctx := t.Context()
		if i == 0 { // the one that began the refresh may go away
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			defer cancel()
		}
		wg.Go(func() {
			r := request(url, fn.HTTPArgs{})
			r.Connection.ID = 7
			resp, err := c.Do(ctx, r)
			if err != nil || resp.Status != 200 {
				t.Errorf("response = %+v, %v", resp, err)
			}
			waiting.Add(1)
		})
	}
	refused.Wait()
	close(release)
	wg.Wait()
	// Those who came to it after it had ended ask again, and are told the same.
	if n := source.calls.Load(); n >= many {
		t.Errorf("%d refreshes for %d requests", n, many)
	}
}

func TestARefreshIsNotWaitedForLongerThanTheRun(t *testing.T) {
	t.Parallel()
	url, _ := guarded(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	release := make(chan struct{})
	t.Cleanup(func() { close(release); <-ended })
	source := &refresher{fresh: func(inner context.Context, _ map[string]string) (map[string]string, error) {
		cancel()
		<-release
		ended <- inner.Err() // it goes on for others
		return nil, nil
	}}
	if _, err := newClient(t, proxy.Config{Refresher: source}).Do(ctx, request(url, fn.HTTPArgs{})); err != context.Canceled {
		t.Errorf("error = %v", err)
	}
}
