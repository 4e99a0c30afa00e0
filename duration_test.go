package syncline_test

import (
	"testing"
	"time"

	"syncline"
)

func TestParseRetention(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for in, want := range map[string]struct {
		d       time.Duration
		written string
	}{
		"30 days":       {30 * day, "30 days"},
		"1 day":         {day, "1 day"},
		"90d":           {90 * day, "90 days"},
		" 2  Weeks ":    {14 * day, "14 days"},
		"1 month":       {30 * day, "30 days"},
		"36 hours":      {36 * time.Hour, "36 hours"},
		"1 hour":        {time.Hour, "1 hour"},
		"90 minutes":    {90 * time.Minute, "90 minutes"},
		"3661 s":        {3661 * time.Second, "3661 seconds"},
		"3660 days":     {3660 * day, "3660 days"},
		"60 min":        {time.Hour, "1 hour"},
		"00000012 days": {12 * day, "12 days"},
	} {
		d, err := syncline.ParseRetention(in)
		if err != nil || d != want.d || syncline.FormatRetention(d) != want.written {
			t.Errorf("ParseRetention(%q) = %v (%s), %v; want %v (%s)", in, d, syncline.FormatRetention(d), err, want.d, want.written)
		}
		if again, err := syncline.ParseRetention(syncline.FormatRetention(d)); err != nil || again != d {
			t.Errorf("%q is written as %q, which is read as %v, %v", in, syncline.FormatRetention(d), again, err)
		}
	}
	for _, in := range []string{"", "30", "days", "-30 days", "1.5 days", "30 days ago", "every 30 days", "3661 days", "99999999999999999999 days",
		"59 minutes", "0 days", "half day", "30 parsecs"} {
		if d, err := syncline.ParseRetention(in); syncline.CodeOf(err) != syncline.CodeInvalid {
			t.Errorf("ParseRetention(%q) = %v, %v; want an invalid_request error", in, d, err)
		}
	}
}
