package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline"
)

// followEvery is how often --follow asks the server.
const followEvery = time.Second

// run is a run as GET /runs shows it.
type run struct {
	ID                string                          `json:"id"`
	Kind              string                          `json:"kind"`
	Status            string                          `json:"status"`
	Function          string                          `json:"function"`
	FunctionType      string                          `json:"function_type"`
	Version           int64                           `json:"version"`
	ProviderConfigKey string                          `json:"provider_config_key"`
	ConnectionID      string                          `json:"connection_id"`
	Variant           string                          `json:"variant"`
	SyncType          string                          `json:"sync_type"`
	Attempt           int                             `json:"attempt"`
	Models            map[string]syncline.ModelResult `json:"models"`
	Warnings          []string                        `json:"warnings"`
	Error             *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
	DurationMS *int64     `json:"duration_ms"`
}

// running reports whether the run has not ended.
func (r *run) running() bool { return r.Status == string(syncline.RunRunning) }

func (r *run) name() string { return r.ProviderConfigKey + "/" + r.Function }

func (r *run) duration() string {
	if r.DurationMS == nil {
		return ""
	}
	return (time.Duration(*r.DurationMS) * time.Millisecond).String()
}

// result says what the run came to, on one line.
func (r *run) result() string {
	if r.Error != nil {
		return r.Error.Message
	}
	var total syncline.ModelResult
	for _, m := range r.Models {
		total = total.Add(m)
	}
	return counts(total)
}

// counts writes the numbers that are not zero: "2 added, 1 deleted".
func counts(m syncline.ModelResult) string {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{m.Added, "added"}, {m.Updated, "updated"}, {m.Deleted, "deleted"}, {m.Unchanged, "unchanged"}, {m.Skipped, "skipped"}, {m.Contested, "contested"}, {m.Unknown, "unknown"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return strings.Join(parts, ", ")
}

type runList struct {
	Runs       []json.RawMessage `json:"runs"`
	NextBefore *string           `json:"next_before"`
}

func (l *runList) decode() ([]run, error) {
	list := make([]run, len(l.Runs))
	for i, raw := range l.Runs {
		if err := json.Unmarshal(raw, &list[i]); err != nil {
			return nil, fmt.Errorf("read a run: %w", err)
		}
	}
	return list, nil
}

func runsCommand(s Streams) *cobra.Command {
	var (
		t              target
		limit          int
		asJSON, follow bool
	)
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "List the runs of functions, and show one with its logs",
		Long: `List the runs of functions, the newest first. "syncline runs show ID" shows one with its logs.

--follow prints new runs as they end, until it is interrupted.`,
		Example: `  syncline runs
  syncline runs --status failed --limit 5
  syncline runs --connection acme --function issues --follow
  syncline runs show 0198c0de-7a1e-7000-8000-000000000001`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			for parameter, flag := range runFilters {
				if v, _ := cmd.Flags().GetString(flag); v != "" {
					query.Set(parameter, v)
				}
			}
			var list runList
			if err := c.get(cmd.Context(), "/runs", query, &list); err != nil {
				return err
			}
			if follow {
				return followRuns(cmd.Context(), s, c, query, &list, asJSON)
			}
			if asJSON {
				return printJSON(s.Out, list)
			}
			runs, err := list.decode()
			if err != nil {
				return err
			}
			if len(runs) == 0 {
				fmt.Fprintln(s.Err, "No runs.")
				return nil
			}
			if err := runTable(runs, s.colours()).write(s.Out, s.colours()); err != nil {
				return err
			}
			if list.NextBefore != nil {
				fmt.Fprintf(s.Err, "There are older ones; go on with: --before %s\n", clean(*list.NextBefore))
			}
			return nil
		},
	}
	t.bind(cmd)
	f := cmd.Flags()
	f.String("connection", "", "Only runs of this connection")
	f.String("integration", "", "Only runs of this integration")
	f.String("function", "", "Only runs of functions of this name")
	f.String("kind", "", "Only runs of this kind: poll, webhook, action, on-event")
	f.String("status", "", "Only runs in this state: running, success, failed, retrying, canceled, reaped")
	f.String("before", "", "Go on after a page: the value that its last line names")
	f.IntVarP(&limit, "limit", "n", 20, "Number of runs, at most 1000")
	f.BoolVarP(&follow, "follow", "f", false, "Print new runs as they end")
	f.BoolVar(&asJSON, "json", false, "Print JSON as the API gives it; with --follow one run a line")
	cmd.AddCommand(showCommand(s))
	return cmd
}

// runFilters maps parameters of GET /runs to flags.
var runFilters = map[string]string{
	"connection_id": "connection", "provider_config_key": "integration", "function": "function", "kind": "kind", "status": "status", "before": "before",
}

func runTable(runs []run, p palette) *table {
	t := &table{}
	t.row("STARTED", "FUNCTION", "CONNECTION", "KIND", "STATUS", "TOOK", "RESULT", "ID")
	for i := range runs {
		t.row(runCells(&runs[i], p)...)
	}
	return t
}

func runCells(r *run, p palette) []string {
	connection := r.ConnectionID
	if r.Variant != "" && r.Variant != syncline.BaseVariant {
		connection += " (" + r.Variant + ")"
	}
	return []string{
		shortTime(r.StartedAt), clean(r.name()), clean(connection), r.Kind, p.status(r.Status), r.duration(), shorten(clean(r.result()), 60), r.ID,
	}
}

func shortTime(at time.Time) string { return at.Local().Format(time.DateTime) }

// shorten cuts text to at most n characters.
func shorten(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}

// followRuns prints the runs of first, oldest first, and then those that come.
// A run that is going on is printed when it has ended.
func followRuns(ctx context.Context, s Streams, c *client, query url.Values, first *runList, asJSON bool) error {
	query.Set("limit", "1000")
	printed := map[string]bool{}
	list := first
	for {
		runs, err := list.decode()
		if err != nil {
			return err
		}
		seen := map[string]bool{}
		var fresh []run
		for i := len(runs) - 1; i >= 0; i-- {
			r := runs[i]
			seen[r.ID] = printed[r.ID]
			if printed[r.ID] || r.running() {
				continue
			}
			seen[r.ID] = true
			fresh = append(fresh, r)
			if asJSON {
				fmt.Fprintf(s.Out, "%s\n", list.Runs[i])
			}
		}
		printed = seen
		for i := range fresh {
			if !asJSON {
				fmt.Fprintln(s.Out, strings.Join(slices.DeleteFunc(runCells(&fresh[i], s.colours()), func(cell string) bool { return cell == "" }), "  "))
			}
		}
		if list, err = nextRuns(ctx, s, c, query); err != nil {
			return err
		}
	}
}

// nextRuns waits, asks again, and while the server does not answer keeps
// trying: it may be restarting.
func nextRuns(ctx context.Context, s Streams, c *client, query url.Values) (*runList, error) {
	told := false
	for {
		if err := pause(ctx, followEvery); err != nil {
			return nil, err
		}
		var list runList
		err := c.get(ctx, "/runs", query, &list)
		if err == nil {
			return &list, nil
		}
		if syncline.CodeOf(err) != syncline.CodeUnavailable {
			return nil, err
		}
		if !told {
			fmt.Fprintf(s.Err, "%s; waiting for it\n", clean(firstLine(err)))
			told = true
		}
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line, _, _ = strings.Cut(line, " (")
	return line
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// modelNames lists the models of a run, sorted.
func (r *run) modelNames() []string {
	return slices.SortedFunc(maps.Keys(r.Models), cmp.Compare[string])
}
