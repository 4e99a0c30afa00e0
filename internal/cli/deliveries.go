package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// delivery is what became of a delivery, as GET /deliveries shows it.
type delivery struct {
	Position    int64     `json:"position"`
	Status      string    `json:"status"`
	Reason      string    `json:"reason"`
	Type        string    `json:"type"`
	DeliveryID  string    `json:"delivery_id"`
	Integration string    `json:"integration"`
	Events      int       `json:"events"`
	OpenEvents  int       `json:"open_events"`
	DeadEvents  int       `json:"dead_events"`
	Duplicates  int       `json:"duplicates"`
	ReceivedAt  time.Time `json:"received_at"`
}

func deliveriesCommand(s Streams) *cobra.Command {
	var (
		t                   target
		integration, status string
		limit               int
		asJSON              bool
	)
	cmd := &cobra.Command{
		Use:   "deliveries",
		Short: "List the webhooks that were received and what became of them",
		Long: `List the deliveries (webhooks that external APIs sent), the newest first, with what became of each: processed;
ignored, because no deployed sync subscribes to its type; parked, because no connection matches it yet; expired; dead.`,
		Example: `  syncline deliveries
  syncline deliveries --integration github --status dead
  syncline deliveries --json`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(limit)}}
			if integration != "" {
				query.Set("integration", integration)
			}
			if status != "" {
				query.Set("status", status)
			}
			var answer struct {
				Deliveries json.RawMessage `json:"deliveries"`
			}
			if err := c.get(cmd.Context(), "/deliveries", query, &answer); err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.Out, answer)
			}
			var list []delivery
			if err := json.Unmarshal(answer.Deliveries, &list); err != nil {
				return fmt.Errorf("read the deliveries: %w", err)
			}
			if len(list) == 0 {
				fmt.Fprintln(s.Err, "No deliveries.")
				return nil
			}
			p := s.colours()
			out := table{}
			out.row("POSITION", "RECEIVED", "INTEGRATION", "TYPE", "STATUS", "EVENTS", "DUPLICATES", "REASON", "DELIVERY ID")
			for _, d := range list {
				out.row(strconv.FormatInt(d.Position, 10), shortTime(d.ReceivedAt), clean(d.Integration), clean(d.Type), p.status(d.Status),
					events(d), number(d.Duplicates), shorten(clean(d.Reason), 60), clean(d.DeliveryID))
			}
			return out.write(s.Out, p)
		},
	}
	t.bind(cmd)
	f := cmd.Flags()
	f.StringVar(&integration, "integration", "", "Only deliveries to this integration")
	f.StringVar(&status, "status", "", "Only deliveries in this state: received, routed, processed, ignored, parked, expired, dead")
	f.IntVarP(&limit, "limit", "n", 20, "Number of deliveries, at most 1000")
	f.BoolVar(&asJSON, "json", false, "Print JSON as the API gives it")
	return cmd
}

// events says how many events a delivery became and how many are left.
func events(d delivery) string {
	text := number(d.Events)
	if d.OpenEvents > 0 {
		text += fmt.Sprintf(", %d open", d.OpenEvents)
	}
	if d.DeadEvents > 0 {
		text += fmt.Sprintf(", %d dead", d.DeadEvents)
	}
	return text
}

// number is n, or nothing for 0.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
