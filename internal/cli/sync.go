package cli

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func syncCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Trigger syncs",
		Example: `  syncline sync trigger github issues --connection acme
  syncline sync trigger github issues --connection acme --reset`,
	}
	cmd.AddCommand(syncTriggerCommand(s))
	return cmd
}

func syncTriggerCommand(s Streams) *cobra.Command {
	var (
		t                            target
		connection                   string
		reset, emptyCache, reconcile bool
	)
	cmd := &cobra.Command{
		Use:   "trigger INTEGRATION SYNC",
		Short: "Run a poll of a sync at once",
		Long: `Run a poll of a sync at once, for one connection or for all. SYNC::VARIANT names a variant.

A sync that is stalled, because its polls are cut at a limit without getting on, is tried again at once; --reset forgets its
checkpoint, so that it begins from the start and counts as stalled no more. See docs/limits.md.`,
		Example: `  syncline sync trigger github issues --connection acme
  syncline sync trigger github issues --connection acme --reset --empty-cache
  syncline sync trigger github issues::eu --reconcile`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("which sync?").WithHint("give the integration and the sync: %s github issues --connection acme", cmd.CommandPath())
			}
			return atMost(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if emptyCache && !reset {
				return usage("--empty-cache needs --reset").WithHint("a sync that goes on from its checkpoint would not fetch the removed records again")
			}
			c, err := t.client(s)
			if err != nil {
				return err
			}
			body := map[string]any{
				"provider_config_key": args[0], "syncs": []string{args[1]},
				"opts": map[string]bool{"reset": reset, "emptyCache": emptyCache, "reconcile": reconcile},
			}
			if connection != "" {
				body["connection_id"] = connection
			}
			if err := c.do(cmd.Context(), http.MethodPost, "/sync/trigger", body, new(any)); err != nil {
				return err
			}
			fmt.Fprintln(s.Out, "Triggered.")
			fmt.Fprintf(s.Err, "See what comes of it with: syncline runs --function %s\n", clean(args[1]))
			return nil
		},
	}
	t.bind(cmd)
	cmd.Flags().StringVarP(&connection, "connection", "c", "", "ID of the connection; all connections by default")
	cmd.Flags().BoolVar(&reset, "reset", false, "Forget the checkpoint and the last sync date: fetch from the start")
	cmd.Flags().BoolVar(&emptyCache, "empty-cache", false, "With --reset: remove the sync's records too")
	cmd.Flags().BoolVar(&reconcile, "reconcile", false, "Fetch everything, with the cache kept")
	return cmd
}
