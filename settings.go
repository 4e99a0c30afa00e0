package syncline

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Validation says what becomes of a document (a record, metadata, a checkpoint)
// that the schema which its function declares does not allow.
type Validation string

// The ways of validation.
const (
	ValidationStrict Validation = "strict" // refused: the call fails
	ValidationWarn   Validation = "warn"   // taken; the run carries a warning with how many there were
	ValidationOff    Validation = "off"    // not looked at
)

// ParseValidation reads a way of validation; "" is none said. Anything else is
// an error with code invalid_request.
func ParseValidation(s string) (Validation, error) {
	switch v := Validation(s); v {
	case "", ValidationStrict, ValidationWarn, ValidationOff:
		return v, nil
	}
	return "", Errorf(CodeInvalid, "%q is no way of validation", s).WithHint("use strict, warn or off")
}

// RunSettings are how functions run, as an environment, a function's own code
// or its settings in an environment say. What is zero is not said.
type RunSettings struct {
	Validation Validation `json:"validation,omitempty"`
	Limits     RunLimits  `json:"limits,omitzero"`
}

// Over returns s with what it does not say taken from base.
func (s RunSettings) Over(base RunSettings) RunSettings {
	if s.Validation == "" {
		s.Validation = base.Validation
	}
	s.Limits = s.Limits.Over(base.Limits)
	return s
}

// RunLimits bound one run. Zero fields are not said. In JSON durations are
// text such as "30s" or "10m", sizes text such as "64MiB" or a number of bytes.
type RunLimits struct {
	Wall      time.Duration // wall time
	CPU       time.Duration // time in the function's own code
	Memory    int64         // bytes
	HostCalls int           // calls of methods of nango, HTTP requests included
	LogLines  int           // kept lines of the log; further ones are counted
	Output    int64         // bytes of what the function returns
}

// Over returns l with what it does not say taken from base.
func (l RunLimits) Over(base RunLimits) RunLimits {
	return l.each(base, func(own, base int64) int64 {
		if own == 0 {
			return base
		}
		return own
	})
}

// Within returns l with nothing above most, where most says something.
func (l RunLimits) Within(most RunLimits) RunLimits {
	return l.each(most, func(own, most int64) int64 {
		if most > 0 && own > most {
			return most
		}
		return own
	})
}

func (l RunLimits) each(o RunLimits, f func(a, b int64) int64) RunLimits {
	return RunLimits{
		Wall: time.Duration(f(int64(l.Wall), int64(o.Wall))), CPU: time.Duration(f(int64(l.CPU), int64(o.CPU))), Memory: f(l.Memory, o.Memory),
		HostCalls: int(f(int64(l.HostCalls), int64(o.HostCalls))), LogLines: int(f(int64(l.LogLines), int64(o.LogLines))), Output: f(l.Output, o.Output),
	}
}

// The least that a limit may be: below it nothing useful runs.
const (
	MinRunWall   = 10 * time.Millisecond
	MinRunMemory = 4 << 20
)

// Check reports limits that are not usable.
func (l RunLimits) Check() error {
	bad := func(name string, format string, args ...any) error {
		return Errorf(CodeInvalid, "limits.%s %s", name, fmt.Sprintf(format, args...)).WithField("limits." + name)
	}
	switch {
	case l.Wall != 0 && l.Wall < MinRunWall:
		return bad("wall", "is less than %s", MinRunWall)
	case l.CPU != 0 && l.CPU < MinRunWall:
		return bad("cpu", "is less than %s", MinRunWall)
	case l.Memory != 0 && l.Memory < MinRunMemory:
		return bad("memory", "is less than %s", FormatBytes(MinRunMemory))
	case l.HostCalls < 0:
		return bad("host_calls", "is less than 1")
	case l.LogLines < 0:
		return bad("log_lines", "is less than 1")
	case l.Output < 0:
		return bad("output", "is less than 1 byte")
	}
	return nil
}

// runLimitsJSON is the JSON form.
type runLimitsJSON struct {
	Wall      *amount `json:"wall,omitempty"`
	CPU       *amount `json:"cpu,omitempty"`
	Memory    *amount `json:"memory,omitempty"`
	HostCalls int     `json:"host_calls,omitempty"`
	LogLines  int     `json:"log_lines,omitempty"`
	Output    *amount `json:"output,omitempty"`
}

// amount is text or a number.
type amount string

// UnmarshalJSON reads text or a number.
func (a *amount) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(a))
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*a = amount(n)
	return nil
}

// MarshalJSON writes the limits that are said.
func (l RunLimits) MarshalJSON() ([]byte, error) {
	out := runLimitsJSON{HostCalls: l.HostCalls, LogLines: l.LogLines}
	text := func(s string, n int64) *amount {
		if n == 0 {
			return nil
		}
		return new(amount(s))
	}
	out.Wall, out.CPU = text(FormatDuration(l.Wall), int64(l.Wall)), text(FormatDuration(l.CPU), int64(l.CPU))
	out.Memory, out.Output = text(FormatBytes(l.Memory), l.Memory), text(FormatBytes(l.Output), l.Output)
	return json.Marshal(out)
}

// UnmarshalJSON reads limits. A member that is not known, or not what it takes,
// is an error with code invalid_request.
func (l *RunLimits) UnmarshalJSON(b []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return Errorf(CodeInvalid, "limits is not an object").WithField("limits").
			WithHint("for example { wall: '10m', memory: '64MiB', host_calls: 1000 }")
	}
	var out RunLimits
	for name, raw := range members {
		if string(raw) == "null" {
			continue
		}
		var a amount
		err := json.Unmarshal(raw, &a)
		if err == nil {
			switch name {
			case "wall":
				out.Wall, err = parseDuration(string(a))
			case "cpu":
				out.CPU, err = parseDuration(string(a))
			case "memory":
				out.Memory, err = ParseBytes(string(a))
			case "output":
				out.Output, err = ParseBytes(string(a))
			case "host_calls":
				out.HostCalls, err = parseCount(string(a))
			case "log_lines":
				out.LogLines, err = parseCount(string(a))
			default:
				return Errorf(CodeInvalid, "limits.%s is not known", name).WithField("limits." + name).
					WithHint("limits are wall, cpu, memory, host_calls, log_lines and output")
			}
		}
		if err != nil {
			return Errorf(CodeInvalid, "limits.%s is %s", name, raw).WithField("limits." + name).
				WithHint("durations are written as '30s' or '10m', sizes as '64MiB', counts as numbers from 1 on")
		}
	}
	if err := out.Check(); err != nil {
		return err
	}
	*l = out
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
	if err == nil && d <= 0 {
		err = strconv.ErrRange
	}
	return d, err
}

func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err == nil && (n < 1 || n > math.MaxInt32) {
		err = strconv.ErrRange
	}
	return n, err
}

// FormatDuration writes a duration without units that are zero: "10m", "1h30m".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if d >= time.Minute && strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if d >= time.Hour && strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var byteUnits = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"B", 1}}

// FormatBytes writes a number of bytes in the largest unit that divides it.
func FormatBytes(n int64) string {
	for _, u := range byteUnits {
		if n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return "0B"
}

// ParseBytes reads a number of bytes: "64MiB", "1.5 GB", "1024".
func ParseBytes(s string) (int64, error) {
	number, factor := strings.TrimSpace(s), int64(1)
	for _, u := range byteUnits {
		if len(number) > len(u.name) && strings.EqualFold(number[len(number)-len(u.name):], u.name) {
			number, factor = strings.TrimSpace(number[:len(number)-len(u.name)]), u.size
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, err
	}
	if !(f > 0) || f*float64(factor) >= math.MaxInt64/2 {
		return 0, strconv.ErrRange
	}
	return int64(f * float64(factor)), nil
}
