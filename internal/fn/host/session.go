package host

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/fn"
	"syncline/internal/records"
	"syncline/internal/store"
)

// DescribeOptions say how a connection is described.
type DescribeOptions struct {
	RefreshToken bool // with the refresh token, where there is one
	ForceRefresh bool // with a token that was refreshed just now, where it can be
}

// Connections renders a connection as functions see it, credentials included.
type Connections interface {
	Describe(ctx context.Context, i *syncline.Integration, c *syncline.Connection, o DescribeOptions) (json.RawMessage, error)
}

// Integrations renders what functions see of their integration and environment.
type Integrations interface {
	// DescribeIntegration is an integration in the shape of GET /integrations/{key}.
	DescribeIntegration(e *syncline.Environment, i *syncline.Integration, include []string) (json.RawMessage, error)
	// WebhookURL is the webhook URL of an integration as a JSON string, or null
	// where its provider sends none.
	WebhookURL(e *syncline.Environment, i *syncline.Integration) (json.RawMessage, error)
	// OpenVariables is variables as [{"name", "value"}].
	OpenVariables(list []syncline.Variable) (json.RawMessage, error)
}

// Fetcher makes requests that have nothing to do with a connection.
type Fetcher interface {
	Fetch(ctx context.Context, args fn.FetchArgs) (*fn.HTTPResult, error)
}

// Deps are what host calls need.
type Deps struct {
	Store        store.Store
	Clock        clock.Clock
	Upstream     Upstream
	Connections  Connections
	Integrations Integrations
	Fetcher      Fetcher
	Syncs        Syncs
	Actions      Actions
	// ConnectionsChanged is told when a function changed a connection's
	// metadata, which may decide where parked deliveries go.
	ConnectionsChanged func(env, integrationID int64)
	MaxLogLines        int // kept of one run that does not say; further ones are counted
	MostLogLines       int // kept of any run; 0: as many as it says
	// MassDelete says when what delete tracking finds missing is held.
	MassDelete records.MassDelete
}

// Subject is what a run is about.
type Subject struct {
	Environment syncline.Environment
	Integration syncline.Integration
	Connection  syncline.Connection
	Function    syncline.Function // Active is the version that runs
	Instance    syncline.SyncInstance
}

// session is what polls and webhook events have in common.
type session struct {
	deps    *Deps
	subject *Subject
	marks   *watermarks
	run     *syncline.Run
	// lease is what the run goes under, as the owner of its locks; the zero lease
	// is none.
	lease  syncline.Lease
	locked atomic.Bool
	// depth is how many runs wait for this one.
	depth int
	// staged is the run's connection while it is not stored; nil when it is.
	staged atomic.Pointer[syncline.Connection]

	// mu makes calls that change state run one at a time, in the order in
	// which they come.
	mu         sync.Mutex
	strategies map[string]strategy
	invalid    invalids

	logs logBuffer
}

// strategy is how a model's writes are merged, and under keep_newest by which field.
type strategy struct {
	name  syncline.Strategy
	field string
}

func newSession(d *Deps, s *Subject, run *syncline.Run, lease syncline.Lease, watermark int64) *session {
	lines := s.Settings().Limits.LogLines
	switch {
	case lines == 0:
		lines = d.MaxLogLines
	case d.MostLogLines > 0:
		lines = min(lines, d.MostLogLines)
	}
	return &session{
		deps: d, subject: s, marks: newWatermarks(watermark), run: run, lease: lease,
		strategies: map[string]strategy{}, invalid: invalids{},
		logs: logBuffer{max: lines, now: d.Clock.Now},
	}
}

// Log keeps one line of the function's log.
func (s *session) Log(line syncline.LogLine) { s.logs.add(line) }

// http makes one request. The store's position is read before it is sent.
func (s *session) http(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var args fn.HTTPArgs
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	position, err := s.deps.Store.Position(ctx)
	if err != nil {
		return nil, err
	}
	// Read the connection again: a long poll must not go on with credentials
	// that were replaced since it began.
	var i syncline.Integration
	var c syncline.Connection
	err = s.deps.Store.View(ctx, func(r store.Reader) (err error) {
		i, c, _, err = s.connectionOf(r, args.ProviderConfigKey, args.ConnectionID)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.marks.begin(position)
	defer s.marks.end()
	result, err := s.deps.Upstream.Do(ctx, UpstreamRequest{Integration: &i, Connection: &c, Kind: s.run.Kind, Args: args, Log: s.logs.addCall})
	if err != nil {
		return nil, err
	}
	defer result.Release()
	return json.Marshal(result)
}

// guard is the guard of the next batch of model by w.
func (s *session) guard(model string, rules records.Rules, w syncline.Writer, replayed bool) records.Guard {
	g := records.Guard{
		Strategy: syncline.StrategyOverride, Watermark: s.marks.batch(model), Writer: w, Replayed: replayed, Rules: rules,
	}
	if st, ok := s.strategies[model]; ok {
		g.Strategy = st.name
	}
	return g
}

// rules are the rules of a model as the run stands.
func (s *session) rules(model string) records.Rules {
	m := &s.subject.Function.Active.Manifest
	r := records.Rules{Ignored: m.IgnoredFields[model], Version: s.strategies[model].field}
	_, r.History = m.History[model]
	return r
}

func (s *session) setMergingStrategy(raw json.RawMessage) error {
	var args struct {
		Model    string            `json:"model"`
		Strategy syncline.Strategy `json:"strategy"`
		Field    string            `json:"field"`
	}
	if err := decode(raw, &args); err != nil {
		return err
	}
	if err := s.declared(args.Model); err != nil {
		return err
	}
	switch args.Strategy {
	case syncline.StrategyOverride, syncline.StrategyIgnoreIfModifiedAfter:
		args.Field = ""
	case syncline.StrategyKeepNewest:
		if args.Field == "" {
			return syncline.Errorf(syncline.CodeInvalid, "setMergingStrategy(%s): keep_newest needs the field that it compares", args.Model).
				WithHint("for example setMergingStrategy({ strategy: 'keep_newest', field: 'updated_at' }, '%s')", args.Model)
		}
	default:
		return syncline.Errorf(syncline.CodeInvalid, "setMergingStrategy(%s): unknown strategy %q", args.Model, args.Strategy).
			WithHint("use 'override', 'ignore_if_modified_after' or 'keep_newest'")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.strategies[args.Model] = strategy{args.Strategy, args.Field}
	return nil
}

// collection is the model part of the key of a model's collection.
func (s *session) collection(model string) string {
	return syncline.CollectionModel(model, s.subject.Instance.Variant)
}

// declared checks that the sync declares model.
func (s *session) declared(model string) error {
	m := &s.subject.Function.Active.Manifest
	if _, ok := m.Models[model]; ok {
		return nil
	}
	names := make([]string, 0, len(m.Models))
	for name := range m.Models {
		names = append(names, name)
	}
	return syncline.Errorf(syncline.CodeInvalid, "the sync %s does not declare a model %q", m.Name, model).
		WithHint("it declares %s; add the model to `models` in createSync and deploy again", list(names)).WithField("model")
}

// batchArgs reads the arguments of a batch call and checks the records; invalid
// is how many are taken although the schema does not allow them. It is called
// with mu held.
func (s *session) batchArgs(op records.Op, raw json.RawMessage) (model string, b *records.Batch, rules records.Rules, invalid int, err error) {
	var args fn.BatchArgs
	if err := decode(raw, &args); err != nil {
		return "", nil, rules, 0, err
	}
	if err := s.declared(args.Model); err != nil {
		return "", nil, rules, 0, err
	}
	rules = s.rules(args.Model)
	if b, err = rules.NewBatch(op, args.Model, args.Records); err != nil {
		return "", nil, rules, 0, err
	}
	invalid, err = s.checkRecords(op, args.Model, args.Records)
	return args.Model, b, rules, invalid, err
}

// modelArgs reads the argument of a call about a model.
func (s *session) modelArgs(raw json.RawMessage) (string, error) {
	var args struct {
		Model string `json:"model"`
	}
	if err := decode(raw, &args); err != nil {
		return "", err
	}
	return args.Model, s.declared(args.Model)
}

// idsArgs reads the arguments of getRecordsByIds. An id may be a number.
func (s *session) idsArgs(raw json.RawMessage) (model string, ids []string, err error) {
	var args struct {
		Model string            `json:"model"`
		IDs   []json.RawMessage `json:"ids"`
	}
	if err := decode(raw, &args); err != nil {
		return "", nil, err
	}
	if err := s.declared(args.Model); err != nil {
		return "", nil, err
	}
	for _, raw := range args.IDs {
		id, err := records.ParseID(raw)
		if err != nil {
			return "", nil, syncline.Errorf(syncline.CodeInvalid, "getRecordsByIds(%s): an id %w", args.Model, err)
		}
		ids = append(ids, id)
	}
	return args.Model, ids, nil
}

func renderRecords(found map[string]*syncline.Record) (json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(found))
	for id, r := range found {
		if !r.Deleted() && r.PrunedAt.IsZero() {
			out[id] = r.Payload
		}
	}
	return json.Marshal(out)
}

func checkpointArgs(raw json.RawMessage) (json.RawMessage, error) {
	var args struct {
		Checkpoint json.RawMessage `json:"checkpoint"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	c := bytes.TrimSpace(args.Checkpoint)
	const max = 64 << 10
	switch {
	case len(c) == 0 || c[0] != '{':
		return nil, syncline.Errorf(syncline.CodeInvalid, "saveCheckpoint: the checkpoint is not an object").
			WithHint("pass an object such as { since: '2026-01-01T00:00:00Z' }; clearCheckpoint() removes it")
	case len(c) > max:
		return nil, syncline.Errorf(syncline.CodeTooLarge, "saveCheckpoint: the checkpoint has %d bytes; the limit is %d", len(c), max).
			WithHint("keep only what the next run needs to go on from")
	}
	return c, nil
}

func metadataArgs(raw json.RawMessage) (map[string]any, error) {
	var args struct {
		Metadata map[string]any `json:"metadata"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	if args.Metadata == nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "the metadata is not an object")
	}
	return args.Metadata, nil
}

func decode(raw json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return syncline.Errorf(syncline.CodeInvalid, "the call's arguments are not what it takes: %w", err)
	}
	return nil
}
