package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Source is where a value came from.
type Source string

// The sources, the strongest first.
const (
	SourceFlag    Source = "flag"
	SourceEnv     Source = "environment"
	SourceDerived Source = "derived" // from other settings
	SourceDefault Source = "default"
)

// Loaded is a configuration with the source of each value.
type Loaded struct {
	Config   Config
	Warnings []string // for people: variables that no setting reads

	sources   map[string]Source // by flag name
	variables map[string]string // those that were read under another name, by flag name
}

// Bind adds a flag for every setting that has one to fs.
func Bind(fs *pflag.FlagSet) {
	for _, s := range Settings() {
		if s.EnvOnly {
			continue
		}
		f := fs.VarPF(&flagText{form: s.Form, text: s.Default}, s.Flag, "", s.Help)
		if s.IsBool() {
			f.NoOptDefVal = "true"
		}
	}
}

// flagText keeps a flag as it was written: [Load] reads it, so that all that is
// wrong is reported at once.
type flagText struct{ form, text string }

func (f *flagText) String() string { return f.text }
func (f *flagText) Set(text string) error {
	f.text = text
	return nil
}

func (f *flagText) Type() string {
	if f.form == "true|false" {
		return "bool" // shown without an argument
	}
	return f.form
}

// others are variables that are read elsewhere.
var others = []string{
	"SYNCLINE_SERVER", "SYNCLINE_SECRET_KEY", // commands that talk to a server
	"SYNCLINE_WORKER_MEMORY", // set by the server for its workers
	"SYNCLINE_CRASH_AT",      // builds that test crashes
}

// Load reads the settings: a flag that was given wins over a variable, a
// variable over the default. fs may have the flags of [Bind] or some of them;
// nil has none. environ is as [os.Environ] gives it; a variable that is empty
// counts as not set. What is wrong is reported as by [Config.Validate], all of
// it at once. Loaded is returned also with an error, as far as it was read.
func Load(fs *pflag.FlagSet, environ []string) (*Loaded, error) {
	env, foreign := map[string]string{}, map[string]string{}
	for _, pair := range environ {
		switch name, value, ok := strings.Cut(pair, "="); {
		case !ok || value == "":
		case strings.HasPrefix(name, "SYNCLINE_"):
			env[name] = value
		default:
			foreign[name] = value
		}
	}
	l := &Loaded{Config: Default(), sources: map[string]Source{}, variables: map[string]string{}}
	l.Config.PublicURL = "" // derived again from what is loaded
	var errs []error
	known := map[string]bool{}
	for _, s := range Settings() {
		known[s.Env] = true
		l.sources[s.Flag] = SourceDefault
		text, source := s.Default, SourceDefault
		if value, ok := env[s.Env]; ok {
			text, source = value, SourceEnv
		} else if value, ok := foreign[s.Also]; ok {
			text, source = value, SourceEnv
			l.variables[s.Flag] = s.Also
		}
		if fs != nil && !s.EnvOnly {
			if f := fs.Lookup(s.Flag); f != nil && f.Changed {
				text, source = f.Value.String(), SourceFlag
			}
		}
		l.sources[s.Flag] = source
		if source != SourceDefault {
			errs = append(errs, s.set(&l.Config, text))
		}
	}
	for _, flag := range l.Config.derive() {
		l.sources[flag] = SourceDerived
	}
	for _, name := range others {
		known[name] = true
	}
	for _, name := range sortedKeys(env) {
		switch environment, ok := strings.CutPrefix(name, SecretKeyPrefix); {
		case known[name]:
		case ok && environment != "":
			if l.Config.SecretKeys == nil {
				l.Config.SecretKeys = map[string]Secret{}
			}
			l.Config.SecretKeys[strings.ToLower(environment)] = Secret(strings.TrimSpace(env[name]))
		default:
			l.Warnings = append(l.Warnings, unknownVariable(name))
		}
	}
	if err := l.Config.Validate(); err != nil {
		// A value that could not be read kept its default, which is valid: no
		// setting is reported twice.
		errs = append(errs, reasons(err)...)
	}
	return l, invalid(errs)
}

// reasons takes apart what invalid put together.
func reasons(err error) []error {
	for err != nil {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			return joined.Unwrap()
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			break
		}
		err = u.Unwrap()
	}
	return nil
}

// unknownVariable is the warning about a variable that nothing reads.
func unknownVariable(name string) string {
	best, least := "", len(name)/3+1
	candidates := append([]string{SecretKeyPrefix + "DEV"}, others[:2]...)
	for _, s := range Settings() {
		candidates = append(candidates, s.Env)
	}
	for _, c := range candidates {
		if d := distance(name, c); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return fmt.Sprintf("%s is set, but there is no such setting; see: syncline config", name)
	}
	return fmt.Sprintf("%s is set, but there is no such setting; did you mean %s?", name, best)
}

// distance is the number of insertions, deletions and substitutions of one
// byte that lead from a to b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(previous+cost, row[j]+1, row[j+1]+1)
			previous, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}

// Value is one setting with its value, for people and for JSON.
type Value struct {
	Name   string `json:"name"` // the flag's name; "secret-key-dev" for SYNCLINE_SECRET_KEY_DEV
	Value  string `json:"value"`
	Source Source `json:"source"`
	Env    string `json:"variable"`
	Group  string `json:"-"`
}

// Source is where the value of a setting came from, by the name of its flag.
func (l *Loaded) Source(flag string) Source { return l.sources[flag] }

// Values lists the effective values in the order of the reference. Secrets are
// shown as "(secret)", passwords in connection strings as "xxxxx".
func (l *Loaded) Values() (list []Value) {
	for _, s := range Settings() {
		v := Value{Name: s.Flag, Value: format(s.value(&l.Config)), Source: l.sources[s.Flag], Env: s.Env, Group: s.Group}
		if also := l.variables[s.Flag]; also != "" && v.Source == SourceEnv {
			v.Env = also
		}
		list = append(list, v)
	}
	for _, env := range sortedKeys(l.Config.SecretKeys) {
		list = append(list, Value{
			Name: "secret-key-" + env, Value: l.Config.SecretKeys[env].String(), Source: SourceEnv,
			Env: SecretKeyPrefix + strings.ToUpper(env), Group: "API keys",
		})
	}
	return list
}
