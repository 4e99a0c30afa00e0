// Package fn is one attempt of one function: what is called, with what limits,
// and the host API that the function may use. The engines that execute
// JavaScript are behind [Runner] (fn/worker, fn/quickjs); package fn does not
// know them, and they do not know what the host API does.
package fn

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"syncline"
)

// Entry is which of a function's handlers is called.
type Entry string

// The entries.
const (
	EntryExec      Entry = "exec"
	EntryOnWebhook Entry = "onWebhook"
)

// Call is one call of a function.
type Call struct {
	EnvironmentID int64 // a worker serves one environment
	RunID         int64
	Entry         Entry
	// Engine executes the function; "" is the default one, quickjs.
	Engine     syncline.Engine
	BundleHash string
	// Bundle loads the bundle's source; it is called only when the engine does
	// not have it yet.
	Bundle func(ctx context.Context) ([]byte, error)
	// Library loads the library that the bundle continues ([Library]), by its
	// hash; nil where no bundle has one.
	Library func(ctx context.Context, hash string) ([]byte, error)
	// Input is the handler's second argument (webhook payload, action input);
	// nil passes none.
	Input   json.RawMessage
	Context Context
	Limits  Limits
	// WarmKey lets calls with the same key and bundle share a warm context; ""
	// takes a fresh one.
	WarmKey string
	// Background calls (polls) leave room for others (webhooks) in the pool.
	Background bool
	// Depth is how many calls wait for this one: an action that a poll triggered
	// has 1. Each depth has room of its own in the pool, so that those that wait
	// do not keep out those that they wait for.
	Depth int
}

// Context is what the function's nango object knows without asking the host.
type Context struct {
	Environment       string                `json:"environment"`
	ConnectionID      string                `json:"connectionId"` // the user's id
	ProviderConfigKey string                `json:"providerConfigKey"`
	Provider          string                `json:"provider"`
	Function          string                `json:"function"`
	FunctionType      syncline.FunctionType `json:"functionType"`
	Variant           string                `json:"variant,omitempty"`
	RunID             string                `json:"runId"` // uuid
	// LastSyncDate is RFC 3339 with milliseconds; "" when the sync never succeeded.
	LastSyncDate string `json:"lastSyncDate,omitempty"`
	// Paginate is the provider's default pagination, in the catalogue's format.
	Paginate json.RawMessage       `json:"paginate,omitempty"`
	Webhook  *syncline.WebhookInfo `json:"webhook,omitempty"`
	// Now is what the function's clock shows and stands at, in RFC 3339; "" is
	// the real time. It is for fixtures.
	Now string `json:"now,omitempty"`
}

// Limits bound one call. Zero fields take the default.
type Limits struct {
	Wall      time.Duration // wall time; default 30 minutes for polls, 60 s for webhooks (set by the caller)
	CPU       time.Duration // time in JavaScript, host calls not counted; default 60 s
	Memory    int64         // bytes of one context; default 256 MiB
	HostCalls int           // default 100,000
	LogLines  int           // default 10,000; further ones are counted and dropped
	Output    int64         // bytes of the returned value; default 16 MiB
}

// Defaults fills the zero fields.
func (l Limits) Defaults() Limits {
	if l.Wall == 0 {
		l.Wall = 30 * time.Minute
	}
	if l.CPU == 0 {
		l.CPU = time.Minute
	}
	if l.Memory == 0 {
		l.Memory = 256 << 20
	}
	if l.HostCalls == 0 {
		l.HostCalls = 100_000
	}
	if l.LogLines == 0 {
		l.LogLines = 10_000
	}
	if l.Output == 0 {
		l.Output = 16 << 20
	}
	return l
}

// The limits that a run can be cut at, as the Field of the error with code
// limit_exceeded names them.
const (
	LimitWall      = "wall"
	LimitCPU       = "cpu"
	LimitMemory    = "memory"
	LimitHostCalls = "host_calls"
	LimitOutput    = "output"
)

// CutAt is the limit that ended a run, "" when none did or it is not named.
func CutAt(err error) string {
	var e *syncline.Error
	if errors.As(err, &e) && e.Code == syncline.CodeLimit {
		return e.Field
	}
	return ""
}

// Host answers a function's host calls. Calls of one run may come concurrently
// (Promise.all); Log lines come in order.
type Host interface {
	// Call runs one host method. args is a JSON object as documented at the
	// method's constant. An error that is a [*HostError] reaches the function
	// with its name and response; any other becomes a plain Error with its text.
	Call(ctx context.Context, method string, args json.RawMessage) (json.RawMessage, error)
	Log(line syncline.LogLine)
}

// Runner executes calls. It is implemented by fn/worker.
type Runner interface {
	// Run calls a function and returns what it returned (null for undefined).
	// ctx ends the run. Errors are:
	//   - *ScriptError: the function threw, or its promise never settles;
	//   - *syncline.Error limit_exceeded: a limit was hit, named in the message;
	//   - *syncline.Error worker_lost: the worker process died; not the
	//     function's fault as far as is known;
	//   - ctx's error when ctx ended.
	Run(ctx context.Context, call Call, host Host) (json.RawMessage, error)
}

// ScriptError is an error that a function threw.
type ScriptError struct {
	Name    string // "Error", "TypeError", "ActionError" …
	Message string
	Stack   string          // with source positions where a source map is there
	Payload json.RawMessage // ActionError: what it was made with
	// HostCode and Status are set when what the function threw, or its cause,
	// came from a host call: the code of the host's error and the HTTP status
	// of the upstream's answer (0: none).
	HostCode syncline.Code
	Status   int
	// Upstream is that answer, where the error carries it.
	Upstream *syncline.UpstreamAnswer
}

// MaxDepth is how deep actions may trigger actions.
const MaxDepth = 5

func (e *ScriptError) Error() string {
	if e.Name == "" || e.Name == "Error" {
		return e.Message
	}
	return e.Name + ": " + e.Message
}

// HostError is a host call's failure as the function sees it.
type HostError struct {
	Code    syncline.Code
	Name    string // "" is "Error"; "AxiosError" for HTTP
	Message string
	// NetCode is the code property: "ECONNABORTED", "ETIMEDOUT" …
	NetCode string
}

func (e *HostError) Error() string { return e.Message }

// Unavailable reports whether err says that the world, and not the function or
// its input, is at fault: rate limits, 5xx, network, credentials, a lost
// worker. Such work waits without spending attempts.
func Unavailable(err error) bool {
	var script *ScriptError
	if errors.As(err, &script) {
		if s := script.Status; s != 0 {
			return s == 429 || s >= 500 || s == 401 || s == 408
		}
		return unavailable(script.HostCode)
	}
	return unavailable(syncline.CodeOf(err))
}

func unavailable(c syncline.Code) bool {
	switch c {
	case syncline.CodeWorkerLost, syncline.CodeUnavailable, syncline.CodeUpstream, syncline.CodeUnauthorized:
		return true
	}
	return false
}
