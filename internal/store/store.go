// Package store is the contract of Syncline's main store: what is kept, by
// aggregate, and what a transaction promises. Engines (sqlite, postgres, mem)
// implement it; package storetest holds the suite that each must pass. The
// inbox is a store of its own (package inbox).
//
// The store keeps and orders; it decides nothing. The merge kernel and every
// other rule live with the packages that use it, so that they exist once.
//
// Every method that reads or writes rows of an environment takes its id, or
// takes an object that names it. A missing row is an error with code
// not_found, unless the method says otherwise; so is a row of another
// environment, and a parent that a new row names and that is not there. A disk
// that is full or fails is unavailable.
//
// What a caller leaves zero when it makes a row and the row must have, the
// store fills in, in the object too: UUID, CreatedAt, UpdatedAt, StartedAt.
// Times come back in UTC with microseconds. Maps come back non-nil, with their
// numbers as json.Number, digit by digit as they were stored.
package store

import (
	"context"
	"encoding/json"
	"time"

	"syncline"
)

// Durability says what a commit waits for.
type Durability int

const (
	// Durable commits are on disk when Update returns.
	Durable Durability = iota
	// Relaxed commits survive the death of the process but, until the next
	// durable commit, not that of the machine. Commits stay in order, so what
	// is lost is a suffix. It is for work that the inbox can repeat: routing,
	// claims, leases.
	Relaxed
)

// Store is a main store. All methods are safe for concurrent use.
type Store interface {
	// Update runs fn in one atomic transaction: all of its effects, or none
	// when it returns an error (which Update returns unchanged) or panics (code
	// internal). fn may run more than once, so it must not have effects outside
	// of tx; it must not do I/O of its own or wait, because writers queue behind
	// it, and it must not call Update. tx ends with fn.
	//
	// What fn reads by its id or key, changes and writes back (environments,
	// integrations, connections, instances, states of deliveries) was not changed by others in between:
	// where writers run side by side, fn runs again.
	//
	// When ctx ends before fn's turn, Update returns ctx's error: fn did not run
	// and never will. Once fn runs, Update waits for its end and tells how it
	// ended, whatever becomes of ctx: what fn writes to its caller's variables is
	// never written after Update returned. An engine bounds for how long it lets
	// fn and its commit go on then.
	Update(ctx context.Context, d Durability, fn func(tx Tx) error) error
	// View runs fn on one consistent snapshot, which includes every Update that
	// returned before. A snapshot holds resources: fn should not wait, and must
	// not call View. r is for one goroutine and ends with fn; once ctx ends,
	// its reads fail with ctx's error.
	View(ctx context.Context, fn func(r Reader) error) error
	// Position is the newest committed position of the store (see
	// syncline.Record.Seq). It does no I/O on embedded engines.
	Position(ctx context.Context) (int64, error)
	// Ping reports whether the store can be used.
	Ping(ctx context.Context) error
	Close() error
}

// Reader reads a consistent snapshot.
type Reader interface {
	EnvironmentReader
	IntegrationReader
	ConnectionReader
	FunctionReader
	InstanceReader
	DeliveryReader
	LaneReader
	RunReader
	RecordReader
	NotificationReader
	VariableReader
	LockReader
	JobReader
	CheckpointReader
}

// Tx reads and writes within one transaction; reads see its own writes.
type Tx interface {
	Reader
	EnvironmentWriter
	IntegrationWriter
	ConnectionWriter
	FunctionWriter
	InstanceWriter
	DeliveryWriter
	LaneWriter
	RunWriter
	RecordWriter
	NotificationWriter
	VariableWriter
	LockWriter
	JobWriter
	CheckpointWriter
	Housekeeping
}

// Page bounds a listing. Limit 0 means 100; engines cap it at 10,000. So it is
// for every other limit that this package takes, unless it says otherwise.
type Page struct {
	Limit  int
	Offset int
}

// EnvironmentReader reads environments and API keys.
type EnvironmentReader interface {
	Environments() ([]syncline.Environment, error)
	Environment(id int64) (syncline.Environment, error)
	EnvironmentByUUID(uuid string) (syncline.Environment, error)
	EnvironmentByName(name string) (syncline.Environment, error)
	// APIKeyByHash finds a key by the SHA-256 of its text.
	APIKeyByHash(hash []byte) (syncline.APIKey, error)
	APIKeys(env int64) ([]syncline.APIKey, error)
}

// EnvironmentWriter writes environments and API keys.
type EnvironmentWriter interface {
	// CreateEnvironment sets e.ID. A name or UUID that exists is a conflict.
	CreateEnvironment(e *syncline.Environment) error
	UpdateEnvironment(e *syncline.Environment) error
	// CreateAPIKey sets k.ID. A hash that exists is a conflict.
	CreateAPIKey(k *syncline.APIKey) error
	DeleteAPIKey(env, id int64) error
}

// IntegrationReader reads integrations.
type IntegrationReader interface {
	Integrations(env int64) ([]syncline.Integration, error) // by unique key
	Integration(env, id int64) (syncline.Integration, error)
	IntegrationByKey(env int64, uniqueKey string) (syncline.Integration, error)
}

// IntegrationWriter writes integrations.
type IntegrationWriter interface {
	// CreateIntegration sets i.ID. A unique key that exists is a conflict.
	CreateIntegration(i *syncline.Integration) error
	UpdateIntegration(i *syncline.Integration) error
	// DeleteIntegration removes the integration from view, and with it its
	// connections and functions, as their own deletes do; the rows stay until
	// purged.
	DeleteIntegration(env, id int64, at time.Time) error
}

// ConnectionFilter selects connections. Zero fields select all.
type ConnectionFilter struct {
	IntegrationID int64
	ConnectionID  string            // exact
	Search        string            // part of the connection id, or of a tag's value; case-insensitive
	Tags          map[string]string // all must match
	Page          Page
}

// ConnectionReader reads connections. Deleted ones are not found.
type ConnectionReader interface {
	Connection(env, id int64) (syncline.Connection, error)
	ConnectionByKey(env, integrationID int64, connectionID string) (syncline.Connection, error)
	Connections(env int64, f ConnectionFilter) ([]syncline.Connection, error) // newest first
	CountConnections(env int64, f ConnectionFilter) (int, error)
	// ConnectionsMatching lists the live connections of an integration, less those
	// that are being deleted, that have key among their [syncline.Connection.MatchKeys], in ascending id.
	ConnectionsMatching(env, integrationID int64, key syncline.MatchKey) ([]syncline.Connection, error)
}

// ConnectionWriter writes connections.
type ConnectionWriter interface {
	// CreateConnection sets c.ID. A live connection with the same key is a conflict.
	CreateConnection(c *syncline.Connection) error
	UpdateConnection(c *syncline.Connection) error
	// DeleteConnection marks the connection and its instances deleted, moves
	// the instances' epochs, drops their open events, unplans their polls, and
	// forgets the checkpoints of the connection's actions.
	DeleteConnection(env, id int64, at time.Time) error
}

// FunctionReader reads deployed functions.
type FunctionReader interface {
	// Functions lists the deployed functions of an integration (0: of all),
	// by integration, type and name.
	Functions(env, integrationID int64) ([]syncline.Function, error)
	Function(env, id int64) (syncline.Function, error)
	FunctionByName(env, integrationID int64, t syncline.FunctionType, name string) (syncline.Function, error)
	FunctionVersion(env, id int64) (syncline.FunctionVersion, error)
	// Bundle is the source of a bundle of this environment.
	Bundle(env int64, hash string) ([]byte, error)
	// MissingBundles are those of hashes that are not stored, in their order.
	MissingBundles(env int64, hashes []string) ([]string, error)
}

// FunctionWriter writes deployed functions.
type FunctionWriter interface {
	// PutBundle stores source under its hash, once.
	PutBundle(env int64, hash string, source []byte) error
	// DeployFunction makes v the active version of the function named by
	// f's integration, type and name, which is made (or revived) when it does
	// not exist; it sets f.ID, v.ID, v.FunctionID, v.Number and f.Active. A new
	// or revived function is enabled, another keeps its switch; f.Enabled tells.
	DeployFunction(f *syncline.Function, v *syncline.FunctionVersion) error
	SetFunctionEnabled(env, id int64, enabled bool) error
	// SetFunctionRun sets how the function runs; deploying it keeps that.
	SetFunctionRun(env, id int64, s syncline.RunSettings) error
	// DeleteFunction marks the function and its instances deleted, as
	// [ConnectionWriter.DeleteConnection] does for a connection's.
	DeleteFunction(env, id int64, at time.Time) error
}

// InstanceFilter selects sync instances. Zero fields select all.
type InstanceFilter struct {
	ConnectionID int64 // internal id
	FunctionID   int64
	Variant      string
	Stalled      bool // only those whose polls do not get on
}

// InstanceReader reads sync instances. Deleted ones are not found.
type InstanceReader interface {
	Instance(env, id int64) (syncline.SyncInstance, error)
	Instances(env int64, f InstanceFilter) ([]syncline.SyncInstance, error) // by id
	// DueInstances lists, over all environments, the instances that have a
	// poll to run at now (due while started, or triggered) and whose poll
	// lease is free: the triggered ones, then the most overdue first.
	DueInstances(now time.Time, limit int) ([]syncline.SyncInstance, error)
	// NextDue is the earliest time at which a started instance is due; zero
	// when none is planned.
	NextDue() (time.Time, error)
}

// InstanceWriter writes sync instances.
type InstanceWriter interface {
	// EnsureInstance finds the live instance of (connection, function,
	// variant) or makes i, with an epoch beyond that of any earlier instance
	// of the same three, free leases and a lane of its own. It fills i; created
	// tells which. not_found when the connection or the function is not live.
	EnsureInstance(i *syncline.SyncInstance) (created bool, err error)
	// UpdateInstance writes all mutable fields except leases. Epoch may only
	// grow: fenced when it is beyond i.Epoch already.
	UpdateInstance(i *syncline.SyncInstance) error
	DeleteInstance(env, id int64, at time.Time) error
	// ClaimPoll takes the poll lease when it is free at now: the lease's epoch
	// moves and the new lease is returned. ok is false when it is held.
	ClaimPoll(env, instanceID int64, owner string, now, until time.Time) (lease syncline.Lease, ok bool, err error)
	// ExtendPoll moves the lease's end; fenced when epoch is not the lease's.
	ExtendPoll(env, instanceID, leaseEpoch int64, until time.Time) error
	// ReleasePoll frees the lease; it does nothing when epoch is not the lease's.
	ReleasePoll(env, instanceID, leaseEpoch int64) error
	// FencePoll checks, locking the instance, that its epoch and the poll
	// lease's are still these; otherwise the error is fenced and says which moved.
	FencePoll(env, instanceID, instanceEpoch, leaseEpoch int64) error
}

// DeliveryFilter selects deliveries. Zero fields select all.
type DeliveryFilter struct {
	IntegrationID int64
	Status        syncline.DeliveryStatus
	After         int64 // positions beyond this
	Page          Page
}

// DeliveryReader reads what became of deliveries.
type DeliveryReader interface {
	DeliveryState(env, position int64) (syncline.DeliveryState, error)
	Deliveries(env int64, f DeliveryFilter) ([]syncline.DeliveryState, error) // newest first
	CountDeliveries(env int64, f DeliveryFilter) (int, error)
	// Parked lists parked deliveries of an integration in receipt order.
	Parked(env, integrationID int64, limit int) ([]syncline.DeliveryState, error)
	// OpenDeliveries lists, over all environments, which of the positions have
	// not ended or are not routed yet.
	OpenDeliveries(positions []int64) ([]int64, error)
	// RouterPosition is the inbox position up to which routing is done.
	RouterPosition() (int64, error)
}

// DeliveryWriter writes what became of deliveries.
type DeliveryWriter interface {
	PutDeliveryState(d *syncline.DeliveryState) error // inserts or replaces
	SetRouterPosition(p int64) error
}

// LaneReader reads lanes and their events.
type LaneReader interface {
	Lane(env, id int64) (syncline.Lane, error)
	Event(env, id int64) (syncline.Event, error)
	// PendingEvents lists a lane's pending events in lane order.
	PendingEvents(env, laneID int64, limit int) ([]syncline.Event, error)
	// EventsOf lists the events that a delivery became.
	EventsOf(env, position int64) ([]syncline.Event, error)
	// Backlog counts pending events over all lanes.
	Backlog() (int, error)
	// NextLane is when the next lane with pending events can be claimed, by
	// its backoff or the end of a foreign lease; zero when there is none.
	NextLane(now time.Time) (time.Time, error)
}

// LaneWriter writes lanes and their events.
type LaneWriter interface {
	// AppendEvents puts events at the end of their lanes, in order, and sets
	// their ids. not_found when the instance of a lane is not live.
	AppendEvents(events []*syncline.Event) error
	// ClaimLanes takes up to max lanes that have pending events, a free lease and
	// no backoff at now; the longest unserved first, so that no lane starves
	// another. Each claim moves the lane's lease epoch.
	ClaimLanes(owner string, now, until time.Time, max int) ([]syncline.Lane, error)
	// ExtendLane moves the lease's end; fenced when epoch is not the lease's.
	ExtendLane(env, laneID, leaseEpoch int64, until time.Time) error
	// ReleaseLane frees the lease and writes NotBefore, WaitingSince, Backoff,
	// Reason and ServedAt; it does nothing when l.Lease.Epoch is not the lease's.
	ReleaseLane(l *syncline.Lane) error
	// FenceLane checks, locking the lane and its instance, that the instance's epoch
	// and the lane lease's are still these; otherwise the error is fenced.
	FenceLane(env, laneID, instanceEpoch, leaseEpoch int64) error
	// UpdateEvent writes status, attempts, last error and run. An event that
	// leaves pending is counted off its lane and its delivery's state, which
	// becomes processed or dead with its last open event, with the last error
	// as its reason when one died or when all were dropped. A dead event that
	// is made pending again is counted on, and its delivery is routed again.
	UpdateEvent(e *syncline.Event) error
}

// RunFilter selects runs. Zero fields select all.
type RunFilter struct {
	ConnectionID int64 // internal id
	InstanceID   int64
	FunctionID   int64
	Kind         syncline.RunKind
	Status       syncline.RunStatus
	Before       int64 // ids below this
	Page         Page
}

// RunReader reads runs and their logs.
type RunReader interface {
	Run(env, id int64) (syncline.Run, error)
	RunByUUID(env int64, uuid string) (syncline.Run, error)
	Runs(env int64, f RunFilter) ([]syncline.Run, error) // newest first
	// Logs lists a run's log lines with ids beyond after.
	Logs(env, runID, after int64, limit int) ([]syncline.LogLine, error)
	// RunningRuns lists, over all environments, the runs that have not finished.
	RunningRuns(limit int) ([]syncline.Run, error)
}

// RunWriter writes runs and their logs.
type RunWriter interface {
	CreateRun(r *syncline.Run) error // sets r.ID, and r.Lineage to it when 0
	UpdateRun(r *syncline.Run) error
	AppendLogs(env, runID int64, lines []syncline.LogLine) error
}

// RecordQuery selects a page of a collection in the order of Seq.
type RecordQuery struct {
	After         int64             // positions beyond this
	ModifiedAfter time.Time         // last modified later than this; zero: all
	Actions       []syncline.Action // last actions; empty: all
	IDs           []string          // external ids; nil: all
	Until         int64             // positions up to this; 0: all
	// UntouchedBy keeps live records that no delete-tracking window of this id
	// or a newer one has seen; 0: all.
	UntouchedBy int64
	Limit       int // 0: no limit
}

// RecordReader reads collections and records. Markers (records without a last
// action) are found by id only.
type RecordReader interface {
	// Collection finds a collection; not_found when nothing was ever written to it.
	Collection(env, connectionID int64, model string) (syncline.Collection, error)
	Collections(env, connectionID int64) ([]syncline.Collection, error)
	// RecordsByID reads records, tombstones included, by external id; ids
	// that are not there are absent from the map.
	RecordsByID(env, collectionID int64, ids []string) (map[string]*syncline.Record, error)
	// RecordHeads is RecordsByID without the payloads, for those who compare by
	// hash. A head must not be put back without a payload.
	RecordHeads(env, collectionID int64, ids []string) (map[string]*syncline.Record, error)
	// ScanRecords calls fn for each record of the page, in the order of Seq;
	// it stops when fn returns false.
	ScanRecords(env, collectionID int64, q RecordQuery, fn func(*syncline.Record) bool) error
	// CountRecords counts live records.
	CountRecords(env, collectionID int64) (int, error)
	// CountMatching counts what ScanRecords finds.
	CountMatching(env, collectionID int64, q RecordQuery) (int, error)
	// CollectionByID finds a collection.
	CollectionByID(env, id int64) (syncline.Collection, error)
	// AllCollections lists the collections of an environment with ids beyond
	// after, by id.
	AllCollections(env, after int64, limit int) ([]syncline.Collection, error)
	// DeleteWindow finds a delete-tracking window.
	DeleteWindow(env, id int64) (syncline.DeleteWindow, error)
	// HeldWindows lists the windows that wait to be confirmed, newest first.
	HeldWindows(env int64, p Page) ([]syncline.DeleteWindow, error)
	// History lists the superseded versions of a record at positions below
	// before (0: all), newest first.
	History(env, collectionID int64, id string, before int64, limit int) ([]syncline.Superseded, error)
	// ScanAsOf calls fn for what at most limit (0: all) records were at a time,
	// in a fixed order of their ids, beyond afterID; it stops when fn returns
	// false. fn must not use the reader. Records that were not there, or deleted,
	// are left out; so are versions that are not kept any more.
	ScanAsOf(env, collectionID int64, at time.Time, afterID string, limit int, fn func(*syncline.Record) bool) error
	// ForeignPayloads lists records whose payloads are not sealed with keyID
	// ("": that are sealed at all), at positions beyond after, with their
	// payloads as they are stored.
	ForeignPayloads(env, collectionID int64, keyID string, after int64, limit int) ([]*syncline.Record, error)
}

// RecordWriter writes collections and records.
type RecordWriter interface {
	// EnsureCollection finds or makes the collection and returns its id.
	EnsureCollection(env, connectionID int64, model string, now time.Time) (int64, error)
	// LockCollection holds the collection's lock until the transaction ends.
	// Callers lock several in ascending id: they find the ids first
	// (EnsureCollection), then lock.
	LockCollection(env, collectionID int64) (syncline.Collection, error)
	// NextSeq reserves n positions under the lock of a collection and returns
	// the first; they are consecutive.
	NextSeq(n int) (int64, error)
	// PutRecords inserts or replaces records by external id, and moves the
	// collection's LastSeq and LastModifiedAt to those of the last record.
	// Records come in the order of their Seq, beyond the collection's, and
	// LastModifiedAt does not decrease: readers search by it.
	PutRecords(env, collectionID int64, records []*syncline.Record) error
	// RestateRecords replaces records where they stand: what readers are told
	// of does not change, their positions stay.
	RestateRecords(env, collectionID int64, records []*syncline.Record) error
	// TouchRecords notes that a delete-tracking window saw the records.
	TouchRecords(env, collectionID, window int64, ids []string) error
	// EmptyCollection removes every record for good. That is a change of its
	// own: LastSeq and PurgedSeq move to a new position, so that every reader
	// that kept a cursor learns that its records are gone. The collection and
	// its id stay; its history goes too, and its delete-tracking windows close.
	EmptyCollection(env, collectionID int64) error
	// OpenWindow begins a delete-tracking window, sets w.ID, and makes it the
	// collection's.
	OpenWindow(w *syncline.DeleteWindow) error
	// UpdateWindow writes a window's state, run and counts. One that is closed
	// is no longer the collection's.
	UpdateWindow(w *syncline.DeleteWindow) error
	// PutHistory keeps superseded versions.
	PutHistory(env, collectionID int64, versions []*syncline.Superseded) error
	// PruneRecords removes the payloads of at most limit records at positions
	// beyond after, up to until (0: all), that were last modified before t (zero:
	// whenever), the oldest first. It returns how many it did, and the position of
	// the last of them. Positions stay.
	PruneRecords(env, collectionID, after, until int64, before time.Time, limit int, now time.Time) (n int, last int64, err error)
	// PurgeDeleted removes at most limit records for good that were deleted
	// before t, and moves PurgedSeq to the newest of them.
	PurgeDeleted(env, collectionID int64, before time.Time, limit int) (int, error)
	// PurgeHistory removes at most limit versions that were superseded before t.
	PurgeHistory(env, collectionID int64, before time.Time, limit int) (int, error)
}

// NotificationFilter selects notifications. Zero fields select all.
type NotificationFilter struct {
	Status syncline.NotificationStatus
	RunID  int64
	Page   Page
}

// NotificationReader reads the outbox.
type NotificationReader interface {
	Notification(env, id int64) (syncline.Notification, error)
	Notifications(env int64, f NotificationFilter) ([]syncline.Notification, error) // newest first
	// DueNotifications lists, over all environments, pending notifications whose next
	// attempt is due at now, oldest first.
	DueNotifications(now time.Time, limit int) ([]syncline.Notification, error)
	// NextNotification is when the next pending one is due; zero when none is pending.
	NextNotification() (time.Time, error)
}

// NotificationWriter writes the outbox.
type NotificationWriter interface {
	CreateNotification(n *syncline.Notification) error // sets n.ID
	UpdateNotification(n *syncline.Notification) error
}

// VariableReader reads the variables of environments.
type VariableReader interface {
	Variables(env int64) ([]syncline.Variable, error) // by name
}

// VariableWriter writes the variables of environments.
type VariableWriter interface {
	// PutVariable makes or replaces the variable of that name.
	PutVariable(v *syncline.Variable) error
	DeleteVariable(env int64, name string) error
}

// LockReader reads the locks of functions.
type LockReader interface {
	// Lock finds a lock, also one that is past its end.
	Lock(env int64, key string) (syncline.Lock, error)
}

// LockWriter writes the locks of functions.
type LockWriter interface {
	// AcquireLock gives l to its owner when nobody has it, when who has it is past
	// its end at now, or when the owner has it already: its end moves then. ok
	// tells whether the owner has it.
	AcquireLock(l *syncline.Lock, now time.Time) (ok bool, err error)
	// ReleaseLock frees a lock if the owner has it, and reports whether it had:
	// one that is past its end at now counts as free.
	ReleaseLock(env int64, key, owner string, now time.Time) (bool, error)
	// ReleaseLocks frees every lock of an owner and returns how many there were.
	ReleaseLocks(env int64, owner string) (int, error)
}

// JobReader reads jobs.
type JobReader interface {
	Job(env, id int64) (syncline.Job, error)
	JobByUUID(env int64, uuid string) (syncline.Job, error)
	// NextJob is when the next pending job may begin, at now at the earliest;
	// zero when there is none. Environments that have perEnvironment jobs under
	// way, attended ones not counted, are passed over.
	NextJob(now time.Time, perEnvironment int) (time.Time, error)
	// LostJobs lists, over all environments, the running jobs whose lease nobody
	// holds at now: their processes died.
	LostJobs(now time.Time, limit int) ([]syncline.Job, error)
}

// JobWriter writes jobs.
type JobWriter interface {
	// CreateJob sets j.ID, and j.Lease.Epoch when it is made with a lease. not_found
	// when the function is not live, or the connection.
	CreateJob(j *syncline.Job) error
	// ClaimJobs takes the leases of up to max pending jobs that may begin at now and
	// that nobody holds, at most as many of an environment as make
	// perEnvironment under way; those that may begin first, first. It takes
	// turns among environments.
	ClaimJobs(owner string, now, until time.Time, perEnvironment, max int) ([]syncline.Job, error)
	// TakeJob takes the lease of a job that has not ended when it is free at now.
	// ok is false when it is held.
	TakeJob(env, id int64, owner string, now, until time.Time) (lease syncline.Lease, ok bool, err error)
	// ExtendJob moves the lease's end; fenced when epoch is not the lease's.
	ExtendJob(env, id, leaseEpoch int64, until time.Time) error
	// FenceJob checks, locking the job, that the lease's epoch is still this one;
	// otherwise the error is fenced.
	FenceJob(env, id, leaseEpoch int64) error
	// UpdateJob writes Status, Attempts, NotBefore, RunID, Result and FinishedAt,
	// and frees the lease unless the job is running then; fenced when
	// j.Lease.Epoch is not the lease's.
	UpdateJob(j *syncline.Job) error
	// DeleteJob removes a job; fenced when epoch is not the lease's.
	DeleteJob(env, id, leaseEpoch int64) error
}

// CheckpointReader reads the checkpoints of actions and on-event functions;
// those of syncs are their instances'.
type CheckpointReader interface {
	// Checkpoint is that of a function for a connection; nil when there is none.
	Checkpoint(env, connectionID, functionID int64) (json.RawMessage, error)
}

// CheckpointWriter writes the checkpoints of actions and on-event functions.
type CheckpointWriter interface {
	// SetCheckpoint keeps a checkpoint; nil removes it. not_found when the
	// connection is not live.
	SetCheckpoint(env, connectionID, functionID int64, c json.RawMessage) error
}

// Housekeeping removes what nobody needs any more, over all environments. Each call
// handles at most limit rows and returns how many it did.
type Housekeeping interface {
	// ReleaseLeases frees every lease. It is for an embedded store at start,
	// when no other process can hold one.
	ReleaseLeases() error
	// PurgeRuns removes runs, with their logs, that finished before t.
	PurgeRuns(t time.Time, limit int) (int, error)
	// PurgeJobs removes jobs that ended before t.
	PurgeJobs(t time.Time, limit int) (int, error)
	// PurgeLocks removes locks that ended before t.
	PurgeLocks(t time.Time, limit int) (int, error)
	// PurgeNotifications removes delivered and failed notifications made before t.
	PurgeNotifications(t time.Time, limit int) (int, error)
	// PurgeDeliveries removes the states of deliveries that ended (processed,
	// ignored, expired, dead) and were received before t, with their events.
	PurgeDeliveries(t time.Time, limit int) (int, error)
}
