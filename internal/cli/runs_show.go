package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// logLine is a line of a run's log as GET /runs/{id}/logs shows it.
type logLine struct {
	ID      int64           `json:"id"`
	At      time.Time       `json:"at"`
	Level   string          `json:"level"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data,omitempty"`
}

func showCommand(s Streams) *cobra.Command {
	var (
		t              target
		asJSON, follow bool
	)
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one run with its logs",
		Example: `  syncline runs show 0198c0de-7a1e-7000-8000-000000000001
  syncline runs show --follow 0198c0de-7a1e-7000-8000-000000000001`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which run?").WithHint("give the ID of one: syncline runs lists them")
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			return showRun(cmd.Context(), s, c, args[0], follow, asJSON)
		},
	}
	t.bind(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "Print log lines as they come, until the run ends")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON: the run and its logs")
	return cmd
}

func showRun(ctx context.Context, s Streams, c *client, id string, follow, asJSON bool) error {
	path := "/runs/" + url.PathEscape(id)
	p := s.colours()
	all, after := []logLine{}, int64(0)
	for first := true; ; first = false {
		// The run first: what it logs before it ends is then read below.
		var answer struct {
			Run json.RawMessage `json:"run"`
		}
		var r run
		if err := c.get(ctx, path, nil, &answer); err != nil {
			return err
		}
		if err := json.Unmarshal(answer.Run, &r); err != nil {
			return fmt.Errorf("read the run: %w", err)
		}
		if first && !asJSON {
			describe(s, p, &r)
		}
		fresh, err := logsAfter(ctx, c, path, after)
		if err != nil {
			return err
		}
		for _, l := range fresh {
			after = l.ID
			if !asJSON {
				printLog(s, p, l)
			}
		}
		all = append(all, fresh...)
		switch {
		case follow && r.running():
			if err := pause(ctx, followEvery); err != nil {
				return err
			}
			continue
		case asJSON:
			return printJSON(s.Out, map[string]any{"run": answer.Run, "logs": all})
		case !first: // it ended while it was followed
			fmt.Fprintf(s.Out, "\n%s after %s: %s\n", p.status(r.Status), r.duration(), clean(r.result()))
		}
		return nil
	}
}

// logsAfter reads all log lines beyond after.
func logsAfter(ctx context.Context, c *client, path string, after int64) (all []logLine, err error) {
	for {
		var page struct {
			Logs      []logLine `json:"logs"`
			NextAfter *int64    `json:"next_after"`
		}
		if err := c.get(ctx, path+"/logs", url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {"1000"}}, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Logs...)
		if page.NextAfter == nil || len(page.Logs) == 0 {
			return all, nil
		}
		after = *page.NextAfter
	}
}

// describe prints what is known of a run above its logs.
func describe(s Streams, p palette, r *run) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(s.Out, "%-12s%s\n", name, value)
		}
	}
	line("run", r.ID)
	line("function", clean(fmt.Sprintf("%s %s, version %d", r.FunctionType, r.name(), r.Version)))
	line("connection", clean(r.ConnectionID))
	line("variant", clean(r.Variant))
	kind := r.Kind
	if r.SyncType != "" {
		kind += ", " + strings.ToLower(r.SyncType)
	}
	if r.Attempt > 1 {
		kind += fmt.Sprintf(", attempt %d", r.Attempt)
	}
	line("kind", kind)
	line("status", p.status(r.Status))
	line("started", shortTime(r.StartedAt))
	line("took", r.duration())
	for _, name := range r.modelNames() {
		line("model", clean(name)+": "+counts(r.Models[name]))
	}
	for _, w := range r.Warnings {
		line("warning", p.paint("warn", clean(w)))
	}
	if r.Error != nil {
		line("error", p.paint("bad", clean(r.Error.Message)))
	}
	fmt.Fprintln(s.Out)
}

func printLog(s Streams, p palette, l logLine) {
	data := ""
	if len(l.Data) > 0 && string(l.Data) != "null" {
		data = " " + p.paint("dim", clean(string(l.Data)))
	}
	level := fmt.Sprintf("%-5s", l.Level)
	fmt.Fprintf(s.Out, "%s %s %s%s\n", l.At.Local().Format("15:04:05.000"), p.paint(statusTones[l.Level], level), clean(l.Message), data)
}
