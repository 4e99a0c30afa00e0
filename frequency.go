package syncline

import (
	"strconv"
	"strings"
	"time"
)

// MinFrequency is the shortest interval at which a sync may poll.
const MinFrequency = time.Second

// MaxFrequency is the longest.
const MaxFrequency = 366 * 24 * time.Hour

var frequencyUnits = map[string]time.Duration{
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hrs": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
	"month": 30 * 24 * time.Hour, "months": 30 * 24 * time.Hour,
}

// ParseFrequency reads a polling interval as functions give it: "every hour",
// "every 30s", "every 5 minutes", "every half hour", "every half day",
// "every 2 days", "every month" (30 days). Matching ignores case and extra
// space. The result is between [MinFrequency] and [MaxFrequency]; anything else
// is an error with code invalid_request.
func ParseFrequency(s string) (time.Duration, error) {
	bad := func(why string) error {
		return Errorf(CodeInvalid, "frequency %q %s", s, why).
			WithHint("write it as 'every 30s', 'every 5 minutes', 'every hour' or 'every 2 days'").WithField("frequency")
	}
	words := strings.Fields(strings.ToLower(s))
	if len(words) < 2 || words[0] != "every" {
		return 0, bad("does not begin with 'every' and an interval")
	}
	spec := strings.Join(words[1:], " ")
	digits := 0
	for digits < len(spec) && spec[digits] >= '0' && spec[digits] <= '9' {
		digits++
	}
	n, half := int64(1), false
	unit := spec
	if digits > 0 {
		v, err := strconv.ParseInt(spec[:digits], 10, 32)
		if err != nil {
			return 0, bad("has a number that is too large")
		}
		n, unit = v, strings.TrimSpace(spec[digits:])
	} else if rest, ok := strings.CutPrefix(spec, "half "); ok {
		unit, half = rest, true
	}
	base, ok := frequencyUnits[unit]
	if !ok {
		return 0, bad("has an unknown unit")
	}
	if n > int64(MaxFrequency/base) {
		return 0, bad("is longer than a year")
	}
	d := time.Duration(n) * base
	if half {
		d = base / 2
	}
	if d < MinFrequency {
		return 0, bad("is shorter than one second")
	}
	return d, nil
}
