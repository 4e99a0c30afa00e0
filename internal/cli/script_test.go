package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"syncline": func() { os.Exit(Main(context.Background(), os.Args[1:], System())) },
	})
}

// TestScripts runs testdata/script. Besides testscript's commands they have:
//
//	fake ROUTES      start a server that answers as the file ROUTES says, and
//	                 point SYNCLINE_SERVER at it
//	sent [-bodies]   print the requests that it was sent since the last time
//
// A line of ROUTES is "METHOD PATH STATUS FILE"; each request takes the next
// of the lines with its method and path, the last of them again and again.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("HOME", env.WorkDir)
			env.Values[serverKey{}] = &fakeServer{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"fake": fake, "sent": sent, "code": code},
	})
}

type serverKey struct{}

// fakeServer answers from files and notes what it was asked.
type fakeServer struct {
	mu     sync.Mutex
	routes []route
	log    []string
	bodies []string
}

type route struct {
	method, path string
	status       string
	body         string
	used         bool
}

func fake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fake ROUTES")
	}
	s := ts.Value(serverKey{}).(*fakeServer)
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		f := strings.Fields(line)
		if len(f) != 4 {
			ts.Fatalf("route %q is not METHOD PATH STATUS FILE", line)
		}
		s.routes = append(s.routes, route{f[0], f[1], f[2], ts.ReadFile(f[3]), false})
	}
	server := httptest.NewServer(s)
	ts.Defer(server.Close)
	ts.Setenv("SYNCLINE_SERVER", server.URL)
	ts.Setenv("SYNCLINE_SECRET_KEY_DEV", "the-key-of-this-test")
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%s %s %s", r.Method, r.URL, r.Header.Get("Authorization"))
	for _, name := range []string{"Provider-Config-Key", "Connection-Id", "X-Async", "X-Max-Retries"} {
		if v := r.Header.Get(name); v != "" {
			line += "; " + name + ": " + v
		}
	}
	s.log = append(s.log, line)
	s.bodies = append(s.bodies, string(body))
	var answer *route
	for i := range s.routes {
		if c := &s.routes[i]; c.method == r.Method && c.path == r.URL.Path {
			answer = c
			if !c.used {
				break
			}
		}
	}
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	answer.used = true
	w.Header().Set("Content-Type", "application/json")
	status := 0
	_, _ = fmt.Sscan(answer.status, &status)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer.body)
}

func sent(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! sent")
	}
	s := ts.Value(serverKey{}).(*fakeServer)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, line := range s.log {
		_, _ = fmt.Fprintln(ts.Stdout(), line)
		if len(args) > 0 && s.bodies[i] != "" {
			_, _ = fmt.Fprintln(ts.Stdout(), compactBody(s.bodies[i]))
		}
	}
	s.log, s.bodies = nil, nil
}

// compactBody shortens the bundles in a deployment, which are not what is tested.
func compactBody(body string) string {
	var d deployment
	if json.Unmarshal([]byte(body), &d) != nil || !strings.Contains(body, `"functions"`) {
		return strings.TrimSpace(body)
	}
	text := fmt.Sprintf("  dry_run=%t delete_missing=%t", d.DryRun, d.DeleteMissing)
	for _, f := range d.Functions {
		text += fmt.Sprintf(" %s:%s/%s(%d)", f.Manifest.Type, f.Manifest.Integration, f.Manifest.Name, len(f.BundleHash))
	}
	return text
}

// code runs a command and checks its exit code: "code 4 syncline runs".
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND ...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		exit, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = fmt.Sprint(exit.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
