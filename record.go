package syncline

import (
	"encoding/json"
	"strings"
	"time"
)

// Collection is the records of one (connection, model); with a variant other
// than base the model is "Model::variant".
type Collection struct {
	ID            int64
	EnvironmentID int64
	ConnectionID  int64 // internal id
	Model         string
	// LastSeq is the position of the newest change (0: none yet).
	LastSeq int64
	// LastModifiedAt never decreases; the next change is stamped at or after it.
	LastModifiedAt time.Time
	// PurgedSeq is the highest position whose tombstone was hard-deleted: a
	// cursor below it may have missed a deletion.
	PurgedSeq int64
	// WindowID is the newest delete-tracking window that is open or held (0:
	// none), and WindowSeq the position at which it began: writers note which
	// records that stood then they saw since.
	WindowID  int64
	WindowSeq int64
	CreatedAt time.Time
}

// CollectionModel returns the model part of a collection's key for a model and
// a variant.
func CollectionModel(model, variant string) string {
	if variant == "" || variant == BaseVariant {
		return model
	}
	return model + "::" + variant
}

// SplitModel is the inverse of [CollectionModel].
func SplitModel(collectionModel string) (model, variant string) {
	model, variant, found := strings.Cut(collectionModel, "::")
	if !found {
		variant = BaseVariant
	}
	return model, variant
}

// Action is what happened last to a record.
type Action string

// The actions, in Nango's words.
const (
	ActionAdded   Action = "ADDED"
	ActionUpdated Action = "UPDATED"
	ActionDeleted Action = "DELETED"
)

// Record is the latest state of one object. A deleted one stays as a
// tombstone with its last payload.
type Record struct {
	CollectionID int64
	ID           string // external id
	// Seq is the position of the newest change. Positions are drawn from one
	// store-wide counter while the collection is locked: within a collection
	// they become visible in order and never restart; across collections they
	// tell which of two changes was made later.
	Seq     int64
	Hash    []byte // SHA-256 of the canonical payload (RFC 8785)
	Payload json.RawMessage
	// FirstSeenAt is when the record was first added; LastModifiedAt when its newest
	// change was made.
	FirstSeenAt    time.Time
	LastModifiedAt time.Time
	DeletedAt      time.Time // zero while live
	PrunedAt       time.Time // zero while the payload is there
	// LastAction is "" for a marker: an id that was deleted before it was ever
	// seen. It keeps the version of the deletion and is in no listing.
	LastAction Action
	// Version is what keep_newest compares, in the form of package records; ""
	// when the record was written under another strategy. FieldVersions holds
	// the fields that partial updates made newer than that: a JSON object of
	// JSON pointers to versions, nil for none.
	Version       string
	FieldVersions json.RawMessage
	// PayloadKeyID is the key that seals the stored payload; "" when it is
	// plain. Only the store and what seals for it see sealed payloads.
	PayloadKeyID string
	// Writer made the newest change.
	Writer Writer
	// TouchedBy is the newest delete-tracking window that saw the record (0: none).
	TouchedBy int64
}

// Deleted reports whether the record is a tombstone.
func (r *Record) Deleted() bool { return !r.DeletedAt.IsZero() }

// Writer names who wrote a record's newest change, so that a guard can exempt
// the writer's own earlier writes.
type Writer struct {
	// Lineage is shared by a poll run and the runs that continue it from its
	// checkpoint: the id of the first of them. 0 for webhook runs.
	Lineage int64
	// LaneID and EventID are set by webhook runs: the lane, and the event
	// within it.
	LaneID  int64
	EventID int64
	RunID   int64
}

// Cause is why a change was made: the kind of the run that made it.
func (w Writer) Cause() RunKind {
	switch {
	case w.LaneID != 0:
		return RunWebhook
	case w.Lineage != 0:
		return RunPoll
	}
	return RunAction
}

// Superseded is what a record was before a change, kept for its history.
type Superseded struct {
	Record
	// At is when the change was made that took its place.
	At time.Time
}

// DeleteWindowState is where a delete-tracking window stands.
type DeleteWindowState string

// The states of a delete-tracking window.
const (
	WindowOpen   DeleteWindowState = "open"
	WindowHeld   DeleteWindowState = "held" // too many deletes at once: waits to be confirmed
	WindowClosed DeleteWindowState = "closed"
)

// DeleteWindow is the time between trackDeletesStart and trackDeletesEnd of a
// collection: at its end, records that stood before it and that nobody touched
// since are deleted. It spans resumed runs; a reset closes it.
type DeleteWindow struct {
	ID            int64
	EnvironmentID int64
	CollectionID  int64
	InstanceID    int64
	InstanceEpoch int64
	Lineage       int64 // of the run that began it
	RunID         int64 // the run that ended it (0: none yet)
	StartSeq      int64 // the collection's newest position when it began
	State         DeleteWindowState
	// Deletes of Live records were found to be missing when the window was held.
	Deletes, Live int
	StartedAt     time.Time
	HeldAt        time.Time // zero unless it was held
	ClosedAt      time.Time // zero until it is closed
}

// Strategy is a merging strategy: what a write does when the record was changed
// by someone else since the written data was fetched.
type Strategy string

// The merging strategies.
const (
	// Override always writes.
	StrategyOverride Strategy = "override"
	// IgnoreIfModifiedAfter skips records that someone else changed after the
	// data may have been fetched.
	StrategyIgnoreIfModifiedAfter Strategy = "ignore_if_modified_after"
	// KeepNewest compares a field of the record, an upstream version or time:
	// older data never wins, at a tie the later arrival does.
	StrategyKeepNewest Strategy = "keep_newest"
)

// Change is a record's newest version at its position, as the feed gives it.
type Change struct {
	Record
	Cursor string
}
