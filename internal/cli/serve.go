package cli

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"syncline/internal/config"
	"syncline/internal/node"
)

func serveCommand(s Streams, options ...node.Option) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server: it takes webhooks, polls, runs functions and serves the HTTP API, until SIGINT or SIGTERM.
It then stops taking webhooks, lets runs finish, and sends what it owes; a second signal ends it at once.

Every flag is also a variable: --data-dir is SYNCLINE_DATA_DIR. Secrets are variables only:
SYNCLINE_ENCRYPTION_KEY, and SYNCLINE_SECRET_KEY_DEV for the API key of the environment dev (_PROD for prod …).

Without a database the data is in an embedded SQLite in the data directory. With --database-url (or DATABASE_URL) it is
in Postgres, where several servers can work together; each has a data directory of its own, and all the same encryption key.`,
		Example: `  syncline serve
  syncline serve --listen :8080 --public-url https://syncline.example.com
  DATABASE_URL=postgres://syncline@db/syncline SYNCLINE_ENCRYPTION_KEY=… syncline serve --data-dir /var/lib/syncline
  SYNCLINE_SECRET_KEY_DEV=$(uuidgen) syncline serve --allow-private-networks --log-level debug`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := config.Load(cmd.Flags(), s.Environ)
			if err != nil {
				return err
			}
			log := newLogger(s.Err, loaded.Config)
			for _, w := range loaded.Warnings {
				log.Warn("a variable is not read", "reason", w)
			}
			return node.Run(cmd.Context(), loaded.Config, log, s.Out, options...)
		},
	}
	config.Bind(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

// newLogger makes the logger that a valid configuration asks for.
func newLogger(w io.Writer, c config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		panic(fmt.Sprintf("cli: log level %q was not validated", c.LogLevel))
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func configCommand(s Streams) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the effective settings and where each came from",
		Long: `Show the settings that "syncline serve" would have with the same flags and variables, and where each value came
from: a flag, the environment (a variable), the default, or derived from other settings. Secrets are not shown.`,
		Example: `  syncline config
  SYNCLINE_LISTEN=:8080 syncline config --log-format json
  syncline config --json`,
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := config.Load(cmd.Flags(), s.Environ)
			if err != nil {
				return err
			}
			for _, w := range loaded.Warnings {
				fmt.Fprintf(s.Err, "Warning: %s\n", clean(w))
			}
			if asJSON {
				return printJSON(s.Out, map[string]any{"settings": loaded.Values(), "warnings": append([]string{}, loaded.Warnings...)})
			}
			t := table{}
			p := s.colours()
			t.row("SETTING", "VALUE", "FROM", "VARIABLE")
			for _, v := range loaded.Values() {
				source := string(v.Source)
				if v.Source == config.SourceDefault {
					source = p.paint("dim", source)
				}
				t.row(v.Name, clean(v.Value), source, v.Env)
			}
			return t.write(s.Out, p)
		},
	}
	config.Bind(cmd.Flags())
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}
