package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/schedule"
	"syncline/internal/store"
)

// deployment is the body of POST /deployments: every function of the
// environment.
type deployment struct {
	Functions     []deployed `json:"functions"`
	DryRun        bool       `json:"dry_run"`
	DeleteMissing bool       `json:"delete_missing"`
}

// deployed is one function to deploy.
type deployed struct {
	Manifest syncline.Manifest `json:"manifest"`
	Bundle   string            `json:"bundle"` // JavaScript source
	// BundleHash names a bundle instead, by the hex SHA-256 of its source: one
	// that the server has, from an earlier deployment or from POST /bundles.
	BundleHash string `json:"bundle_hash"`
}

// hash is that of the function's bundle.
func (d *deployed) hash() string {
	if d.Bundle == "" {
		return d.BundleHash
	}
	return hashOf(d.Bundle)
}

func hashOf(source string) string {
	sum := sha256.Sum256([]byte(source))
	return hex.EncodeToString(sum[:])
}

// putBundles stores bundles ahead of the deployment that names them, so that
// one of thousands of functions need not be a single request.
func (s *server) putBundles(c *call) (reply, error) {
	var in struct {
		Bundles []string `json:"bundles"`
	}
	if err := c.body(s.MaxDeployBody, &in); err != nil {
		return reply{}, err
	}
	var wrong []error
	for i, source := range in.Bundles {
		if why := checkBundle(source); why != "" {
			wrong = append(wrong, invalid("bundles."+strconv.Itoa(i), "the bundle %s", why))
		}
	}
	if err := joined(wrong); err != nil {
		return reply{}, as(badBody, err)
	}
	hashes := []string{}
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		hashes = hashes[:0]
		for i, source := range in.Bundles {
			if err := putBundle(tx, c.env.ID, "bundles."+strconv.Itoa(i), hashOf(source), source); err != nil {
				return as(badBody, err)
			}
			hashes = append(hashes, hashOf(source))
		}
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	return ok(map[string]any{"hashes": hashes})
}

// putBundle stores a bundle, that of the request's field. The library that it
// continues must be there.
func putBundle(tx store.Tx, env int64, field, hash, source string) error {
	if library, ok := fn.Library([]byte(source)); ok {
		missing, err := tx.MissingBundles(env, []string{library})
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return invalid(field, "the bundle continues the library %s, which the server does not have", library).
				WithHint("send the library first, with POST /bundles")
		}
	}
	return tx.PutBundle(env, hash, []byte(source))
}

// What a deployment does to a function.
const (
	changeCreated   = "created"
	changeUpdated   = "updated"
	changeUnchanged = "unchanged"
	changeDeleted   = "deleted" // deployed before, not in the request; with delete_missing
	changeMissing   = "missing" // the same without delete_missing: it stays
)

// deployChange is one line of a deployment's difference.
type deployChange struct {
	Change          string                `json:"change"`
	Type            syncline.FunctionType `json:"type"`
	Name            string                `json:"name"`
	Integration     string                `json:"integration"`
	Version         int64                 `json:"version"` // the active version afterwards; 0 when deleted
	PreviousVersion int64                 `json:"previous_version,omitempty"`
	Details         []string              `json:"details"`
}

// errDryRun rolls a dry run back.
var errDryRun = errors.New("dry run")

// deploy makes the request's functions the deployed ones, in one transaction.
// A dry run does the same and rolls back, so that what it says is what a
// deployment would do.
func (s *server) deploy(c *call) (reply, error) {
	var in deployment
	if err := c.body(s.MaxDeployBody, &in); err != nil {
		return reply{}, err
	}
	if in.Functions == nil {
		return reply{}, as(badBody, invalid("functions", "functions is missing"))
	}
	if err := checkDeployment(in.Functions, func() error { return s.nodeMissing(c.Context()) }); err != nil {
		return reply{}, as(badBody, err)
	}
	if err := s.checkCompiled(in.Functions); err != nil {
		return reply{}, as(badBody, err)
	}
	hashes := make([]string, len(in.Functions))
	for i := range in.Functions {
		hashes[i] = in.Functions[i].hash()
	}
	var plan *deployPlan
	now := s.Clock.Now()
	err := s.Store.Update(c.Context(), store.Durable, func(tx store.Tx) error {
		plan = &deployPlan{tx: tx, env: c.env.ID, now: now, dry: in.DryRun, touched: map[int64]bool{}, missingBundles: []string{}}
		if err := plan.run(&in, hashes); err != nil {
			return err
		}
		if in.DryRun {
			return errDryRun
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDryRun) {
		return reply{}, err
	}
	if !in.DryRun {
		for id := range plan.touched {
			s.Hooks.FunctionsChanged(c.env.ID, id)
		}
		if len(plan.touched) > 0 {
			s.Hooks.SchedulesChanged()
		}
	}
	sortChanges(plan.changes)
	answer := map[string]any{"dry_run": in.DryRun, "changes": orEmpty(plan.changes)}
	if in.DryRun {
		answer["missing_bundles"] = plan.missingBundles
	}
	return ok(answer)
}

func sortChanges(changes []deployChange) {
	slices.SortStableFunc(changes, func(a, b deployChange) int {
		return cmp.Or(cmp.Compare(a.Integration, b.Integration), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
}

// deployPlan carries out one deployment.
type deployPlan struct {
	ofCompiled
	tx      store.Tx
	env     int64
	now     time.Time
	dry     bool
	changes []deployChange
	touched map[int64]bool // integrations whose functions changed
	// missingBundles are the hashes that the request names and the server does
	// not have. A dry run tells them; without them nothing is deployed.
	missingBundles []string
}

func (p *deployPlan) run(in *deployment, hashes []string) error {
	all, err := p.tx.Integrations(p.env)
	if err != nil {
		return err
	}
	byKey, byID := map[string]int64{}, map[int64]string{}
	for i := range all {
		byKey[all[i].UniqueKey], byID[all[i].ID] = all[i].ID, all[i].UniqueKey
	}
	if err := checkIntegrations(in.Functions, byKey); err != nil {
		return as(badBody, err)
	}
	have, err := p.tx.Functions(p.env, 0)
	if err != nil {
		return err
	}
	if err := p.findBundles(in, hashes); err != nil {
		return err
	}
	type key struct {
		integration int64
		kind        syncline.FunctionType
		name        string
	}
	old := make(map[key]*syncline.Function, len(have))
	for i := range have {
		old[key{have[i].IntegrationID, have[i].Type, have[i].Name}] = &have[i]
	}
	for i := range in.Functions {
		m := &in.Functions[i].Manifest
		k := key{byKey[m.Integration], m.Type, m.Name}
		if err := p.put(k.integration, old[k], m, hashes[i], in.Functions[i].Bundle); err != nil {
			return err
		}
		delete(old, k)
	}
	for _, f := range old {
		if err := p.missing(f, byID[f.IntegrationID], in.DeleteMissing); err != nil {
			return err
		}
	}
	for id := range p.touched {
		if err := schedule.Provision(p.tx, p.env, id, p.now); err != nil {
			return err
		}
	}
	return nil
}

// findBundles looks which of the bundles that are named by hash the server has.
func (p *deployPlan) findBundles(in *deployment, hashes []string) error {
	var named []string
	seen := map[string]bool{}
	for i := range in.Functions {
		if in.Functions[i].Bundle == "" && !seen[hashes[i]] {
			seen[hashes[i]] = true
			named = append(named, hashes[i])
		}
	}
	missing, err := p.tx.MissingBundles(p.env, named)
	if err != nil {
		return err
	}
	p.missingBundles = append(p.missingBundles, missing...)
	if len(missing) == 0 || p.dry {
		return nil
	}
	return as(badBody, invalid("functions", "the server does not have %d of the bundles that are named by bundle_hash, for example %s", len(missing), missing[0]).
		WithHint("send them first, with POST /bundles; a dry run lists them as missing_bundles"))
}

// put deploys one function unless it is deployed as it is.
func (p *deployPlan) put(integrationID int64, old *syncline.Function, m *syncline.Manifest, hash, bundle string) error {
	change := deployChange{Change: changeCreated, Type: m.Type, Name: m.Name, Integration: m.Integration, Details: []string{}}
	f := syncline.Function{EnvironmentID: p.env, IntegrationID: integrationID, Type: m.Type, Name: m.Name, Enabled: true, CreatedAt: p.now}
	replan := false
	if old != nil {
		if p.stays(old) {
			return nil
		}
		f = *old
		change.PreviousVersion = old.Active.Number
		change.Details = difference(&old.Active.Manifest, m)
		if old.Active.BundleHash != hash {
			change.Details = append(change.Details, "code changed")
		}
		if len(change.Details) == 0 {
			change.Change, change.Version = changeUnchanged, old.Active.Number
			p.changes = append(p.changes, change)
			return nil
		}
		change.Change = changeUpdated
		replan = m.Type == syncline.FunctionSync && old.Active.Manifest.Frequency != m.Frequency
	}
	if bundle != "" {
		if err := putBundle(p.tx, p.env, "functions", hash, bundle); err != nil {
			return as(badBody, err)
		}
	}
	v := syncline.FunctionVersion{Manifest: *m, BundleHash: hash, DeployedAt: p.now}
	if err := p.tx.DeployFunction(&f, &v); err != nil {
		return err
	}
	change.Version = v.Number
	p.changes = append(p.changes, change)
	p.touched[integrationID] = true
	if !replan {
		return nil
	}
	f.Active = v
	return schedule.Replan(p.tx, &f, p.now)
}

// missing reports a deployed function that the request does not have, and
// deletes it if that was asked for.
func (p *deployPlan) missing(f *syncline.Function, integrationKey string, remove bool) error {
	if p.foreign(f) {
		return nil
	}
	change := deployChange{Change: changeMissing, Type: f.Type, Name: f.Name, Integration: integrationKey,
		Version: f.Active.Number, PreviousVersion: f.Active.Number, Details: []string{}}
	if remove {
		if err := p.tx.DeleteFunction(p.env, f.ID, p.now); err != nil {
			return err
		}
		change.Change, change.Version = changeDeleted, 0
		p.touched[f.IntegrationID] = true
	}
	p.changes = append(p.changes, change)
	return nil
}
