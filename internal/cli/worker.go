package cli

import (
	"context"

	"github.com/spf13/cobra"

	"syncline/internal/fn/worker"
)

func workerCommand(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:    "worker",
		Short:  "Run functions for the server that started this process",
		Long:   "Run functions for the server that started this process. It speaks frames on standard input and output; it is not for people.",
		Hidden: true,
		Args:   atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A signal to the whole process group (Ctrl-C) must not take the
			// runs from under a server that lets them finish: the worker ends
			// when the server closes its pipe.
			ctx := context.WithoutCancel(cmd.Context())
			if worker.Main(ctx, s.In, s.Out, s.Getenv(worker.MemoryVariable)) != 0 {
				return errShown // by Main
			}
			return nil
		},
	}
}
