package node

import (
	"context"
	"encoding/json"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/clock"
	"syncline/internal/connect"
	"syncline/internal/fn"
	"syncline/internal/fn/host"
	"syncline/internal/provider"
	"syncline/internal/proxy"
	"syncline/internal/secret"
)

// upstream lets functions call external APIs and see their connection: it
// opens the credentials and hands them to the proxy.
type upstream struct {
	catalogue *provider.Catalogue
	sealer    *secret.Sealer
	client    *proxy.Client
	clock     clock.Clock
	publicURL string // without a slash at its end
}

// Do makes one request.
func (u *upstream) Do(ctx context.Context, i *syncline.Integration, c *syncline.Connection, args fn.HTTPArgs) (*fn.HTTPResult, error) {
	p, ok := u.catalogue.Provider(i.Provider)
	if !ok {
		return nil, syncline.Errorf(syncline.CodeNotFound, "the provider %s of integration %s is not in the catalogue", i.Provider, i.UniqueKey)
	}
	credentials, err := connect.Open(u.sealer, c.EnvironmentID, c.Credentials)
	if err != nil {
		return nil, err
	}
	vars, err := credentials.Variables(c.ConnectionID, u.clock.Now())
	if err != nil {
		return nil, err
	}
	r, err := u.client.Do(ctx, proxy.Request{Provider: p, BaseURL: i.Config.ProxyBaseURL, Connection: c, Credentials: vars, Args: args})
	if err != nil {
		return nil, err
	}
	result := r.Result(args.ResponseType)
	return &result, nil
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
