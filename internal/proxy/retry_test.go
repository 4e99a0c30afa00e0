package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy"
)

// eager is a clock whose waits pass at once, and are written down.
type eager struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func newEager() *eager { return &eager{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)} }

func (c *eager) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *eager) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waits = append(c.waits, d)
	ch := make(chan time.Time, 1)
	ch <- c.now
	return ch
}

func TestWhenARequestIsTriedAgain(t *testing.T) {
	t.Parallel()
	start := newEager().now
	s, m := time.Second, time.Minute
	unix := func(d time.Duration) string { return fmt.Sprint(start.Add(d).Unix()) }
	type answer struct {
		status int
		header map[string]string
	}
	for name, tc := range map[string]struct {
		answers []answer // the last one repeats
		retries int
		retryOn []int
		retry   *provider.Retry
		waits   []time.Duration
		status  int
		limited bool
	}{
		"not asked for":                         {answers: []answer{{500, nil}}, status: 500},
		"success":                               {answers: []answer{{200, nil}}, retries: 5, status: 200},
		"a client's error":                      {answers: []answer{{404, nil}}, retries: 5, status: 404},
		"an unauthorized call":                  {answers: []answer{{401, nil}}, retries: 5, status: 401},
		"exponential backoff":                   {answers: []answer{{500, nil}}, retries: 4, waits: []time.Duration{3 * s, 6 * s, 12 * s, 24 * s}, status: 500},
		"backoff is capped":                     {answers: []answer{{503, nil}}, retries: 10, waits: []time.Duration{3 * s, 6 * s, 12 * s, 24 * s, 48 * s, 96 * s, 192 * s, 384 * s, 10 * m, 10 * m}, status: 503},
		"it stops at success":                   {answers: []answer{{502, nil}, {502, nil}, {200, nil}}, retries: 9, waits: []time.Duration{3 * s, 6 * s}, status: 200},
		"a status of one's own":                 {answers: []answer{{409, nil}, {200, nil}}, retries: 1, retryOn: []int{409}, waits: []time.Duration{3 * s}, status: 200},
		"seconds to wait":                       {answers: []answer{{429, map[string]string{"Retry-After": "17"}}, {200, nil}}, retries: 1, waits: []time.Duration{17 * s}, status: 200},
		"a fraction of a second":                {answers: []answer{{429, map[string]string{"Retry-After": "0.5"}}, {200, nil}}, retries: 1, waits: []time.Duration{s / 2}, status: 200},
		"a date to wait for":                    {answers: []answer{{503, map[string]string{"Retry-After": start.Add(40 * s).Format(http.TimeFormat)}}, {200, nil}}, retries: 1, waits: []time.Duration{40 * s}, status: 200},
		"a date in the past":                    {answers: []answer{{503, map[string]string{"Retry-After": start.Add(-m).Format(http.TimeFormat)}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"zero seconds":                          {answers: []answer{{429, map[string]string{"Retry-After": "0"}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"rubbish":                               {answers: []answer{{429, map[string]string{"Retry-After": "soon"}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"a negative wait":                       {answers: []answer{{429, map[string]string{"Retry-After": "-5"}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"longer than the cap":                   {answers: []answer{{429, map[string]string{"Retry-After": "3600"}}}, retries: 5, status: 429, limited: true},
		"a 403 with nothing left":               {answers: []answer{{403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": unix(90 * s)}}, {200, nil}}, retries: 1, waits: []time.Duration{90 * s}, status: 200},
		"a 403 with a wait":                     {answers: []answer{{403, map[string]string{"Retry-After": "60"}}, {200, nil}}, retries: 1, waits: []time.Duration{60 * s}, status: 200},
		"a 403 that forbids":                    {answers: []answer{{403, map[string]string{"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": unix(m)}}}, retries: 5, status: 403},
		"a 429 with budget left":                {answers: []answer{{429, map[string]string{"X-RateLimit-Remaining": "10", "X-RateLimit-Reset": unix(5 * m)}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"the reset time of a 502 is not a wait": {answers: []answer{{502, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": unix(5 * m)}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"a reset time in the past":              {answers: []answer{{429, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": unix(-m)}}, {200, nil}}, retries: 1, waits: []time.Duration{3 * s}, status: 200},
		"a reset time that is a count":          {answers: []answer{{429, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}}, {200, nil}}, retries: 1, waits: []time.Duration{30 * s}, status: 200},
		"Retry-After without a catalogue":       {answers: []answer{{429, map[string]string{"Retry-After": "7"}}, {200, nil}}, retries: 1, retry: &provider.Retry{}, waits: []time.Duration{7 * s}, status: 200},
		"a 403 without a catalogue":             {answers: []answer{{403, map[string]string{"Retry-After": "7"}}}, retries: 1, retry: &provider.Retry{}, status: 403},
		"a header of the provider's own":        {answers: []answer{{429, map[string]string{"X-Wait": "9"}}, {200, nil}}, retries: 1, retry: &provider.Retry{After: []string{"x-wait"}}, waits: []time.Duration{9 * s}, status: 200},
		"limits give up in the end":             {answers: []answer{{429, nil}}, retries: 2, waits: []time.Duration{3 * s, 6 * s}, status: 429, limited: true},
		"a negative count":                      {answers: []answer{{500, nil}}, retries: -3, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				a := tc.answers[min(calls, len(tc.answers)-1)]
				calls++
				for k, v := range a.header {
					w.Header().Set(k, v)
				}
				w.WriteHeader(a.status)
			})
			clk := newEager()
			r := request(srv.URL, fn.HTTPArgs{Retries: tc.retries, RetryOn: tc.retryOn})
			if tc.retry != nil {
				r.Provider.Proxy.Retry = *tc.retry
			}
			resp, err := newClient(t, proxy.Config{Clock: clk}).Do(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != tc.status || resp.RateLimited != tc.limited || resp.Attempts != len(tc.waits)+1 || calls != resp.Attempts {
				t.Errorf("status %d, limited %v, %d attempts, %d calls", resp.Status, resp.RateLimited, resp.Attempts, calls)
			}
			if !slices.Equal(clk.waits, tc.waits) {
				t.Errorf("waits = %v; want %v", clk.waits, tc.waits)
			}
		})
	}
}

func TestABodyIsSentAgainWithEachAttempt(t *testing.T) {
	t.Parallel()
	var bodies []string
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 20)
		n, _ := r.Body.Read(b)
		bodies = append(bodies, string(b[:n]))
		w.WriteHeader(500)
	})
	_, err := newClient(t, proxy.Config{Clock: newEager()}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Method: "POST", Body: new("payload"), Retries: 2}))
	if err != nil || !slices.Equal(bodies, []string{"payload", "payload", "payload"}) {
		t.Errorf("bodies = %q, %v", bodies, err)
	}
}

func TestNetworkErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	clk := newEager()
	calls := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls < 3 {
			panic(http.ErrAbortHandler) // closes the connection
		}
	})
	resp, err := newClient(t, proxy.Config{Clock: clk}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Method: "POST", Body: new("x"), Retries: 5}))
	if err != nil || resp.Attempts != 3 || !slices.Equal(clk.waits, []time.Duration{3 * time.Second, 6 * time.Second}) {
		t.Errorf("response = %+v, %v, waits %v", resp, err, clk.waits)
	}
}

func TestRetriesAreCapped(t *testing.T) {
	t.Parallel()
	clk := newEager()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) })
	resp, err := newClient(t, proxy.Config{Clock: clk, MaxRetries: 4}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Retries: 1_000_000}))
	if err != nil || resp.Attempts != 5 {
		t.Errorf("attempts = %d, %v", resp.Attempts, err)
	}
}

func TestAWaitThatTheRunHasNoTimeForIsNotBegun(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	clk := newEager()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "120")
		w.WriteHeader(429)
	})
	resp, err := newClient(t, proxy.Config{Clock: clk}).Do(ctx, request(srv.URL, fn.HTTPArgs{Retries: 3}))
	if err != nil || resp.Status != 429 || len(clk.waits) != 0 || !resp.RetryAt.Equal(newEager().now.Add(2*time.Minute)) {
		t.Errorf("response = %+v, %v, waits %v", resp, err, clk.waits)
	}
}

func TestTheCallersContextEndsAWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
	})
	waiting := &signalling{began: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := newClient(t, proxy.Config{Clock: waiting}).Do(ctx, request(srv.URL, fn.HTTPArgs{Retries: 3}))
		done <- err
	}()
	<-waiting.began
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("error = %v", err)
	}
}

// signalling is a clock that says when a wait began and never ends one.
type signalling struct{ began chan struct{} }

func (*signalling) Now() time.Time { return newEager().now }

func (c *signalling) After(time.Duration) <-chan time.Time {
	close(c.began)
	return nil
}
