package provider

import (
	"strconv"
	"strings"
	"time"

	"syncline"
)

// Duration is a length of time that is written as people write it ("5m"), in
// the catalogue and in an integration's overrides alike.
type Duration time.Duration

// UnmarshalText reads a duration such as "90s", "5m" or "30d".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil {
		return syncline.Errorf(syncline.CodeInvalid, "%q is not a duration such as 90s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration so that UnmarshalText reads the same.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

const day = 24 * time.Hour

func parseDuration(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16) // below 180 years
		return time.Duration(n) * day, err
	}
	return time.ParseDuration(text)
}

// Lifetime is a duration, or "never" for what does not end; "" is not known.
type Lifetime string

// LifetimeNever is that of what does not end.
const LifetimeNever Lifetime = "never"

// Duration is the lifetime; ok is false when it does not end or is not known.
func (l Lifetime) Duration() (d time.Duration, ok bool) {
	d, err := parseDuration(string(l))
	return d, err == nil && l != ""
}

func (l Lifetime) check(field string) error {
	if d, ok := l.Duration(); l != "" && l != LifetimeNever && (!ok || d <= 0) {
		return wrong(field, "%q is neither never nor a duration such as 1h or 90d", string(l))
	}
	return nil
}
