package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/provider"
	"syncline/internal/proxy"
)

// raceFree serves handlers that share nothing with tests but what is made for it.
func raceFree(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

func streamer(t *testing.T, c proxy.Config) *proxy.Client {
	t.Helper()
	c.Policy = only("127.0.0.0/8")
	if c.Rand == nil {
		c.Rand = func() float64 { return 0 }
	}
	p := proxy.New(c)
	t.Cleanup(p.Close)
	return p
}

// zeros is n bytes that nobody keeps.
func zeros(n int64) io.Reader { return io.LimitReader(nothing{}, n) }

type nothing struct{}

func (nothing) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Not parallel: it measures memory.
func TestAGigabytePassesBothWaysWithFlatMemory(t *testing.T) {
	const huge = 1 << 30
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != huge && n != 0 {
			t.Errorf("the server read %d, %v", n, err)
		}
		if r.Method == http.MethodGet {
			_, _ = io.Copy(w, zeros(huge))
		}
	})
	c := streamer(t, proxy.Config{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{}), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, s.Reader)
	if s.Reader.Close(); err != nil || n != huge {
		t.Errorf("read %d, %v", n, err)
	}
	for _, length := range []int64{huge, -1} { // declared, and in chunks
		up, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{Method: "POST"}), zeros(huge), length)
		if err != nil || up.Status != 200 {
			t.Fatal(up, err)
		}
		_ = up.Reader.Close()
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 16<<20 {
		t.Errorf("%d MiB were allocated for three gigabytes", used>>20)
	}
}

func TestEventsPassAsTheyCome(t *testing.T) {
	t.Parallel()
	next := make(chan string)
	for _, encoding := range []string{"", "gzip"} {
		url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			out := io.Writer(w)
			flush := func() {}
			if encoding == "gzip" {
				w.Header().Set("Content-Encoding", "gzip")
				z := newGzip(w)
				out, flush = z, func() { _ = z.Flush() }
				defer z.Close()
			}
			w.(http.Flusher).Flush() // the headers, before there is an event
			for event := range next {
				if event == "" {
					return
				}
				_, _ = io.WriteString(out, event)
				flush()
				w.(http.Flusher).Flush()
			}
		})
		s, err := streamer(t, proxy.Config{}).Stream(t.Context(), request(url, fn.HTTPArgs{}), nil, 0)
		if err == nil {
			t.Cleanup(func() { _ = s.Reader.Close() })
		} else {
			t.Fatal(err)
		}
		lines := bufio.NewReader(s.Reader)
		for i := range 3 {
			event := fmt.Sprintf("data: %d\n", i)
			next <- event // nothing further is sent before this one was read
			if got, err := lines.ReadString('\n'); got != event || err != nil {
				t.Errorf("%s: event = %q, %v", encoding, got, err)
			}
		}
		next <- ""
		if rest, err := io.ReadAll(lines); len(rest) > 0 || err != nil {
			t.Errorf("rest = %q, %v", rest, err)
		}
	}
}

func TestASmallBodyIsKeptForFurtherAttempts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		size     int64
		length   int64
		attempts int
		reason   string
	}{
		"small":                 {1 << 10, 1 << 10, 3, ""},
		"small, in chunks":      {1 << 10, -1, 3, ""},
		"as large as may be":    {1 << 20, 1 << 20, 3, ""},
		"empty, in chunks":      {0, -1, 3, ""},
		"larger":                {1<<20 + 1, 1<<20 + 1, 1, "1 MiB"},
		"larger, in chunks":     {3 << 20, -1, 1, "1 MiB"},
		"none":                  {0, 0, 3, ""},
		"larger than it claims": {2 << 10, 1 << 10, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
				if n, _ := io.Copy(io.Discard, r.Body); n != tc.size && name != "larger than it claims" {
					t.Errorf("the server read %d of %d bytes", n, tc.size)
				}
				calls.Add(1)
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "busy")
			})
			c := streamer(t, proxy.Config{Clock: newEager()})
			body := zeros(tc.size)
			if name == "larger than it claims" {
				body = io.LimitReader(body, tc.length) // as a server's request body does
				tc.attempts = 3
			}
			s, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{Method: "POST", Retries: 2}), body, tc.length)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Reader.Close()
			text, err := io.ReadAll(s.Reader)
			if s.Status != 503 || string(text) != "busy" || err != nil || s.Attempts != tc.attempts || int(calls.Load()) != tc.attempts || !strings.Contains(s.Reason, tc.reason) {
				t.Errorf("status %d, %q, %v, %d attempts, %q", s.Status, text, err, s.Attempts, s.Reason)
			}
		})
	}
}

func TestALargeBodyIsTriedAgainAsLongAsNothingWasSent(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + closed.Addr().String()
	_ = closed.Close()
	clk := newEager()
	_, err = streamer(t, proxy.Config{Clock: clk}).Stream(t.Context(), request(refusing, fn.HTTPArgs{Method: "POST", Retries: 2}), zeros(5<<20), 5<<20)
	if e := hostErr(t, err); e.NetCode != "ECONNREFUSED" || len(clk.waits) != 2 {
		t.Errorf("error = %+v after waits %v", e, clk.waits)
	}
}

func TestALargeBodyDoesNotFollowARedirect(t *testing.T) {
	t.Parallel()
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/old" {
			http.Redirect(w, r, "/new", http.StatusTemporaryRedirect)
		}
	})
	c := streamer(t, proxy.Config{})
	_, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{Method: "POST", Endpoint: "/old"}), zeros(5<<20), 5<<20)
	if e := hostErr(t, err); e.NetCode != "ERR_FR_REDIRECTION_FAILURE" || !strings.Contains(e.Message, "1 MiB") {
		t.Errorf("error = %+v", e)
	}
	s, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{Method: "POST", Endpoint: "/old"}), zeros(5<<10), 5<<10)
	if err != nil || s.Status != 200 {
		t.Fatal(s, err)
	}
	_ = s.Reader.Close()
}

func TestStreamedBodiesHaveLimitsAndEnds(t *testing.T) {
	t.Parallel()
	const limit = 2 << 20
	gz := compressed(t, "gzip", make([]byte, limit+1))
	for name, tc := range map[string]struct {
		h        http.HandlerFunc
		idle     time.Duration
		code     syncline.Code
		netCode  string
		contains string
	}{
		"declared beyond the limit": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(limit+1))
			w.(http.Flusher).Flush()
		}, 0, syncline.CodeTooLarge, "ERR_BAD_RESPONSE", "2 MiB"},
		"beyond the limit": {func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, zeros(limit+1)) }, 0, syncline.CodeTooLarge, "ERR_BAD_RESPONSE", "2 MiB"},
		"a bomb": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(gz)
		}, 0, syncline.CodeTooLarge, "ERR_BAD_RESPONSE", "2 MiB"},
		"truncated gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(gz[:len(gz)/2])
		}, 0, syncline.CodeUpstream, "ERR_BAD_RESPONSE", "Content-Encoding"},
		"not gzip": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "hello, this is plain text")
		}, 0, syncline.CodeUpstream, "ERR_BAD_RESPONSE", "Content-Encoding"},
		"broken off": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 0, syncline.CodeUpstream, "ECONNRESET", "hang up"},
		"less than declared": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 0, syncline.CodeUpstream, "ECONNRESET", "hang up"},
		"silent": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, 30 * time.Millisecond, syncline.CodeUpstream, "ECONNABORTED", "nothing came"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := streamer(t, proxy.Config{MaxStream: limit, IdleTimeout: tc.idle}).Stream(t.Context(), request(raceFree(t, tc.h), fn.HTTPArgs{}), nil, 0)
			if err == nil {
				_, err = io.Copy(io.Discard, s.Reader)
				_ = s.Reader.Close()
			}
			if e := hostErr(t, err); e.Code != tc.code || e.NetCode != tc.netCode || !strings.Contains(e.Message, tc.contains) {
				t.Errorf("error = %+v", e)
			}
		})
	}
}

func TestAStreamOutlivesTheTimeOfAnAttempt(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-release
		_, _ = io.WriteString(w, "late")
	})
	s, err := streamer(t, proxy.Config{Timeout: 50 * time.Millisecond, HeaderTimeout: time.Second}).Stream(t.Context(), request(url, fn.HTTPArgs{}), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reader.Close()
	time.AfterFunc(100*time.Millisecond, func() { close(release) })
	if text, err := io.ReadAll(s.Reader); string(text) != "late" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
}

func TestABodyThatTheCallerDoesNotFinish(t *testing.T) {
	t.Parallel()
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c := streamer(t, proxy.Config{MaxStream: 4 << 20})
	broken := errors.New("the caller went away")
	for name, tc := range map[string]struct {
		body   io.Reader
		length int64
		code   syncline.Code
	}{
		"small":             {io.MultiReader(zeros(100), failing{broken}), 200, syncline.CodeInvalid},
		"large":             {io.MultiReader(zeros(2<<20), failing{broken}), 3 << 20, syncline.CodeInvalid},
		"too large":         {zeros(5 << 20), 5 << 20, syncline.CodeTooLarge},
		"too large, unsaid": {zeros(5 << 20), -1, syncline.CodeTooLarge},
	} {
		_, err := c.Stream(t.Context(), request(url, fn.HTTPArgs{Method: "POST", Retries: 3}), tc.body, tc.length)
		if e := hostErr(t, err); e.Code != tc.code {
			t.Errorf("%s: %+v", name, e)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestTheCallersContextEndsAStream(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	s, err := streamer(t, proxy.Config{}).Stream(ctx, request(url, fn.HTTPArgs{}), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reader.Close()
	cancel()
	if _, err := io.ReadAll(s.Reader); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

func TestBodiesStayAsTheyComeWhenAskedFor(t *testing.T) {
	t.Parallel()
	packed := compressed(t, "gzip", []byte("hello"))
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed)
	})
	c := streamer(t, proxy.Config{})
	for _, on := range []*bool{nil, new(true), new(false)} {
		want, encoding := []byte("hello"), ""
		if on != nil && !*on {
			want, encoding = packed, "gzip"
		}
		r := request(url, fn.HTTPArgs{Decompress: on})
		resp, err := c.Do(t.Context(), r)
		if err != nil || !bytes.Equal(resp.Body, want) || resp.Header.Get("Content-Encoding") != encoding {
			t.Errorf("whole: %q, %v, %v", resp.Body, resp.Header, err)
		}
		s, err := c.Stream(t.Context(), r, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(s.Reader)
		if s.Reader.Close(); err != nil || !bytes.Equal(text, want) || s.Header.Get("Content-Encoding") != encoding || (encoding == "") != (s.Header.Get("Content-Length") == "") {
			t.Errorf("streamed: %q, %v, %v", text, s.Header, err)
		}
	}
}

func TestARefusalWhoseTextSaysWhenIsHandedOnWhole(t *testing.T) {
	t.Parallel()
	text := `{"error":{"message":"Retry after 3600","more":"` + strings.Repeat("x", 200_000) + `"}}`
	url := raceFree(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		_, _ = io.WriteString(w, text)
	})
	r := request(url, fn.HTTPArgs{Retries: 1})
	r.Provider.Proxy.Retry = provider.Retry{InBody: &provider.RetryInBody{Path: "error.message", Pattern: `after (\d+)`}}
	s, err := streamer(t, proxy.Config{}).Stream(t.Context(), r, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reader.Close()
	got, err := io.ReadAll(s.Reader)
	if err != nil || string(got) != text || !s.RateLimited || !strings.Contains(s.Reason, "asks to wait 1h0m0s") || !strings.Contains(s.Reason, "--retry-max-wait") {
		t.Errorf("%d bytes, %v, limited %v, %q", len(got), err, s.RateLimited, s.Reason)
	}
}
