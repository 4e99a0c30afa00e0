// Command engines measures what functions cost on each engine, beside the same
// bundle in plain Node, in one run: records mapped with zod, a webhook in a warm
// context, and one in a fresh context. Everything goes the way that it goes in a
// server, through the pool of worker processes, with host calls that are answered
// at once.
//
//	go run ./bench/engines
package main

import (
	"bytes"
	"context"
	_ "embed" // for the function
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/bundle"
	"syncline/internal/fn/gofn"
	"syncline/internal/fn/nodejs"
	"syncline/internal/fn/worker"
)

//go:embed function.ts
var function string

//go:embed plain.js
var plainProgram string

const file = "github/syncs/issues.ts"

// figures are what one engine does.
type figures struct {
	RecordsPerSecond  float64
	WarmMicroseconds  float64
	FreshMilliseconds float64
}

func main() {
	if memory := os.Getenv(worker.MemoryVariable); memory != "" { // the pool starts this program as its worker
		os.Exit(worker.Main(context.Background(), os.Stdin, os.Stdout, memory))
	}
	rounds := flag.Int("rounds", 5, "How often everything is measured; the medians are shown")
	pages := flag.Int("pages", 30, "Pages of 1,000 records that one poll maps")
	calls := flag.Int("calls", 2000, "Warm webhook calls")
	contexts := flag.Int("contexts", 50, "Fresh contexts")
	packages := flag.String("packages", "examples/github-issues/node_modules", "Where zod is installed (make packages)")
	flag.Parse()
	if err := run(context.Background(), *rounds, *packages, sizes{*pages, *calls, *contexts}); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		os.Exit(1)
	}
}

type sizes struct{ pages, calls, contexts int }

func run(ctx context.Context, rounds int, packages string, n sizes) error {
	compiled, err := compile(ctx, packages)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	pool := worker.NewPool(worker.Options{Command: func() *exec.Cmd { return exec.CommandContext(context.Background(), exe) }, Workers: 1}) //nolint:gosec // this program
	defer pool.Close()
	node := &nodejs.Runner{Next: pool, Options: worker.Options{Workers: 1}}
	defer node.Close()
	runtime, err := node.Runtime(ctx)
	if err != nil {
		return err
	}
	goRunner, goCall, err := goFunction(node)
	if err != nil {
		return err
	}
	sides := []struct {
		name    string
		measure func() (figures, error)
	}{
		{"plain node", func() (figures, error) { return plain(ctx, runtime, compiled[syncline.EngineNode], n) }},
		{"node", func() (figures, error) {
			return through(ctx, node, callOf(syncline.EngineNode, compiled[syncline.EngineNode]), n)
		}},
		{"quickjs", func() (figures, error) {
			return through(ctx, node, callOf(syncline.EngineQuickJS, compiled[syncline.EngineQuickJS]), n)
		}},
		{"go", func() (figures, error) { return through(ctx, goRunner, goCall, n) }},
	}
	all := make([][]figures, len(sides))
	for range rounds {
		for i, side := range sides {
			f, err := side.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			all[i] = append(all[i], f)
		}
	}
	fmt.Printf("Node.js %s; medians of %d rounds\n\n", runtime.Version, rounds)
	fmt.Println("| engine | records/s mapped with zod | of plain node | µs of a warm webhook call | ms of one in a fresh context |")
	fmt.Println("|---|---|---|---|---|")
	base := median(all[0], func(f figures) float64 { return f.RecordsPerSecond })
	for i, side := range sides {
		records := median(all[i], func(f figures) float64 { return f.RecordsPerSecond })
		fmt.Printf("| %s | %.0f | %.2f | %.0f | %.2f |\n", side.name, records, records/base,
			median(all[i], func(f figures) float64 { return f.WarmMicroseconds }), median(all[i], func(f figures) float64 { return f.FreshMilliseconds }))
	}
	return nil
}

func median(all []figures, of func(figures) float64) float64 {
	var v []float64
	for _, f := range all {
		v = append(v, of(f))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// made is a bundle, and the library that it continues.
type made struct{ source, library []byte }

func compile(ctx context.Context, packages string) (map[syncline.Engine]made, error) {
	dir, err := os.MkdirTemp("", "syncline-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, []byte(function), 0o600); err != nil {
		return nil, err
	}
	if packages, err = filepath.Abs(packages); err != nil {
		return nil, err
	}
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
		return nil, err
	}
	out := map[syncline.Engine]made{}
	for _, engine := range []syncline.Engine{syncline.EngineQuickJS, syncline.EngineNode} {
		b, err := bundle.NewBuilder(bundle.Options{Dir: dir, Engine: engine})
		if err != nil {
			return nil, err
		}
		c, err := b.Compile(ctx, []string{file})
		b.Close()
		if err != nil {
			return nil, err
		}
		if problems := c.Problems[file]; len(problems) > 0 {
			return nil, problems
		}
		m := made{source: c.Functions[file].Source}
		if hash, ok := fn.Library(m.source); ok {
			m.library = c.Libraries[hash]
		}
		out[engine] = m
	}
	return out, nil
}

func callOf(engine syncline.Engine, m made) fn.Call {
	return fn.Call{
		EnvironmentID: 1, Engine: engine, BundleHash: string(engine),
		Bundle:  func(context.Context) ([]byte, error) { return m.source, nil },
		Library: func(context.Context, string) ([]byte, error) { return m.library, nil },
	}
}

// issue is one as GitHub's API gives it, about 1.5 KB.
func issue(n int) json.RawMessage {
	return fmt.Appendf(nil, `{"id":%d,"node_id":"I_kwDO%d","number":%d,"title":" Issue %d does not work ","state":"open","locked":false,"comments":3,`+
		`"user":{"login":"octocat","id":1,"avatar_url":"https://avatars.example/u/1","type":"User","site_admin":false},`+
		`"labels":[{"id":1,"name":"bug","color":"d73a4a","default":true},{"id":2,"name":"triage","color":"ededed","default":false}],`+
		`"assignees":[],"milestone":null,"body":%q,"created_at":"2026-01-02T03:04:05Z","updated_at":"2026-02-03T04:05:06Z"}`, 1_000_000+n, n, n, n, strings.Repeat("It fails when I do this. ", 40))
}

var (
	page = func() json.RawMessage {
		var list []json.RawMessage
		for n := range 1000 {
			list = append(list, issue(n))
		}
		b, err := json.Marshal(list)
		if err != nil {
			panic(err) // it is ours
		}
		return b
	}()
	event = json.RawMessage(`{"action":"edited","issue":` + string(issue(1)) + `}`)
)

// upstream answers host calls at once: so many pages, and then an empty one.
type upstream struct{ left, records int }

func (u *upstream) Call(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	switch method {
	case fn.MethodHTTP:
		body := "[]"
		if u.left > 0 {
			u.left--
			body = string(page)
		}
		return json.Marshal(fn.HTTPResult{Status: 200, Body: body})
	case fn.MethodBatchSave:
		u.records += bytes.Count(args, []byte(`"created_at"`))
	}
	return json.RawMessage("true"), nil
}

func (*upstream) Log(syncline.LogLine) {}

func through(ctx context.Context, r fn.Runner, c fn.Call, n sizes) (f figures, err error) {
	c.Limits = fn.Limits{Wall: 10 * time.Minute, CPU: 10 * time.Minute}
	poll := func(pages int) (float64, error) {
		c := c
		c.Entry, c.WarmKey = fn.EntryExec, "poll"
		u := &upstream{left: pages}
		began := time.Now()
		if _, err := r.Run(ctx, c, u); err != nil {
			return 0, err
		}
		if u.records != pages*1000 {
			return 0, fmt.Errorf("%d records were saved of %d", u.records, pages*1000)
		}
		return float64(u.records) / time.Since(began).Seconds(), nil
	}
	webhooks := func(calls int, key string) (time.Duration, error) {
		c := c
		c.Entry, c.Input, c.WarmKey = fn.EntryOnWebhook, event, key
		began := time.Now()
		for range calls {
			if _, err := r.Run(ctx, c, &upstream{}); err != nil {
				return 0, err
			}
		}
		return time.Since(began) / time.Duration(calls), nil
	}
	if _, err := poll(2); err != nil { // warm
		return f, err
	}
	if f.RecordsPerSecond, err = poll(n.pages); err != nil {
		return f, err
	}
	if _, err := webhooks(200, "connection"); err != nil {
		return f, err
	}
	warm, err := webhooks(n.calls, "connection")
	if err != nil {
		return f, err
	}
	fresh, err := webhooks(n.contexts, "")
	f.WarmMicroseconds, f.FreshMilliseconds = float64(warm.Nanoseconds())/1e3, float64(fresh.Microseconds())/1e3
	return f, err
}

func plain(ctx context.Context, runtime *nodejs.Runtime, m made, n sizes) (f figures, err error) {
	in, err := json.Marshal(map[string]any{
		"library": string(m.library), "bundle": string(m.source), "page": string(page), "event": string(event), "pages": n.pages, "calls": n.calls, "contexts": n.contexts,
	})
	if err != nil {
		return f, err
	}
	cmd := exec.CommandContext(ctx, runtime.Path, "-e", plainProgram) //nolint:gosec // it was found as Node.js
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(out, &f)
}

// goFunction is the same function in Go: its types check what zod checks.
func goFunction(next fn.Runner) (fn.Runner, fn.Call, error) {
	type label struct {
		Name  string `json:"name"`
		Color string `json:"color"`
	}
	type upstreamIssue struct {
		ID           int64
		Number       int
		Title, State string
		User         *struct{ Login string }
		Labels       []label
		Body         *string
		CreatedAt    time.Time `json:"created_at"`
		UpdatedAt    time.Time `json:"updated_at"`
	}
	type record struct {
		ID        string    `json:"id"`
		Number    int       `json:"number"`
		Title     string    `json:"title"`
		State     string    `json:"state"`
		Author    *string   `json:"author"`
		Labels    []label   `json:"labels"`
		Body      *string   `json:"body"`
		CreatedAt time.Time `json:"created_at"`
		UpdatedAt time.Time `json:"updated_at"`
	}
	mapped := func(i *upstreamIssue) record {
		r := record{ID: fmt.Sprint(i.ID), Number: i.Number, Title: strings.TrimSpace(i.Title), State: i.State, Labels: i.Labels, Body: i.Body, CreatedAt: i.CreatedAt, UpdatedAt: i.UpdatedAt}
		if i.User != nil {
			r.Author = &i.User.Login
		}
		for n := range r.Labels {
			r.Labels[n].Color = "#" + r.Labels[n].Color
		}
		return r
	}
	save := func(ctx context.Context, s *gofn.Session, records []record) error {
		_, err := s.Call(ctx, fn.MethodBatchSave, map[string]any{"model": "Issue", "records": records})
		return err
	}
	registry, err := gofn.NewRegistry("bench", []gofn.Function{{
		Manifest: syncline.Manifest{Type: syncline.FunctionSync, Name: "issues", Integration: "github"},
		Handlers: map[fn.Entry]gofn.Handler{
			fn.EntryExec: func(ctx context.Context, s *gofn.Session) (any, error) {
				for {
					answer, err := s.Call(ctx, fn.MethodHTTP, fn.HTTPArgs{Method: "GET", Endpoint: "/issues"})
					if err != nil {
						return nil, err
					}
					var result fn.HTTPResult
					if err := json.Unmarshal(answer, &result); err != nil {
						return nil, err
					}
					var list []upstreamIssue
					if err := json.Unmarshal([]byte(result.Body), &list); err != nil || len(list) == 0 {
						return nil, err
					}
					records := make([]record, len(list))
					for i := range list {
						records[i] = mapped(&list[i])
					}
					if err := save(ctx, s, records); err != nil {
						return nil, err
					}
				}
			},
			fn.EntryOnWebhook: func(ctx context.Context, s *gofn.Session) (any, error) {
				var in struct{ Issue upstreamIssue }
				if err := json.Unmarshal(s.Input, &in); err != nil {
					return nil, err
				}
				return nil, save(ctx, s, []record{mapped(&in.Issue)})
			},
		},
	}})
	if err != nil {
		return nil, fn.Call{}, err
	}
	return &gofn.Runner{Registry: registry, Next: next}, fn.Call{
		EnvironmentID: 1, Engine: syncline.EngineGo, BundleHash: registry.Versions()[0].Hash, Context: fn.Context{Function: "issues"},
	}, nil
}
