package node

import (
	"context"
	"encoding/json"
	"io"
	"maps"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/clock"
	"syncline/internal/config"
	"syncline/internal/connect"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/provider"
	"syncline/internal/proxy"
	"syncline/internal/proxy/outbound"
	"syncline/internal/secret"
	"syncline/internal/store"
)

// upstream lets functions and callers of the API call external APIs and see
// their connection: it opens the credentials and hands them to the proxy.
type upstream struct {
	catalogue *provider.Catalogue
	sealer    *secret.Sealer
	store     store.Store
	client    *proxy.Client
	clock     clock.Clock
	publicURL string // without a slash at its end
}

var (
	_ host.Upstream   = (*upstream)(nil)
	_ api.Upstream    = (*upstream)(nil)
	_ proxy.Refresher = (*upstream)(nil)
)

// Do makes one request of a run.
func (u *upstream) Do(ctx context.Context, r host.UpstreamRequest) (*fn.HTTPResult, error) {
	request, err := u.request(r.Integration, r.Connection, r.Args)
	if err != nil {
		return nil, err
	}
	request.Priority, request.Log = proxy.PriorityOf(r.Kind), r.Log
	resp, err := u.client.Do(ctx, request)
	if err != nil {
		return nil, err
	}
	result := resp.Result(r.Args.ResponseType)
	result.HoldUntilReleased(resp.Release)
	return &result, nil
}

// Stream makes one request of a caller of the API.
func (u *upstream) Stream(ctx context.Context, i *syncline.Integration, c *syncline.Connection, args fn.HTTPArgs, body io.Reader, length int64) (*proxy.Stream, error) {
	request, err := u.request(i, c, args)
	if err != nil {
		return nil, err
	}
	return u.client.Stream(ctx, request, body, length)
}

func (u *upstream) request(i *syncline.Integration, c *syncline.Connection, args fn.HTTPArgs) (proxy.Request, error) {
	p, ok := u.catalogue.Provider(i.Provider)
	if !ok {
		return proxy.Request{}, syncline.Errorf(syncline.CodeNotFound, "the provider %s of integration %s is not in the catalogue", i.Provider, i.UniqueKey)
	}
	vars, err := u.variables(c)
	if err != nil {
		return proxy.Request{}, err
	}
	return proxy.Request{Provider: p, BaseURL: i.Config.ProxyBaseURL, Integration: i, Connection: c, Credentials: vars, Args: args}, nil
}

// variables are a connection's credentials as the catalogue's templates take them.
func (u *upstream) variables(c *syncline.Connection) (map[string]string, error) {
	credentials, err := connect.Open(u.sealer, c.EnvironmentID, c.Credentials)
	if err != nil {
		return nil, err
	}
	return credentials.Variables(c.ConnectionID, u.clock.Now())
}

// Refresh returns the credentials that the connection has now, when they are not
// those that were refused: someone has imported it anew meanwhile. A deleted
// connection has none.
func (u *upstream) Refresh(ctx context.Context, _ *syncline.Integration, c *syncline.Connection, used map[string]string) (map[string]string, error) {
	var now syncline.Connection
	err := u.store.View(ctx, func(r store.Reader) (err error) {
		now, err = r.Connection(c.EnvironmentID, c.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	vars, err := u.variables(&now)
	if err != nil || !now.DeletedAt.IsZero() || maps.Equal(vars, used) {
		return nil, err
	}
	return vars, nil
}

// Describe is the connection as functions see it. Credentials are as they were
// imported: there is nothing that could refresh them.
func (u *upstream) Describe(_ context.Context, i *syncline.Integration, c *syncline.Connection, o host.DescribeOptions) (json.RawMessage, error) {
	credentials, err := connect.Open(u.sealer, c.EnvironmentID, c.Credentials)
	if err != nil {
		return nil, err
	}
	return api.DescribeConnection(i, c, credentials, o.RefreshToken)
}

// Fetch makes a request that has nothing to do with a connection.
func (u *upstream) Fetch(ctx context.Context, args fn.FetchArgs) (*fn.HTTPResult, error) {
	return u.client.Fetch(ctx, args)
}

// DescribeIntegration is the integration as functions see it.
func (u *upstream) DescribeIntegration(e *syncline.Environment, i *syncline.Integration, include []string) (json.RawMessage, error) {
	return api.DescribeIntegration(u.sealer, api.WebhookURL(u.publicURL, e.UUID, i.UniqueKey), i, include)
}

// WebhookURL is where the integration's API sends webhooks.
func (u *upstream) WebhookURL(e *syncline.Environment, i *syncline.Integration) (json.RawMessage, error) {
	p, ok := u.catalogue.Provider(i.Provider)
	if !ok || p.Webhook == nil && len(i.Config.Webhook) == 0 {
		return json.RawMessage("null"), nil
	}
	return json.Marshal(api.WebhookURL(u.publicURL, e.UUID, i.UniqueKey))
}

// OpenVariables is variables as functions see them.
func (u *upstream) OpenVariables(list []syncline.Variable) (json.RawMessage, error) {
	return api.OpenVariables(u.sealer, list)
}

// paginate is a provider's default pagination as functions get it.
func (u *upstream) paginate(name string) json.RawMessage {
	p, ok := u.catalogue.Provider(name)
	if !ok || p.Proxy.Paginate == nil {
		return nil
	}
	b, err := json.Marshal(p.Proxy.Paginate)
	if err != nil {
		return nil // it is plain data
	}
	return b
}

// proxyConfig is the proxy's part of the settings.
func proxyConfig(c config.Config, policy outbound.Policy, r proxy.Refresher, clk clock.Clock) proxy.Config {
	return proxy.Config{
		Policy: policy, Overrides: proxy.Overrides{Off: !c.BaseURLOverride}, Refresher: r, Clock: clk,
		Timeout: c.ProxyTimeout, IdleTimeout: c.ProxyIdleTimeout, RetryCap: c.RetryMaxWait,
		MaxResponseBody: int64(c.ResponseBodyLimit), MaxStream: int64(c.ProxyBodyLimit), MaxMemory: int64(c.ProxyMemoryLimit),
		ConnectionConcurrency: c.ConnectionConcurrency, ConnectionRate: float64(c.ConnectionRate),
	}
}
