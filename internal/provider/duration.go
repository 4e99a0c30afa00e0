package provider

import (
	"time"

	"syncline"
)

// Duration is a length of time that is written as people write it ("5m"), in
// the catalogue and in an integration's overrides alike.
type Duration time.Duration

// UnmarshalText reads a duration such as "90s" or "5m".
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return syncline.Errorf(syncline.CodeInvalid, "%q is not a duration such as 90s or 5m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration so that UnmarshalText reads the same.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }
