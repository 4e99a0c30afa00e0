package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"syncline"
)

// limitNames are the limits of runs, in the order in which they are shown.
var limitNames = []string{"wall", "cpu", "memory", "host_calls", "log_lines", "output"}

const validationName = "validation"

// settingNames are all names that can be set.
var settingNames = append([]string{validationName}, limitNames...)

// runSettings are settings of runs, as the API shows them. Limits are kept as
// they came.
type runSettings struct {
	Validation *string                    `json:"validation"`
	Limits     map[string]json.RawMessage `json:"limits"`
}

// value is a setting for people; "-" is not said.
func (r *runSettings) value(name string) string {
	raw := r.Limits[name]
	if name == validationName {
		if r.Validation == nil {
			return "-"
		}
		return clean(*r.Validation)
	}
	if len(raw) == 0 {
		return "-"
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	return clean(text)
}

// functionSettings are those of a function, as GET /integrations/…/functions
// shows them.
type functionSettings struct {
	Name      string                `json:"name"`
	Type      syncline.FunctionType `json:"type"`
	Settings  runSettings           `json:"settings"`
	Effective runSettings           `json:"effective"`
}

// place is what settings are of: the environment, unless function says more.
type place struct {
	function string // "integration/name", or "integration" for all of its functions
	kind     string
}

func (p *place) bind(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&p.function, "function", "f", "", "Function that the settings are of, as INTEGRATION/NAME; the environment's by default")
	cmd.Flags().StringVar(&p.kind, "type", string(syncline.FunctionSync), "Type of the function: sync, action or on-event")
}

// parts are the integration and the name. An integration's key has no slash.
func (p *place) parts() (integration, name string, err error) {
	integration, name, _ = strings.Cut(p.function, "/")
	if integration == "" || strings.Contains(name, "/") {
		return "", "", usage("--function is %q, and is to be INTEGRATION/NAME", p.function)
	}
	return integration, name, nil
}

func functionsPath(integration string) string {
	return "/integrations/" + url.PathEscape(integration) + "/functions"
}

func settingsCommand(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Look at and change how functions run: their limits, and how documents are validated",
		Long: `Settings of runs, of the environment or of one function:

  validation   what becomes of records, metadata and checkpoints that the schemas do not allow: strict, warn or off
  wall, cpu    wall time, and time in the function's own code, as 30s or 1h30m
  memory       as 64MiB
  host_calls   calls of methods of nango, HTTP requests included
  log_lines    lines of the log that are kept
  output       size of what a function returns, as 1MiB

What is said nearest counts, one by one: the function's settings, what its code says, the environment's, the server's
("syncline config"). See docs/limits.md and docs/validation.md.`,
		Example: `  syncline settings show
  syncline settings show --function github
  syncline settings set validation=strict memory=128MiB
  syncline settings set --function github/issues wall=2h host_calls=500000
  syncline settings unset --function github/issues wall`,
	}
	cmd.AddCommand(settingsShowCommand(s), settingsSetCommand(s), settingsUnsetCommand(s))
	return cmd
}

func settingsShowCommand(s Streams) *cobra.Command {
	var (
		t      target
		at     place
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show settings",
		Long: `Show the settings of the environment; with --function those of a function, or of all functions of an integration,
and what they come to.`,
		Example: "  syncline settings show\n  syncline settings show --function github\n  syncline settings show --function github/create-issue --type action\n  syncline settings show --function github/issues --json",
		Args:    atMost(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(s)
			if err != nil {
				return err
			}
			if at.function == "" {
				return showEnvironmentSettings(cmd.Context(), s, c, asJSON)
			}
			return at.show(cmd.Context(), s, c, asJSON, cmd.Flags().Changed("type"))
		},
	}
	t.bind(cmd)
	at.bind(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON as the API gives it")
	return cmd
}

func showEnvironmentSettings(ctx context.Context, s Streams, c *client, asJSON bool) error {
	var own struct {
		Validation json.RawMessage            `json:"validation"`
		Limits     map[string]json.RawMessage `json:"limits"`
	}
	if err := c.get(ctx, "/environments/current", nil, &own); err != nil {
		return err
	}
	if asJSON {
		return printJSON(s.Out, own)
	}
	settings := runSettings{Limits: own.Limits}
	if err := json.Unmarshal(own.Validation, &settings.Validation); err != nil {
		return fmt.Errorf("read the environment's validation: %w", err)
	}
	list := table{}
	list.row("SETTING", "ENVIRONMENT")
	for _, name := range settingNames {
		list.row(name, settings.value(name))
	}
	return list.write(s.Out, s.colours())
}

// show prints the settings of a function, or of all functions of an integration.
func (p *place) show(ctx context.Context, s Streams, c *client, asJSON, oneType bool) error {
	integration, name, err := p.parts()
	if err != nil {
		return err
	}
	var answer struct {
		Functions []json.RawMessage `json:"functions"`
	}
	if err := c.get(ctx, functionsPath(integration), nil, &answer); err != nil {
		return err
	}
	list := table{}
	list.row(append([]string{"FUNCTION"}, upper(settingNames)...)...)
	for _, raw := range answer.Functions {
		var f functionSettings
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("read a function: %w", err)
		}
		if (name != "" || oneType) && string(f.Type) != p.kind {
			continue
		}
		if name == "" {
			cells := []string{clean(string(f.Type) + " " + f.Name)}
			for _, setting := range settingNames {
				cells = append(cells, f.Effective.value(setting))
			}
			list.row(cells...)
			continue
		}
		if f.Name != name {
			continue
		}
		if asJSON {
			return printJSON(s.Out, raw)
		}
		one := table{}
		one.row("SETTING", "FUNCTION", "IN EFFECT")
		for _, setting := range settingNames {
			one.row(setting, f.Settings.value(setting), f.Effective.value(setting))
		}
		return one.write(s.Out, s.colours())
	}
	if name != "" {
		return syncline.Errorf(syncline.CodeNotFound, "no %s %q is deployed for the integration %q", p.kind, name, integration).
			WithHint("syncline settings show --function %s lists what is", integration)
	}
	if asJSON {
		return printJSON(s.Out, answer.Functions)
	}
	return list.write(s.Out, s.colours())
}

func upper(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ToUpper(name)
	}
	return out
}

func settingsSetCommand(s Streams) *cobra.Command {
	var (
		t  target
		at place
	)
	cmd := &cobra.Command{
		Use:     "set NAME=VALUE…",
		Short:   "Change settings; others stay",
		Long:    "Set settings of the environment, or with --function of one function; others stay. Runs that begin later have them.",
		Example: "  syncline settings set validation=strict wall=10m\n  syncline settings set --function github/issues memory=128MiB host_calls=500000\n  syncline settings set --function github/create-issue --type action wall=5s",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which settings?").WithHint("write NAME=VALUE, for example wall=10m")
			}
			values := map[string]*string{}
			for _, arg := range args {
				name, value, ok := strings.Cut(arg, "=")
				if !ok || value == "" {
					return usage("%q is not NAME=VALUE", arg).WithHint("syncline settings unset takes settings back")
				}
				values[name] = &value
			}
			return at.change(cmd.Context(), s, &t, values, "Set")
		},
	}
	t.bind(cmd)
	at.bind(cmd)
	return cmd
}

func settingsUnsetCommand(s Streams) *cobra.Command {
	var (
		t  target
		at place
	)
	cmd := &cobra.Command{
		Use:     "unset NAME…",
		Short:   "Take settings back, so that what is said farther away counts again",
		Example: "  syncline settings unset validation\n  syncline settings unset --function github/issues wall memory",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("which settings?").WithHint("settings are %s", strings.Join(settingNames, ", "))
			}
			values := map[string]*string{}
			for _, name := range args {
				values[name] = nil
			}
			return at.change(cmd.Context(), s, &t, values, "Took back")
		},
	}
	t.bind(cmd)
	at.bind(cmd)
	return cmd
}

// change sets what values says; nil takes a setting back.
func (p *place) change(ctx context.Context, s Streams, t *target, values map[string]*string, verb string) error {
	for name := range values {
		if !slices.Contains(settingNames, name) {
			return usage("there is no setting %q", name).WithHint("settings are %s", strings.Join(settingNames, ", "))
		}
	}
	c, err := t.client(s)
	if err != nil {
		return err
	}
	path, current, err := p.current(ctx, c)
	if err != nil {
		return err
	}
	if current == nil {
		current = map[string]json.RawMessage{}
	}
	body := map[string]any{}
	if v, ok := values[validationName]; ok {
		body[validationName] = v
	}
	// Limits are set as a whole.
	for _, name := range limitNames {
		v, ok := values[name]
		if !ok {
			continue
		}
		if delete(current, name); v != nil {
			if current[name], err = json.Marshal(*v); err != nil {
				return err
			}
		}
		body["limits"] = current
	}
	if err := c.do(ctx, http.MethodPatch, path, body, new(any)); err != nil {
		return err
	}
	fmt.Fprintf(s.Out, "%s %s.\n", verb, plural(len(values), "setting"))
	return nil
}

// current is where the settings are changed, and the limits that are set there.
func (p *place) current(ctx context.Context, c *client) (path string, limits map[string]json.RawMessage, err error) {
	if p.function == "" {
		var own runSettings
		err := c.get(ctx, "/environments/current", nil, &own)
		return "/environments/current", own.Limits, err
	}
	integration, name, err := p.parts()
	if err != nil {
		return "", nil, err
	}
	if name == "" {
		return "", nil, usage("which function of %s?", integration).WithHint("write --function %s/NAME", integration)
	}
	var answer struct {
		Functions []functionSettings `json:"functions"`
	}
	if err := c.get(ctx, functionsPath(integration), nil, &answer); err != nil {
		return "", nil, err
	}
	for i := range answer.Functions {
		if f := &answer.Functions[i]; f.Name == name && string(f.Type) == p.kind {
			limits = f.Settings.Limits
		}
	}
	return functionsPath(integration) + "/" + url.PathEscape(name) + "?" + url.Values{"type": {p.kind}}.Encode(), limits, nil
}
