package proxy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"syncline/internal/provider"
)

// verdict is what an answer means for a further attempt.
type verdict struct {
	retry   bool
	limited bool      // the API refused because of too many requests
	at      time.Time // when the API says to come back; zero when it does not
}

// judge reads an answer by its status, the request's RetryOn and the
// provider's headers.
func judge(status int, h http.Header, r provider.Retry, retryOn []int, now time.Time) verdict {
	after := r.After
	if len(after) == 0 {
		after = []string{"Retry-After"} // the standard's own
	}
	v := verdict{limited: status == http.StatusTooManyRequests}
	exhausted := r.RemainingZero != "" && strings.TrimSpace(h.Get(r.RemainingZero)) == "0"
	if status == http.StatusForbidden {
		// Some APIs say 403 for a rate limit, and only their headers tell.
		_, told := firstTime(h, r.After, now, parseAfter)
		v.limited = exhausted || told
	}
	v.retry = v.limited || status >= 500 || slices.Contains(retryOn, status)
	if !v.retry {
		return v
	}
	v.at, _ = firstTime(h, after, now, parseAfter)
	// The reset time comes with every answer of most APIs; it counts only when
	// the budget is what is used up.
	if v.at.IsZero() && v.limited && (r.RemainingZero == "" || exhausted) {
		v.at, _ = firstTime(h, r.At, now, parseAt)
	}
	return v
}

func firstTime(h http.Header, names []string, now time.Time, parse func(string, time.Time) (time.Time, bool)) (time.Time, bool) {
	for _, name := range names {
		if text := strings.TrimSpace(h.Get(name)); text != "" {
			if t, ok := parse(text, now); ok {
				return t, true
			}
		}
	}
	return time.Time{}, false
}

// parseAfter reads seconds to wait, fractions included, or an HTTP date.
func parseAfter(text string, now time.Time) (time.Time, bool) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds < 0 || seconds > 365*24*3600 || seconds != seconds {
			return time.Time{}, false
		}
		return now.Add(time.Duration(seconds * float64(time.Second))), true
	}
	t, err := http.ParseTime(text)
	return t.UTC(), err == nil
}

// parseAt reads a Unix time in seconds.
func parseAt(text string, _ time.Time) (time.Time, bool) {
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 1e9 || seconds > 1e11 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC(), true
}

// wait is how long to wait after the given attempt (1 for the first): as long
// as the API said, else exponentially longer. A time that has passed already
// counts as not said; clocks differ, and hammering helps nobody.
func (c *Client) wait(attempt int, v verdict, now time.Time) time.Duration {
	if told := v.at.Sub(now); !v.at.IsZero() && told > 0 {
		return told
	}
	d := c.conf.RetryBase
	for range attempt - 1 {
		if d *= 2; d >= c.conf.RetryCap {
			return c.conf.RetryCap
		}
	}
	return min(d, c.conf.RetryCap)
}
