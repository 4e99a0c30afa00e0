package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// held is deletes that wait to be confirmed, as GET /records/deletes shows them.
type held struct {
	ID          int64     `json:"id"`
	Integration string    `json:"provider_config_key"`
	Connection  string    `json:"connection_id"`
	Model       string    `json:"model"`
	Variant     string    `json:"variant"`
	Deletes     int       `json:"deletes"`
	Live        int       `json:"live"`
	RunID       string    `json:"run_id"`
	HeldAt      time.Time `json:"held_at"`
}

func deletesCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "deletes",
		Short: "Look at deletes that are held because they are too many at once, and decide",
		Long: `When a poll that tracks deletes finds a great part of a model's records missing, that may be true, or the external API
may have answered with too little. Such deletes are held (--mass-delete-percent, --mass-delete-records) until somebody confirms
or discards them, or until a later poll sees the records again.`,
		Example: `  syncline deletes list
  syncline deletes confirm 12
  syncline deletes discard 12`,
	}
	cmd.AddCommand(deletesListCommand(s),
		deletesDecideCommand(s, "confirm", "Delete the records that the poll did not find", "Deleted %d records.\n"),
		deletesDecideCommand(s, "discard", "Keep the records that the poll did not find", "The records stay.\n"))
	return cmd
}

func deletesListCommand(s Streams) *cobra.Command {
	var (
		t      target
		limit  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the deletes that are held",
		Example: "  syncline deletes list\n  syncline deletes list --json",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			var answer struct {
				Deletes json.RawMessage `json:"deletes"`
			}
			if err := c.get(cmd.Context(), "/records/deletes", url.Values{"limit": {strconv.Itoa(limit)}}, &answer); err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.Out, answer)
			}
			var list []held
			if err := json.Unmarshal(answer.Deletes, &list); err != nil {
				return fmt.Errorf("read the held deletes: %w", err)
			}
			if len(list) == 0 {
				fmt.Fprintln(s.Err, "No deletes are held.")
				return nil
			}
			out := table{}
			out.row("ID", "HELD", "INTEGRATION", "CONNECTION", "MODEL", "DELETES", "OF", "RUN")
			for _, h := range list {
				model := h.Model
				if h.Variant != "base" {
					model += "::" + h.Variant
				}
				out.row(strconv.FormatInt(h.ID, 10), shortTime(h.HeldAt), clean(h.Integration), clean(h.Connection), clean(model),
					strconv.Itoa(h.Deletes), strconv.Itoa(h.Live), h.RunID)
			}
			return out.write(s.Out, s.colours())
		},
	}
	t.bind(cmd)
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "Number of entries, at most 1000")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON as the API gives it")
	return cmd
}

func deletesDecideCommand(s Streams, verb, short, done string) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: "  syncline deletes " + verb + " 12",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which deletes?").WithHint("give the ID of some: syncline deletes list shows what is held")
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			var answer struct {
				Deleted int `json:"deleted"`
			}
			if err := c.post(cmd.Context(), "/records/deletes/"+url.PathEscape(args[0])+"/"+verb, nil, &answer); err != nil {
				return err
			}
			if verb == "confirm" {
				fmt.Fprintf(s.Out, done, answer.Deleted)
			} else {
				fmt.Fprint(s.Out, done)
			}
			return nil
		},
	}
	t.bind(cmd)
	return cmd
}
