package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline"
	"syncline/internal/fixture"
	"syncline/internal/fn"
	"syncline/internal/fn/bundle"
	"syncline/internal/fn/worker"
	"syncline/internal/provider"
)

// dryRun is one "syncline dryrun".
type dryRun struct {
	Streams
	target target

	dir, integration, function, connection string
	kind, variant, engine, node, standin   string
	metadata, checkpoint, input, webhook   string
	lastSyncDate                           string
	save, asJSON, verbose                  bool
	timeout                                time.Duration
}

func dryrunCommand(s Streams) *cobra.Command {
	d := dryRun{Streams: s}
	cmd := &cobra.Command{
		Use:   "dryrun INTEGRATION FUNCTION [CONNECTION]",
		Short: "Run a function of the project on a connection, and change nothing in the cache",
		Long: `Run a function of the project against a connection of a server: its requests go through the server's proxy with the
connection's credentials, and what it saves is shown beside what the cache holds. The function need not be deployed. Nothing is
written to the cache, to the connection's metadata or to checkpoints; what the function does at the external API is done.

With --standin no server is asked: requests go to an address of your own, or are answered from a fixture.

--save-fixture records the run as a fixture, which "syncline test" then passes. Credentials are not written to it.`,
		Example: `  syncline dryrun github issues acme
  syncline dryrun github issues acme --metadata '{"owner": "acme", "repo": "site"}' --save-fixture
  syncline dryrun github create-issue acme --input input.json
  syncline dryrun github issues acme --webhook payload.json
  syncline dryrun github issues --standin http://127.0.0.1:4010
  syncline dryrun github issues --standin github/tests/issues.test.json`,
		Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			d.integration, d.function = args[0], args[1]
			if len(args) > 2 {
				d.connection = args[2]
			}
			return d.run(cmd.Context())
		},
	}
	d.target.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&d.dir, "dir", ".", "Folder of the project")
	f.StringVar(&d.kind, "type", "", "Type of the function where two have its name: sync, action, on-event")
	f.StringVar(&d.standin, "standin", "", "Where requests go instead of the server: an address, or a fixture file")
	f.StringVarP(&d.input, "input", "i", "", "Input of an action: JSON, or a file")
	f.StringVar(&d.webhook, "webhook", "", "Call onWebhook with this payload: JSON, or a file")
	f.StringVarP(&d.metadata, "metadata", "m", "", "Metadata in place of the connection's: JSON, or a file")
	f.StringVar(&d.checkpoint, "checkpoint", "", "Checkpoint to go on from: JSON, or a file")
	f.StringVar(&d.lastSyncDate, "last-sync-date", "", "What nango.lastSyncDate is, in RFC 3339 (2026-01-31 or 2026-01-31T10:00:00Z)")
	f.StringVar(&d.variant, "variant", syncline.BaseVariant, "Variant of the sync")
	f.StringVar(&d.engine, "engine", "auto", "Engine that runs the function: quickjs, node, or auto")
	bindNode(f, &d.node)
	f.DurationVar(&d.timeout, "timeout", 30*time.Minute, "Longest time that the function may take")
	f.BoolVar(&d.save, "save-fixture", false, "Record the run in INTEGRATION/tests/FUNCTION.test.json")
	f.BoolVar(&d.asJSON, "json", false, "Print what came of it as JSON at the end")
	f.BoolVarP(&d.verbose, "verbose", "v", false, "Print every record in full")
	return cmd
}

func (d *dryRun) run(ctx context.Context) error {
	call, err := d.prepare(ctx)
	if err != nil {
		return err
	}
	show := &dryPrinter{Streams: d.Streams, quiet: d.asJSON, verbose: d.verbose, totals: map[string]*dryTotal{}}
	host, err := d.host(ctx, call, show)
	if err != nil {
		return err
	}
	recorder := fixture.NewRecorder(host)
	command, workers := workerProcesses()
	runner, closeRunner := newRunner(worker.Options{Command: command, Workers: 1, Slots: 1}, d.node)
	began := time.Now()
	output, ended := runner.Run(ctx, *call, recorder)
	took := time.Since(began)
	closeRunner() // before its memory is asked for
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := show.end(call, output, ended, took, workers()); err != nil {
		return err
	}
	if ended != nil {
		return errShown
	}
	if d.save {
		return d.saveFixture(ctx, recorder, call, output)
	}
	return nil
}

// prepare bundles the function and makes the call of it, but for what the
// server knows.
func (d *dryRun) prepare(ctx context.Context) (*fn.Call, error) {
	if d.standin == "" && d.connection == "" {
		return nil, usage("no connection is named").WithHint("syncline dryrun %s %s CONNECTION; or --standin", d.integration, d.function)
	}
	file, kind, err := d.find()
	if err != nil {
		return nil, err
	}
	b, err := bundle.NewBuilder(bundle.Options{Dir: d.dir, Engine: syncline.Engine(d.engine)})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	compiled, err := b.Compile(ctx, []string{file})
	if err != nil {
		return nil, err
	}
	if problems := compiled.Problems[file]; len(problems) > 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%w", problems)
	}
	made := compiled.Functions[file]
	call := &fn.Call{
		EnvironmentID: 1, Entry: fn.EntryExec, Engine: made.Engine, BundleHash: file,
		Bundle:  func(context.Context) ([]byte, error) { return made.Source, nil },
		Library: func(_ context.Context, hash string) ([]byte, error) { return compiled.Libraries[hash], nil },
		Context: fn.Context{
			Environment: d.target.environment, ConnectionID: cmp.Or(d.connection, "standin"), ProviderConfigKey: d.integration, Provider: d.integration,
			Function: d.function, FunctionType: kind, RunID: "00000000-0000-4000-8000-000000000000",
		},
		Limits: fn.Limits{Wall: d.timeout, CPU: d.timeout},
	}
	if kind == syncline.FunctionSync {
		call.Context.Variant = d.variant
	}
	if call.Context.LastSyncDate, err = instant(d.lastSyncDate); err != nil {
		return nil, err
	}
	if call.Input, err = jsonFlag("--input", d.input); err != nil {
		return nil, err
	}
	if d.webhook != "" {
		if call.Input, err = jsonFlag("--webhook", d.webhook); err != nil {
			return nil, err
		}
		call.Entry = fn.EntryOnWebhook
		call.Context.Webhook = &syncline.WebhookInfo{Headers: map[string]string{}, DeliveryID: "dryrun", ReceivedAt: time.Now().UTC().Truncate(time.Millisecond)}
	}
	if d.save {
		// What depends on the time comes out the same when the fixture is run.
		call.Context.Now = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return call, nil
}

// find is the file and the type of the function.
func (d *dryRun) find() (file string, kind syncline.FunctionType, err error) {
	kinds := []syncline.FunctionType{syncline.FunctionSync, syncline.FunctionAction, syncline.FunctionOnEvent}
	if d.kind != "" && !slices.Contains(kinds, syncline.FunctionType(d.kind)) {
		return "", "", usage("--type %s is unknown", d.kind).WithHint("it is one of: sync, action, on-event")
	}
	var found []syncline.FunctionType
	for _, k := range kinds {
		if at := bundle.FunctionFile(d.dir, d.integration, k, d.function); at != "" && (d.kind == "" || d.kind == string(k)) {
			file, kind = at, k
			found = append(found, k)
		}
	}
	switch len(found) {
	case 1:
		return file, kind, nil
	case 0:
		return "", "", syncline.Errorf(syncline.CodeNotFound, "the project in %s has no function %s/%s", d.dir, d.integration, d.function).
			WithHint("functions are in %s/syncs, %s/actions and %s/on-events; --dir names the project", d.integration, d.integration, d.integration)
	}
	return "", "", usage("%s has a %s and a %s of the name %s", d.integration, found[0], found[1], d.function).WithHint("choose one with --type")
}

// jsonFlag is the value of a flag that takes JSON or the name of a file with it.
func jsonFlag(name, value string) (json.RawMessage, error) {
	if value == "" {
		return nil, nil
	}
	if json.Valid([]byte(value)) {
		return json.RawMessage(value), nil
	}
	text, err := os.ReadFile(strings.TrimPrefix(value, "@"))
	if err != nil {
		return nil, usage("%s %s is neither JSON nor a file that can be read", name, shorten(value, 60))
	}
	if !json.Valid(text) {
		return nil, usage("%s: what is in %s is not JSON", name, value)
	}
	return json.RawMessage(text), nil
}

// instant reads a day or a time and writes it as functions get it.
func instant(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Format("2006-01-02T15:04:05.000Z"), nil
		}
	}
	return "", usage("--last-sync-date %s is not a time", text).WithHint("write it as 2026-01-31 or 2026-01-31T10:00:00Z")
}

// host is what answers the function.
func (d *dryRun) host(ctx context.Context, call *fn.Call, show *dryPrinter) (fn.Host, error) {
	h := &dryHost{show: show, call: call}
	var err error
	if h.metadata, err = jsonFlag("--metadata", d.metadata); err != nil {
		return nil, err
	}
	if h.checkpoint, err = jsonFlag("--checkpoint", d.checkpoint); err != nil {
		return nil, err
	}
	switch {
	case d.standin == "":
		if h.client, err = d.target.client(d.Streams); err != nil {
			return nil, err
		}
		if err := h.open(ctx); err != nil {
			return nil, err
		}
	case strings.HasPrefix(d.standin, "http://") || strings.HasPrefix(d.standin, "https://"):
		u, err := url.Parse(d.standin)
		if err != nil || u.Host == "" {
			return nil, usage("--standin %s is not an address", d.standin)
		}
		h.standin = strings.TrimRight(d.standin, "/")
	default:
		f, err := fixture.Load(d.standin)
		if err != nil {
			return nil, err
		}
		if h.replay, err = fixture.Replay(f); err != nil {
			return nil, err
		}
		if call.Input == nil {
			call.Input = f.Input
		}
		if f.Now != "" {
			call.Context.Now = f.Now
		}
	}
	call.Context.Paginate = fixture.Pagination(d.dir, provider.Builtin())(call.Context.Provider)
	return h, nil
}

// saveFixture writes the recording, and runs it once to see that it holds.
func (d *dryRun) saveFixture(ctx context.Context, recorder *fixture.Recorder, call *fn.Call, output json.RawMessage) error {
	file := path.Join(d.integration, "tests", d.function+fixture.Suffix)
	f := recorder.Fixture(call, output)
	if err := f.Save(filepath.Join(d.dir, filepath.FromSlash(file))); err != nil {
		return err
	}
	for _, w := range recorder.Warnings() {
		fmt.Fprintf(d.Err, "warning: %s\n", clean(w))
	}
	fmt.Fprintf(d.Err, "Saved %s\n", clean(filepath.Join(d.dir, filepath.FromSlash(file))))
	found, err := fixture.Discover(ctx, d.dir, func(at string) bool { return at == file })
	if err != nil {
		return err
	}
	command, _ := workerProcesses()
	runner, closeRunner := newRunner(worker.Options{Command: command, Workers: 1, Slots: 1}, d.node)
	defer closeRunner()
	results, err := fixture.Run(ctx, found.Cases, fixture.Options{
		Dir: d.dir, Runner: runner, Engine: syncline.Engine(d.engine), Paginate: fixture.Pagination(d.dir, provider.Builtin()),
	})
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(results, func(r *fixture.Result) bool { return r.Status != fixture.Passed }); i >= 0 {
		why := "it comes out differently each time"
		if results[i].Err != nil {
			why = results[i].Err.Error()
		} else if len(results[i].Differences) > 0 {
			why = results[i].Differences[0].String()
		}
		return syncline.Errorf(syncline.CodeConflict, "the fixture was saved, and does not pass: %s", why).
			WithHint("edit it until syncline test --filter %s/%s passes", d.integration, d.function)
	}
	return nil
}

// describeError is an error of a function for people.
func describeError(err error) string {
	var script *fn.ScriptError
	if !errors.As(err, &script) {
		return err.Error()
	}
	text := script.Error()
	if len(script.Payload) > 0 && string(script.Payload) != "null" {
		text += "\n" + string(script.Payload)
	}
	if script.Stack != "" && !strings.Contains(text, script.Stack) {
		text += "\n" + script.Stack
	}
	return text
}
