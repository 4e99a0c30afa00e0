package syncline

import (
	"encoding/json"
	"time"
)

// BaseVariant is the variant of a sync that every connection has.
const BaseVariant = "base"

// InstanceState says whether the schedule of a sync instance runs. It does not
// govern webhooks.
type InstanceState string

// The states of a schedule.
const (
	InstanceStarted InstanceState = "started"
	InstancePaused  InstanceState = "paused"
)

// SyncInstance is one (connection, sync, variant): its schedule and its state.
type SyncInstance struct {
	ID            int64
	UUID          string // shown by the API
	EnvironmentID int64
	ConnectionID  int64 // internal id
	FunctionID    int64
	Variant       string // "base" unless made otherwise
	State         InstanceState
	// FrequencyOverride replaces the manifest's frequency when not "".
	FrequencyOverride string
	// Epoch moves on delete, reset and emptyCache: work that began in an
	// earlier epoch can no longer commit.
	Epoch int64
	// NextDueAt is when the next poll is due; zero when none is planned.
	NextDueAt time.Time
	// TriggerPending says that a poll was asked for while one was running, or
	// out of schedule; it runs as soon as it can.
	TriggerPending bool
	// PollLease fences polls: one runs at a time.
	PollLease Lease
	// PollRunID is the poll that runs now (0: none).
	PollRunID int64
	// LastPollRunID is the newest finished poll (0: never ran).
	LastPollRunID int64
	// LastSyncDate is when the newest successful poll began; zero when there is none.
	LastSyncDate time.Time
	// PollFailures counts failed polls since the last success; it drives backoff.
	PollFailures int
	// PollCheckpoint and WebhookCheckpoint are separate; null when not set.
	PollCheckpoint    json.RawMessage
	WebhookCheckpoint json.RawMessage
	Reconcile         Reconcile
	Progress          Progress
	CreatedAt         time.Time
	DeletedAt         time.Time // zero while live
}

// Progress is how an instance's polls get on that are cut at a limit and
// continued.
type Progress struct {
	// Continued counts the polls in a row that were cut and continued.
	Continued int `json:"continued,omitempty"`
	// Stuck counts those of them, the last ones, that did not move the checkpoint.
	Stuck int `json:"stuck,omitempty"`
	// StalledAt is since when the instance is stalled: too many polls were cut at a
	// limit without moving the checkpoint. Zero when it is not.
	StalledAt time.Time `json:"stalled_at,omitzero"`
	// Reason says at which limit, for people.
	Reason string `json:"reason,omitempty"`
}

// Stalled reports whether polls do not get on any more.
func (p Progress) Stalled() bool { return !p.StalledAt.IsZero() }

// Reconcile is what an instance keeps of full runs and of contested records.
type Reconcile struct {
	// FullAt is when the newest full poll that succeeded began: one that
	// fetched everything, without a checkpoint or a last sync date.
	FullAt time.Time `json:"full_at,omitzero"`
	// Full says that a full poll is under way: polls that go on from its
	// checkpoint belong to it.
	Full bool `json:"full,omitempty"`
	// Requested makes the next poll a full one.
	Requested bool `json:"requested,omitempty"`
	// Contested counts the records that polls and webhooks left alone since then
	// although their data differed, because someone else had changed them later.
	Contested int `json:"contested,omitempty"`
	// Before is how many of them were counted before the full poll that is under
	// way: it sees these again.
	Before int `json:"before,omitempty"`
	// Rewind is where the next poll begins once more; nil: where the last one left off.
	Rewind *Rewind `json:"rewind,omitempty"`
}

// Rewind is where a poll began whose batch was contested.
type Rewind struct {
	Checkpoint   json.RawMessage `json:"checkpoint,omitempty"`
	LastSyncDate time.Time       `json:"last_sync_date,omitzero"`
}

// Lease is a right to work that can be lost: its holder commits only while
// Epoch is still the one it was given.
type Lease struct {
	Owner string    // node and slot; "" when free
	Epoch int64     // moves with every claim
	Until time.Time // free again after this
}
