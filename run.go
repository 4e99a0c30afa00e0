package syncline

import (
	"encoding/json"
	"time"
)

// RunKind is why a function ran.
type RunKind string

// The kinds of runs.
const (
	RunPoll    RunKind = "poll"
	RunWebhook RunKind = "webhook"
	RunAction  RunKind = "action"
	RunOnEvent RunKind = "on-event"
)

// RunStatus is where a run stands.
type RunStatus string

// The states of a run.
const (
	RunRunning  RunStatus = "running"
	RunSuccess  RunStatus = "success"
	RunFailed   RunStatus = "failed"
	RunRetrying RunStatus = "retrying" // this attempt failed; its event will be tried again
	RunCanceled RunStatus = "canceled" // shutdown, pause or a moved epoch
	RunReaped   RunStatus = "reaped"   // its process died; found at a later start
	// RunContinued is a poll that was cut at a limit: the next one goes on from its checkpoint at once.
	RunContinued RunStatus = "continued"
)

// Run is one execution of a function.
type Run struct {
	ID            int64
	UUID          string
	EnvironmentID int64
	ConnectionID  int64
	InstanceID    int64 // 0 for actions and on-event functions
	FunctionID    int64
	VersionID     int64 // FunctionVersion
	Kind          RunKind
	Status        RunStatus
	// Lineage is the first run of the chain of polls that continue each other
	// by checkpoint; its own id when it continues none.
	Lineage int64
	EventID int64 // webhook runs: the event
	// Parent is the UUID of the run that triggered this one; "" for none.
	Parent     string
	Attempt    int // 1 for the first
	Mode       RunMode
	SyncType   SyncType
	ErrorCode  Code
	Error      string
	Models     map[string]ModelResult
	Warnings   []string
	StartedAt  time.Time
	FinishedAt time.Time // zero while running
}

// RunMode is what a poll begins with.
type RunMode string

// The modes of a poll.
const (
	ModeNormal RunMode = ""       // what the last one left
	ModeFull   RunMode = "full"   // nothing: it fetches everything, with the cache kept
	ModeRewind RunMode = "rewind" // what the one before a contested batch left
)

// SyncType is how the user's app is told of a run.
type SyncType string

// The sync types, in Nango's words.
const (
	SyncInitial     SyncType = "INITIAL"
	SyncIncremental SyncType = "INCREMENTAL"
	SyncWebhook     SyncType = "WEBHOOK"
)

// ModelResult counts what a run did to one model's records.
type ModelResult struct {
	Added     int `json:"added"`
	Updated   int `json:"updated"`
	Deleted   int `json:"deleted"`
	Unchanged int `json:"unchanged,omitempty"`
	Skipped   int `json:"skipped,omitempty"`   // guarded: someone else changed the record later
	Contested int `json:"contested,omitempty"` // of these, with another payload than the cache has
	Older     int `json:"older,omitempty"`     // of the skipped, older by the field that keep_newest compares
	Unknown   int `json:"unknown,omitempty"`   // updates and deletes of ids that are not there
	Invalid   int `json:"invalid,omitempty"`   // taken although the model's schema does not allow them
}

// Changed reports whether any record changed.
func (m ModelResult) Changed() bool { return m.Added+m.Updated+m.Deleted > 0 }

// Add returns the sums of m and o.
func (m ModelResult) Add(o ModelResult) ModelResult {
	m.Added += o.Added
	m.Updated += o.Updated
	m.Deleted += o.Deleted
	m.Unchanged += o.Unchanged
	m.Skipped += o.Skipped
	m.Contested += o.Contested
	m.Older += o.Older
	m.Unknown += o.Unknown
	m.Invalid += o.Invalid
	return m
}

// LogLevel is the severity of a log line.
type LogLevel string

// The levels, from most to least verbose.
const (
	LogDebug LogLevel = "debug"
	LogInfo  LogLevel = "info"
	LogWarn  LogLevel = "warn"
	LogError LogLevel = "error"
)

// LogLine is one line of a run's log.
type LogLine struct {
	ID      int64
	RunID   int64
	At      time.Time
	Level   LogLevel
	Message string
	Data    json.RawMessage // optional: what was logged besides the message
}
