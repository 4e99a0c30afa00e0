package host

import (
	"context"

	"syncline"
	"syncline/internal/fn"
)

// Upstream makes requests to the external API on behalf of a connection.
type Upstream interface {
	Do(ctx context.Context, r UpstreamRequest) (*fn.HTTPResult, error)
}

// UpstreamRequest is one request of a run.
type UpstreamRequest struct {
	Integration *syncline.Integration
	Connection  *syncline.Connection
	// Kind is that of the run: it decides who goes first when requests of the
	// connection wait.
	Kind syncline.RunKind
	Args fn.HTTPArgs
	// Log takes what the run's log says of the request; nil: nothing.
	Log func(syncline.LogLine)
}
