package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/inbox"
	"syncline/internal/ingest"
)

// dial opens a connection to a server of w.
func (w *world) dial(t *testing.T) net.Conn {
	t.Helper()
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	return dialTo(t, srv)
}

func dialTo(t *testing.T, srv *httptest.Server) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestASlowBodyIsGivenUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ingest.Config) { c.ReadTimeout = 50 * time.Millisecond })
	c := w.dial(t)
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", w.path("github"))
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, r); a.code != http.StatusRequestTimeout || !strings.Contains(a.Error.Message, "50ms") || !r.Close {
		t.Errorf("%+v, close %v", a, r.Close)
	}
}

func TestATooLargeBodyIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := w.dial(t)
	// Nothing of the body is sent: the announcement is enough.
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", w.path("github"), 26214401)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := read(t, r); a.code != 413 || !strings.Contains(a.Error.Message, "26214400 bytes") {
		t.Errorf("%+v", a)
	}
}

// gate holds appends until it is opened.
type gate struct {
	inbox.Log
	entered, open chan struct{}
}

func (g gate) Append(ctx context.Context, d *syncline.Delivery, key inbox.Key) (inbox.Receipt, error) {
	g.entered <- struct{}{}
	<-g.open
	return g.Log.Append(ctx, d, key)
}

func TestBodiesInFlightAreBounded(t *testing.T) {
	t.Parallel()
	g := gate{entered: make(chan struct{}), open: make(chan struct{})}
	w := newWorld(t, func(c *ingest.Config) {
		g.Log = c.Inbox
		c.Inbox, c.MaxBody, c.MaxInFlight = g, 100<<10, 1 // raised to what one body needs: 232 KiB
	})
	body := `"` + strings.Repeat("x", 90<<10) + `"`
	answers := make(chan answer)
	for i := range 2 {
		r := request(t, w.path("github"), body, fmt.Sprint(i))
		go func() {
			rec := httptest.NewRecorder()
			w.handler.ServeHTTP(rec, r)
			answers <- read(t, rec.Result())
		}()
		<-g.entered
	}
	a := w.do(t, request(t, w.path("github"), body, "3"))
	if a.code != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.Error.Message, "too many webhooks") {
		t.Errorf("the third: %+v", a)
	}
	close(g.open)
	for range 2 {
		if a := <-answers; a.code != 200 {
			t.Errorf("%+v", a)
		}
	}
	go func() { <-g.entered }()
	if a := w.do(t, request(t, w.path("github"), body, "4")); a.code != 200 {
		t.Errorf("after they were done: %+v", a)
	}
}

func TestASenderThatPromisesMuchHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *ingest.Config) { c.MaxBody, c.MaxInFlight = 1<<20, 1 })
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	for range 20 {
		c := dialTo(t, srv)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", w.path("github"), 1<<20)
		// The server asks for the body once the handler reads it.
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if a := w.do(t, request(t, w.path("github"), "{}", "1")); a.code != 200 {
		t.Errorf("%+v", a)
	}
}

func TestManySendersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	srv := httptest.NewServer(w.handler)
	t.Cleanup(srv.Close)
	done := make(chan error)
	const n = 60
	for i := range n {
		in := request(t, w.path("github"), fmt.Sprintf(`{"n":%d}`, i), fmt.Sprint(i))
		go func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+in.URL.Path, in.Body)
			if err != nil {
				done <- err
				return
			}
			r.Header = in.Header
			res, err := srv.Client().Do(r)
			if err == nil {
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != 200 {
					err = fmt.Errorf("status %d", res.StatusCode)
				}
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := len(w.entries(t)); got != n {
		t.Errorf("%d entries; want %d", got, n)
	}
}
