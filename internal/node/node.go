package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/clock"
	"syncline/internal/config"
	"syncline/internal/dash"
	"syncline/internal/dispatch"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
	"syncline/internal/fn/host"
	"syncline/internal/fn/nodejs"
	"syncline/internal/fn/worker"
	"syncline/internal/inbox"
	"syncline/internal/ingest"
	"syncline/internal/notify"
	"syncline/internal/provider"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
	"syncline/internal/records"
	"syncline/internal/retention"
	"syncline/internal/route"
	"syncline/internal/schedule"
	"syncline/internal/secret"
	"syncline/internal/store"
	"syncline/internal/store/sealed"
	"syncline/internal/supervise"
)

const (
	// pollLease is how long a poll is believed to run without a sign of life.
	pollLease = time.Minute
	// flushTimeout bounds the last attempt to send what is due at a stop.
	flushTimeout = 5 * time.Second
)

// Run runs a server until ctx ends, and then stops it in order: no more
// webhooks are taken, no more lanes and polls are begun, what runs finishes or
// is released, notifications that are due are sent, the stores are closed. out
// gets what the user who starts it should see.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, out io.Writer, options ...Option) (err error) {
	began := time.Now()
	unlock, err := lockDataDir(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	// In containers, hosts' names and process ids are often the same.
	n := &node{cfg: cfg, log: log, clock: clock.System, owner: fmt.Sprintf("%s/%d/%.8s", hostname(), os.Getpid(), syncline.NewUUID())}
	for _, o := range options {
		o(n)
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.open(ctx, out); err != nil {
		return err
	}
	n.seal()
	if err := n.openCompiled(ctx, out); err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return syncline.Errorf(syncline.CodeUnavailable, "cannot listen on %s: %w", cfg.Listen, err).
			WithHint("is another server running there? choose another address with --listen")
	}
	if n.cfg.PublicURL == "" {
		n.cfg.PublicURL = config.PublicURLOf(listener.Addr().String())
	}
	group := n.wire(listener)
	fmt.Fprintf(out, "syncline is ready on %s (%d ms)\n", config.PublicURLOf(listener.Addr().String()), time.Since(began).Milliseconds())
	err = group.Run(ctx)
	n.flush()
	log.Info("stopped")
	return err
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// node is the parts of one process.
type node struct {
	cfg   config.Config
	log   *slog.Logger
	clock clock.Clock
	owner string // in leases

	compiled compiled

	sealer  *secret.Sealer
	store   store.Store
	sealed  *sealed.Store // store, by its own name
	replica store.Store   // for reads of records; nil: there is none
	inbox   inbox.Log
	peers   peers
	client  *proxy.Client
	pool    *worker.Pool
	engines *nodejs.Runner
	sender  *notify.Sender
	group   *supervise.Group

	router    *route.Router
	lanes     *dispatch.Lanes
	polls     *dispatch.Polls
	actions   *dispatch.Actions
	ticker    *schedule.Ticker
	endpoints *ingest.Endpoints
	wired     atomic.Bool // these are there
	routing   atomic.Bool // this process has the role
}

func (n *node) close() error {
	if n.engines != nil {
		n.engines.Close()
		n.pool.Close()
	}
	if n.client != nil {
		n.client.Close()
	}
	var errs []error
	if n.peers != nil {
		n.peers.Close()
	}
	if n.inbox != nil {
		errs = append(errs, n.inbox.Close())
	}
	if n.replica != nil {
		errs = append(errs, n.replica.Close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}

// flush sends what is due once more before the process ends, unless another one
// sends.
func (n *node) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := n.peers.Try(ctx, roleNotify, n.sender.Flush); err != nil {
		n.log.Warn("notifications remain to be sent after the next start", "err", err)
	}
}

// wire makes the parts, in the direction in which data flows, and the loops
// that run them.
func (n *node) wire(listener net.Listener) *supervise.Group {
	catalogue := provider.Builtin()
	policy := outbound.Policy{AllowPrivateNetworks: n.cfg.AllowPrivateNetworks, DenyHosts: n.cfg.DeniedHosts()}
	webhookOf := func(i *syncline.Integration) (*provider.Webhook, error) { return ingest.WebhookOf(catalogue, i) }
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	up := &upstream{catalogue: catalogue, sealer: n.sealer, store: n.store, clock: n.clock, publicURL: n.cfg.PublicURL}
	n.client = proxy.New(proxyConfig(n.cfg, policy, up, n.clock))
	up.client = n.client
	n.pool, n.engines = n.newEngines()
	n.sender = notify.New(notify.Config{
		Store: n.store, Secrets: n.sealer, Policy: policy, Clock: n.clock, Logger: n.log, Timeout: n.cfg.NotifyTimeout,
	})

	// Stages know each other only by what they are woken with.
	n.router = &route.Router{Store: n.store, Inbox: n.inbox, Clock: n.clock, Log: n.log, Webhook: webhookOf, ParkedExpiry: n.cfg.ParkedExpiry}
	control := &schedule.Control{Store: n.store, Clock: n.clock, Wake: n.due, Cancel: n.cancel}
	limits, most := n.cfg.RunLimits()
	engine := &dispatch.Engine{
		Host: &host.Deps{
			Store: n.store, Clock: n.clock, Upstream: up, Connections: up, Integrations: up, Fetcher: up, Syncs: control,
			MaxLogLines: limits.LogLines, MostLogLines: most.LogLines,
			ConnectionsChanged: n.changed,
			MassDelete:         records.MassDelete{Percent: n.cfg.MassDeletePercent, Records: n.cfg.MassDeleteRecords},
		},
		Runner: &gofn.Runner{Registry: n.compiled.registry, Next: n.engines}, Runs: n.compiled.registry.Has, Clock: n.clock, Log: n.log, Announcer: announcer{}, Announced: n.announced, Paginate: up.paginate,
		Limits: fn.Limits{CPU: limits.CPU, Memory: limits.Memory, HostCalls: limits.HostCalls, LogLines: limits.LogLines, Output: limits.Output},
		Most:   most,
	}
	n.lanes = &dispatch.Lanes{
		Engine: engine, Deliveries: n.inbox, Payloads: route.Payloads{Webhook: webhookOf}, Owner: n.owner, Max: n.cfg.LaneConcurrency,
		Wall: n.cfg.WebhookWallLimit, MostWall: max(n.cfg.WebhookWallMax, n.cfg.WebhookWallLimit), Retry: dispatch.RetryPolicy{Attempts: n.cfg.EventMaxAttempts, MaxWait: n.cfg.LaneMaxWait},
	}
	n.router.Wake = n.routed
	n.polls = &dispatch.Polls{Engine: engine, Wall: limits.Wall, MostWall: most.Wall, Stuck: n.cfg.StallRuns, Lease: pollLease}
	n.actions = &dispatch.Actions{
		Engine: engine, Announcer: announcer{}, Owner: n.owner, Lease: pollLease, Max: n.cfg.ActionConcurrency, PerEnvironment: n.cfg.ActionsOfOne,
		Wall: n.cfg.ActionWallLimit, MostWall: max(n.cfg.ActionWallMax, n.cfg.ActionWallLimit), EventWall: n.cfg.OnEventWallLimit,
	}
	engine.Host.Actions = n.actions
	n.ticker = &schedule.Ticker{
		Store: n.store, Clock: n.clock, Log: n.log, Poller: n.polls, Owner: n.owner, Lease: pollLease, Max: n.cfg.PollConcurrency,
	}
	n.endpoints = &ingest.Endpoints{Store: n.store, Catalogue: catalogue, Secrets: n.sealer, Clock: n.clock}
	sweeper := &retention.Sweeper{
		Store: n.store, Inbox: n.inbox, Clock: n.clock, Log: n.log, Deliveries: n.cfg.InboxRetention, Runs: n.cfg.RunRetention, Jobs: n.cfg.ActionRetention,
	}

	rotator := &sealed.Rotator{Store: n.sealed, Clock: n.clock, Log: n.log}

	mux := http.NewServeMux()
	mux.Handle("/webhook/", ingest.Handler(ingest.Config{
		Endpoints: n.endpoints, Inbox: n.inbox, Position: n.store.Position, Clock: n.clock, Log: n.log,
		PublicURL: n.cfg.PublicURL, MaxBody: int64(n.cfg.WebhookBodyLimit), Metrics: metrics,
	}))
	pages := dash.New(dash.Deps{Store: n.store, Clock: n.clock, Log: n.log, PublicURL: n.cfg.PublicURL, Open: onLoopback(listener)})
	mux.Handle("/{$}", pages)
	mux.Handle("/ui/", pages)
	endpoints := api.New(api.Deps{
		Store: n.store, Upstream: up, Replica: n.replica, Secrets: n.sealer, Catalogue: catalogue, Clock: n.clock, Log: n.log, PublicURL: n.cfg.PublicURL,
		Syncs:   control,
		Deletes: &dispatch.Deletes{Engine: engine}, Limits: limits, MostLimits: most,
		Actions: actions{n.actions}, Hooks: hooks{n},
		Ready: n.ready, Received: n.inbox.Last, Compiled: n.compiled.registry.Compiled, Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
		Node: func(ctx context.Context) error {
			_, err := n.engines.Runtime(ctx)
			return err
		},
		MaxBody: int64(n.cfg.RequestBodyLimit), MaxDeployBody: int64(n.cfg.DeployBodyLimit), MaxPage: int64(n.cfg.RecordsPageLimit),
	})
	mux.Handle("/", endpoints)

	others := n.compiledLoops()
	if _, only := n.peers.(alone); !only {
		others = append(others, supervise.Until("look", n.look))
	}
	// In the order in which they stop: what takes work in first, what tells
	// others of it last.
	n.group = supervise.New(n.clock, n.log,
		supervise.Stage{Name: "http", Timeout: n.cfg.ShutdownTimeout, Loops: []supervise.Loop{{Name: "http", Run: n.serve(listener, api.KeepProxyPaths(endpoints, mux))}}},
		supervise.Stage{Name: "route", Loops: []supervise.Loop{n.led(roleRouter, n.route)}},
		supervise.Stage{Name: "runs", Timeout: n.cfg.ShutdownTimeout, Loops: []supervise.Loop{
			{Name: "lanes", Run: n.lanes.Run}, {Name: "polls", Run: n.ticker.Run}, {Name: "actions", Run: n.actions.Run},
		}},
		supervise.Stage{Name: "notify", Loops: append(others,
			n.led(roleNotify, n.sender.Run), n.led("retention", sweeper.Run), n.led("reaper", n.reap), n.led("sealing", rotator.Run),
		)},
	)
	// Polls that died with an earlier process are ended before any begins.
	if _, err := n.polls.Reap(context.Background()); err != nil {
		n.log.Error("cannot end the runs of an earlier process", "err", err)
	}
	if _, err := n.actions.Reap(context.Background()); err != nil {
		n.log.Error("cannot end the actions of an earlier process", "err", err)
	}
	n.wired.Store(true)
	return n.group
}

// newEngines makes what runs functions in JavaScript: processes of this program,
// and of a Node.js, which is looked for when a function needs it.
func (n *node) newEngines() (*worker.Pool, *nodejs.Runner) {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	o := worker.Options{
		Command: func() *exec.Cmd { return exec.CommandContext(context.Background(), exe, "worker") },
		Workers: n.cfg.Workers, Slots: n.cfg.WorkerSlots, Memory: int64(n.cfg.WorkerMemoryLimit), Log: n.log,
	}
	pool := worker.NewPool(o)
	return pool, &nodejs.Runner{Next: pool, Options: o, Path: n.cfg.Node}
}

// serve serves HTTP until ctx ends; then requests that are under way finish.
func (n *node) serve(listener net.Listener, handler http.Handler) func(ctx, work context.Context) error {
	return func(ctx, work context.Context) error {
		s := &http.Server{
			Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		}
		failed := make(chan error, 1)
		go func() { failed <- s.Serve(listener) }()
		select {
		case err := <-failed:
			return err
		case <-ctx.Done():
		}
		err := s.Shutdown(work)
		if closed := <-failed; !errors.Is(closed, http.ErrServerClosed) {
			err = errors.Join(err, closed)
		}
		return err
	}
}

func (n *node) ready(ctx context.Context) error {
	if err := n.inbox.Ping(ctx); err != nil {
		return err
	}
	return n.group.Err()
}

// onLoopback reports whether only this machine can reach the listener.
func onLoopback(l net.Listener) bool {
	a, err := netip.ParseAddrPort(l.Addr().String())
	return err == nil && a.Addr().Unmap().IsLoopback()
}
