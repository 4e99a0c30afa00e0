package api

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"syncline"
	"syncline/internal/connect"
	"syncline/internal/provider"
	"syncline/internal/store"
)

// The limits of a connection's tags.
const (
	maxTags     = 10
	maxTagValue = 255
)

// fetchedEvery is how often last_fetched_at moves at most.
const fetchedEvery = time.Minute

// connectionInput is the body of POST /connections.
type connectionInput struct {
	ProviderConfigKey string            `json:"provider_config_key"`
	ConnectionID      *string           `json:"connection_id"`
	Metadata          map[string]any    `json:"metadata"`
	ConnectionConfig  map[string]any    `json:"connection_config"`
	Credentials       json.RawMessage   `json:"credentials"`
	Tags              map[string]string `json:"tags"`
	EndUser           *endUser          `json:"end_user"`
}

// endUser is Nango's deprecated form of some tags.
type endUser struct {
	ID           string            `json:"id"`
	Email        *string           `json:"email"`
	DisplayName  *string           `json:"display_name"`
	Tags         map[string]string `json:"tags"`
	Organization *organization     `json:"organization"`
}

type organization struct {
	ID          string  `json:"id"`
	DisplayName *string `json:"display_name"`
}

// connectionFull is a connection with its credentials.
type connectionFull struct {
	ID                int64             `json:"id"`
	ConnectionID      string            `json:"connection_id"`
	ProviderConfigKey string            `json:"provider_config_key"`
	Provider          string            `json:"provider"`
	Errors            []connectionError `json:"errors"`
	EndUser           *endUser          `json:"end_user"`
	Metadata          map[string]any    `json:"metadata"`
	ConnectionConfig  map[string]any    `json:"connection_config"`
	Tags              map[string]string `json:"tags"`
	CreatedAt         string            `json:"created_at"`
	UpdatedAt         string            `json:"updated_at"`
	LastFetchedAt     string            `json:"last_fetched_at"`
	Credentials       json.RawMessage   `json:"credentials"`
}

// connection finds a connection by the user's names; an unknown one is
// answered with status and Nango's code.
func connection(r store.Reader, env int64, integrationKey, connectionID string, status int) (syncline.Integration, syncline.Connection, error) {
	i, err := r.IntegrationByKey(env, integrationKey)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return i, syncline.Connection{}, unknown(status, "unknown_provider_config", "there is no integration %q in this environment", integrationKey)
	}
	if err != nil {
		return i, syncline.Connection{}, err
	}
	k, err := r.ConnectionByKey(env, i.ID, connectionID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return i, k, unknown(status, "unknown_connection", "there is no connection %q of the integration %q in this environment", connectionID, integrationKey)
	}
	return i, k, err
}

func (s *server) putConnection(c *call) (reply, error) {
	var in connectionInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	return s.upsertConnection(c, &in)
}

// upsertConnection makes a connection, or gives an existing one new
// credentials and whatever else in holds.
func (s *server) upsertConnection(c *call, in *connectionInput) (reply, error) {
	if in.ProviderConfigKey == "" {
		return reply{}, as(badBody, invalid("provider_config_key", "provider_config_key is missing"))
	}
	if in.ConnectionID == nil {
		in.ConnectionID = new(syncline.NewUUID())
	}
	if err := checkID("connection_id", *in.ConnectionID); err != nil {
		return reply{}, as(badBody, err)
	}
	tags, err := normalTags(in.Tags, in.EndUser)
	if err != nil {
		return reply{}, as(badBody, err)
	}
	var (
		i         syncline.Integration
		k         syncline.Connection
		errs      []connectionError
		credits   *connect.Credentials
		created   bool
		validated Validated
	)
	now := s.Clock.Now()
	// prepare is the connection as it is to be stored.
	prepare := func(r store.Reader) (err error) {
		if i, err = integration(r, c.env.ID, in.ProviderConfigKey); err != nil {
			return err
		}
		p, err := s.provider(&i)
		if err != nil {
			return err
		}
		if credits, err = connect.Parse(p.AuthMode, in.Credentials, now); err != nil {
			return as(badBody, err)
		}
		sealed, err := connect.Seal(s.Secrets, c.env.ID, credits)
		if err != nil {
			return err
		}
		k, err = r.ConnectionByKey(c.env.ID, i.ID, *in.ConnectionID)
		created = syncline.CodeOf(err) == syncline.CodeNotFound
		if err != nil && !created {
			return err
		}
		if created {
			k = syncline.Connection{EnvironmentID: c.env.ID, IntegrationID: i.ID, ConnectionID: *in.ConnectionID, CreatedAt: now,
				ConnectionConfig: map[string]any{}, Metadata: map[string]any{}, Tags: map[string]string{}}
		}
		k.Credentials, k.UpdatedAt, k.LastFetchedAt = sealed, now, now
		if in.ConnectionConfig != nil {
			k.ConnectionConfig = in.ConnectionConfig
		}
		if in.Metadata != nil {
			k.Metadata = in.Metadata
		}
		if tags != nil {
			k.Tags = tags
		}
		if validated.Changed {
			k.Metadata = validated.Metadata
		}
		return nil
	}
	if s.Actions != nil {
		if err := s.Store.View(c.Context(), prepare); err != nil {
			return reply{}, err
		}
		if validated, err = s.Actions.Validate(c.Context(), &i, &k); err != nil {
			return reply{}, refused(err)
		}
	}
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) (err error) {
		if err := prepare(tx); err != nil {
			return err
		}
		if !created {
			if err = tx.UpdateConnection(&k); err == nil {
				errs, err = syncErrors(tx, c.env.ID, k.ID)
			}
		} else if err = tx.CreateConnection(&k); err == nil {
			err = provision(tx, &k, now)
		}
		if err != nil || s.Actions == nil {
			return err
		}
		if err := validated.Store(tx, k.ID); err != nil || !created {
			return err
		}
		return s.Actions.Created(tx, &i, &k)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	if created {
		s.Hooks.SchedulesChanged()
		s.Hooks.JobsChanged()
	}
	return s.showConnection(&i, &k, errs, credits, true)
}

// refused answers for a connection that a validate-connection function refused,
// as Nango does.
func refused(err error) error {
	var f *syncline.Failure
	if !errors.As(err, &f) {
		return err
	}
	message := f.Message
	// What an ActionError says is for the user who connects.
	var said struct {
		Message string `json:"message"`
	}
	if f.Type == syncline.FailureAction && json.Unmarshal(f.Payload, &said) == nil && said.Message != "" {
		message = said.Message
	}
	status := http.StatusBadRequest
	if f.Type == syncline.FailureUnknown || f.Type == syncline.FailureNotRun {
		status = http.StatusServiceUnavailable // nothing was decided
	}
	return &problem{Status: status, Code: "connection_validation_failed", Message: message, cause: err}
}

// putConnectionFlat is the deprecated POST /connection, whose credentials are
// members of the body itself.
func (s *server) putConnectionFlat(c *call) (reply, error) {
	var flat map[string]json.RawMessage
	if err := c.body(s.MaxBody, &flat); err != nil {
		return reply{}, err
	}
	outer, credentials, override := map[string]any{}, map[string]any{}, map[string]any{}
	for name, v := range flat {
		switch name {
		case "oauth_client_id_override":
			override["client_id"] = v
		case "oauth_client_secret_override":
			override["client_secret"] = v
		case "access_token", "refresh_token", "expires_at", "expires_in", "no_expiration", "username", "password", "api_key", "app_id", "installation_id":
			credentials[name] = v
		default:
			outer[name] = v
		}
	}
	if len(override) > 0 {
		credentials["config_override"] = override
	}
	if len(credentials) > 0 {
		outer["credentials"] = credentials
	}
	raw, err := json.Marshal(outer)
	if err != nil {
		return reply{}, as(badBody, invalid("", "the request cannot be read: %w", err))
	}
	var in connectionInput
	if err := decode(raw, &in); err != nil {
		return reply{}, as(badBody, err)
	}
	return s.upsertConnection(c, &in)
}

func (s *server) getConnection(c *call) (reply, error) {
	q, err := c.params("provider_config_key", "force_refresh", "refresh_token", "refresh_github_app_jwt_token")
	if err != nil {
		return reply{}, err
	}
	key, err := q.required("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	refresh, err := q.boolean("force_refresh")
	if err != nil {
		return reply{}, err
	}
	refreshApp, err := q.boolean("refresh_github_app_jwt_token")
	if err != nil {
		return reply{}, err
	}
	withToken, err := q.boolean("refresh_token")
	if err != nil {
		return reply{}, err
	}
	var (
		i    syncline.Integration
		k    syncline.Connection
		errs []connectionError
	)
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		if i, k, err = connection(r, c.env.ID, key, c.PathValue("connectionId"), http.StatusNotFound); err != nil {
			return err
		}
		errs, err = syncErrors(r, c.env.ID, k.ID)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	credentials, err := connect.Open(s.Secrets, c.env.ID, k.Credentials)
	if err != nil {
		return reply{}, err
	}
	if (refresh || refreshApp) && (credentials.Type == provider.AuthOAuth2 || credentials.Type == provider.AuthApp) {
		return reply{}, as(badQuery, invalid("force_refresh", "this version does not refresh tokens").WithHint("import fresh credentials with POST /connections"))
	}
	if now := s.Clock.Now(); now.Sub(k.LastFetchedAt) >= fetchedEvery {
		if err := s.noteFetched(c, k.ID, now); err != nil {
			return reply{}, err
		}
		k.LastFetchedAt = now
	}
	return s.showConnection(&i, &k, errs, credentials, withToken)
}

// noteFetched moves last_fetched_at. It waits for no disk: the time is of
// interest to people only.
func (s *server) noteFetched(c *call, id int64, now time.Time) error {
	return s.Store.Update(c.Context(), store.Relaxed, func(tx store.Tx) error {
		k, err := tx.Connection(c.env.ID, id)
		if err != nil {
			return err
		}
		k.LastFetchedAt = now
		return tx.UpdateConnection(&k)
	})
}

func (s *server) showConnection(i *syncline.Integration, k *syncline.Connection, errs []connectionError, credentials *connect.Credentials, withToken bool) (reply, error) {
	full, err := describe(i, k, errs, credentials, withToken)
	if err != nil {
		return reply{}, err
	}
	return ok(full)
}

// DescribeConnection is a connection as GET /connections/{id} answers it,
// without errors, and without a refresh token unless withToken is set: what
// functions see of a connection.
func DescribeConnection(i *syncline.Integration, k *syncline.Connection, credentials *connect.Credentials, withToken bool) (json.RawMessage, error) {
	full, err := describe(i, k, nil, credentials, withToken)
	if err != nil {
		return nil, err
	}
	return json.Marshal(full)
}

func describe(i *syncline.Integration, k *syncline.Connection, errs []connectionError, credentials *connect.Credentials, withToken bool) (*connectionFull, error) {
	raw, err := credentials.Render(withToken)
	if err != nil {
		return nil, err
	}
	return &connectionFull{
		ID: k.ID, ConnectionID: k.ConnectionID, ProviderConfigKey: i.UniqueKey, Provider: i.Provider,
		Errors: orEmpty(errs), EndUser: endUserOf(k.Tags), Metadata: orEmptyMap(k.Metadata), ConnectionConfig: orEmptyMap(k.ConnectionConfig),
		Tags: orEmptyMap(k.Tags), CreatedAt: isoTime(k.CreatedAt), UpdatedAt: isoTime(k.UpdatedAt), LastFetchedAt: isoTime(k.LastFetchedAt), Credentials: raw,
	}, nil
}

// connectionPatch is the body of PATCH /connections/{id}.
type connectionPatch struct {
	Tags               map[string]string `json:"tags"`
	EndUser            *endUser          `json:"end_user"`
	WebhookURLOverride *string           `json:"webhook_url_override"`
}

func (s *server) patchConnection(c *call) (reply, error) {
	q, err := c.params("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	key, err := q.required("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	var in connectionPatch
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	if in.WebhookURLOverride != nil {
		return reply{}, as(badBody, invalid("webhook_url_override", "this version sends the notifications of all connections to the environment's URL").
			WithHint("set it with PATCH /environments/current"))
	}
	tags, err := normalTags(in.Tags, in.EndUser)
	if err != nil {
		return reply{}, as(badBody, err)
	}
	var i syncline.Integration
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		var k syncline.Connection
		if i, k, err = connection(tx, c.env.ID, key, c.PathValue("connectionId"), http.StatusNotFound); err != nil {
			return err
		}
		if tags == nil {
			return nil
		}
		k.Tags, k.UpdatedAt = tags, s.Clock.Now()
		return tx.UpdateConnection(&k)
	})
	if err != nil {
		return reply{}, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	return ok(map[string]bool{"success": true})
}

func (s *server) deleteConnection(c *call) (reply, error) {
	q, err := c.params("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	key, err := q.required("provider_config_key")
	if err != nil {
		return reply{}, err
	}
	var (
		i syncline.Integration
		k syncline.Connection
	)
	err = s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		if i, k, err = connection(tx, c.env.ID, key, c.PathValue("connectionId"), http.StatusNotFound); err != nil || s.Actions != nil {
			return err
		}
		return tx.DeleteConnection(c.env.ID, k.ID, s.Clock.Now())
	})
	var problems []string
	if err == nil && s.Actions != nil {
		problems, err = s.Actions.Delete(c.Context(), c.env.ID, k.ID)
	}
	if err != nil {
		return reply{}, err
	}
	s.Hooks.ConnectionsChanged(c.env.ID, i.ID)
	s.Hooks.SchedulesChanged()
	if len(problems) > 0 {
		return ok(map[string]any{"success": true, "warnings": problems})
	}
	return ok(map[string]bool{"success": true})
}

// normalTags are the tags to keep: keys in lower case, those of an end user
// among them. nil when neither was given.
func normalTags(tags map[string]string, user *endUser) (map[string]string, error) {
	if tags == nil && user == nil {
		return nil, nil
	}
	out := map[string]string{}
	if user != nil {
		if user.ID == "" {
			return nil, invalid("end_user.id", "end_user.id is missing")
		}
		maps.Copy(out, user.Tags)
		set := func(name string, v *string) {
			if v != nil && *v != "" {
				out[name] = *v
			}
		}
		set("end_user_id", &user.ID)
		set("end_user_email", user.Email)
		set("end_user_display_name", user.DisplayName)
		if user.Organization != nil {
			set("organization_id", &user.Organization.ID)
			set("organization_display_name", user.Organization.DisplayName)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		out[strings.ToLower(name)] = tags[name]
	}
	if len(out) > maxTags {
		return nil, invalid("tags", "there are %d tags; the most is %d", len(out), maxTags)
	}
	for name, v := range out {
		if err := checkID("tags", name); err != nil {
			return nil, invalid("tags", "the name of a tag is empty, longer than %d characters, or holds control characters", maxName)
		}
		if utf8.RuneCountInString(v) > maxTagValue {
			return nil, invalid("tags."+name, "the tag %s is longer than %d characters", name, maxTagValue)
		}
	}
	return out, nil
}

// endUserOf is the deprecated form of a connection's tags; nil without an end
// user's id.
func endUserOf(tags map[string]string) *endUser {
	id := tags["end_user_id"]
	if id == "" {
		return nil
	}
	get := func(name string) *string {
		if v, ok := tags[name]; ok {
			return &v
		}
		return nil
	}
	u := &endUser{ID: id, Email: get("end_user_email"), DisplayName: get("end_user_display_name"), Tags: map[string]string{}}
	if org := tags["organization_id"]; org != "" {
		u.Organization = &organization{ID: org, DisplayName: get("organization_display_name")}
	}
	return u
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func orEmptyMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
