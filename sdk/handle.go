package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"syncline/internal/fn"
	"syncline/internal/fn/gofn"
)

// Handle is what a run can do. It is the counterpart of nango in TypeScript.
type Handle struct {
	s      *gofn.Session
	logger *slog.Logger
}

// AnyHandle is a [*Handle] or a [*SyncHandle].
type AnyHandle interface{ handle() *Handle }

func (h *Handle) handle() *Handle { return h }

func newHandle(s *gofn.Session) *Handle {
	return &Handle{s: s, logger: slog.New(&logHandler{s: s})}
}

// call makes a host call and decodes its result into out, if that is not nil.
func (h *Handle) call(ctx context.Context, method string, args, out any) error {
	return h.callAs(ctx, method, method, args, out)
}

// callAs is call of which errors say that it was op.
func (h *Handle) callAs(ctx context.Context, op, method string, args, out any) error {
	raw, err := h.s.Call(ctx, method, args)
	if err != nil {
		return newHostError(op, err)
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s: the result is not what was expected: %w", op, err)
	}
	return nil
}

// ConnectionID is the id of the connection that the run is for, as your app
// knows it.
func (h *Handle) ConnectionID() string { return h.s.Context.ConnectionID }

// ProviderConfigKey is the unique key of the integration.
func (h *Handle) ProviderConfigKey() string { return h.s.Context.ProviderConfigKey }

// Provider names the external API, such as "github".
func (h *Handle) Provider() string { return h.s.Context.Provider }

// Environment names the environment, such as "dev".
func (h *Handle) Environment() string { return h.s.Context.Environment }

// Variant is the sync's variant; "base" unless others were made.
func (h *Handle) Variant() string { return h.s.Context.Variant }

// RunID is the run's id.
func (h *Handle) RunID() string { return h.s.Context.RunID }

// LastSyncDate is when the last poll that succeeded began; zero before that.
func (h *Handle) LastSyncDate() time.Time {
	t, err := time.Parse(time.RFC3339, h.s.Context.LastSyncDate)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Go runs f on a goroutine of its own and returns a function that waits for it.
// A panic in f becomes its error, where one in a plain goroutine would end the
// server.
func (h *Handle) Go(f func() error) (wait func() error) {
	done := make(chan error, 1)
	go func() {
		err := errors.New("a goroutine of the function ended (runtime.Goexit) instead of returning")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			}
			done <- err
		}()
		err = f()
	}()
	return func() error {
		err := <-done
		done <- err
		return err
	}
}

// Connection is one customer's account on an integration.
type Connection struct {
	ConnectionID      string            `json:"connection_id"`
	ProviderConfigKey string            `json:"provider_config_key"`
	Provider          string            `json:"provider"`
	Credentials       Credentials       `json:"credentials"`
	ConnectionConfig  map[string]any    `json:"connection_config"`
	Metadata          json.RawMessage   `json:"metadata"`
	Tags              map[string]string `json:"tags"`
	CreatedAt         time.Time         `json:"created_at"`
	UpdatedAt         time.Time         `json:"updated_at"`
}

// Credentials are a connection's. Which fields are set depends on Type; Raw has
// all of them.
type Credentials struct {
	Type         string          `json:"type"` // "OAUTH2", "API_KEY", "BASIC" …
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	ExpiresAt    time.Time       `json:"expires_at,omitzero"`
	APIKey       string          `json:"apiKey"`
	Token        string          `json:"token"`
	Username     string          `json:"username"`
	Password     string          `json:"password"`
	Raw          json.RawMessage `json:"-"`
}

// UnmarshalJSON reads the form of GET /connections/{id}.
func (c *Credentials) UnmarshalJSON(b []byte) error {
	type plain Credentials
	if err := json.Unmarshal(b, (*plain)(c)); err != nil {
		return err
	}
	c.Raw = append(json.RawMessage(nil), b...)
	return nil
}

// ConnectionOptions say which connection is asked for, and how.
type ConnectionOptions struct {
	// Integration and Connection name another connection of the environment: the
	// integration's unique key and the connection's id. "" is the run's own.
	Integration, Connection string
	ForceRefresh            bool // of the access token
	WithoutRefreshToken     bool
}

// Connection returns the run's connection with its credentials, or the one that
// o names. o may be nil.
func (h *Handle) Connection(ctx context.Context, o *ConnectionOptions) (*Connection, error) {
	type args struct {
		Integration  string `json:"provider_config_key,omitempty"`
		Connection   string `json:"connection_id,omitempty"`
		RefreshToken *bool  `json:"refresh_token,omitempty"`
		ForceRefresh bool   `json:"force_refresh,omitempty"`
	}
	var a args
	if o != nil {
		a = args{Integration: o.Integration, Connection: o.Connection, ForceRefresh: o.ForceRefresh}
		if o.WithoutRefreshToken {
			a.RefreshToken = new(false)
		}
	}
	var c Connection
	return &c, h.call(ctx, fn.MethodGetConnection, a, &c)
}

// Token is the connection's access token, API key or token. Requests by
// [Handle.Get] and its kin have it by themselves.
func (h *Handle) Token(ctx context.Context) (string, error) {
	c, err := h.Connection(ctx, nil)
	if err != nil {
		return "", err
	}
	for _, t := range []string{c.Credentials.AccessToken, c.Credentials.APIKey, c.Credentials.Token} {
		if t != "" {
			return t, nil
		}
	}
	return "", fmt.Errorf("the credentials of the connection (%s) are no single token: read them with Connection", c.Credentials.Type)
}

// Integration is one configured provider.
type Integration struct {
	UniqueKey   string          `json:"unique_key"`
	DisplayName string          `json:"display_name"`
	Provider    string          `json:"provider"`
	WebhookURL  string          `json:"webhook_url"`
	Credentials json.RawMessage `json:"credentials"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
}

// What [Handle.Integration] may include.
const (
	IncludeCredentials = "credentials"
	IncludeWebhook     = "webhook"
)

// Integration returns the run's integration.
func (h *Handle) Integration(ctx context.Context, include ...string) (*Integration, error) {
	var i Integration
	return &i, h.call(ctx, fn.MethodGetIntegration, map[string]any{"include": append([]string{}, include...)}, &i)
}

// EnvironmentVariables returns the environment's variables.
func (h *Handle) EnvironmentVariables(ctx context.Context) (map[string]string, error) {
	var list []struct{ Name, Value string }
	if err := h.call(ctx, fn.MethodGetEnvironmentVariables, nil, &list); err != nil {
		return nil, err
	}
	out := make(map[string]string, len(list))
	for _, v := range list {
		out[v.Name] = v.Value
	}
	return out, nil
}

// WebhookURL is where the external API sends the integration's webhooks; "" where
// the provider sends none.
func (h *Handle) WebhookURL(ctx context.Context) (string, error) {
	var u string
	return u, h.call(ctx, fn.MethodGetWebhookURL, nil, &u)
}

// ActionCall says which action is to run.
type ActionCall struct {
	Name  string
	Input any // written as JSON; nil for none
	// Integration and Connection name another connection of the environment; "" is
	// the run's own.
	Integration, Connection string
}

// TriggerAction runs an action and decodes its output into out, if that is not
// nil. An action in Go is called with its types by [Action.Trigger].
func (h *Handle) TriggerAction(ctx context.Context, c ActionCall, out any) error {
	return h.call(ctx, fn.MethodTriggerAction, struct {
		Integration string `json:"provider_config_key,omitempty"`
		Connection  string `json:"connection_id,omitempty"`
		Name        string `json:"name"`
		Input       any    `json:"input,omitempty"`
	}{c.Integration, c.Connection, c.Name, c.Input}, out)
}

// SyncMode is what a triggered poll fetches.
type SyncMode string

// The modes.
const (
	// Incremental goes on from the checkpoint.
	Incremental SyncMode = "incremental"
	// FullRefresh fetches everything, with the cache kept.
	FullRefresh SyncMode = "full_refresh"
	// FullRefreshAndClearCache empties the cache first.
	FullRefreshAndClearCache SyncMode = "full_refresh_and_clear_cache"
)

// SyncCall says which sync is to poll.
type SyncCall struct {
	Name    string
	Variant string   // "" is the base variant
	Mode    SyncMode // "" is Incremental
	// Integration and Connection name another connection of the environment; "" is
	// the run's own.
	Integration, Connection string
}

// TriggerSync makes a sync poll soon. In a webhook run it happens when the run
// commits.
func (h *Handle) TriggerSync(ctx context.Context, c SyncCall) error {
	if c.Mode == "" {
		c.Mode = Incremental
	}
	return h.call(ctx, fn.MethodTriggerSync, struct {
		Integration string   `json:"provider_config_key,omitempty"`
		Connection  string   `json:"connection_id,omitempty"`
		Name        string   `json:"name"`
		Variant     string   `json:"variant,omitempty"`
		Mode        SyncMode `json:"sync_mode"`
	}{c.Integration, c.Connection, c.Name, c.Variant, c.Mode}, nil)
}

// StartSync starts the schedule of syncs of the run's connection. Mode,
// Integration and Connection of the calls are not used.
func (h *Handle) StartSync(ctx context.Context, syncs ...SyncCall) error {
	type one struct {
		Name    string `json:"name"`
		Variant string `json:"variant,omitempty"`
	}
	list := make([]one, len(syncs))
	for i, c := range syncs {
		list[i] = one{c.Name, c.Variant}
	}
	return h.call(ctx, fn.MethodStartSync, map[string]any{"syncs": list}, nil)
}

// TryAcquireLock takes the lock of a key, among all functions of the environment,
// and reports whether the run has it now. It is free again after ttl, when it is
// released, and when the run ends.
func (h *Handle) TryAcquireLock(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	var ok bool
	return ok, h.call(ctx, fn.MethodTryAcquireLock, map[string]any{"key": key, "ttl_ms": ttl.Milliseconds()}, &ok)
}

// ReleaseLock gives a lock back and reports whether the run had it.
func (h *Handle) ReleaseLock(ctx context.Context, key string) (bool, error) {
	var ok bool
	return ok, h.call(ctx, fn.MethodReleaseLock, map[string]any{"key": key}, &ok)
}

// ReleaseAllLocks gives all locks of the run back.
func (h *Handle) ReleaseAllLocks(ctx context.Context) error {
	return h.call(ctx, fn.MethodReleaseAllLocks, nil, nil)
}
