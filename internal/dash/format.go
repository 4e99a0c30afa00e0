package dash

import (
	"fmt"
	"html/template"
	"strings"
	"time"

	"syncline"
)

// functions are those of the templates.
func (h *dash) functions() template.FuncMap {
	return template.FuncMap{
		"ago":    func(t time.Time) string { return ago(h.Clock.Now().Sub(t)) },
		"utc":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
		"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
		"took":   took,
		"tone":   tone,
		"plural": plural,
	}
}

// ago says how long ago something was, as people say it.
func ago(d time.Duration) string {
	switch {
	case d < 5*time.Second:
		return "just now"
	case d < time.Minute:
		return fmt.Sprintf("%d s ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	}
	return fmt.Sprintf("%d days ago", d/(24*time.Hour))
}

// took is a duration with three digits or so.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
}

// tone is the colour of a state: good, bad, wait or quiet.
func tone(state any) string {
	switch fmt.Sprint(state) {
	case string(syncline.RunSuccess), string(syncline.DeliveryProcessed), string(syncline.InstanceStarted):
		return "good"
	case string(syncline.RunFailed), string(syncline.RunReaped), string(syncline.DeliveryDead), string(syncline.DeliveryExpired), string(syncline.LogError):
		return "bad"
	case string(syncline.RunRunning), string(syncline.RunContinued), string(syncline.RunRetrying), string(syncline.DeliveryRouted), string(syncline.DeliveryParked), string(syncline.LogWarn):
		return "wait"
	}
	return "quiet"
}

// plural is a number with its noun.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
