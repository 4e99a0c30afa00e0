package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"syncline"
	"syncline/internal/api"
	"syncline/internal/fn/gofn"
	"syncline/internal/store"
	"syncline/internal/supervise"
)

// Compiled is the functions in Go that the binary has.
type Compiled struct {
	Functions []gofn.Function
	// Build names the code; "" takes the hash of the executable. Processes with the
	// same Build are believed to hold the same functions.
	Build string
}

// Option is a choice that is not a setting of the user's.
type Option func(*node)

// WithFunctions makes the server deploy and run functions that are compiled in.
func WithFunctions(c Compiled) Option { return func(n *node) { n.compiled.Compiled = c } }

// compiled keeps functions in Go deployed. A process deploys those that it has
// when it starts, so that of several builds the newest that started counts.
// After that it watches: it deploys what is missing once its integration is
// there, and takes over from a build of which no process is left, so that going
// back to an older one needs no restart.
type compiled struct {
	Compiled
	registry *gofn.Registry
	wake     chan struct{}
	// gone counts, by build, the looks in a row that found no process of it.
	gone map[string]int
}

const (
	// keepEvery is how often it is looked whether the functions are deployed.
	keepEvery = 5 * time.Second
	// goneAfter is how many looks in a row must find no process of a build before
	// it counts as gone: a role passes between processes in a second or two.
	goneAfter = 3
)

const roleDeploy = "deploy go functions"

func roleBuild(build string) string { return "go functions of " + build }

// openCompiled makes the registry and deploys it.
func (n *node) openCompiled(ctx context.Context, out io.Writer) (err error) {
	c := &n.compiled
	c.wake, c.gone = make(chan struct{}, 1), map[string]int{}
	build := c.Build
	if len(c.Functions) > 0 && build == "" {
		if build, err = hashOfExecutable(); err != nil {
			return err
		}
	}
	if c.registry, err = gofn.NewRegistry(build, c.Functions); err != nil {
		return err
	}
	if len(c.Functions) == 0 {
		return nil
	}
	if err := n.checkGoEnvironments(ctx); err != nil {
		return err
	}
	return n.peers.Alone(ctx, roleDeploy, func(ctx context.Context) error {
		fmt.Fprintf(out, "functions in Go (build %.12s):\n", build)
		return n.deployCompiled(ctx, nil, n.cfg.GoDeleteMissing, func(env string, d api.Deployed) {
			for _, c := range d.Changes {
				fmt.Fprintf(out, "  %s: %s\n", env, lineOf(c))
			}
			for _, m := range d.Waiting {
				fmt.Fprintf(out, "  %s: waiting %s %s/%s: there is no integration %q yet\n", env, m.Type, m.Integration, m.Name, m.Integration)
			}
		})
	})
}

func lineOf(c api.DeployChange) string {
	line := fmt.Sprintf("%s %s %s/%s", c.Change, c.Type, c.Integration, c.Name)
	switch {
	case c.Version == 0:
	case c.PreviousVersion != 0 && c.PreviousVersion != c.Version:
		line += fmt.Sprintf(" (version %d → %d)", c.PreviousVersion, c.Version)
	default:
		line += fmt.Sprintf(" (version %d)", c.Version)
	}
	if len(c.Details) > 0 {
		line += ": " + strings.Join(c.Details, ", ")
	}
	if c.Change == "missing" {
		line += ": not in this build; its runs wait for a process that has it (--go-delete-missing deletes such functions)"
	}
	return line
}

// hashOfExecutable names the build by what it consists of.
func hashOfExecutable() (string, error) {
	failed := func(err error) (string, error) {
		return "", syncline.Errorf(syncline.CodeUnavailable, "cannot read the executable to name its build: %w", err).
			WithHint("name the build in the code: app.Main(functions, app.Build(version))")
	}
	path, err := os.Executable()
	if err != nil {
		return failed(err)
	}
	f, err := os.Open(path)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return failed(err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// checkGoEnvironments refuses names of environments that are not there.
func (n *node) checkGoEnvironments(ctx context.Context) error {
	all, err := n.environments(ctx)
	if err != nil {
		return err
	}
	for _, name := range listOf(n.cfg.GoEnvironments) {
		if !slices.ContainsFunc(all, func(e syncline.Environment) bool { return e.Name == name }) {
			return syncline.Errorf(syncline.CodeInvalid, "--go-environments: there is no environment %q", name).
				WithHint("an environment is made by its key: SYNCLINE_SECRET_KEY_%s", strings.ToUpper(name))
		}
	}
	return nil
}

func listOf(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func (n *node) environments(ctx context.Context) (all []syncline.Environment, err error) {
	err = n.store.View(ctx, func(r store.Reader) (err error) {
		all, err = r.Environments()
		return err
	})
	return all, err
}

// deployCompiled deploys to the environments of the settings.
func (n *node) deployCompiled(ctx context.Context, replaces func(*syncline.Function) bool, deleteMissing bool, tell func(env string, d api.Deployed)) error {
	all, err := n.environments(ctx)
	if err != nil {
		return err
	}
	var functions []api.Compiled
	for _, v := range n.compiled.registry.Versions() {
		functions = append(functions, api.Compiled{Manifest: v.Manifest, Bundle: v.Bundle, Hash: v.Hash})
	}
	only := listOf(n.cfg.GoEnvironments)
	for _, env := range all {
		if len(only) > 0 && !slices.Contains(only, env.Name) {
			continue
		}
		d, err := api.CompiledDeployment{EnvironmentID: env.ID, Functions: functions, Replaces: replaces, DeleteMissing: deleteMissing}.Deploy(ctx, n.store, n.clock.Now())
		if err != nil {
			return fmt.Errorf("functions in Go, environment %s: %w", env.Name, err)
		}
		tell(env.Name, d)
		if n.wired.Load() {
			for _, id := range d.Touched {
				n.changed(env.ID, id)
			}
			if len(d.Touched) > 0 {
				n.due()
			}
		}
	}
	return nil
}

// compiledLoops are the loops of a process that has functions in Go.
func (n *node) compiledLoops() []supervise.Loop {
	if len(n.compiled.Functions) == 0 {
		return nil
	}
	return []supervise.Loop{
		supervise.Until("go functions", n.keepCompiled),
		// Whether a process of this build is there is whether the role is taken.
		n.led(roleBuild(n.compiled.registry.Build), func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		}),
	}
}

// lookForIntegrations makes the functions be deployed that waited for one.
func (n *node) lookForIntegrations() {
	select {
	case n.compiled.wake <- struct{}{}:
	default:
	}
}

func (n *node) keepCompiled(ctx context.Context) error {
	for {
		looked := n.clock.After(keepEvery)
		if err := n.redeployCompiled(ctx); err != nil && ctx.Err() == nil {
			n.log.Error("cannot deploy the functions in Go", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-looked:
		case <-n.compiled.wake:
		}
	}
}

// redeployCompiled deploys what is not deployed, and what is deployed by a build
// that is gone.
func (n *node) redeployCompiled(ctx context.Context) error {
	builds, missing, err := n.otherBuilds(ctx)
	if err != nil {
		return err
	}
	gone := false
	for build := range n.compiled.gone {
		if !slices.Contains(builds, build) {
			delete(n.compiled.gone, build)
		}
	}
	for _, build := range builds {
		free := false
		err := n.peers.Try(ctx, roleBuild(build), func(context.Context) error {
			free = true
			return nil
		})
		if err != nil {
			return err
		}
		if !free {
			delete(n.compiled.gone, build)
			continue
		}
		n.compiled.gone[build]++
		gone = gone || n.compiled.gone[build] >= goneAfter
	}
	if !gone && !missing {
		return nil
	}
	return n.peers.Alone(ctx, roleDeploy, func(ctx context.Context) error {
		return n.deployCompiled(ctx, func(f *syncline.Function) bool {
			build, ok := n.buildOf(ctx, f)
			return ok && n.compiled.gone[build] >= goneAfter
		}, false, func(env string, d api.Deployed) {
			for _, c := range d.Changes {
				if c.Change != "unchanged" && c.Change != "missing" {
					n.log.Info("a function in Go was deployed", "environment", env, "change", lineOf(c))
				}
			}
		})
	})
}

// otherBuilds are the builds whose versions are deployed of functions that this
// process has too; missing tells that one is not deployed at all though its
// integration is there.
func (n *node) otherBuilds(ctx context.Context) (builds []string, missing bool, err error) {
	envs, err := n.environments(ctx)
	if err != nil {
		return nil, false, err
	}
	type key struct {
		kind              syncline.FunctionType
		integration, name string
	}
	only := listOf(n.cfg.GoEnvironments)
	err = n.store.View(ctx, func(r store.Reader) error {
		for _, env := range envs {
			if len(only) > 0 && !slices.Contains(only, env.Name) {
				continue
			}
			integrations, err := r.Integrations(env.ID)
			if err != nil {
				return err
			}
			keys, there := map[int64]string{}, map[string]bool{}
			for _, i := range integrations {
				keys[i.ID], there[i.UniqueKey] = i.UniqueKey, true
			}
			functions, err := r.Functions(env.ID, 0)
			if err != nil {
				return err
			}
			deployed := map[key]*syncline.Function{}
			for i := range functions {
				f := &functions[i]
				deployed[key{f.Type, keys[f.IntegrationID], f.Name}] = f
			}
			for _, v := range n.compiled.registry.Versions() {
				m := v.Manifest
				f := deployed[key{m.Type, m.Integration, m.Name}]
				switch {
				case f == nil:
					missing = missing || there[m.Integration]
				case f.Active.BundleHash != v.Hash && f.Active.Manifest.Engine == syncline.EngineGo:
					source, err := r.Bundle(env.ID, f.Active.BundleHash)
					if err != nil {
						return err
					}
					if o, ok := gofn.ParseOrigin(source); ok && !slices.Contains(builds, o.Build) {
						builds = append(builds, o.Build)
					}
				}
			}
		}
		return nil
	})
	slices.SortFunc(builds, cmp.Compare)
	return builds, missing, err
}

// buildOf is the build that deployed a function in Go.
func (n *node) buildOf(ctx context.Context, f *syncline.Function) (string, bool) {
	if f.Active.Manifest.Engine != syncline.EngineGo {
		return "", false
	}
	var source []byte
	err := n.store.View(ctx, func(r store.Reader) (err error) {
		source, err = r.Bundle(f.EnvironmentID, f.Active.BundleHash)
		return err
	})
	if err != nil {
		return "", false
	}
	o, ok := gofn.ParseOrigin(source)
	return o.Build, ok
}
