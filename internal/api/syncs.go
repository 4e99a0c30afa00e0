package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// syncRef names a sync, or one variant of it.
type syncRef struct{ name, variant string }

// UnmarshalJSON reads "name", "name::variant" or {"name", "variant"}.
func (s *syncRef) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil && !isNull(data) {
		*s = parseSyncRef(text)
	} else {
		var object struct {
			Name    string `json:"name"`
			Variant string `json:"variant"`
		}
		if isNull(data) || json.Unmarshal(data, &object) != nil {
			return invalid("syncs", "syncs must hold names, or objects with name and variant")
		}
		*s = syncRef{object.Name, object.Variant}
		if s.variant == "" {
			s.variant = syncline.BaseVariant
		}
	}
	if s.name == "" {
		return invalid("syncs", "syncs holds a sync without a name")
	}
	return nil
}

func parseSyncRef(text string) syncRef {
	name, variant, found := strings.Cut(text, "::")
	if !found {
		variant = syncline.BaseVariant
	}
	return syncRef{name, variant}
}

// syncInput is the body of trigger, start and pause.
type syncInput struct {
	ProviderConfigKey string       `json:"provider_config_key"`
	ConnectionID      *string      `json:"connection_id"`
	Syncs             *[]syncRef   `json:"syncs"`
	Opts              *triggerOpts `json:"opts"`
	// The deprecated forms of opts.
	SyncMode   *string `json:"sync_mode"`
	FullResync *bool   `json:"full_resync"`
}

type triggerOpts struct {
	Reset      bool `json:"reset"`
	EmptyCache bool `json:"emptyCache"`
	Reconcile  bool `json:"reconcile"` // ours: fetch everything, with the cache kept
}

// provision makes the base instances of a new connection.
func provision(tx store.Tx, k *syncline.Connection, now time.Time) error {
	functions, err := tx.Functions(k.EnvironmentID, k.IntegrationID)
	if err != nil {
		return err
	}
	for i := range functions {
		if functions[i].Type != syncline.FunctionSync {
			continue
		}
		if _, err := schedule.Ensure(tx, &functions[i], k.ID, syncline.BaseVariant, now); err != nil {
			return err
		}
	}
	return nil
}

// selected is a sync instance with the names it is shown under.
type selected struct {
	syncline.SyncInstance
	function   *syncline.Function
	connection string // the user's id
}

// instances finds the instances of syncs for one connection ("": for all).
// No refs selects all syncs with all their variants. A name that no deployed
// sync has, and a variant that the one connection does not have, are unknown.
func instances(r store.Reader, env int64, integrationKey, connectionID string, refs []syncRef) ([]selected, error) {
	i, err := r.IntegrationByKey(env, integrationKey)
	if syncline.CodeOf(err) == syncline.CodeNotFound {
		return nil, unknown(http.StatusBadRequest, "unknown_provider_config", "there is no integration %q in this environment", integrationKey)
	}
	if err != nil {
		return nil, err
	}
	functions, err := r.Functions(env, i.ID)
	if err != nil {
		return nil, err
	}
	functions = slices.DeleteFunc(functions, func(f syncline.Function) bool { return f.Type != syncline.FunctionSync })
	for _, ref := range refs {
		if !slices.ContainsFunc(functions, func(f syncline.Function) bool { return f.Name == ref.name }) {
			return nil, unknown(http.StatusBadRequest, "unknown_sync", "no sync %q is deployed for the integration %q", ref.name, integrationKey)
		}
	}
	names := map[int64]string{}
	filter := store.InstanceFilter{}
	if connectionID != "" {
		_, k, err := connection(r, env, integrationKey, connectionID, http.StatusBadRequest)
		if err != nil {
			return nil, err
		}
		filter.ConnectionID, names[k.ID] = k.ID, k.ConnectionID
	}
	var out []selected
	found := map[syncRef]bool{}
	for f := range functions {
		fn := &functions[f]
		wanted := slices.DeleteFunc(slices.Clone(refs), func(ref syncRef) bool { return ref.name != fn.Name })
		if len(refs) > 0 && len(wanted) == 0 {
			continue
		}
		filter.FunctionID = fn.ID
		list, err := r.Instances(env, filter)
		if err != nil {
			return nil, err
		}
		for _, inst := range list {
			ref := syncRef{fn.Name, inst.Variant}
			if len(refs) > 0 && !slices.Contains(wanted, ref) {
				continue
			}
			found[ref] = true
			name, known := names[inst.ConnectionID]
			if !known {
				k, err := r.Connection(env, inst.ConnectionID)
				if syncline.CodeOf(err) == syncline.CodeNotFound {
					continue
				}
				if err != nil {
					return nil, err
				}
				name = k.ConnectionID
				names[inst.ConnectionID] = name
			}
			out = append(out, selected{inst, fn, name})
		}
	}
	for _, ref := range refs {
		// A base instance is absent only while its connection is being made.
		if !found[ref] && ref.variant != syncline.BaseVariant {
			return nil, unknown(http.StatusBadRequest, "unknown_sync", "the sync %q has no variant %q here", ref.name, ref.variant)
		}
	}
	return out, nil
}

// command runs do on every instance that the request names.
func (s *server) command(c *call, trigger bool, do func(i *selected, o schedule.TriggerOptions) error) (reply, error) {
	var in syncInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	if in.ProviderConfigKey == "" {
		in.ProviderConfigKey = c.Header.Get("Provider-Config-Key")
	}
	if in.ProviderConfigKey == "" {
		return reply{}, as(badBody, invalid("provider_config_key", "provider_config_key is missing"))
	}
	connectionID := c.Header.Get("Connection-Id")
	if in.ConnectionID != nil {
		connectionID = *in.ConnectionID
		if connectionID == "" {
			return reply{}, as(badBody, invalid("connection_id", "connection_id is empty").WithHint("leave it out to mean all connections"))
		}
	}
	if in.Syncs == nil {
		return reply{}, as(badBody, invalid("syncs", "syncs is missing").WithHint("an empty array means all syncs of the integration"))
	}
	if !trigger && (in.Opts != nil || in.SyncMode != nil || in.FullResync != nil) {
		return reply{}, as(badBody, invalid("opts", "opts belong to /sync/trigger"))
	}
	options, err := in.options()
	if err != nil {
		return reply{}, as(badBody, err)
	}
	var list []selected
	err = s.Store.View(c.Context(), func(r store.Reader) (err error) {
		list, err = instances(r, c.env.ID, in.ProviderConfigKey, connectionID, *in.Syncs)
		return err
	})
	if err != nil {
		return reply{}, err
	}
	for i := range list {
		err := do(&list[i], options)
		// One that was deleted meanwhile has nothing to be told.
		if err != nil && syncline.CodeOf(err) != syncline.CodeNotFound {
			return reply{}, as(badBody, err)
		}
	}
	s.Hooks.SchedulesChanged()
	return ok(map[string]bool{"success": true})
}

func (s *server) triggerSyncs(c *call) (reply, error) {
	return s.command(c, true, func(i *selected, o schedule.TriggerOptions) error {
		return s.Syncs.Trigger(c.Context(), c.env.ID, i.ID, o)
	})
}

// options reads opts and its deprecated forms.
func (in *syncInput) options() (schedule.TriggerOptions, error) {
	switch {
	case in.Opts != nil:
		return schedule.TriggerOptions{Reset: in.Opts.Reset, EmptyCache: in.Opts.EmptyCache, Reconcile: in.Opts.Reconcile}, nil
	case in.SyncMode != nil:
		switch *in.SyncMode {
		case "incremental":
			return schedule.TriggerOptions{}, nil
		case "full_refresh":
			return schedule.TriggerOptions{Reset: true}, nil
		case "full_refresh_and_clear_cache":
			return schedule.TriggerOptions{Reset: true, EmptyCache: true}, nil
		}
		return schedule.TriggerOptions{}, invalid("sync_mode", "sync_mode is %q; it must be incremental, full_refresh or full_refresh_and_clear_cache", *in.SyncMode)
	case in.FullResync != nil:
		return schedule.TriggerOptions{Reset: *in.FullResync}, nil
	}
	return schedule.TriggerOptions{}, nil
}

func (s *server) startSyncs(c *call) (reply, error) {
	return s.command(c, false, func(i *selected, _ schedule.TriggerOptions) error { return s.Syncs.Start(c.Context(), c.env.ID, i.ID) })
}

func (s *server) pauseSyncs(c *call) (reply, error) {
	return s.command(c, false, func(i *selected, _ schedule.TriggerOptions) error { return s.Syncs.Pause(c.Context(), c.env.ID, i.ID) })
}

// frequencyInput is the body of PUT /sync/update-connection-frequency; a null
// frequency goes back to the sync's own.
type frequencyInput struct {
	ProviderConfigKey string          `json:"provider_config_key"`
	ConnectionID      string          `json:"connection_id"`
	SyncName          string          `json:"sync_name"`
	SyncVariant       string          `json:"sync_variant"`
	Frequency         json.RawMessage `json:"frequency"`
}

func (s *server) setFrequency(c *call) (reply, error) {
	var in frequencyInput
	if err := c.body(s.MaxBody, &in); err != nil {
		return reply{}, err
	}
	for _, f := range [][2]string{{"provider_config_key", in.ProviderConfigKey}, {"connection_id", in.ConnectionID}, {"sync_name", in.SyncName}} {
		if f[1] == "" {
			return reply{}, as(badBody, invalid(f[0], "%s is missing", f[0]))
		}
	}
	frequency := ""
	switch {
	case len(in.Frequency) == 0:
		return reply{}, as(badBody, invalid("frequency", "frequency is missing").WithHint("null goes back to the sync's own"))
	case isNull(in.Frequency):
	default:
		if json.Unmarshal(in.Frequency, &frequency) != nil {
			return reply{}, as(badBody, invalid("frequency", "frequency must be a string or null"))
		}
		if _, err := syncline.ParseFrequency(frequency); err != nil {
			return reply{}, as(badBody, err)
		}
	}
	if in.SyncVariant == "" {
		in.SyncVariant = syncline.BaseVariant
	}
	var list []selected
	err := s.Store.View(c.Context(), func(r store.Reader) (err error) {
		list, err = instances(r, c.env.ID, in.ProviderConfigKey, in.ConnectionID, []syncRef{{in.SyncName, in.SyncVariant}})
		return err
	})
	if err != nil {
		return reply{}, err
	}
	if len(list) == 0 {
		return reply{}, unknown(http.StatusBadRequest, "unknown_sync", "the connection %q has no sync %q", in.ConnectionID, in.SyncName)
	}
	if err := s.Syncs.SetFrequency(c.Context(), c.env.ID, list[0].ID, frequency); err != nil {
		return reply{}, as(badBody, err)
	}
	s.Hooks.SchedulesChanged()
	if frequency == "" {
		frequency = list[0].function.Active.Manifest.Frequency
	}
	return ok(map[string]string{"frequency": frequency})
}
