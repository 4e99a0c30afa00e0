package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is a value that is not printed: formatting, logging and encoding it
// shows that it is set, never what it is. Convert it to a string to use it.
type Secret string

const secretShown = "(secret)"

// String is "(secret)", or "" when it is not set.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return secretShown
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue keeps loggers from showing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Size is a number of bytes.
type Size int64

// Units of sizes, the larger first.
var sizeUnits = []struct {
	name string
	size Size
}{
	{"TiB", 1 << 40}, {"TB", 1e12},
	{"GiB", 1 << 30}, {"GB", 1e9},
	{"MiB", 1 << 20}, {"MB", 1e6},
	{"KiB", 1 << 10}, {"KB", 1e3},
	{"B", 1},
}

// String writes the size in the largest unit that divides it: "25MiB", "1GB".
func (s Size) String() string {
	if s == 0 {
		return "0B"
	}
	for _, u := range sizeUnits {
		if s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalJSON writes the number of bytes.
func (s Size) MarshalJSON() ([]byte, error) { return json.Marshal(int64(s)) }

var errSize = errors.New("a size, as 512KB, 25MiB or 10GB (1 MB is 1,000,000 bytes, 1 MiB is 1,048,576)")

// ParseSize reads a size as people write it: "25MB", "25 MiB", "1.5GB", "512"
// (bytes). Case does not matter; "K", "M", "G" and "T" alone are decimal.
func ParseSize(text string) (Size, error) {
	number, unit := splitUnit(text)
	factor := Size(0)
	switch unit {
	case "":
		factor = 1
	case "k", "m", "g", "t":
		unit += "b"
		fallthrough
	default:
		for _, u := range sizeUnits {
			if strings.EqualFold(u.name, unit) {
				factor = u.size
			}
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Contains(number, "e") || factor == 0 || f < 0 || f*float64(factor) >= math.MaxInt64 {
		return 0, errSize
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		return Size(n) * factor, nil // exact beyond 2^53
	}
	return Size(math.Round(f * float64(factor))), nil
}

var errDuration = errors.New("a duration, as 500ms, 30s, 5m, 2h or 7d")

// ParseDuration reads a duration as [time.ParseDuration] does, and also days
// and weeks: "30s", "1h30m", "7d", "2w". A number without a unit is refused,
// because it could mean anything.
func ParseDuration(text string) (time.Duration, error) {
	text = strings.ToLower(strings.TrimSpace(text))
	number, unit := splitUnit(text)
	day := map[string]float64{"d": 24, "w": 7 * 24}[unit]
	if day == 0 {
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || text == "0" {
			return 0, errDuration
		}
		return d, nil
	}
	f, err := strconv.ParseFloat(number, 64)
	hours := f * day
	if err != nil || f < 0 || hours > math.MaxInt64/float64(time.Hour) {
		return 0, errDuration
	}
	return time.Duration(math.Round(hours * float64(time.Hour))), nil
}

// FormatDuration writes a duration as [ParseDuration] reads it, in the
// shortest way: "30s", "7d", "1h30m".
func FormatDuration(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if d >= time.Minute && strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if d >= time.Hour && strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// splitUnit splits "25 MB" into "25" and "mb".
func splitUnit(text string) (number, unit string) {
	text = strings.ToLower(strings.TrimSpace(text))
	end := strings.LastIndexAny(text, "0123456789.") + 1
	return strings.TrimSpace(text[:end]), strings.TrimSpace(text[end:])
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func format(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return FormatDuration(v)
	default:
		return fmt.Sprint(v)
	}
}
