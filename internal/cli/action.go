package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"syncline"
)

func actionCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "action",
		Short: "Trigger actions, and ask for their results",
		Example: `  syncline action trigger github create-issue --connection acme --input '{"title": "It rains"}'
  syncline action trigger github create-issue --connection acme --input @issue.json --async --max-retries 3
  syncline action result 0198c0de-7a1e-7000-8000-000000000001 --wait`,
	}
	cmd.AddCommand(actionTriggerCommand(s), actionResultCommand(s))
	return cmd
}

func actionTriggerCommand(s Streams) *cobra.Command {
	var (
		t                 target
		connection, input string
		async             bool
		retries           int
	)
	cmd := &cobra.Command{
		Use:   "trigger INTEGRATION ACTION",
		Short: "Run an action for a connection and print its output",
		Long: `Run an action for a connection and print its output as JSON.

With --async the server stores the call and runs it in the background; its id is printed, and "syncline action result" asks for
what came of it. --max-retries lets the server run it again when it fails, or when its process dies: only for actions that may
run twice. An action that runs goes on when this command is interrupted.`,
		Example: `  syncline action trigger github create-issue --connection acme --input '{"title": "It rains"}'
  syncline action trigger github create-issue --connection acme --input @issue.json
  echo '{"title": "It rains"}' | syncline action trigger github create-issue --connection acme --input -
  syncline action trigger github close-stale --connection acme --async --max-retries 3`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return usage("which action?").WithHint("give the integration and the action: %s github create-issue --connection acme", cmd.CommandPath())
			}
			return atMost(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if connection == "" {
				return usage("for which connection?").WithHint("name one with --connection")
			}
			if retries > 0 && !async {
				return usage("--max-retries is for asynchronous actions").WithHint("add --async")
			}
			raw, err := readInput(s, input)
			if err != nil {
				return err
			}
			c, err := t.client(s)
			if err != nil {
				return err
			}
			c.http.Timeout = 0 // an action may run for long; the server bounds it
			body := map[string]any{"action_name": args[1]}
			if raw != nil {
				body["input"] = raw
			}
			headers := []string{"Provider-Config-Key", args[0], "Connection-Id", connection}
			if !async {
				var out json.RawMessage
				if err := c.do(cmd.Context(), http.MethodPost, "/action/trigger", body, &out, headers...); err != nil {
					return err
				}
				return printJSON(s.Out, out)
			}
			var started struct {
				ID string `json:"id"`
			}
			headers = append(headers, "X-Async", "true", "X-Max-Retries", strconv.Itoa(retries))
			if err := c.do(cmd.Context(), http.MethodPost, "/action/trigger", body, &started, headers...); err != nil {
				return err
			}
			fmt.Fprintln(s.Out, clean(started.ID))
			fmt.Fprintf(s.Err, "It runs in the background. See what comes of it with: syncline action result %s --wait\n", clean(started.ID))
			return nil
		},
	}
	t.bind(cmd)
	cmd.Flags().StringVarP(&connection, "connection", "c", "", "ID of the connection")
	cmd.Flags().StringVarP(&input, "input", "i", "", "Input as JSON; @FILE reads it from a file, - from standard input")
	cmd.Flags().BoolVar(&async, "async", false, "Do not wait for the action; print its id")
	cmd.Flags().IntVar(&retries, "max-retries", 0, "With --async: how often it is run again when it fails, at most 5")
	return cmd
}

// readInput is what --input names; nil for none.
func readInput(s Streams, input string) (json.RawMessage, error) {
	var text []byte
	var err error
	switch file, isFile := strings.CutPrefix(input, "@"); {
	case input == "":
		return nil, nil
	case input == "-":
		text, err = io.ReadAll(io.LimitReader(s.In, answerLimit))
	case isFile:
		text, err = os.ReadFile(file)
	default:
		text = []byte(input)
	}
	if err != nil {
		return nil, usage("cannot read the input: %w", err)
	}
	if !json.Valid(text) {
		return nil, usage("the input is not JSON").WithHint(`for example --input '{"title": "It rains"}', with straight quotes around names`)
	}
	return text, nil
}

// askEvery is how often --wait asks for a result.
const askEvery = 500 * time.Millisecond

func actionResultCommand(s Streams) *cobra.Command {
	var (
		t    target
		wait bool
	)
	cmd := &cobra.Command{
		Use:   "result ID",
		Short: "Print the result of an asynchronous action",
		Example: `  syncline action result 0198c0de-7a1e-7000-8000-000000000001
  syncline action result 0198c0de-7a1e-7000-8000-000000000001 --wait`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("the result of which action?").WithHint("give the id that syncline action trigger --async printed")
			}
			return atMost(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			out, err := result(cmd.Context(), c, args[0], wait)
			if err != nil {
				return err
			}
			return printJSON(s.Out, out)
		},
	}
	t.bind(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "Wait until the action has ended")
	return cmd
}

// result asks for the result of an asynchronous action, until there is one when
// it is to wait. The server answers 404 for one that has not ended, as it does
// for one that it does not know, and under one code: the text tells.
func result(ctx context.Context, c *client, id string, wait bool) (json.RawMessage, error) {
	for {
		var out json.RawMessage
		err := c.get(ctx, "/action/"+id, nil, &out)
		var e *syncline.Error
		if !wait || !errors.As(err, &e) || e.Code != syncline.CodeNotFound || !strings.Contains(e.Message, "not completed yet") {
			return out, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(askEvery):
		}
	}
}
