package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"syncline"
	"syncline/internal/config"
	"syncline/internal/fn/bundle"
	"syncline/internal/node"
)

// startTimeout is how long the server of the dev loop may take to start.
const startTimeout = 30 * time.Second

func devCommand(s Streams, options ...node.Option) *cobra.Command {
	var (
		t                  target
		noTypes, noRuns    bool
		server, key, asEnv string
	)
	cmd := &cobra.Command{
		Use:   "dev [DIR]",
		Short: "Watch a project: bundle, check types, deploy and show runs as you edit",
		Long: `Watch the project in DIR (the current directory by default). Each time that a file is saved, its functions are bundled
and deployed to a server, problems are shown with file and line, and the project's own TypeScript checks the types. Runs
and what they log are shown as they come.

Without --server (or SYNCLINE_SERVER) it starts a server of its own, with the flags and variables of "syncline serve", or
uses the one that runs at the same address already. On a server of its own it creates the integrations that the project
names and the server lacks, when there is a provider of that name. It ends with Ctrl-C, and its server with it.

A function that is taken out of index.ts stays deployed; "syncline deploy" deletes it.`,
		Example: `  syncline dev
  syncline dev examples/github-issues --allow-private-networks
  syncline dev --server https://staging.example.com --env dev`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			loaded, err := config.Load(cmd.Flags(), s.Environ)
			if err != nil {
				return err
			}
			if loaded.Source("log-level") == config.SourceDefault {
				loaded.Config.LogLevel = "warn" // runs have their own lines
			}
			t = target{flags: cmd.Flags(), server: server, key: key, environment: asEnv, dataDir: loaded.Config.DataDir}
			d := &devLoop{Streams: s, dir: ".", target: &t, config: loaded.Config, types: !noTypes, runs: !noRuns, options: options}
			if len(args) > 0 {
				d.dir = args[0]
			}
			return d.run(cmd.Context())
		},
	}
	config.Bind(cmd.Flags())
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&server, "server", "", "Deploy to this server, and start none (SYNCLINE_SERVER)")
	f.StringVarP(&asEnv, "env", "e", defaultEnvironment, "Environment to deploy to")
	f.StringVar(&key, "key", "", "API key; better in SYNCLINE_SECRET_KEY")
	f.BoolVar(&noTypes, "no-types", false, "Do not check types")
	f.BoolVar(&noRuns, "no-runs", false, "Do not show runs")
	return cmd
}

// devLoop is one "syncline dev".
type devLoop struct {
	Streams
	dir         string
	target      *target
	config      config.Config
	types, runs bool
	options     []node.Option // of the server that it starts

	builder *bundle.Builder
	client  *client
	own     bool            // the server is ours
	hooks   map[string]bool // integrations whose webhook URL was shown

	mu sync.Mutex // over what is printed
}

// print writes one line with the time.
func (d *devLoop) print(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := d.colours().paint("dim", time.Now().Format("15:04:05"))
	fmt.Fprintf(d.Out, "%s %s\n", at, fmt.Sprintf(format, args...))
}

func (d *devLoop) run(ctx context.Context) (err error) {
	if d.builder, err = bundle.NewBuilder(bundle.Options{Dir: d.dir, Engine: bundle.EngineAuto, Cache: true}); err != nil {
		return err
	}
	defer d.builder.Close()
	server, stop, err := d.connect(ctx)
	if err != nil {
		return err
	}
	// The loop ends first, then the server: it may have runs to finish.
	g, loop := errgroup.WithContext(ctx)
	g.Go(func() error {
		select {
		case <-loop.Done():
			return nil
		case err := <-server:
			if err == nil && loop.Err() == nil {
				err = syncline.Errorf(syncline.CodeInternal, "the server ended")
			}
			return err
		}
	})
	g.Go(func() error { return d.develop(loop) })
	if d.runs {
		g.Go(func() error { return (&tail{Streams: d.Streams, client: d.client, print: d.print}).run(loop) })
	}
	if d.types {
		g.Go(func() error { return d.checkTypes(loop) })
	}
	err = g.Wait()
	return errors.Join(err, stop())
}

// connect finds the server to work with, or starts it. server reports how one
// that was started ended; stop ends it.
func (d *devLoop) connect(ctx context.Context) (server <-chan error, stop func() error, err error) {
	none := func() error { return nil }
	if d.target.server != "" || d.Getenv("SYNCLINE_SERVER") != "" {
		d.client, err = d.target.client(d.Streams)
		return nil, none, err
	}
	d.target.server = config.PublicURLOf(d.config.Listen)
	if answers(ctx, d.target.server) {
		d.print("a server runs at %s already; using it", d.target.server)
		d.client, err = d.target.client(d.Streams)
		return nil, none, err
	}
	if _, port, err := net.SplitHostPort(d.config.Listen); err == nil && port == "0" {
		return nil, nil, usage("--listen %s: the dev loop has to know the port", d.config.Listen).WithHint("name one, for example --listen 127.0.0.1:3004")
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- node.Run(running, d.config, newLogger(d.Err, d.config), d.Out, d.options...) }()
	stop = func() error {
		cancel()
		return <-ended
	}
	limit, done := context.WithTimeout(ctx, startTimeout)
	defer done()
	for !answers(limit, d.target.server) {
		select {
		case err := <-ended:
			cancel()
			return nil, nil, err
		case <-limit.Done():
			err := syncline.Errorf(syncline.CodeUnavailable, "the server was not ready after %s", startTimeout)
			if ctx.Err() != nil {
				err = nil
			}
			return nil, nil, errors.Join(err, stop())
		case <-time.After(20 * time.Millisecond):
		}
	}
	d.own = true
	if d.client, err = d.target.client(d.Streams); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	watched := make(chan error, 1)
	over := make(chan error, 1)
	go func() {
		err := <-ended
		watched <- err
		over <- err
	}()
	return watched, func() error {
		cancel()
		return <-over
	}, nil
}

// answers reports whether a server is ready at an address.
func answers(ctx context.Context, server string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<10))
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// develop deploys the project, and again each time that it changes.
func (d *devLoop) develop(ctx context.Context) error {
	d.hooks = map[string]bool{}
	var failed error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := watch(ctx, d.dir, func(files []string) {
		if err := d.round(ctx, files); err != nil && failed == nil {
			failed = err
			cancel()
		}
	})
	return errors.Join(failed, err)
}

// round bundles and deploys once. What is wrong with the project is shown; an
// error is what ends the loop.
func (d *devLoop) round(ctx context.Context, files []string) error {
	began := time.Now()
	built, err := buildWith(ctx, d.builder, d.dir)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if err != nil {
		return err
	}
	bundled := time.Since(began)
	cause := ""
	if len(files) > 0 {
		cause = shorten(clean(strings.Join(files, ", ")), 60) + ": "
	}
	if len(built.problems) == 0 {
		built.problems, err = d.integrations(ctx, built.functions)
		if err != nil {
			return d.tolerate(ctx, err)
		}
	}
	p := d.colours()
	for _, w := range built.warnings {
		d.problem(w, p.paint("warn", "warning: "))
	}
	if len(built.problems) > 0 {
		d.print("%s%s; nothing was deployed", cause, p.paint("bad", plural(len(built.problems), "problem")))
		for _, w := range built.problems {
			d.problem(w, "")
		}
		return nil
	}
	done, err := d.deploy(ctx, built)
	if err != nil {
		return d.tolerate(ctx, err)
	}
	changed := 0
	for _, c := range done.Changes {
		if c.Change == changeUnchanged || c.Change == changeMissing {
			continue
		}
		changed++
		line := fmt.Sprintf("%s %s %s/%s %s", p.status(c.Change), c.Type, clean(c.Integration), clean(c.Name), versions(c))
		if details := clean(strings.Join(c.Details, "; ")); details != "" {
			line += "  " + p.paint("dim", details)
		}
		d.print("%s", line)
	}
	d.print("%s%s bundled in %s, %s in %s", cause, plural(len(built.functions), "function"), bundled.Round(time.Millisecond),
		map[bool]string{true: "deployed", false: "nothing changed"}[changed > 0], time.Since(began).Round(time.Millisecond))
	return d.showWebhooks(ctx, built.functions)
}

// deploy deploys what was built: the bundles that the server lacks first.
func (d *devLoop) deploy(ctx context.Context, built project) (done deployed, err error) {
	request := requestOf(built.functions)
	request.DryRun = true
	if err := d.client.post(ctx, "/deployments", request, &done); err != nil || done.unchanged() {
		return done, err
	}
	if err := upload(ctx, d.client, built, done.MissingBundles, func(int, int) {}); err != nil {
		return done, err
	}
	request.DryRun = false
	done = deployed{}
	err = d.client.post(ctx, "/deployments", request, &done)
	return done, err
}

// tolerate shows an error of the server and goes on: the next change may do
// better. A key that is refused ends the loop.
func (d *devLoop) tolerate(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if syncline.CodeOf(err) == syncline.CodeUnauthorized {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	printError(d.Err, err)
	return nil
}

func (d *devLoop) problem(p problem, kind string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.Out, "  %s%s%s\n", p.place(), kind, clean(p.message))
	if p.hint != "" {
		fmt.Fprintf(d.Out, "      %s\n", clean(p.hint))
	}
}

// integrations are the problems of functions whose integration the server
// lacks. On a server of our own it is created where a provider has its name.
func (d *devLoop) integrations(ctx context.Context, functions []bundle.Function) ([]problem, error) {
	deploy := &deployer{Streams: d.Streams, client: d.client}
	problems, err := deploy.unknownIntegrations(ctx, d.dir, functions)
	if err != nil || len(problems) == 0 || !d.own {
		return problems, err
	}
	created := map[string]bool{}
	for i := range functions {
		key := functions[i].Manifest.Integration
		if created[key] {
			continue
		}
		created[key] = true
		var answer any
		if err := d.client.get(ctx, "/integrations/"+url.PathEscape(key), nil, &answer); err == nil {
			continue
		}
		body := map[string]string{"unique_key": key, "provider": key}
		if err := d.client.post(ctx, "/integrations", body, &answer); err != nil {
			continue // told as a problem below
		}
		d.print("created the integration %s; give it its credentials and webhook secret with PATCH /integrations/%s", clean(key), url.PathEscape(key))
	}
	return deploy.unknownIntegrations(ctx, d.dir, functions)
}

// showWebhooks prints, once for each, where the external APIs of the project's
// integrations send their webhooks.
func (d *devLoop) showWebhooks(ctx context.Context, functions []bundle.Function) error {
	var keys []string
	for i := range functions {
		m := &functions[i].Manifest
		if m.HasOnWebhook && !d.hooks[m.Integration] {
			d.hooks[m.Integration] = true
			keys = append(keys, m.Integration)
		}
	}
	slices.Sort(keys)
	for _, key := range keys {
		var answer struct {
			Data struct {
				WebhookURL string `json:"webhook_url"`
			} `json:"data"`
		}
		if err := d.client.get(ctx, "/integrations/"+url.PathEscape(key), url.Values{"include": {"webhook"}}, &answer); err != nil {
			return d.tolerate(ctx, err)
		}
		if answer.Data.WebhookURL != "" {
			d.print("webhooks of %s go to %s", clean(key), clean(answer.Data.WebhookURL))
		}
	}
	return nil
}

// checkTypes shows what the project's TypeScript finds.
func (d *devLoop) checkTypes(ctx context.Context) error {
	p := d.colours()
	checker := &typeChecker{dir: d.dir, found: func(problems []problem) {
		if len(problems) == 0 {
			d.print("%s", p.paint("good", "types are right"))
			return
		}
		d.print("%s in the types", p.paint("bad", plural(len(problems), "problem")))
		for _, w := range problems {
			d.problem(w, "")
		}
	}}
	err := checker.run(ctx)
	switch {
	case errors.Is(err, errNoTypeScript):
		d.print("types are not checked: the project has no TypeScript; add it with: npm install --save-dev typescript")
	case err != nil:
		d.print("types are not checked: %v", err)
	}
	return nil
}
