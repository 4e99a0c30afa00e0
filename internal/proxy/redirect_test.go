package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/proxy"
)

func TestARedirectWithinTheOriginKeepsCredentials(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/old" {
			http.Redirect(w, r, "/new?x=1#frag", http.StatusMovedPermanently)
			return
		}
		_, _ = io.WriteString(w, r.URL.String()+" "+r.Header.Get("Authorization"))
	})
	resp, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Endpoint: "/old"}))
	if err != nil || string(resp.Body) != "/new?x=1 Bearer "+token || resp.URL != srv.URL+"/new?x=1" {
		t.Errorf("response = %+v, %v", resp, err)
	}
}

func TestARedirectToAnotherHostLeavesCredentialsBehind(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var first, stranger, back http.Header
			var strangerURL string
			var api string
			other := serve(t, func(w http.ResponseWriter, r *http.Request) {
				stranger, strangerURL = r.Header, r.URL.String()
				http.Redirect(w, r, api+"/back", http.StatusFound)
			})
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/back" {
					back = r.Header
					return
				}
				first = r.Header
				http.Redirect(w, r, other.URL+"/file?"+r.URL.RawQuery, status)
			})
			api = srv.URL
			r := request(srv.URL, fn.HTTPArgs{Endpoint: "/x", Headers: map[string]string{
				"Cookie": "session=SuperSecret", "X-Api-Key": "SuperSecret", "Private-Token": "SuperSecret", "Range": "bytes=0-9"}})
			r.Provider.Proxy.Query = map[string]string{"key": "${accessToken}"}
			resp, err := newClient(t, proxy.Config{}).Do(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if first.Get("Authorization") == "" || first.Get("X-Api-Key") == "" {
				t.Errorf("the API itself got %v", first)
			}
			for who, h := range map[string]http.Header{"the other host": stranger, "the first host, after a detour": back} {
				if text := fmt.Sprint(h); strings.Contains(text, "SuperSecret") {
					t.Errorf("%s got %s", who, text)
				}
			}
			if strings.Contains(strangerURL, "SuperSecret") || strings.Contains(resp.URL, "SuperSecret") {
				t.Errorf("a URL holds the credential: %s, %s", strangerURL, resp.URL)
			}
			if stranger.Get("Range") != "bytes=0-9" || stranger.Get("Accept") == "" {
				t.Errorf("harmless headers were lost: %v", stranger)
			}
		})
	}
}

func TestMethodsOverRedirects(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		method string
		status int
		want   string
	}{
		{"POST", 301, "GET "}, {"POST", 302, "GET "}, {"POST", 303, "GET "}, {"POST", 307, "POST body"}, {"POST", 308, "POST body"},
		{"PUT", 302, "PUT body"}, {"PUT", 303, "GET "}, {"DELETE", 301, "DELETE body"}, {"GET", 303, "GET body"},
	} {
		t.Run(fmt.Sprintf("%s %d", tc.method, tc.status), func(t *testing.T) {
			t.Parallel()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/old" {
					http.Redirect(w, r, "/new", tc.status)
					return
				}
				b, _ := io.ReadAll(r.Body)
				if len(b) == 0 && r.Header.Get("Content-Type") != "" {
					t.Error("a content type came without a body")
				}
				_, _ = fmt.Fprintf(w, "%s %s", r.Method, b)
			})
			body := "body"
			resp, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Method: tc.method, Endpoint: "/old", Body: &body, ContentType: "text/plain"}))
			if err != nil || string(resp.Body) != tc.want {
				t.Errorf("got %q, %v; want %q", resp.Body, err, tc.want)
			}
		})
	}
}

func TestEveryHopIsJudgedByTheOutboundPolicy(t *testing.T) {
	t.Parallel()
	private := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the private server was reached") })
	port := private.URL[strings.LastIndexByte(private.URL, ':'):]
	for _, target := range []string{
		private.URL, "http://127.0.0.1" + port, "http://127.1" + port, "http://[::1]" + port, "http://0x7f000001" + port, "http://2130706433" + port,
		"http://0.0.0.0" + port, "//127.0.0.1" + port, "http://[::ffff:127.0.0.1]" + port, "http://169.254.169.254/latest/meta-data/iam", "http://10.0.0.1/",
		"http://user:pw@127.0.0.1" + port, "http://public.example@127.0.0.1" + port, "file:///etc/passwd", "gopher://127.0.0.1" + port + "/x", "http://127.0.0.1." + port[1:] + "/",
	} {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			open := serveOn(t, "127.0.0.2", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", target)
				w.WriteHeader(http.StatusFound)
			})
			client := newClient(t, proxy.Config{Policy: only("127.0.0.2/32")})
			_, err := client.Do(t.Context(), request(open.URL, fn.HTTPArgs{Endpoint: "/x", Retries: 3}))
			e := hostErr(t, err)
			if e.Code != syncline.CodeForbidden && e.Code != syncline.CodeInvalid {
				t.Errorf("error = %+v", e)
			}
		})
	}
}

func TestRedirectsAreCounted(t *testing.T) {
	t.Parallel()
	hops := 0
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hops++
		http.Redirect(w, r, fmt.Sprintf("/%d", hops), http.StatusFound)
	})
	_, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{Endpoint: "/x"}))
	e := hostErr(t, err)
	if e.NetCode != "ERR_FR_TOO_MANY_REDIRECTS" || e.Code != syncline.CodeUpstream || hops != proxy.MaxRedirects+1 {
		t.Errorf("error = %+v after %d hops", e, hops)
	}
}

func TestARedirectWithoutATargetIsAnAnswer(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) })
	resp, err := newClient(t, proxy.Config{}).Do(t.Context(), request(srv.URL, fn.HTTPArgs{}))
	if err != nil || resp.Status != 304 {
		t.Errorf("response = %+v, %v", resp, err)
	}
}
