package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"syncline"
	"syncline/internal/store"
)

// The limits of listings of runs, logs, deliveries and notifications.
const (
	defaultRows = 100
	maxRows     = 1000
)

// runJSON is a run as the API shows it.
type runJSON struct {
	ID                string                          `json:"id"`
	Kind              syncline.RunKind                `json:"kind"`
	Status            syncline.RunStatus              `json:"status"`
	Function          string                          `json:"function"`
	FunctionType      syncline.FunctionType           `json:"function_type"`
	Version           int64                           `json:"version"`
	ProviderConfigKey string                          `json:"provider_config_key"`
	ConnectionID      string                          `json:"connection_id"` // "" once it was deleted
	Variant           string                          `json:"variant,omitempty"`
	SyncType          syncline.SyncType               `json:"sync_type,omitempty"`
	Attempt           int                             `json:"attempt"`
	Parent            string                          `json:"parent,omitempty"` // the run that triggered it
	Models            map[string]syncline.ModelResult `json:"models"`
	Warnings          []string                        `json:"warnings"`
	Error             *runError                       `json:"error"`
	StartedAt         string                          `json:"started_at"`
	FinishedAt        *string                         `json:"finished_at"`
	DurationMS        *int64                          `json:"duration_ms"`
}

type runError struct {
	Code    syncline.Code `json:"code"`
	Message string        `json:"message"`
}

// runNames finds the names that runs are shown with, each once.
type runNames struct {
	r            store.Reader
	env          int64
	functions    map[int64]syncline.Function
	versions     map[int64]int64
	integrations map[int64]string
	connections  map[int64]string
	variants     map[int64]string
}

// namesOf returns the names of one environment; they are read when asked for.
func namesOf(r store.Reader, env int64) *runNames {
	return &runNames{r, env, map[int64]syncline.Function{}, map[int64]int64{}, map[int64]string{}, map[int64]string{}, map[int64]string{}}
}

// lookup reads what id names once; what was deleted has the zero value.
func lookup[V any](known map[int64]V, id int64, read func(id int64) (V, error)) (V, error) {
	if v, hit := known[id]; hit || id == 0 {
		return v, nil
	}
	v, err := read(id)
	if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
		return v, err
	}
	known[id] = v
	return v, nil
}

// function is the function of a run; zero once it is purged.
func (n *runNames) function(id int64) (syncline.Function, error) {
	return lookup(n.functions, id, func(id int64) (syncline.Function, error) { return n.r.Function(n.env, id) })
}

// integration is an integration's unique key; "" once it was deleted.
func (n *runNames) integration(id int64) (string, error) {
	return lookup(n.integrations, id, func(id int64) (string, error) {
		i, err := n.r.Integration(n.env, id)
		return i.UniqueKey, err
	})
}

// connection is a connection's id of the user; "" once it was deleted.
func (n *runNames) connection(id int64) (string, error) {
	return lookup(n.connections, id, func(id int64) (string, error) {
		k, err := n.r.Connection(n.env, id)
		return k.ConnectionID, err
	})
}

func (n *runNames) version(id int64) (int64, error) {
	return lookup(n.versions, id, func(id int64) (int64, error) {
		v, err := n.r.FunctionVersion(n.env, id)
		return v.Number, err
	})
}

func (n *runNames) variant(instanceID int64) (string, error) {
	return lookup(n.variants, instanceID, func(id int64) (string, error) {
		i, err := n.r.Instance(n.env, id)
		return i.Variant, err
	})
}

func (n *runNames) show(run *syncline.Run) (runJSON, error) {
	out := runJSON{
		ID: run.UUID, Kind: run.Kind, Status: run.Status, SyncType: run.SyncType, Attempt: run.Attempt, Parent: run.Parent,
		Models: orEmptyMap(run.Models), Warnings: orEmpty(run.Warnings), StartedAt: isoTime(run.StartedAt), FinishedAt: isoTimeOrNull(run.FinishedAt),
	}
	if run.Error != "" || run.ErrorCode != "" {
		out.Error = &runError{run.ErrorCode, run.Error}
	}
	if !run.FinishedAt.IsZero() {
		out.DurationMS = new(run.FinishedAt.Sub(run.StartedAt).Milliseconds())
	}
	f, err := n.function(run.FunctionID)
	if err != nil {
		return out, err
	}
	out.Function, out.FunctionType = f.Name, f.Type
	if out.Version, err = n.version(run.VersionID); err != nil {
		return out, err
	}
	if out.ProviderConfigKey, err = n.integration(f.IntegrationID); err != nil {
		return out, err
	}
	if out.ConnectionID, err = n.connection(run.ConnectionID); err != nil {
		return out, err
	}
	out.Variant, err = n.variant(run.InstanceID)
	return out, err
}

func (s *server) listRuns(c *call) (reply, error) {
	q, err := c.params("connection_id", "provider_config_key", "function", "kind", "status", "limit", "before")
	if err != nil {
		return reply{}, err
	}
	limit, err := q.integer("limit", defaultRows, 1, maxRows)
	if err != nil {
		return reply{}, err
	}
	filter := store.RunFilter{Kind: syncline.RunKind(q.Get("kind")), Status: syncline.RunStatus(q.Get("status")), Page: store.Page{Limit: limit + 1}}
	if err := oneOf(q, "kind", syncline.RunPoll, syncline.RunWebhook, syncline.RunAction, syncline.RunOnEvent); err != nil {
		return reply{}, err
	}
	if err := oneOf(q, "status", syncline.RunRunning, syncline.RunSuccess, syncline.RunFailed, syncline.RunRetrying, syncline.RunCanceled, syncline.RunReaped, syncline.RunContinued); err != nil {
		return reply{}, err
	}
	if v := q.Get("before"); v != "" {
		if filter.Before, err = strconv.ParseInt(v, 10, 64); err != nil || filter.Before < 1 {
			return reply{}, as(badQuery, invalid("before", "before is %q; pass next_before of the page before", v))
		}
	}
	out := []runJSON{}
	var next *string
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		filters, err := runFilters(r, c.env.ID, q, filter)
		if err != nil {
			return err
		}
		var runs []syncline.Run
		for _, f := range filters {
			list, err := r.Runs(c.env.ID, f)
			if err != nil {
				return err
			}
			runs = append(runs, list...)
		}
		slices.SortFunc(runs, func(a, b syncline.Run) int { return cmp.Compare(b.ID, a.ID) })
		if len(runs) > limit {
			runs = runs[:limit]
			next = new(strconv.FormatInt(runs[limit-1].ID, 10))
		}
		names := namesOf(r, c.env.ID)
		for i := range runs {
			one, err := names.show(&runs[i])
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"runs": out, "next_before": next})
}

// runFilters turns the names of a request into filters by internal id: one
// for each pair of connection and function that the names mean.
func runFilters(r store.Reader, env int64, q query, base store.RunFilter) ([]store.RunFilter, error) {
	key, connectionID, name := q.Get("provider_config_key"), q.Get("connection_id"), q.Get("function")
	var integrationID int64
	if key != "" {
		i, err := integration(r, env, key)
		if err != nil {
			return nil, err
		}
		integrationID = i.ID
	}
	connections := []int64{0}
	if connectionID != "" {
		list, err := r.Connections(env, store.ConnectionFilter{IntegrationID: integrationID, ConnectionID: connectionID})
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, unknown(http.StatusNotFound, "unknown_connection", "there is no connection %q", connectionID)
		}
		connections = connections[:0]
		for i := range list {
			connections = append(connections, list[i].ID)
		}
	}
	functions := []int64{0}
	// A connection belongs to one integration, so that the key is covered by it.
	if name != "" || key != "" && connectionID == "" {
		all, err := r.Functions(env, integrationID)
		if err != nil {
			return nil, err
		}
		functions = functions[:0]
		for i := range all {
			if name == "" || all[i].Name == name {
				functions = append(functions, all[i].ID)
			}
		}
		if len(functions) == 0 && name != "" {
			return nil, unknown(http.StatusNotFound, "not_found", "no function %q is deployed", name)
		}
	}
	var filters []store.RunFilter
	for _, k := range connections {
		for _, f := range functions {
			one := base
			one.ConnectionID, one.FunctionID = k, f
			filters = append(filters, one)
		}
	}
	return filters, nil
}

// oneOf checks a parameter that takes one of some words.
func oneOf[T ~string](q query, name string, words ...T) error {
	v := T(q.Get(name))
	if v == "" || slices.Contains(words, v) {
		return nil
	}
	return as(badQuery, invalid(name, "%s is %q; it must be one of %v", name, v, words))
}

func (s *server) getRun(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	var out runJSON
	err := s.Store.View(c.Context(), func(r store.Reader) error {
		run, err := r.RunByUUID(c.env.ID, c.PathValue("uuid"))
		if err != nil {
			return runUnknown(c, err)
		}
		out, err = namesOf(r, c.env.ID).show(&run)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"run": out})
}

func runUnknown(c *call, err error) error {
	if syncline.CodeOf(err) != syncline.CodeNotFound {
		return err
	}
	return unknown(http.StatusNotFound, "not_found", "there is no run %q in this environment", c.PathValue("uuid"))
}

// logJSON is one log line.
type logJSON struct {
	ID      int64             `json:"id"`
	At      string            `json:"at"`
	Level   syncline.LogLevel `json:"level"`
	Message string            `json:"message"`
	Data    json.RawMessage   `json:"data,omitempty"`
}

func (s *server) listLogs(c *call) (reply, error) {
	q, err := c.params("after", "limit")
	if err != nil {
		return reply{}, err
	}
	limit, err := q.integer("limit", defaultRows, 1, maxRows)
	if err != nil {
		return reply{}, err
	}
	after, err := q.integer("after", 0, 0, 1<<62)
	if err != nil {
		return reply{}, err
	}
	out := []logJSON{}
	var next *int64
	err = s.Store.View(c.Context(), func(r store.Reader) error {
		run, err := r.RunByUUID(c.env.ID, c.PathValue("uuid"))
		if err != nil {
			return runUnknown(c, err)
		}
		lines, err := r.Logs(c.env.ID, run.ID, int64(after), limit+1)
		if len(lines) > limit {
			lines = lines[:limit]
			next = new(lines[limit-1].ID)
		}
		for _, l := range lines {
			out = append(out, logJSON{l.ID, isoTime(l.At), l.Level, l.Message, l.Data})
		}
		return err
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"logs": out, "next_after": next})
}
