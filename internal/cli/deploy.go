package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline"
	"syncline/internal/fn/bundle"
)

// change is one line of a deployment's difference, as POST /deployments gives it.
type change struct {
	Change          string   `json:"change"`
	Type            string   `json:"type"`
	Name            string   `json:"name"`
	Integration     string   `json:"integration"`
	Version         int64    `json:"version"`
	PreviousVersion int64    `json:"previous_version,omitempty"`
	Details         []string `json:"details"`
}

// The kinds of changes.
const (
	changeUnchanged = "unchanged"
	changeDeleted   = "deleted"
	changeMissing   = "missing"
)

// deployment is the body of POST /deployments.
type deployment struct {
	Functions     []deployedFunction `json:"functions"`
	DryRun        bool               `json:"dry_run"`
	DeleteMissing bool               `json:"delete_missing"`
}

type deployedFunction struct {
	Manifest   syncline.Manifest `json:"manifest"`
	BundleHash string            `json:"bundle_hash"`
}

// deployed is the answer.
type deployed struct {
	DryRun  bool     `json:"dry_run"`
	Changes []change `json:"changes"`
	// MissingBundles are the hashes of the bundles that the server lacks; only
	// a dry run tells them.
	MissingBundles []string `json:"missing_bundles"`
}

// unchanged reports whether a plan would change nothing.
func (d *deployed) unchanged() bool {
	return !slices.ContainsFunc(d.Changes, func(c change) bool { return c.Change != changeUnchanged && c.Change != changeMissing })
}

type deployer struct {
	Streams
	client *client

	dryRun, allowDestructive, keepMissing, anew, asJSON bool

	engine string
}

func deployCommand(s Streams) *cobra.Command {
	var (
		t target
		d = deployer{Streams: s}
	)
	cmd := &cobra.Command{
		Use:   "deploy [DIR]",
		Short: "Bundle a project of functions and deploy it to a server",
		Long: `Bundle the functions that DIR/index.ts imports (DIR is the current directory by default), check them, show what
would change on the server, and deploy them.

The project is all that is deployed: a function that the server has and the project has not is deleted. That is
done only after a yes on the terminal, or with --allow-destructive; --keep-missing leaves such functions as they are.

What came of the functions is kept in node_modules/.cache/syncline, and only those whose files changed are bundled again.`,
		Example: `  syncline deploy
  syncline deploy examples/github-issues --dry-run
  syncline deploy --env prod --server https://syncline.example.com --allow-destructive`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if d.allowDestructive && d.keepMissing {
				return usage("--allow-destructive deletes what --keep-missing keeps: give one of them")
			}
			if d.client, err = t.client(s); err != nil {
				return err
			}
			return d.deploy(cmd.Context(), dir)
		},
	}
	t.bind(cmd)
	f := cmd.Flags()
	f.BoolVar(&d.dryRun, "dry-run", false, "Show what would change, and change nothing")
	f.BoolVar(&d.allowDestructive, "allow-destructive", false, "Delete functions that are not in the project without asking")
	f.BoolVar(&d.keepMissing, "keep-missing", false, "Leave functions that are not in the project as they are")
	f.StringVar(&d.engine, "engine", string(bundle.EngineAuto), "Engine of functions that name none: quickjs, node, or auto (quickjs, and node for those that need Node's own modules)")
	f.BoolVar(&d.anew, "no-cache", false, "Bundle every function anew, also those whose files did not change")
	f.BoolVar(&d.asJSON, "json", false, "Print the changes as JSON")
	return cmd
}

// maxOnNode is how many functions that run on Node.js are named.
const maxOnNode = 10

func (d *deployer) progress(format string, args ...any) {
	fmt.Fprintf(d.Err, format+"\n", args...)
}

func (d *deployer) deploy(ctx context.Context, dir string) error {
	began := time.Now()
	built, err := buildProject(ctx, bundle.Options{Dir: dir, Engine: syncline.Engine(d.engine), Cache: !d.anew})
	if err != nil {
		return err
	}
	problems := built.problems
	if len(built.functions) > 0 {
		unknown, err := d.unknownIntegrations(ctx, dir, built.functions)
		if err != nil {
			return err
		}
		problems = append(problems, unknown...)
	}
	if len(problems) > 0 {
		return d.report(problems)
	}
	for _, w := range built.warnings {
		d.print(w, "warning: ")
	}
	d.progress("%s bundled in %s.", plural(len(built.functions), "function"), time.Since(began).Round(time.Millisecond))
	var onNode []string
	for i := range built.functions {
		if m := &built.functions[i].Manifest; m.Engine == syncline.EngineNode {
			onNode = append(onNode, m.Integration+"/"+m.Name)
		}
	}
	if len(onNode) > 0 {
		rest := ""
		if n := len(onNode) - maxOnNode; n > 0 {
			onNode, rest = onNode[:maxOnNode], fmt.Sprintf(" and %d more", n)
		}
		d.progress("On Node.js: %s%s.", strings.Join(onNode, ", "), rest)
	}

	request := requestOf(built.functions)
	request.DryRun = true
	var plan deployed
	if err := d.client.post(ctx, "/deployments", request, &plan); err != nil {
		return err
	}
	return d.apply(ctx, built, request, plan)
}

// requestOf is the request that deploys functions whose bundles the server has.
func requestOf(functions []bundle.Function) deployment {
	request := deployment{Functions: []deployedFunction{}}
	for _, f := range functions {
		request.Functions = append(request.Functions, deployedFunction{f.Manifest, f.Hash})
	}
	return request
}

// uploadSize is about how many bytes of bundles one request sends.
const uploadSize = 8 << 20

// upload sends the bundles that the server lacks.
func upload(ctx context.Context, c *client, built project, missing []string, progress func(done, all int)) error {
	wanted := make(map[string]bool, len(missing))
	for _, hash := range missing {
		wanted[hash] = true
	}
	var batch struct {
		Bundles []string `json:"bundles"`
	}
	size, done := 0, 0
	send := func() error {
		if len(batch.Bundles) == 0 {
			return nil
		}
		var answer struct {
			Hashes []string `json:"hashes"`
		}
		if err := c.post(ctx, "/bundles", batch, &answer); err != nil {
			return err
		}
		done = min(done+len(batch.Bundles), len(missing))
		batch.Bundles, size = batch.Bundles[:0], 0
		progress(done, len(missing))
		return nil
	}
	sent := map[string]bool{} // libraries: they go first, whether the server has them or not
	for i := range built.functions {
		f := &built.functions[i]
		if !wanted[f.Hash] {
			continue
		}
		if f.Library != "" && !sent[f.Library] {
			sent[f.Library] = true
			batch.Bundles = append(batch.Bundles, string(built.libraries[f.Library]))
			size += len(built.libraries[f.Library])
		}
		delete(wanted, f.Hash) // two functions may have the same
		batch.Bundles = append(batch.Bundles, string(f.Source))
		if size += len(f.Source); size >= uploadSize {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// apply carries out a plan, once what it deletes is agreed to.
func (d *deployer) apply(ctx context.Context, built project, request deployment, plan deployed) error {
	missing := 0
	for i := range plan.Changes {
		if plan.Changes[i].Change == changeMissing {
			missing++
			if !d.keepMissing {
				plan.Changes[i].Change = changeDeleted // what a deployment would do
			}
		}
	}
	if d.dryRun {
		if err := d.show(plan, "Would change"); err != nil {
			return err
		}
		d.progress("Nothing was deployed: this is a dry run.")
		return nil
	}
	if missing > 0 && !d.keepMissing {
		if agreed, err := d.agree(ctx, plan, missing); err != nil || !agreed {
			return err
		}
		request.DeleteMissing = true
	}
	if plan.unchanged() {
		return d.show(plan, "Deployed")
	}
	err := upload(ctx, d.client, built, plan.MissingBundles, func(done, all int) {
		if done < all {
			d.progress("%d of %d bundles sent.", done, all)
		}
	})
	if err != nil {
		return err
	}
	request.DryRun = false
	var done deployed
	if err := d.client.post(ctx, "/deployments", request, &done); err != nil {
		return err
	}
	return d.show(done, "Deployed")
}

// agree gets the consent to delete functions. Without a terminal to ask on and
// without --allow-destructive it is refused.
func (d *deployer) agree(ctx context.Context, plan deployed, missing int) (bool, error) {
	if d.allowDestructive {
		return true, nil
	}
	names := ""
	for _, c := range plan.Changes {
		if c.Change == changeDeleted {
			names += "\n" + c.Type + " " + c.Integration + "/" + c.Name
		}
	}
	if !d.interactive() {
		return false, syncline.Errorf(syncline.CodeConflict, "this would delete %s that the project does not have; nothing was deployed:%s", plural(missing, "function"), names).
			WithHint("delete with --allow-destructive, or leave them as they are with --keep-missing")
	}
	for _, name := range strings.Split(strings.TrimPrefix(names, "\n"), "\n") {
		d.progress("  %s", clean(name))
	}
	yes, err := d.confirm(ctx, fmt.Sprintf("The project does not have %s that the server has. Delete?", plural(missing, "function")))
	if err == nil && !yes {
		err = syncline.Errorf(syncline.CodeConflict, "nothing was deployed").WithHint("leave the functions as they are with --keep-missing")
	}
	return yes, err
}

// show prints what a deployment changes, unchanged functions last.
func (d *deployer) show(result deployed, verb string) error {
	if d.asJSON {
		return printJSON(d.Out, result)
	}
	p := d.colours()
	t := table{}
	t.row("CHANGE", "FUNCTION", "VERSION", "DETAILS")
	changed, unchanged := 0, 0
	for _, c := range result.Changes {
		if c.Change == changeUnchanged || c.Change == changeMissing {
			unchanged++
			continue
		}
		changed++
		t.row(p.status(c.Change), clean(c.Type+" "+c.Integration+"/"+c.Name), versions(c), clean(strings.Join(c.Details, "; ")))
	}
	if changed > 0 {
		if err := t.write(d.Out, p); err != nil {
			return err
		}
	}
	switch {
	case changed == 0 && unchanged == 0:
		d.progress("There are no functions.")
	case changed == 0:
		d.progress("Nothing changed: %s on %s.", plural(unchanged, "function"), d.client.server)
	case unchanged > 0:
		d.progress("%s %s on %s; %d as before.", verb, plural(changed, "function"), d.client.server, unchanged)
	default:
		d.progress("%s %s on %s.", verb, plural(changed, "function"), d.client.server)
	}
	return nil
}

func versions(c change) string {
	switch {
	case c.Change == changeDeleted:
		return fmt.Sprintf("v%d", c.PreviousVersion)
	case c.PreviousVersion == 0:
		return fmt.Sprintf("v%d", c.Version)
	}
	return fmt.Sprintf("v%d → v%d", c.PreviousVersion, c.Version)
}

// unknownIntegrations asks the server for its integrations and reports the
// functions of others where the project names them.
func (d *deployer) unknownIntegrations(ctx context.Context, dir string, functions []bundle.Function) ([]problem, error) {
	var answer struct {
		Data []struct {
			UniqueKey string `json:"unique_key"`
		} `json:"data"`
	}
	if err := d.client.get(ctx, "/integrations", nil, &answer); err != nil {
		return nil, err
	}
	known := map[string]bool{}
	var names []string
	for _, i := range answer.Data {
		known[i.UniqueKey] = true
		names = append(names, i.UniqueKey)
	}
	hint := "the server has no integration yet; create one with POST /integrations"
	if len(names) > 0 {
		slices.Sort(names)
		hint = "the server has: " + strings.Join(names, ", ") + "; the first folder of the file names the integration"
	}
	var problems []problem
	for i := range functions {
		m := &functions[i].Manifest
		if !known[m.Integration] {
			problems = append(problems, problemAt(dir, functions[i].ImportedAt,
				fmt.Sprintf("the server has no integration %q, which the %s %q belongs to", m.Integration, m.Type, m.Name), hint))
		}
	}
	return problems, nil
}

// report prints problems, by file and line, and fails.
func (d *deployer) report(problems []problem) error {
	slices.SortStableFunc(problems, func(a, b problem) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	if d.asJSON {
		list := []map[string]any{}
		for _, p := range problems {
			list = append(list, map[string]any{"file": p.file, "line": p.line, "column": p.column, "message": p.message, "hint": p.hint})
		}
		if err := json.NewEncoder(d.Out).Encode(map[string]any{"problems": list}); err != nil {
			return err
		}
		return shown(syncline.CodeInvalid)
	}
	for _, p := range problems {
		d.print(p, "")
	}
	return syncline.Errorf(syncline.CodeInvalid, "%s; nothing was deployed", plural(len(problems), "problem"))
}

// print writes a problem for people.
func (d *deployer) print(p problem, kind string) {
	fmt.Fprintf(d.Err, "%s%s%s\n", p.place(), kind, clean(p.message))
	if p.hint != "" {
		fmt.Fprintf(d.Err, "    %s\n", clean(p.hint))
	}
}

// plural writes a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
