package proxy_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
)

// Not parallel: it measures memory.
func TestAGigabyteIsCutOffWithFlatMemory(t *testing.T) {
	const limit, huge = 4 << 20, 1 << 30
	for name, declare := range map[string]bool{"declared": true, "streamed": false} {
		sent := make(chan int64, 1)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if declare {
				w.Header().Set("Content-Length", fmt.Sprint(huge))
			}
			chunk := bytes.Repeat([]byte("x"), 64<<10)
			var n int64
			for n < huge {
				m, err := w.Write(chunk)
				n += int64(m)
				if err != nil {
					break // the client dropped the connection
				}
			}
			sent <- n
		}))
		client := proxy.New(proxy.Config{MaxResponseBody: limit, Policy: only("127.0.0.0/8")})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := client.Do(t.Context(), request(srv.URL, fn.HTTPArgs{Retries: 3}))
		runtime.ReadMemStats(&after)
		e := hostErr(t, err)
		if e.Code != syncline.CodeTooLarge || !strings.Contains(e.Message, "4 MiB") {
			t.Errorf("%s: error = %+v", name, e)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 10*limit {
			t.Errorf("%s: %d MiB were allocated for a limit of 4 MiB", name, used>>20)
		}
		if n := <-sent; n >= huge {
			t.Errorf("%s: the server could send everything", name)
		}
		client.Close()
		srv.Close()
	}
}

func compressed(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip", "x-gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "bare deflate":
		w, _ = flate.NewWriter(&out, flate.BestCompression)
	case "br":
		w = brotli.NewWriter(&out)
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEncodedBodiesAreDecoded(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("héllo ", 1000))
	for name, tc := range map[string]struct {
		header string
		body   []byte
		want   []byte
	}{
		"gzip":              {"gzip", compressed(t, "gzip", text), text},
		"x-gzip, upper":     {"X-GZIP", compressed(t, "gzip", text), text},
		"zlib deflate":      {"deflate", compressed(t, "deflate", text), text},
		"bare deflate":      {"deflate", compressed(t, "bare deflate", text), text},
		"brotli":            {"br", compressed(t, "br", text), text},
		"gzip, then brotli": {"gzip, br", compressed(t, "br", compressed(t, "gzip", text)), text},
		"identity":          {"identity", text, text},
		"empty":             {"gzip", nil, nil},
		"unknown stays":     {"compress", text, text},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", tc.header)
				_, _ = w.Write(tc.body)
			})
			resp, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			if err != nil || !bytes.Equal(resp.Body, tc.want) {
				t.Fatalf("body of %d bytes, %v", len(resp.Body), err)
			}
			if kept := resp.Header.Get("Content-Encoding"); kept != "" && name != "unknown stays" && name != "empty" {
				t.Errorf("Content-Encoding %q was kept", kept)
			}
		})
	}
}

func TestBombsAreCutOff(t *testing.T) {
	t.Parallel()
	zeros := bytes.Repeat([]byte{0}, 8<<20)
	for name, tc := range map[string]struct {
		header string
		body   []byte
		code   syncline.Code
	}{
		"gzip":         {"gzip", compressed(t, "gzip", zeros), syncline.CodeTooLarge},
		"brotli":       {"br", compressed(t, "br", zeros), syncline.CodeTooLarge},
		"deflate":      {"deflate", compressed(t, "deflate", zeros), syncline.CodeTooLarge},
		"gzip twice":   {"gzip, gzip", compressed(t, "gzip", compressed(t, "gzip", zeros)), syncline.CodeTooLarge},
		"many layers":  {strings.Repeat("gzip,", 20), compressed(t, "gzip", zeros), syncline.CodeUpstream},
		"not gzip":     {"gzip", []byte("plain text that is no gzip"), syncline.CodeUpstream},
		"not brotli":   {"br", []byte("\xff\xff\xff\xff plain text"), syncline.CodeUpstream},
		"gzip damaged": {"gzip", append(compressed(t, "gzip", []byte("hello"))[:15], 9, 9, 9, 9, 9, 9, 9, 9), syncline.CodeUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", tc.header)
				_, _ = w.Write(tc.body)
			})
			_, err := newClient(t, proxy.Config{MaxResponseBody: 1 << 20}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			e := hostErr(t, err)
			if e.Code != tc.code || e.NetCode != "ERR_BAD_RESPONSE" {
				t.Errorf("error = %+v", e)
			}
		})
	}
}

func TestABodyOfExactlyTheLimitPasses(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	for _, size := range []int{limit - 1, limit, limit + 1} {
		for _, flush := range []bool{false, true} {
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if flush {
					w.(http.Flusher).Flush() // no Content-Length
				}
				_, _ = w.Write(make([]byte, size))
			})
			resp, err := newClient(t, proxy.Config{MaxResponseBody: limit}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			if size <= limit && (err != nil || len(resp.Body) != size) {
				t.Errorf("%d bytes: %v", size, err)
			}
			if size > limit && hostErr(t, err).Code != syncline.CodeTooLarge {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
}

func TestARequestBodyHasALimit(t *testing.T) {
	t.Parallel()
	client := newClient(t, proxy.Config{MaxRequestBody: 1 << 20})
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, n)
	})
	large := strings.Repeat("x", 1<<20+3)
	_, err := client.Do(t.Context(), request(srv.URL, fn.HTTPArgs{Method: "POST", Body: &large}))
	if e := hostErr(t, err); e.Code != syncline.CodeTooLarge || !strings.Contains(e.Message, "1 MiB") {
		t.Errorf("error = %+v", e)
	}
	encoded := "AAEC"
	resp, err := client.Do(t.Context(), request(srv.URL, fn.HTTPArgs{Method: "POST", Body: &encoded, BodyEncoding: "base64"}))
	if err != nil || string(resp.Body) != "3" {
		t.Errorf("base64 body: %v, %v", resp, err)
	}
	for _, args := range []fn.HTTPArgs{{Body: new("!!"), BodyEncoding: "base64"}, {Body: new("x"), BodyEncoding: "hex"}} {
		_, err := client.Do(t.Context(), request(srv.URL, args))
		if e := hostErr(t, err); e.Code != syncline.CodeInvalid {
			t.Errorf("error = %+v", e)
		}
	}
}

// raw serves what talk writes on each connection, after it read the request.
func raw(t *testing.T, talk func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
				talk(c)
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String()
}

func TestNetworkErrorsHaveNodesCodes(t *testing.T) {
	t.Parallel()
	write := func(s string) func(net.Conn) { return func(c net.Conn) { _, _ = io.WriteString(c, s) } }
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + closed.Addr().String()
	_ = closed.Close()

	for name, tc := range map[string]struct {
		base string
		want string
	}{
		"refused":                    {refusing, "ECONNREFUSED"},
		"closed without an answer":   {raw(t, func(net.Conn) {}), "ECONNRESET"},
		"body cut short":             {raw(t, write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")), "ECONNRESET"},
		"chunks cut short":           {raw(t, write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")), "ECONNRESET"},
		"broken chunks":              {raw(t, write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")), "HPE_INVALID"},
		"not HTTP":                   {raw(t, write("SSH-2.0-OpenSSH_9.6\r\n")), "HPE_INVALID"},
		"a bad header":               {raw(t, write("HTTP/1.1 200 OK\r\nno colon here\r\n\r\n")), "HPE_INVALID"},
		"endless headers":            {raw(t, write("HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")), "HPE_HEADER_OVERFLOW"},
		"TLS to a server without it": {strings.Replace(serve(t, http.NotFound).URL, "http:", "https:", 1), "EPROTO"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := newClient(t, proxy.Config{}).Do(t.Context(), request(tc.base, fn.HTTPArgs{}))
			e := hostErr(t, err)
			if e.Code != syncline.CodeUpstream || e.Name != "AxiosError" || e.NetCode != tc.want {
				t.Errorf("error = %+v; want %s", e, tc.want)
			}
		})
	}
}

func TestAnUnknownHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"unknown":      {&net.DNSError{IsNotFound: true}, "ENOTFOUND"},
		"no resolver":  {&net.DNSError{IsTemporary: true}, "EAI_AGAIN"},
		"resolver out": {&net.DNSError{IsTimeout: true}, "EAI_AGAIN"},
	} {
		if got := proxy.NetCodeOf(tc.err); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestCertificatesThatAreWrong(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the request was sent") }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	port := srv.URL[strings.LastIndexByte(srv.URL, ':'):]
	for name, tc := range map[string]struct {
		base string
		conf *tls.Config
		want string
	}{
		"an unknown authority": {srv.URL, nil, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"},
		"another host":         {"https://localhost" + port, &tls.Config{RootCAs: roots}, "ERR_TLS_CERT_ALTNAME_INVALID"},
		"expired":              {srv.URL, &tls.Config{RootCAs: roots, Time: func() time.Time { return time.Now().AddDate(100, 0, 0) }}, "CERT_HAS_EXPIRED"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newClient(t, proxy.Config{TLS: tc.conf}).Do(t.Context(), request(tc.base, fn.HTTPArgs{}))
			if e := hostErr(t, err); e.NetCode != tc.want || e.Code != syncline.CodeUpstream {
				t.Errorf("error = %+v; want %s", e, tc.want)
			}
		})
	}
}

func TestASlowUpstreamTimesOut(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"before its headers": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"within its body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "some")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"a byte at a time": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte("x")); err != nil {
					return
				}
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, h)
			_, err := newClient(t, proxy.Config{Timeout: 60 * time.Millisecond}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
			if e := hostErr(t, err); e.NetCode != "ECONNABORTED" || e.Code != syncline.CodeUpstream {
				t.Errorf("error = %+v", e)
			}
		})
	}
	t.Run("headers have a limit of their own", func(t *testing.T) {
		t.Parallel()
		srv := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		_, err := newClient(t, proxy.Config{HeaderTimeout: 50 * time.Millisecond}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
		if e := hostErr(t, err); e.NetCode != "ECONNABORTED" {
			t.Errorf("error = %+v", e)
		}
	})
}

func TestTheCallersContextEndsARequest(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := newClient(t, proxy.Config{}).Do(ctx, request(srv.URL, fn.HTTPArgs{Retries: 5}))
	if err != context.Canceled {
		t.Errorf("error = %v", err)
	}
}

func newGzip(w io.Writer) *gzip.Writer { return gzip.NewWriter(w) }
