package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"syncline"
	"syncline/internal/store"
)

// Compiled is a function in Go that is compiled into the server.
type Compiled struct {
	Manifest syncline.Manifest
	Bundle   []byte // what its version is made of
	Hash     string // hex SHA-256 of Bundle
}

// CompiledDeployment deploys functions in Go to one environment. It is made by
// the process that has them, not over HTTP.
type CompiledDeployment struct {
	EnvironmentID int64
	Functions     []Compiled
	// Replaces reports whether a function that is deployed gives way to the one of
	// the same integration, type and name; nil: always.
	Replaces func(f *syncline.Function) bool
	// DeleteMissing deletes functions in Go that are deployed and not among
	// Functions.
	DeleteMissing bool
}

// DeployChange is one line of a deployment's difference.
type DeployChange = deployChange

// Deployed is what a deployment of functions in Go came to.
type Deployed struct {
	Changes []DeployChange // by integration, type and name
	// Waiting are the functions whose integration the environment does not have.
	Waiting []syncline.Manifest
	Touched []int64 // integrations whose functions changed
}

// Deploy carries the deployment out, in one transaction, by the rules of
// POST /deployments.
func (d CompiledDeployment) Deploy(ctx context.Context, s store.Store, now time.Time) (Deployed, error) {
	all := make([]deployed, len(d.Functions))
	for i, f := range d.Functions {
		all[i] = deployed{Manifest: f.Manifest, Bundle: string(f.Bundle)}
	}
	if err := checkDeployment(all, func() error { return nil }); err != nil {
		return Deployed{}, err
	}
	var out Deployed
	err := s.Update(ctx, store.Durable, func(tx store.Tx) error {
		out = Deployed{}
		integrations, err := tx.Integrations(d.EnvironmentID)
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for i := range integrations {
			there[integrations[i].UniqueKey] = true
		}
		in := deployment{DeleteMissing: d.DeleteMissing}
		var hashes []string
		for i := range all {
			if m := all[i].Manifest; !there[m.Integration] {
				out.Waiting = append(out.Waiting, m)
				continue
			}
			in.Functions, hashes = append(in.Functions, all[i]), append(hashes, d.Functions[i].Hash)
		}
		plan := &deployPlan{tx: tx, env: d.EnvironmentID, now: now, touched: map[int64]bool{}, ofCompiled: ofCompiled{true, d.Replaces}}
		if err := plan.run(&in, hashes); err != nil {
			return err
		}
		sortChanges(plan.changes)
		out.Changes = plan.changes
		for id := range plan.touched {
			out.Touched = append(out.Touched, id)
		}
		slices.Sort(out.Touched)
		return nil
	})
	return out, err
}

// ofCompiled is what the deployment of functions in Go has of its own. It knows
// nothing of other functions, and other deployments nothing of those.
type ofCompiled struct {
	compiled bool
	replaces func(f *syncline.Function) bool // nil: always
}

func (o *ofCompiled) stays(f *syncline.Function) bool { return o.replaces != nil && !o.replaces(f) }

func (o *ofCompiled) foreign(f *syncline.Function) bool {
	return (f.Active.Manifest.Engine == syncline.EngineGo) != o.compiled
}

// checkCompiled refuses what the process itself deploys.
func (s *server) checkCompiled(functions []deployed) error {
	var wrong []error
	for i := range functions {
		m := &functions[i].Manifest
		switch {
		case m.Engine == syncline.EngineGo:
			wrong = append(wrong, invalid(fmt.Sprintf("functions.%d.manifest.engine", i), "%s: functions in Go cannot be deployed over HTTP", label(m)).
				WithHint("compile them into the server's binary (package syncline/app), which deploys them when it starts"))
		case s.Compiled != nil && s.Compiled(m.Type, m.Integration, m.Name):
			wrong = append(wrong, invalid(fmt.Sprintf("functions.%d.manifest.name", i), "%s: a function in Go of that name is compiled into the server", label(m)).
				WithHint("give it another name, or remove the one in Go from the binary first"))
		}
	}
	return joined(wrong)
}
