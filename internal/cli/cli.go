// Package cli is the command line: it reads flags and variables, talks to a
// server over its HTTP API, and shows what came of it. It owns the words and
// the layout of what is printed and the one mapping from error codes to exit
// codes. It decides nothing that the server could decide, and apart from
// `serve` and `worker` it touches no store.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"syncline"
	"syncline/internal/node"
)

// Streams is what a command has of its surroundings.
type Streams struct {
	In      io.Reader
	Out     io.Writer // results
	Err     io.Writer // progress, warnings, errors, logs
	Environ []string  // variables, as [os.Environ] gives them
}

// System is the process's own streams.
func System() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
}

// Getenv is the value of a variable; "" when it is not set.
func (s Streams) Getenv(name string) string {
	for i := len(s.Environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(s.Environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// Main runs the command that args (without the program's name) name, until it
// ends or ctx does, and returns the exit code. Errors are printed to s.Err.
// options are of the server that serve runs: a binary with functions of its own
// gives them here.
func Main(ctx context.Context, args []string, s Streams, options ...node.Option) int {
	root := newRoot(s, options...)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !errors.Is(err, errShown) {
		printError(s.Err, err)
	}
	return exitCode(ctx, err)
}

func newRoot(s Streams, options ...node.Option) *cobra.Command {
	root := &cobra.Command{
		Use:   "syncline",
		Short: "Real-time syncs of third-party APIs",
		Long: `Syncline keeps a cache of your customers' records in external APIs fresh from two sides:
webhooks that the API sends, and polling that reconciles what webhooks missed.

Start a server with "syncline serve", then deploy functions to it with "syncline deploy".

Exit codes: 0 done; 1 failed; 2 wrong input, settings or project; 3 not found; 4 no key, or one that is refused;
5 the state forbids it (a data directory in use, a deletion that was not agreed to); 6 the server cannot be reached;
130 interrupted.`,
		Example: `  syncline serve
  syncline deploy examples/github-issues
  syncline runs --status failed`,
		Version:       Version().Short(),
		SilenceErrors: true, // Main prints them, with their hint
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			err := usage("there is no command %q", args[0])
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return err.WithHint("did you mean: syncline %s", near[0])
			}
			return err
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("syncline {{.Version}}\n")
	root.SuggestionsMinimumDistance = 2
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w", err).WithHint("see: %s --help", cmd.CommandPath())
	})
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		serveCommand(s, options...),
		devCommand(s, options...),
		deployCommand(s),
		runsCommand(s),
		deliveriesCommand(s),
		deletesCommand(s),
		recordsCommand(s),
		testCommand(s),
		configCommand(s),
		versionCommand(s),
		workerCommand(s),
		variablesCommand(s),
		settingsCommand(s),
		syncCommand(s),
		dryrunCommand(s),
		actionCommand(s),
	)
	return root
}

// usage is an error about how a command was called.
func usage(format string, args ...any) *syncline.Error {
	return syncline.Errorf(syncline.CodeInvalid, format, args...)
}

// atMost refuses more than n arguments, naming the first that is too many.
func atMost(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usage("%s: unexpected argument %q", cmd.CommandPath(), args[n]).WithHint("see: %s --help", cmd.CommandPath())
		}
		return nil
	}
}

// printError writes an error for people: what happened, and below it what to do.
func printError(w io.Writer, err error) {
	var e *syncline.Error
	text, hint := err.Error(), ""
	if errors.As(err, &e) && e.Hint != "" {
		// The hint, in brackets at the end, gets a line of its own.
		if head, ok := strings.CutSuffix(text, " ("+e.Hint+")"); ok {
			text, hint = head, e.Hint
		}
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	fmt.Fprintf(w, "Error: %s\n", clean(lines[0]))
	for _, line := range lines[1:] {
		fmt.Fprintf(w, "       %s\n", clean(line))
	}
	if hint != "" {
		fmt.Fprintf(w, "Hint:  %s\n", clean(hint))
	}
}
