package syncline

import (
	"encoding/json"
	"time"
)

// JobStatus is where a job stands.
type JobStatus string

// The states of a job.
const (
	JobPending JobStatus = "pending" // it waits for its turn, or for its next attempt
	JobRunning JobStatus = "running" // its run began; what it has done is not known
	JobDone    JobStatus = "done"    // Result is the output
	JobFailed  JobStatus = "failed"  // Result is a [Failure]
)

// Job is one call of an action or of an on-event function that is owed or under
// way: what an asynchronous action waits in, and the lease that each run of
// these kinds goes under.
type Job struct {
	ID            int64
	UUID          string // shown by the API
	EnvironmentID int64
	ConnectionID  int64 // internal id
	FunctionID    int64
	Kind          RunKind // action or on-event
	// Attended says that a caller waits for it: it runs once, nobody else claims
	// it, and nothing is kept of it when it ended.
	Attended bool
	// ConnectionKey and IntegrationKey are the user's ids as they were when the
	// job was made: the app is told of its end also when they are gone.
	ConnectionKey  string
	IntegrationKey string
	Input          json.RawMessage // nil: none
	Status         JobStatus
	// MaxRetries is how many attempts there may be after the first.
	MaxRetries int
	Attempts   int // runs that began
	// NotBefore is when the next attempt may begin.
	NotBefore time.Time
	// Lease fences the job: one run of it can commit.
	Lease Lease
	RunID int64 // the newest run; 0: none yet
	// Result is the output, or a [Failure]; nil before the end.
	Result     json.RawMessage
	CreatedAt  time.Time
	FinishedAt time.Time // zero until the end
	// InputKeyID and ResultKeyID say which key seals them; "" is none. Package
	// store/sealed sets them.
	InputKeyID  string
	ResultKeyID string
}

// Ended reports whether the job will not run again.
func (j *Job) Ended() bool { return j.Status == JobDone || j.Status == JobFailed }

// Failure is why an action failed, as its caller is told.
type Failure struct {
	// Type is what failed, in Nango's words where it has one: see the constants.
	Type    string `json:"type"`
	Code    Code   `json:"code"` // of the run
	Message string `json:"message"`
	// Payload is a JSON object: what an ActionError was made with, the body of
	// an upstream's answer, or what is known of another error.
	Payload json.RawMessage `json:"payload,omitempty"`
	// Upstream is the answer of the external API that the function failed with.
	Upstream *UpstreamAnswer `json:"upstream,omitempty"`
}

func (f *Failure) Error() string { return f.Message }

// The types of failures.
const (
	FailureAction        = "action_script_runtime_error" // the function threw an ActionError
	FailureUpstream      = "script_http_error"           // it failed with an answer of the external API
	FailureNetwork       = "script_network_error"        // the external API gave no answer
	FailureScript        = "script_internal_error"       // it threw anything else
	FailureInput         = "invalid_action_input"        // the input is not what the function's schema allows
	FailureOutput        = "invalid_action_output"       // nor is what it returned
	FailureLimit         = "script_limit_exceeded"       // it hit a limit, named in the message
	FailureUnknown       = "outcome_unknown"             // it was cut off: what it has done is not known
	FailureNotRun        = "not_run"                     // it could not be run
	FailureDisabled      = "disabled_resource"           // the function is disabled
	FailureNotFound      = "not_found"                   // the function or the connection is gone
	FailureInternal      = "internal_error"              // a defect of ours
	FailureTooManyLevels = "too_many_nested_actions"     // actions that call actions, too deep
)

// UpstreamAnswer is an answer of an external API outside of 2xx.
type UpstreamAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"` // content-type, and those that begin with x-rate
	Body    json.RawMessage   `json:"body"`    // as JSON; an object
}
