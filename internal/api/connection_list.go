package api

import (
	"cmp"
	"slices"
	"strings"

	"syncline"
	"syncline/internal/store"
)

// maxPage is how many rows one listing gives at most.
const maxPage = 10_000

// fewConnections is up to how many connections their instances are read one by
// one; beyond, all of the environment are read at once.
const fewConnections = 200

// connectionJSON is a connection without its credentials.
type connectionJSON struct {
	ID                int64             `json:"id"`
	ConnectionID      string            `json:"connection_id"`
	Provider          string            `json:"provider"`
	ProviderConfigKey string            `json:"provider_config_key"`
	Created           string            `json:"created"`
	Metadata          map[string]any    `json:"metadata"`
	Tags              map[string]string `json:"tags"`
	Errors            []connectionError `json:"errors"`
	EndUser           *endUser          `json:"end_user"`
}

// connectionError says that something is wrong with a connection; LogID is the
// run that tells more.
type connectionError struct {
	Type  string `json:"type"` // "sync"
	LogID string `json:"log_id"`
}

func (s *server) listConnections(c *call) (reply, error) {
	q, err := c.params("connectionId", "search", "endUserId", "endUserOrganizationId", "integrationId", "tags[]", "limit", "page")
	if err != nil {
		return reply{}, err
	}
	// Without a limit Nango gives 10,000 too.
	limit, err := q.integer("limit", maxPage, 1, maxPage)
	if err != nil {
		return reply{}, err
	}
	page, err := q.integer("page", 0, 0, 1_000_000)
	if err != nil {
		return reply{}, err
	}
	f := store.ConnectionFilter{ConnectionID: q.Get("connectionId"), Search: q.Get("search"), Tags: map[string]string{}}
	for name, tag := range map[string]string{"endUserId": "end_user_id", "endUserOrganizationId": "organization_id"} {
		if v := q.Get(name); v != "" {
			f.Tags[tag] = v
		}
	}
	for name := range q.Values {
		tag, deep := strings.CutPrefix(name, "tags[")
		if !deep {
			continue
		}
		tag, closed := strings.CutSuffix(tag, "]")
		if !closed || tag == "" {
			return reply{}, as(badQuery, invalid(name, "%q does not name a tag", name).WithHint("write tags[name]=value"))
		}
		f.Tags[strings.ToLower(tag)] = q.Get(name)
	}
	out := []connectionJSON{}
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		integrations, err := r.Integrations(c.env.ID)
		if err != nil {
			return err
		}
		byID := make(map[int64]*syncline.Integration, len(integrations))
		for i := range integrations {
			byID[integrations[i].ID] = &integrations[i]
		}
		connections, err := connectionsOf(r, c.env.ID, f, integrations, q.words("integrationId"), limit, page)
		if err != nil {
			return err
		}
		errs, err := errorsOf(r, c.env.ID, connections)
		if err != nil {
			return err
		}
		for k := range connections {
			conn := &connections[k]
			i := byID[conn.IntegrationID]
			if i == nil {
				continue // its integration is being deleted
			}
			out = append(out, connectionJSON{
				ID: conn.ID, ConnectionID: conn.ConnectionID, Provider: i.Provider, ProviderConfigKey: i.UniqueKey, Created: isoTime(conn.CreatedAt),
				Metadata: orEmptyMap(conn.Metadata), Tags: orEmptyMap(conn.Tags), Errors: orEmpty(errs[conn.ID]), EndUser: endUserOf(conn.Tags),
			})
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"connections": out})
}

// connectionsOf lists a page of the connections of the integrations with the
// given unique keys (none: of all), newest first.
func connectionsOf(r store.Reader, env int64, f store.ConnectionFilter, all []syncline.Integration, keys []string, limit, page int) ([]syncline.Connection, error) {
	if len(keys) == 0 {
		f.Page = store.Page{Limit: limit, Offset: page * limit}
		return r.Connections(env, f)
	}
	var merged []syncline.Connection
	for i := range all {
		if !slices.Contains(keys, all[i].UniqueKey) {
			continue
		}
		f.IntegrationID = all[i].ID
		if len(keys) == 1 {
			f.Page = store.Page{Limit: limit, Offset: page * limit}
			return r.Connections(env, f)
		}
		f.Page = store.Page{Limit: min((page+1)*limit, maxPage)}
		list, err := r.Connections(env, f)
		if err != nil {
			return nil, err
		}
		merged = append(merged, list...)
	}
	slices.SortFunc(merged, func(a, b syncline.Connection) int { return cmp.Compare(b.ID, a.ID) })
	from := min(page*limit, len(merged))
	return merged[from:min(from+limit, len(merged))], nil
}

// errorsOf finds the connections whose newest poll failed.
func errorsOf(r store.Reader, env int64, connections []syncline.Connection) (map[int64][]connectionError, error) {
	out := map[int64][]connectionError{}
	if len(connections) <= fewConnections {
		for k := range connections {
			errs, err := syncErrors(r, env, connections[k].ID)
			if err != nil {
				return nil, err
			}
			out[connections[k].ID] = errs
		}
		return out, nil
	}
	instances, err := r.Instances(env, store.InstanceFilter{})
	if err != nil {
		return nil, err
	}
	for i := range instances {
		errs, err := instanceErrors(r, &instances[i])
		if err != nil {
			return nil, err
		}
		out[instances[i].ConnectionID] = append(out[instances[i].ConnectionID], errs...)
	}
	return out, nil
}

// syncErrors are the errors of one connection.
func syncErrors(r store.Reader, env, connectionID int64) ([]connectionError, error) {
	instances, err := r.Instances(env, store.InstanceFilter{ConnectionID: connectionID})
	if err != nil {
		return nil, err
	}
	var list []connectionError
	for i := range instances {
		errs, err := instanceErrors(r, &instances[i])
		if err != nil {
			return nil, err
		}
		list = append(list, errs...)
	}
	return list, nil
}

func instanceErrors(r store.Reader, i *syncline.SyncInstance) ([]connectionError, error) {
	if i.PollFailures == 0 || i.LastPollRunID == 0 {
		return nil, nil
	}
	run, err := r.Run(i.EnvironmentID, i.LastPollRunID)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil, nil // past its retention
	}
	if err != nil {
		return nil, err
	}
	return []connectionError{{Type: "sync", LogID: run.UUID}}, nil
}
