package syncline_test

import (
	"testing"
	"time"

	"syncline"
)

func TestParseFrequency(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"every 30s":        30 * time.Second,
		"every 30 seconds": 30 * time.Second,
		"every 5m":         5 * time.Minute,
		"every 1 minute":   time.Minute,
		"every hour":       time.Hour,
		"Every  2   Days":  48 * time.Hour,
		"every half hour":  30 * time.Minute,
		"every half day":   12 * time.Hour,
		"every 3 week":     21 * 24 * time.Hour,
		"every month":      30 * 24 * time.Hour,
		"every 1s":         time.Second,
	} {
		got, err := syncline.ParseFrequency(in)
		if err != nil || got != want {
			t.Errorf("ParseFrequency(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "every", "hourly", "every 0s", "every -5m", "every 5 parsecs", "every 99999999999999999999 days",
		"every 10000 days", "5 minutes", "every 1.5 hours", "every half 2 hours", "every half second"} {
		if d, err := syncline.ParseFrequency(in); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("ParseFrequency(%q) = %v, %v; want an invalid_request error", in, d, err)
		}
	}
}
