// Package api is the HTTP API: Nango's shapes and statuses where Nango has the
// endpoint, our own beside them. It owns requests and answers, the rules of what
// input is accepted, and the one mapping from error codes to statuses. What a
// command does is done elsewhere; the package must not know how runs, lanes or
// deliveries work.
//
// Every query of a handler names the environment of the caller's key.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"syncline"
	"syncline/internal/clock"
	"syncline/internal/feed"
	"syncline/internal/provider"
	"syncline/internal/schedule"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// The limits of request bodies, in bytes.
const (
	DefaultMaxBody       = 10 << 20
	DefaultMaxDeployBody = 64 << 20
)

// DefaultStall is how long a caller may take to receive one part of a page.
const DefaultStall = 30 * time.Second

// Deps is what the API works with.
type Deps struct {
	Store     store.Store
	Secrets   *secret.Sealer
	Catalogue Catalogue
	Syncs     SyncControl
	Upstream  Upstream      // for /proxy; nil: there is none
	Deletes   DeleteControl // nil: nothing is ever held
	Actions   Actions       // nil: no functions are run on demand or on events
	Hooks     Hooks
	Clock     clock.Clock
	Log       *slog.Logger
	// PublicURL is where external APIs reach this server, for webhook URLs.
	PublicURL string
	// Ready reports what else than the store must work for the server to be
	// ready (the inbox); nil: nothing.
	Ready func(ctx context.Context) error
	// Received is the newest position of the inbox; nil: unknown.
	Received func(ctx context.Context) (int64, error)
	// Compiled reports whether a function is compiled into this process; nil: none
	// is. It cannot be deployed over.
	Compiled func(kind syncline.FunctionType, integration, name string) bool
	// Node reports why functions of the engine node cannot run here, nil when they
	// can; a nil func: they cannot.
	Node func(ctx context.Context) error
	// Metrics serves GET /metrics; nil: there is none.
	Metrics http.Handler
	// Replica is a copy of Store that reads of records go to, as far as it has
	// caught up; nil: there is none.
	Replica store.Store
	// MaxBody and MaxDeployBody are limits in bytes; 0 takes the default. So does
	// MaxPage, which ends a page of records before its limit of records does.
	MaxBody       int64
	MaxDeployBody int64
	MaxPage       int64
	// Limits are those of a run that says no others, MostLimits what it may say at
	// most; zero fields are unknown, and bound nothing. Wall times are those of polls.
	Limits, MostLimits syncline.RunLimits
	// Stall is how long a caller may take to receive one part of a page of
	// records, some 256 KB, before its connection is closed; 0 takes the default.
	Stall time.Duration
}

// Catalogue is what the API asks of the provider catalogue.
type Catalogue interface {
	// Provider finds a provider by name.
	Provider(name string) (*provider.Provider, bool)
	// Names lists all providers, sorted.
	Names() []string
}

// SyncControl carries out commands on sync instances; schedule.Control
// implements it.
type SyncControl interface {
	Trigger(ctx context.Context, env, instanceID int64, o schedule.TriggerOptions) error
	Start(ctx context.Context, env, instanceID int64) error
	Pause(ctx context.Context, env, instanceID int64) error
	// SetFrequency overrides the sync's frequency; "" goes back to it.
	SetFrequency(ctx context.Context, env, instanceID int64, frequency string) error
}

// DeleteControl decides about deletes that are held because they are too many at
// once; dispatch.Deletes implements it. Errors: not_found, conflict when they
// are not held any more.
type DeleteControl interface {
	Confirm(ctx context.Context, env, windowID int64) (syncline.ModelResult, error)
	Discard(ctx context.Context, env, windowID int64) error
}

// Hooks are told after a change has been committed. They return at once.
type Hooks interface {
	// ConnectionsChanged: connections of the integration, or the integration
	// itself, were made, changed or deleted.
	ConnectionsChanged(env, integrationID int64)
	// FunctionsChanged: functions of the integration were deployed or deleted.
	FunctionsChanged(env, integrationID int64)
	// SchedulesChanged: instances were made, or are due at another time.
	SchedulesChanged()
	// NotificationsChanged: a notification is due.
	NotificationsChanged()
	// JobsChanged: an asynchronous action or an on-event function waits to run.
	JobsChanged()
}

// NoHooks are hooks that nobody listens to.
type NoHooks struct{}

var _ Hooks = NoHooks{}

// ConnectionsChanged does nothing.
func (NoHooks) ConnectionsChanged(_, _ int64) {}

// FunctionsChanged does nothing.
func (NoHooks) FunctionsChanged(_, _ int64) {}

// SchedulesChanged does nothing.
func (NoHooks) SchedulesChanged() {}

// NotificationsChanged does nothing.
func (NoHooks) NotificationsChanged() {}

// JobsChanged does nothing.
func (NoHooks) JobsChanged() {}

// server holds the handlers.
type server struct {
	Deps
	auth    *authenticator
	records *feed.Source
	pruner  *feed.Pruner
	mux     *http.ServeMux
}

// New returns the API as a handler for all paths that nothing else serves: what
// it does not know it answers with 404 as JSON.
func New(d Deps) http.Handler {
	if d.MaxBody == 0 {
		d.MaxBody = DefaultMaxBody
	}
	if d.MaxDeployBody == 0 {
		d.MaxDeployBody = DefaultMaxDeployBody
	}
	if d.Stall == 0 {
		d.Stall = DefaultStall
	}
	if d.Hooks == nil {
		d.Hooks = NoHooks{}
	}
	d.PublicURL = strings.TrimRight(d.PublicURL, "/")
	s := &server{
		Deps: d, auth: newAuthenticator(d.Store, d.Clock), mux: http.NewServeMux(),
		records: &feed.Source{Store: d.Store, Replica: d.Replica, Clock: d.Clock, Log: d.Log},
		pruner:  &feed.Pruner{Store: d.Store, Clock: d.Clock},
	}
	s.routes()
	return s
}

func (s *server) routes() {
	s.open("GET /healthz", s.health)
	s.open("GET /readyz", s.ready)
	if s.Metrics != nil {
		s.mux.Handle("GET /metrics", s.Metrics)
	}

	s.handle("GET /providers", s.listProviders)
	s.handle("GET /providers/{provider}", s.getProvider)

	s.handle("GET /integrations", s.listIntegrations)
	s.handle("POST /integrations", s.createIntegration)
	s.handle("GET /integrations/{uniqueKey}", s.getIntegration)
	s.handle("PATCH /integrations/{uniqueKey}", s.patchIntegration)
	s.handle("DELETE /integrations/{uniqueKey}", s.deleteIntegration)

	s.handle("GET /connections", s.listConnections)
	s.handle("POST /connections", s.putConnection)
	s.handle("GET /connections/{connectionId}", s.getConnection)
	s.handle("PATCH /connections/{connectionId}", s.patchConnection)
	s.handle("DELETE /connections/{connectionId}", s.deleteConnection)
	s.handle("POST /connections/metadata", s.setMetadata)
	s.handle("PATCH /connections/metadata", s.updateMetadata)

	// Nango's deprecated names of the same.
	s.handle("GET /connection", s.listConnections)
	s.handle("POST /connection", s.putConnectionFlat)
	s.handle("GET /connection/{connectionId}", s.getConnection)
	s.handle("DELETE /connection/{connectionId}", s.deleteConnection)
	s.handle("POST /connection/metadata", s.setMetadata)
	s.handle("PATCH /connection/metadata", s.updateMetadata)
	s.handle("POST /connection/{connectionId}/metadata", s.setMetadataOfOne)
	s.handle("PATCH /connection/{connectionId}/metadata", s.updateMetadataOfOne)

	s.handle("GET /records", s.listRecords)
	s.handle("GET /records/count", s.countRecords)
	s.handle("PATCH /records/prune", s.pruneRecords)
	s.handle("GET /records/as-of", s.recordsAsOf)
	s.handle("GET /records/{id}/history", s.recordHistory)
	s.handle("GET /records/deletes", s.listHeldDeletes)
	s.handle("POST /records/deletes/{id}/confirm", s.confirmDeletes)
	s.handle("POST /records/deletes/{id}/discard", s.discardDeletes)

	s.handle("POST /sync/trigger", s.triggerSyncs)
	s.handle("POST /sync/start", s.startSyncs)
	s.handle("POST /sync/pause", s.pauseSyncs)
	s.handle("GET /sync/status", s.syncStatus)
	s.handle("PUT /sync/update-connection-frequency", s.setFrequency)
	s.handle("POST /sync/{name}/variant/{variant}", s.createVariant)
	s.handle("DELETE /sync/{name}/variant/{variant}", s.deleteVariant)

	s.handle("POST /action/trigger", s.triggerAction)
	s.handle("GET /action/{id}", s.getActionResult)
	s.handle("GET /scripts/config", s.scriptsConfig)

	s.handle("POST /bundles", s.putBundles)
	s.handle("POST /deployments", s.deploy)
	s.handle("GET /runs", s.listRuns)
	s.handle("GET /runs/{uuid}", s.getRun)
	s.handle("GET /runs/{uuid}/logs", s.listLogs)
	s.handle("GET /deliveries", s.listDeliveries)
	s.handle("GET /status", s.status)
	s.handle("GET /integrations/{uniqueKey}/functions", s.listFunctions)
	s.handle("PATCH /integrations/{uniqueKey}/functions/{name}", s.patchFunction)
	s.handle("GET /environment-variables", s.listVariables)
	s.handle("PUT /environment-variables", s.putVariables)
	s.handle("DELETE /environment-variables/{name}", s.deleteVariable)
	s.handle("GET /environments/current", s.getEnvironment)
	s.handle("PATCH /environments/current", s.patchEnvironment)
	s.handle("GET /notifications", s.listNotifications)
	s.handle("POST /notifications/{id}/resend", s.resendNotification)
}
