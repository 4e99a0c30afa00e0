package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline"
	"syncline/internal/fixture"
	"syncline/internal/fn"
	"syncline/internal/fn/worker"
	"syncline/internal/provider"
)

// tester is one "syncline test".
type tester struct {
	Streams
	dir            string
	filters        []string
	engine, node   string
	update, asJSON bool
	verbose        bool
	workers        int
	timeout        time.Duration
}

func testCommand(s Streams) *cobra.Command {
	t := tester{Streams: s, dir: "."}
	cmd := &cobra.Command{
		Use:   "test [DIR]",
		Short: "Run a project's functions against their recorded fixtures",
		Long: `Run the functions of the project in DIR (the current directory by default) against its fixtures: the files
<integration>/tests/*.test.json, in the format of Nango's dry runs. A fixture holds what the API answered and what the function
returned or saved; the function runs as on a server, its requests are answered from the fixture, and whatever differs is shown.

Where a test file for vitest lies beside a fixture, it is read for what it sets up: the function, the values that it makes
nango.getConnection and its kin return, the time. Neither vitest nor Node is needed.

"syncline dryrun --save-fixture" records fixtures; --update rewrites what they expect. See docs/testing-functions.md.`,
		Example: `  syncline test
  syncline test --filter github --filter 'slack/*'
  syncline test integrations --engine node
  syncline test --filter github/issues --update
  syncline test --json > results.json`,
		Args: atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				t.dir = args[0]
			}
			return t.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringArrayVarP(&t.filters, "filter", "f", nil, "Only fixtures whose integration/name has this in it, or matches it where it has * or ?; may be repeated")
	f.StringVar(&t.engine, "engine", "auto", "Engine that runs the functions: quickjs, node, or auto (quickjs, and node for those that need Node's own modules)")
	bindNode(f, &t.node)
	f.BoolVarP(&t.update, "update", "u", false, "Rewrite what fixtures expect to what the functions do")
	f.BoolVar(&t.asJSON, "json", false, "Print the results as JSON")
	f.BoolVarP(&t.verbose, "verbose", "v", false, "Print every fixture, with its duration, and the logs of those that fail")
	f.IntVarP(&t.workers, "workers", "j", runtime.GOMAXPROCS(0), "How many run at a time")
	f.DurationVar(&t.timeout, "timeout", time.Minute, "Longest time that one function may take")
	return cmd
}

func (t *tester) run(ctx context.Context) error {
	switch t.engine {
	case "auto", string(syncline.EngineQuickJS), string(syncline.EngineNode):
	default:
		return usage("--engine %s is unknown", t.engine).WithHint("it is one of: auto, quickjs, node")
	}
	keep, err := filter(t.filters)
	if err != nil {
		return err
	}
	began := time.Now()
	found, err := fixture.Discover(ctx, t.dir, nil)
	if err != nil {
		return err
	}
	total := len(found.Cases)
	found.Cases = slices.DeleteFunc(found.Cases, func(c fixture.Case) bool { return !keep(c.Name) })
	if len(found.Cases) == 0 {
		if total > 0 {
			return syncline.Errorf(syncline.CodeNotFound, "none of %s matches --filter %s", plural(total, "fixture"), strings.Join(t.filters, " --filter "))
		}
		return syncline.Errorf(syncline.CodeNotFound, "there are no fixtures (*%s) in %s", fixture.Suffix, t.dir).
			WithHint("record one with: syncline dryrun <integration> <function> <connection-id> --save-fixture")
	}
	runner, closeRunner := t.runner()
	defer closeRunner()
	paginate := fixture.Pagination(t.dir, provider.Builtin())
	show := &testPrinter{tester: t, all: len(found.Cases)}
	results, err := fixture.Run(ctx, found.Cases, fixture.Options{
		Dir: t.dir, Runner: runner, Engine: syncline.Engine(t.engine), Workers: t.workers, Update: t.update, Timeout: t.timeout, Paginate: paginate, Done: show.done,
	})
	if err != nil {
		return err
	}
	return show.summary(results, found, time.Since(began))
}

func (t *tester) runner() (runner fn.Runner, closeRunner func()) {
	command, _ := workerProcesses()
	return newRunner(worker.Options{Command: command, Workers: max(1, t.workers), Slots: 2}, t.node)
}

// filter is what patterns let through.
func filter(patterns []string) (func(name string) bool, error) {
	var all []*regexp.Regexp
	for _, p := range patterns {
		text := regexp.QuoteMeta(p)
		if strings.ContainsAny(p, "*?") {
			text = "^" + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(text) + "$"
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, usage("--filter %s cannot be read: %w", p, err)
		}
		all = append(all, re)
	}
	return func(name string) bool {
		return len(all) == 0 || slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(name) })
	}, nil
}

// testPrinter shows results as they come.
type testPrinter struct {
	*tester
	all, ended int
	wide       int // characters of the progress line that is on the terminal
}

// shownDifferences is how many differences of one fixture are shown.
const shownDifferences = 10

func (p *testPrinter) done(r *fixture.Result) {
	p.ended++
	if !p.asJSON {
		p.print(r)
	}
	p.progress(r)
}

func (p *testPrinter) print(r *fixture.Result) {
	c := p.colours()
	switch r.Status {
	case fixture.Passed:
		if p.verbose {
			p.line("%s  %s  %s", c.paint("good", "pass"), clean(r.Case.Name), c.paint("dim", r.Duration.Round(time.Millisecond).String()))
		}
		return
	case fixture.Updated:
		p.line("%s  %s  %s", c.paint("warn", "updated"), clean(r.Case.Name), clean(r.Case.Path))
	case fixture.Failed:
		p.line("%s  %s  %s", c.paint("bad", "FAIL"), clean(r.Case.Name), c.paint("dim", clean(p.path(r.Case.Path))))
	case fixture.Broken:
		p.line("%s  %s  %s", c.paint("bad", "ERROR"), clean(r.Case.Name), c.paint("dim", clean(p.path(r.Case.Path))))
	}
	if r.Err != nil {
		p.indented(c, "", r.Err.Error())
		if hint := fixture.Hint(r.Err); hint != "" {
			p.indented(c, "dim", hint)
		}
	}
	for _, request := range r.Unanswered {
		if r.Err == nil || !strings.Contains(r.Err.Error(), request) {
			p.indented(c, "", "the fixture has no answer to "+request)
		}
	}
	for i, d := range r.Differences {
		if i == shownDifferences && !p.verbose {
			p.indented(c, "dim", fmt.Sprintf("and %s more; --verbose shows all", plural(len(r.Differences)-i, "difference")))
			break
		}
		p.indented(c, "", d.String())
	}
	if p.verbose {
		for _, l := range r.Logs {
			p.indented(c, "dim", "log "+string(l.Level)+": "+l.Message)
		}
	}
}

// path is a file as seen from here.
func (p *testPrinter) path(file string) string { return filepath.Join(p.dir, filepath.FromSlash(file)) }

// indented prints lines below a fixture; expected ones are red, found ones green.
func (p *testPrinter) indented(c palette, tone, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		paint := tone
		switch {
		case strings.HasPrefix(line, "  - "):
			paint = "bad"
		case strings.HasPrefix(line, "  + "):
			paint = "good"
		}
		p.line("  %s", c.paint(paint, clean(line)))
	}
}

// line prints a result above the progress.
func (p *testPrinter) line(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.Out, format+"\n", args...)
}

// progress rewrites one line on a terminal.
func (p *testPrinter) progress(r *fixture.Result) {
	if !isTerminal(p.Err) {
		return
	}
	p.clear()
	text := shorten(fmt.Sprintf("%d/%d %s", p.ended, p.all, clean(r.Case.Name)), 78)
	p.wide = len([]rune(text))
	fmt.Fprint(p.Err, "\r"+text)
}

func (p *testPrinter) clear() {
	if p.wide > 0 {
		fmt.Fprint(p.Err, "\r"+strings.Repeat(" ", p.wide)+"\r")
		p.wide = 0
	}
}

// testResult is one fixture as --json gives it.
type testResult struct {
	Name        string               `json:"name"`
	Integration string               `json:"integration"`
	Function    string               `json:"function"`
	Type        string               `json:"type"`
	Fixture     string               `json:"fixture"`
	Test        string               `json:"test,omitempty"`
	Status      fixture.Status       `json:"status"`
	DurationMS  float64              `json:"duration_ms"`
	Error       string               `json:"error,omitempty"`
	Differences []fixture.Difference `json:"differences,omitempty"`
	Unanswered  []string             `json:"unanswered,omitempty"`
	Engine      syncline.Engine      `json:"engine"`
	NeedsNode   bool                 `json:"needs_node,omitempty"`
}

// testSummary are the numbers at the end.
type testSummary struct {
	Fixtures   int            `json:"fixtures"`
	Passed     int            `json:"passed"`
	Failed     int            `json:"failed"`
	Broken     int            `json:"broken"`
	Updated    int            `json:"updated"`
	OnNode     int            `json:"need_node"`
	DurationMS int64          `json:"duration_ms"`
	ByType     map[string]int `json:"passed_by_type"`
	Legacy     []string       `json:"legacy,omitempty"`
	ByHand     []string       `json:"by_hand,omitempty"`
}

func (p *testPrinter) summary(results []*fixture.Result, found *fixture.Found, took time.Duration) error {
	p.clear()
	s := testSummary{Fixtures: len(results), DurationMS: took.Milliseconds(), ByType: map[string]int{}, Legacy: found.Legacy, ByHand: found.ByHand}
	list := make([]testResult, len(results))
	for i, r := range results {
		list[i] = testResult{
			Name: r.Case.Name, Integration: r.Case.Integration, Function: r.Case.Function, Type: string(r.Case.Kind), Fixture: r.Case.Path, Test: r.Case.Test,
			Status: r.Status, DurationMS: float64(r.Duration.Microseconds()) / 1000, Differences: r.Differences, Unanswered: r.Unanswered,
			Engine: r.Engine, NeedsNode: r.NeedsNode,
		}
		if r.Err != nil {
			list[i].Error = r.Err.Error()
		}
		if r.NeedsNode {
			s.OnNode++
		}
		switch r.Status {
		case fixture.Passed:
			s.Passed++
			s.ByType[string(r.Case.Kind)]++
		case fixture.Failed:
			s.Failed++
		case fixture.Updated:
			s.Updated++
		case fixture.Broken:
			s.Broken++
		}
	}
	if p.asJSON {
		out := struct {
			Results []testResult `json:"results"`
			Summary testSummary  `json:"summary"`
		}{list, s}
		e := json.NewEncoder(p.Out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(out); err != nil {
			return err
		}
	} else {
		p.printSummary(results, &s, took)
	}
	if s.Failed+s.Broken > 0 {
		return errShown
	}
	return nil
}

func (p *testPrinter) printSummary(results []*fixture.Result, s *testSummary, took time.Duration) {
	c := p.colours()
	parts := []string{c.paint("good", fmt.Sprintf("%d passed", s.Passed))}
	for _, part := range []struct {
		n          int
		what, tone string
	}{{s.Updated, "updated", "warn"}, {s.Failed, "failed", "bad"}, {s.Broken, "could not be run", "bad"}} {
		if part.n > 0 {
			parts = append(parts, c.paint(part.tone, fmt.Sprintf("%d %s", part.n, part.what)))
		}
	}
	p.line("%s of %s in %s", strings.Join(parts, ", "), plural(s.Fixtures, "fixture"), took.Round(10*time.Millisecond))
	if slow := slowest(results); p.verbose && len(slow) > 0 {
		p.line("slowest: %s", strings.Join(slow, ", "))
	}
	if s.OnNode > 0 {
		p.line("%s ran on Node, since the functions need its own modules", plural(s.OnNode, "fixture"))
	}
	if n := len(s.Legacy); n > 0 {
		p.line("%s not run: their recordings are in the older format, in folders named mocks", plural(n, "test file"))
	}
	if n := len(s.ByHand); n > 0 {
		p.line("%s not run: they replace what a fixture cannot hold, or call no function", plural(n, "test file"))
	}
}

// slowest are the three that took longest.
func slowest(results []*fixture.Result) []string {
	sorted := slices.Clone(results)
	slices.SortFunc(sorted, func(a, b *fixture.Result) int { return cmp.Compare(b.Duration, a.Duration) })
	var out []string
	for _, r := range sorted[:min(3, len(sorted))] {
		out = append(out, clean(r.Case.Name)+" "+r.Duration.Round(time.Millisecond).String())
	}
	return out
}
