package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// valueWidth is how many characters of a value are printed.
const valueWidth = 100

// history is the versions of a record as GET /records/{id}/history shows them.
type history struct {
	ID         string          `json:"id"`
	Model      string          `json:"model"`
	Variant    string          `json:"variant"`
	History    bool            `json:"history"`
	Versions   []recordVersion `json:"versions"`
	NextCursor *string         `json:"next_cursor"`
}

type recordVersion struct {
	Data       json.RawMessage `json:"data"`
	Action     string          `json:"action"`
	ModifiedAt time.Time       `json:"modified_at"`
	PrunedAt   *time.Time      `json:"pruned_at"`
	Cause      string          `json:"cause"`
	RunID      *string         `json:"run_id"`
	Diff       *[]fieldChange  `json:"diff"`
}

type fieldChange struct {
	Path   string          `json:"path"`
	Change string          `json:"change"`
	From   json.RawMessage `json:"from"`
	To     json.RawMessage `json:"to"`
}

func recordsCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "records",
		Short:   "Look at records",
		Example: "  syncline records history --integration github --connection acme --model Issue 42",
	}
	cmd.AddCommand(historyCommand(s))
	return cmd
}

func historyCommand(s Streams) *cobra.Command {
	var (
		t                                               target
		integration, connection, model, variant, cursor string
		limit                                           int
		asJSON                                          bool
	)
	cmd := &cobra.Command{
		Use:   "history ID",
		Short: "Show the versions of a record, newest first, with what changed from one to the next",
		Long: `Show the versions of a record, newest first: when it changed, what the change came from (a poll, a webhook or an action),
the run that made it, and each field that was added (+), removed (-) or changed (~), as a JSON pointer.

Versions are kept of models that the sync names in its history option.`,
		Example: `  syncline records history --integration github --connection acme --model Issue 42
  syncline records history --integration github --connection acme --model Issue --json 42`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which record?").WithHint("give its id: syncline records history … ID")
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, f := range []struct{ name, value string }{{"integration", integration}, {"connection", connection}, {"model", model}} {
				if f.value == "" {
					return usage("--%s is missing", f.name).WithHint("see: %s --help", cmd.CommandPath())
				}
			}
			c, err := t.client(s)
			if err != nil {
				return err
			}
			query := url.Values{"model": {model}, "limit": {strconv.Itoa(limit)}}
			if variant != "" {
				query.Set("variant", variant)
			}
			if cursor != "" {
				query.Set("cursor", cursor)
			}
			var answer json.RawMessage
			err = c.get(cmd.Context(), "/records/"+url.PathEscape(args[0])+"/history", query, &answer, "Provider-Config-Key", integration, "Connection-Id", connection)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.Out, answer)
			}
			var h history
			if err := json.Unmarshal(answer, &h); err != nil {
				return fmt.Errorf("read the versions: %w", err)
			}
			h.print(s)
			return nil
		},
	}
	t.bind(cmd)
	cmd.Flags().StringVar(&integration, "integration", "", "Integration of the connection (its unique key)")
	cmd.Flags().StringVar(&connection, "connection", "", "Connection of the record")
	cmd.Flags().StringVar(&model, "model", "", "Model of the record")
	cmd.Flags().StringVar(&variant, "variant", "", "Variant of the sync; default: base")
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "Number of versions, at most 100")
	cmd.Flags().StringVar(&cursor, "cursor", "", "Go on after the versions that were shown, as told below them")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON as the API gives it")
	return cmd
}

func (h *history) print(s Streams) {
	p := s.colours()
	for i := range h.Versions {
		if i > 0 {
			fmt.Fprintln(s.Out)
		}
		h.Versions[i].print(s, p)
	}
	if !h.History {
		fmt.Fprintf(s.Err, "Versions of %s are not kept: this is the record as it is. A sync keeps them with the option history.\n", clean(h.Model))
	}
	if h.NextCursor != nil {
		fmt.Fprintf(s.Err, "There are older ones; go on with: --cursor %s\n", clean(*h.NextCursor))
	}
}

func (v *recordVersion) print(s Streams, p palette) {
	head := []string{shortTime(v.ModifiedAt), p.status(strings.ToLower(clean(v.Action))), "by " + article(clean(v.Cause))}
	if v.RunID != nil {
		head = append(head, p.paint("dim", "run "+clean(*v.RunID)))
	}
	fmt.Fprintln(s.Out, strings.Join(head, "  "))
	switch {
	case v.Diff == nil && v.PrunedAt != nil:
		fmt.Fprintln(s.Out, "  the payload was pruned")
	case v.Diff == nil: // the oldest that is kept, or what came after a pruned one
		fmt.Fprintf(s.Out, "  %s\n", excerpt(v.Data))
	case len(*v.Diff) == 0:
		fmt.Fprintln(s.Out, "  no field changed")
	default:
		for _, c := range *v.Diff {
			fmt.Fprintln(s.Out, "  "+c.line(p))
		}
	}
}

func article(cause string) string {
	if cause == "action" {
		return "an action"
	}
	return "a " + cause
}

func (c *fieldChange) line(p palette) string {
	path := clean(c.Path)
	switch c.Change {
	case "added":
		return p.paint("good", "+ "+path) + "  " + excerpt(c.To)
	case "removed":
		return p.paint("bad", "- "+path) + "  " + excerpt(c.From)
	}
	return p.paint("warn", "~ "+path) + "  " + excerpt(c.From) + " → " + excerpt(c.To)
}

// excerpt is a value on a part of a line.
func excerpt(value json.RawMessage) string { return shorten(clean(string(value)), valueWidth) }
