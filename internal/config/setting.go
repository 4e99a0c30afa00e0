package config

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Setting describes one field of [Config], as its tags do.
type Setting struct {
	Flag     string // name, without dashes
	Env      string // SYNCLINE_…
	Also     string // another variable, which counts when Env is not set; "" for none
	EnvOnly  bool   // there is no flag
	Secret   bool   // the value is never shown
	Default  string // as a user would write it; "" for none
	Form     string // what is expected: "host:port", "duration", "size", "number" …
	Min, Max string // inclusive; "" for none
	Group    string
	Help     string

	field  int      // index in Config
	values []string // the values allowed; nil for no such list
}

// Settings lists the settings in the order of [Config]'s fields.
func Settings() []Setting { return settings() }

var settings = sync.OnceValue(func() (list []Setting) {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name, ok := tag.Lookup("flag")
		if !ok {
			continue
		}
		s := Setting{
			Flag: name, Env: "SYNCLINE_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")), Also: tag.Get("also"), EnvOnly: tag.Get("env") == "only",
			Default: tag.Get("default"), Form: tag.Get("form"), Min: tag.Get("min"), Max: tag.Get("max"),
			Group: tag.Get("group"), Help: tag.Get("help"), field: i,
		}
		if strings.Contains(s.Form, "|") {
			s.values = strings.Split(s.Form, "|")
		}
		switch reflect.Zero(t.Field(i).Type).Interface().(type) {
		case Secret, DSN:
			s.Secret = true
		case Size:
			s.Form = "size"
		case time.Duration:
			s.Form = "duration"
		case int:
			s.Form = "number"
		case bool:
			s.Form = "true|false"
		}
		list = append(list, s)
	}
	return list
})

func settingOf(flag string) Setting {
	i := slices.IndexFunc(settings(), func(s Setting) bool { return s.Flag == flag })
	return settings()[i]
}

// Name is how messages name the setting: the flag and the variable.
func (s Setting) Name() string {
	if s.EnvOnly {
		return s.Env
	}
	return "--" + s.Flag + " (" + s.Env + ")"
}

// IsBool reports whether the setting is a switch.
func (s Setting) IsBool() bool { return s.Form == "true|false" }

// Bounds is the allowed range for people: "1s to 1h", "at least 1h", "".
func (s Setting) Bounds() string {
	switch {
	case s.Min != "" && s.Max != "":
		return s.Min + " to " + s.Max
	case s.Min != "":
		return "at least " + s.Min
	case s.Max != "":
		return "at most " + s.Max
	}
	return ""
}

// wrong is the error about a value that the setting does not take.
func (s Setting) wrong(text, expected string) error {
	if s.Secret {
		return fmt.Errorf("%s: the value is not %s", s.Name(), expected)
	}
	return fmt.Errorf("%s: %q is not %s", s.Name(), text, expected)
}

// parse reads text as a value of the setting's type. The error is what is
// expected.
func (s Setting) parse(text string) (any, error) {
	switch reflect.Zero(reflect.TypeFor[Config]().Field(s.field).Type).Interface().(type) {
	case Secret:
		return Secret(strings.TrimSpace(text)), nil
	case DSN:
		return DSN(strings.TrimSpace(text)), nil
	case Size:
		return ParseSize(text)
	case time.Duration:
		return ParseDuration(text)
	case int:
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil {
			return nil, errors.New("a whole number")
		}
		return n, nil
	case bool:
		b, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return nil, errors.New("true or false")
		}
		return b, nil
	default:
		return text, nil
	}
}

// set parses text into c.
func (s Setting) set(c *Config, text string) error {
	v, err := s.parse(text)
	if err != nil {
		return s.wrong(text, err.Error())
	}
	reflect.ValueOf(c).Elem().Field(s.field).Set(reflect.ValueOf(v))
	return nil
}

// value is the setting's value in c.
func (s Setting) value(c *Config) any { return reflect.ValueOf(c).Elem().Field(s.field).Interface() }

// check tests c's value against the bounds and the list of values.
func (s Setting) check(c *Config) error {
	v := s.value(c)
	if s.values != nil && !slices.Contains(s.values, fmt.Sprint(v)) {
		return s.wrong(fmt.Sprint(v), "one of "+strings.Join(s.values, ", "))
	}
	low, high := s.bound(s.Min), s.bound(s.Max)
	if low != nil && compare(v, low) < 0 || high != nil && compare(v, high) > 0 {
		return fmt.Errorf("%s: %s is out of range: %s", s.Name(), format(v), s.Bounds())
	}
	return nil
}

// bound parses a bound; nil when there is none.
func (s Setting) bound(text string) any {
	if text == "" {
		return nil
	}
	v, err := s.parse(text)
	if err != nil {
		panic("config: bound " + text + " of --" + s.Flag + " is not " + err.Error())
	}
	return v
}

func compare(a, b any) int {
	switch a := a.(type) {
	case Size:
		return cmp.Compare(a, b.(Size))
	case time.Duration:
		return cmp.Compare(a, b.(time.Duration))
	case int:
		return cmp.Compare(a, b.(int))
	}
	panic(fmt.Sprintf("config: bounds on a %T", a))
}
