package host

import (
	"encoding/json"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/store"
)

// Syncs carries out commands on sync instances within a transaction; the
// schedule implements it.
type Syncs interface {
	// TriggerIn asks for one poll out of schedule. reset forgets checkpoints,
	// emptyCache removes the records too.
	TriggerIn(tx store.Tx, env, instanceID int64, reset, emptyCache bool) error
	// StartIn starts the schedule.
	StartIn(tx store.Tx, env, instanceID int64) error
	// Commanded is called after the commit: reset are the instances that were reset.
	Commanded(reset []int64)
}

// The modes of a triggered sync.
const (
	modeIncremental = "incremental"
	modeFull        = "full_refresh"
	modeFullAndNew  = "full_refresh_and_clear_cache"
)

// command is what triggerSync or startSync asks for.
type command struct {
	start             bool
	reset, emptyCache bool
	key, connection   string
	syncs             []syncName
}

type syncName struct {
	Name    string `json:"name"`
	Variant string `json:"variant"`
}

// commandArgs reads the arguments of triggerSync or startSync.
func (s *session) commandArgs(method string, raw json.RawMessage) (c command, err error) {
	var args struct {
		ProviderConfigKey string     `json:"provider_config_key"`
		ConnectionID      string     `json:"connection_id"`
		Name              string     `json:"name"`
		Variant           string     `json:"variant"`
		SyncMode          string     `json:"sync_mode"`
		Syncs             []syncName `json:"syncs"`
	}
	if err := decode(raw, &args); err != nil {
		return c, err
	}
	c = command{start: method == fn.MethodStartSync, key: args.ProviderConfigKey, connection: args.ConnectionID, syncs: args.Syncs}
	if !c.start {
		c.syncs = []syncName{{args.Name, args.Variant}}
		switch args.SyncMode {
		case "", modeIncremental:
		case modeFull:
			c.reset = true
		case modeFullAndNew:
			c.reset, c.emptyCache = true, true
		default:
			return c, syncline.Errorf(syncline.CodeInvalid, "triggerSync: the mode %q is not known", args.SyncMode).
				WithHint("use '%s', '%s' or '%s'", modeIncremental, modeFull, modeFullAndNew)
		}
	}
	if len(c.syncs) == 0 {
		return c, syncline.Errorf(syncline.CodeInvalid, "%s: no sync is named", method)
	}
	for _, n := range c.syncs {
		if n.Name == "" {
			return c, syncline.Errorf(syncline.CodeInvalid, "%s: a sync has no name", method)
		}
	}
	return c, nil
}

// instancesOf finds the instances that a command names.
func (s *session) instancesOf(r store.Reader, c *command) ([]syncline.SyncInstance, error) {
	i, k, _, err := s.connectionOf(r, c.key, c.connection)
	if err != nil {
		return nil, err
	}
	env := s.subject.Environment.ID
	var out []syncline.SyncInstance
	for _, n := range c.syncs {
		f, err := r.FunctionByName(env, i.ID, syncline.FunctionSync, n.Name)
		if syncline.CodeOf(err) == syncline.CodeNotFound {
			return nil, syncline.Errorf(syncline.CodeNotFound, "no sync %q is deployed for the integration %q", n.Name, i.UniqueKey)
		}
		if err != nil {
			return nil, err
		}
		variant := n.Variant
		if variant == "" {
			variant = syncline.BaseVariant
		}
		found, err := r.Instances(env, store.InstanceFilter{ConnectionID: k.ID, FunctionID: f.ID, Variant: variant})
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, syncline.Errorf(syncline.CodeNotFound, "the connection %q has no sync %q with the variant %q", k.ConnectionID, n.Name, variant)
		}
		out = append(out, found...)
	}
	return out, nil
}

// carryOut does what a command asks for, in tx. It returns the instances that
// were reset.
func (s *session) carryOut(tx store.Tx, c *command) (reset []int64, err error) {
	list, err := s.instancesOf(tx, c)
	if err != nil {
		return nil, err
	}
	for _, i := range list {
		if c.start {
			err = s.deps.Syncs.StartIn(tx, i.EnvironmentID, i.ID)
		} else {
			err = s.deps.Syncs.TriggerIn(tx, i.EnvironmentID, i.ID, c.reset, c.emptyCache)
		}
		if err != nil {
			return nil, err
		}
		if c.reset {
			reset = append(reset, i.ID)
		}
	}
	return reset, nil
}
