package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set when the binary is built (see the Makefile).
var version string

// Build says what a binary was built from.
type Build struct {
	Version string `json:"version"` // "dev" when built without one
	Commit  string `json:"commit,omitempty"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// Version describes this binary.
func Version() Build {
	b := Build{Version: version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version // of "go install module@version"
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				b.Commit = s.Value[:12]
			}
		}
	}
	if b.Version == "" {
		b.Version = "dev"
	}
	return b
}

// Short is the version and the commit.
func (b Build) Short() string {
	if b.Commit == "" {
		return b.Version
	}
	return b.Version + " (" + b.Commit + ")"
}

func versionCommand(s Streams) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version of this program",
		Example: `  syncline version
  syncline version --json`,
		Args: atMost(0),
		RunE: func(*cobra.Command, []string) error {
			b := Version()
			if asJSON {
				return printJSON(s.Out, b)
			}
			_, err := fmt.Fprintf(s.Out, "syncline %s, %s, %s\n", b.Short(), b.Go, b.System)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "Print JSON")
	return cmd
}

func printJSON(w interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
