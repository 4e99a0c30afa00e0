package host

import (
	"context"
	"encoding/json"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// shared answers the calls that are the same in every kind of run and change
// nothing that commits with it. handled is false for the others.
func (s *session) shared(ctx context.Context, method string, args json.RawMessage) (result json.RawMessage, handled bool, err error) {
	switch method {
	case fn.MethodHTTP:
		result, err = s.http(ctx, args)
	case fn.MethodUncontrolledFetch:
		result, err = s.fetch(ctx, args)
	case fn.MethodGetIntegration:
		result, err = s.integration(ctx, args)
	case fn.MethodGetEnvironmentVariables:
		result, err = s.variables(ctx)
	case fn.MethodGetWebhookURL:
		result, err = s.deps.Integrations.WebhookURL(&s.subject.Environment, &s.subject.Integration)
	case fn.MethodTryAcquireLock, fn.MethodReleaseLock, fn.MethodReleaseAllLocks:
		result, err = s.lock(ctx, method, args)
	case fn.MethodTriggerAction:
		result, err = s.triggerAction(ctx, args)
	default:
		return nil, false, nil
	}
	return result, true, err
}

// fetch makes a request that has nothing to do with the connection. For
// watermarks it is a request like any other: what it fetches may be saved.
func (s *session) fetch(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var args fn.FetchArgs
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	position, err := s.deps.Store.Position(ctx)
	if err != nil {
		return nil, err
	}
	s.marks.begin(position)
	defer s.marks.end()
	result, err := s.deps.Fetcher.Fetch(ctx, args)
	if err != nil {
		return nil, err
	}
	return json.Marshal(result)
}

func (s *session) integration(ctx context.Context, raw json.RawMessage) (json.RawMessage, error) {
	var args struct {
		Include []string `json:"include"`
	}
	if err := decode(raw, &args); err != nil {
		return nil, err
	}
	for _, name := range args.Include {
		if name != "credentials" && name != "webhook" {
			return nil, syncline.Errorf(syncline.CodeInvalid, "getIntegration: include names %q", name).
				WithHint("it takes 'credentials' and 'webhook'")
		}
	}
	var i syncline.Integration
	err := s.deps.Store.View(ctx, func(r store.Reader) (err error) {
		i, err = r.Integration(s.subject.Environment.ID, s.subject.Integration.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.deps.Integrations.DescribeIntegration(&s.subject.Environment, &i, args.Include)
}

func (s *session) variables(ctx context.Context) (json.RawMessage, error) {
	var list []syncline.Variable
	err := s.deps.Store.View(ctx, func(r store.Reader) (err error) {
		list, err = r.Variables(s.subject.Environment.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.deps.Integrations.OpenVariables(list)
}

// connectionArgs are the arguments of getConnection.
type connectionArgs struct {
	ProviderConfigKey string `json:"provider_config_key"`
	ConnectionID      string `json:"connection_id"`
	// RefreshToken is false to leave the refresh token out; it is left out
	// unless it is asked for.
	RefreshToken *bool `json:"refresh_token"`
	ForceRefresh bool  `json:"force_refresh"`
}

// connectionOf finds a connection of the environment: the run's own by its id,
// another by its keys, of which the run's own take the place of "".
func (s *session) connectionOf(r store.Reader, key, id string) (i syncline.Integration, c syncline.Connection, own bool, err error) {
	env := s.subject.Environment.ID
	if key == "" {
		key = s.subject.Integration.UniqueKey
	}
	if id == "" {
		id = s.subject.Connection.ConnectionID
	}
	if key == s.subject.Integration.UniqueKey && id == s.subject.Connection.ConnectionID {
		if staged := s.staged.Load(); staged != nil {
			return s.subject.Integration, *staged, true, nil
		}
		c, err = r.Connection(env, s.subject.Connection.ID)
		return s.subject.Integration, c, true, err
	}
	if i, err = r.IntegrationByKey(env, key); syncline.CodeOf(err) == syncline.CodeNotFound {
		return i, c, false, syncline.Errorf(syncline.CodeNotFound, "there is no integration %q in this environment", key).WithField("providerConfigKey")
	} else if err != nil {
		return i, c, false, err
	}
	if c, err = r.ConnectionByKey(env, i.ID, id); syncline.CodeOf(err) == syncline.CodeNotFound {
		err = syncline.Errorf(syncline.CodeNotFound, "the integration %q has no connection %q", key, id).WithField("connectionId")
	}
	return i, c, false, err
}

// describe is a connection as getConnection returns it. stage changes what is
// read of the run's own connection to what the run sees.
func (s *session) describe(ctx context.Context, raw json.RawMessage, stage func(c *syncline.Connection)) (json.RawMessage, error) {
	var args connectionArgs
	if len(raw) > 0 {
		if err := decode(raw, &args); err != nil {
			return nil, err
		}
	}
	var (
		i   syncline.Integration
		c   syncline.Connection
		own bool
	)
	err := s.deps.Store.View(ctx, func(r store.Reader) (err error) {
		i, c, own, err = s.connectionOf(r, args.ProviderConfigKey, args.ConnectionID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if own && stage != nil {
		stage(&c)
	}
	o := DescribeOptions{RefreshToken: args.RefreshToken != nil && *args.RefreshToken, ForceRefresh: args.ForceRefresh}
	return s.deps.Connections.Describe(ctx, &i, &c, o)
}
