package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// variable is a variable of the environment, as GET /environment-variables shows it.
type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func variablesCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "variables",
		Short: "Look at and change the variables that an environment gives its functions",
		Long:  `Functions read the variables of their environment with nango.getEnvironmentVariables(). They are sealed where they are stored.`,
		Example: `  syncline variables list
  syncline variables set API_REGION=eu
  syncline variables set SIGNING_SECRET=- < secret.txt
  syncline variables unset API_REGION`,
	}
	cmd.AddCommand(variablesListCommand(s), variablesSetCommand(s), variablesUnsetCommand(s))
	return cmd
}

func variablesListCommand(s Streams) *cobra.Command {
	var (
		t              target
		asJSON, values bool
	)
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the variables",
		Long:    "List the names of the variables; --values shows what they hold.",
		Example: "  syncline variables list\n  syncline variables list --values\n  syncline variables list --json",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			var list []variable
			if err := c.get(cmd.Context(), "/environment-variables", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(s.Out, list)
			}
			if len(list) == 0 {
				fmt.Fprintln(s.Err, "There are no variables.")
			}
			for _, v := range list {
				if values {
					fmt.Fprintf(s.Out, "%s=%s\n", clean(v.Name), clean(v.Value))
				} else {
					fmt.Fprintln(s.Out, clean(v.Name))
				}
			}
			return nil
		},
	}
	t.bind(cmd)
	cmd.Flags().BoolVar(&values, "values", false, "Show the values too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON as the API gives it, values included")
	return cmd
}

func variablesSetCommand(s Streams) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:   "set NAME=VALUE…",
		Short: "Set variables",
		Long: `Set variables; others stay. A value of - is read from standard input, less a line break at its end, so that a secret
stands neither in the shell's history nor in the list of processes.`,
		Example: "  syncline variables set API_REGION=eu API_VERSION=2\n  syncline variables set SIGNING_SECRET=- < secret.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which variables?").WithHint("write NAME=VALUE")
			}
			list := make([]variable, len(args))
			read := false
			for i, arg := range args {
				name, value, ok := strings.Cut(arg, "=")
				if !ok || name == "" {
					return usage("%q is not NAME=VALUE", arg)
				}
				if value == "-" {
					if read {
						return usage("standard input can be the value of one variable")
					}
					read = true
					text, err := io.ReadAll(s.In)
					if err != nil {
						return fmt.Errorf("read the value of %s: %w", name, err)
					}
					value = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
				}
				list[i] = variable{name, value}
			}
			c, err := t.client(s)
			if err != nil {
				return err
			}
			if err := c.do(cmd.Context(), http.MethodPut, "/environment-variables", list, new(any)); err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "Set %s.\n", plural(len(list), "variable"))
			return nil
		},
	}
	t.bind(cmd)
	return cmd
}

func variablesUnsetCommand(s Streams) *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     "unset NAME…",
		Short:   "Remove variables",
		Example: "  syncline variables unset API_REGION",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which variables?").WithHint("give their names: syncline variables list shows them")
			}
			c, err := t.client(s)
			if err != nil {
				return err
			}
			for _, name := range args {
				if err := c.do(cmd.Context(), http.MethodDelete, "/environment-variables/"+url.PathEscape(name), nil, new(any)); err != nil {
					return err
				}
			}
			fmt.Fprintf(s.Out, "Removed %s.\n", plural(len(args), "variable"))
			return nil
		},
	}
	t.bind(cmd)
	return cmd
}
