package syncline

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The bounds of a retention.
const (
	MinRetention = time.Hour
	MaxRetention = 10 * 366 * 24 * time.Hour
)

// ParseRetention reads for how long something is kept, in the units of
// [ParseFrequency]: "30 days", "12 hours", "2 weeks", "90d". A month is 30 days.
// The result is between [MinRetention] and [MaxRetention]; anything else is an
// error with code invalid_request.
func ParseRetention(s string) (time.Duration, error) {
	bad := func(why string) (time.Duration, error) {
		return 0, Errorf(CodeInvalid, "the retention %q %s", s, why).WithHint("write it as '30 days', '12 hours' or '2 weeks'")
	}
	spec := strings.Join(strings.Fields(strings.ToLower(s)), " ")
	digits := 0
	for digits < len(spec) && spec[digits] >= '0' && spec[digits] <= '9' {
		digits++
	}
	unit, ok := frequencyUnits[strings.TrimSpace(spec[digits:])]
	if digits == 0 || !ok {
		return bad("is not a whole number and a unit")
	}
	n, err := strconv.ParseInt(spec[:digits], 10, 32)
	if err != nil || n > int64(MaxRetention/unit) {
		return bad("is longer than ten years")
	}
	d := time.Duration(n) * unit
	if d < MinRetention {
		return bad("is shorter than an hour")
	}
	return d, nil
}

// FormatRetention writes a retention as [ParseRetention] reads it, in the
// largest of days, hours, minutes and seconds that it is a whole number of.
func FormatRetention(d time.Duration) string {
	unit, name := time.Second, "second"
	switch {
	case d%(24*time.Hour) == 0:
		unit, name = 24*time.Hour, "day"
	case d%time.Hour == 0:
		unit, name = time.Hour, "hour"
	case d%time.Minute == 0:
		unit, name = time.Minute, "minute"
	}
	if n := d / unit; n != 1 {
		return fmt.Sprintf("%d %ss", n, name)
	}
	return "1 " + name
}
