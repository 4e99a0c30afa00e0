// Package sdktest runs functions in tests, without a server: a [Host] plays the
// cache, the connection and the external API, in memory.
//
//	host := &sdktest.Host{API: handler, Metadata: Settings{Repository: "acme/rockets"}}
//	if err := host.Poll(ctx, issues); err != nil {
//		t.Fatal(err)
//	}
//	got, err := sdktest.Records[Issue](host, "GithubIssue")
//
// It keeps to what one run at a time does: webhook runs that fail leave nothing,
// polls keep what they saved, delete tracking deletes when the poll succeeds.
// Merging strategies, which are about writers at the same time, and the retries
// of requests are the server's.
package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
	"syncline/sdk"
)

// Host is what functions under test work with. Its zero value is an empty cache
// and a connection without anything. Set the fields before the first run.
type Host struct {
	// API answers requests that are made with the connection's credentials; paths
	// are below the provider's base URL. nil: every request is refused.
	API http.Handler
	// Elsewhere answers requests by UncontrolledFetch; nil: every one is refused.
	Elsewhere http.Handler

	ConnectionID      string // "" is "connection"
	ProviderConfigKey string // "" is the function's integration
	Provider          string
	Environment       string // "" is "dev"
	Variant           string // "" is "base"
	LastSyncDate      time.Time

	Metadata             any // as JSON: the connection's metadata at first
	Checkpoint           any // as JSON: the poll checkpoint at first; nil for none
	Credentials          sdk.Credentials
	ConnectionConfig     map[string]any
	Tags                 map[string]string
	WebhookURL           string
	EnvironmentVariables map[string]string
	// Pagination is the provider's default.
	Pagination *sdk.Pagination
	// Actions answers calls of TriggerAction, by the action's name.
	Actions map[string]func(ctx context.Context, input json.RawMessage) (any, error)
	// Limits of runs; zero fields take the server's defaults.
	Wall      time.Duration
	HostCalls int

	mu    sync.Mutex
	begun bool
	state state
	log   []LogLine
	calls []Call
}

// state is what a webhook run that fails leaves as it was.
type state struct {
	records           map[string]map[string]json.RawMessage // by model and id
	metadata          map[string]json.RawMessage
	checkpoint        json.RawMessage // of polls
	webhookCheckpoint json.RawMessage
	tracked           map[string]map[string]bool // by model: the ids not touched since tracking began
	ending            map[string]bool            // models whose tracking ends with the run
	locks             map[string]bool
	triggeredSyncs    []string
}

func (s state) clone() state {
	c := s
	c.records = make(map[string]map[string]json.RawMessage, len(s.records))
	for model, all := range s.records {
		c.records[model] = maps.Clone(all)
	}
	c.metadata, c.locks = maps.Clone(s.metadata), maps.Clone(s.locks)
	return c
}

// LogLine is one line of the log.
type LogLine struct {
	Level, Message string
	Data           json.RawMessage
}

// Call is a call that a function made to the host.
type Call struct {
	Method string // such as "batchSave"
	Args   json.RawMessage
}

// Poll runs a sync's Exec.
func (h *Host) Poll(ctx context.Context, f sdk.Function) error {
	_, err := h.run(ctx, f, fn.EntryExec, nil, nil)
	return err
}

// Webhook runs a sync's OnWebhook. If it fails, nothing of what it did remains.
func (h *Host) Webhook(ctx context.Context, f sdk.Function, w sdk.Webhook) error {
	headers := map[string]string{}
	for name := range w.Header {
		headers[name] = w.Header.Get(name)
	}
	_, err := h.run(ctx, f, fn.EntryOnWebhook, w.Payload, &syncline.WebhookInfo{Type: w.Type, DeliveryID: w.DeliveryID, ReceivedAt: w.ReceivedAt, Headers: headers})
	return err
}

// Event runs an on-event function.
func (h *Host) Event(ctx context.Context, f sdk.OnEvent) error {
	_, err := h.run(ctx, f, fn.EntryExec, nil, nil)
	return err
}

// CallAction runs an action. Input and output take the way through JSON that they
// take on a server.
func CallAction[In, Out any](ctx context.Context, h *Host, a sdk.Action[In, Out], in In) (out Out, err error) {
	raw, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	got, err := h.run(ctx, a, fn.EntryExec, raw, nil)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(got, &out)
}

// Records are the live records of a model, by id.
func Records[T any](h *Host, model string) (map[string]T, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[string]T{}
	for id, raw := range h.state.records[model] {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("the record %s of %s: %w", id, model, err)
		}
		out[id] = v
	}
	return out, nil
}

// SavedCheckpoint decodes the poll checkpoint into c and reports whether there
// is one.
func (h *Host) SavedCheckpoint(c any) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state.checkpoint == nil {
		return false, nil
	}
	return true, json.Unmarshal(h.state.checkpoint, c)
}

// SavedMetadata decodes the connection's metadata into m.
func (h *Host) SavedMetadata(m any) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	raw, err := json.Marshal(h.state.metadata)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, m)
}

// TriggeredSyncs are the names of the syncs that were triggered or started.
func (h *Host) TriggeredSyncs() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.state.triggeredSyncs...)
}

// Log is what the functions logged.
func (h *Host) Log() []LogLine {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]LogLine(nil), h.log...)
}

// Calls are the calls that the functions made, in order.
func (h *Host) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Call(nil), h.calls...)
}

// begin takes the fields over, once.
func (h *Host) begin() error {
	if h.begun {
		return nil
	}
	h.begun = true
	h.state = state{
		records: map[string]map[string]json.RawMessage{}, metadata: map[string]json.RawMessage{}, locks: map[string]bool{},
	}
	if h.Metadata != nil {
		raw, err := json.Marshal(h.Metadata)
		if err == nil {
			err = json.Unmarshal(raw, &h.state.metadata)
		}
		if err != nil {
			return fmt.Errorf("Host.Metadata: %w", err)
		}
	}
	if h.Checkpoint != nil {
		raw, err := json.Marshal(h.Checkpoint)
		if err != nil {
			return fmt.Errorf("Host.Checkpoint: %w", err)
		}
		h.state.checkpoint = raw
	}
	return nil
}

func (h *Host) run(ctx context.Context, f sdk.Function, entry fn.Entry, input json.RawMessage, w *syncline.WebhookInfo) (json.RawMessage, error) {
	compiled, err := sdk.Functions{f}.Compile()
	if err != nil {
		return nil, err
	}
	g := compiled[0]
	// Tests want to look at the error itself.
	var thrown error
	describe := g.Describe
	g.Describe = func(err error) *fn.ScriptError {
		thrown = err
		return describe(err)
	}
	registry, err := gofn.NewRegistry("test", []gofn.Function{g})
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	if err := h.begin(); err != nil {
		h.mu.Unlock()
		return nil, err
	}
	before := h.state.clone()
	h.state.tracked, h.state.ending = map[string]map[string]bool{}, map[string]bool{}
	h.mu.Unlock()

	call := fn.Call{
		Entry: entry, Engine: syncline.EngineGo, BundleHash: registry.Versions()[0].Hash, Input: input, Context: h.context(&g.Manifest, w),
		Limits: fn.Limits{Wall: h.Wall, HostCalls: h.HostCalls},
	}
	runner := gofn.Runner{Registry: registry}
	out, err := runner.Run(ctx, call, &session{h: h, about: call.Context, webhook: entry == fn.EntryOnWebhook})

	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.state.locks)
	switch {
	case err != nil && entry == fn.EntryOnWebhook:
		h.state = before
	case err == nil:
		h.endTracking()
		if entry == fn.EntryExec && g.Manifest.Type == syncline.FunctionSync {
			h.LastSyncDate = time.Now()
		}
	}
	if thrown == nil || err == nil {
		return out, err
	}
	var script *fn.ScriptError
	if errors.As(err, &script) && script.Name == "panic" {
		return nil, fmt.Errorf("panic: %w\n%s", thrown, script.Stack)
	}
	return nil, thrown
}

func (h *Host) context(m *syncline.Manifest, w *syncline.WebhookInfo) fn.Context {
	or := func(v, otherwise string) string {
		if v == "" {
			return otherwise
		}
		return v
	}
	c := fn.Context{
		Environment: or(h.Environment, "dev"), ConnectionID: or(h.ConnectionID, "connection"), ProviderConfigKey: or(h.ProviderConfigKey, m.Integration),
		Provider: h.Provider, Function: m.Name, FunctionType: m.Type, Variant: or(h.Variant, "base"), RunID: syncline.NewUUID(), Webhook: w,
	}
	if !h.LastSyncDate.IsZero() {
		c.LastSyncDate = h.LastSyncDate.UTC().Format("2006-01-02T15:04:05.000Z07:00")
	}
	if h.Pagination != nil {
		c.Paginate, _ = json.Marshal(h.Pagination)
	}
	return c
}

// endTracking deletes what a poll that succeeded did not touch.
func (h *Host) endTracking() {
	for model := range h.state.ending {
		for id := range h.state.tracked[model] {
			delete(h.state.records[model], id)
		}
	}
}
