package proxy

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"syncline/internal/fn"
	"syncline/internal/provider"
)

// verdict is what an answer means for a further attempt.
type verdict struct {
	retry   bool
	limited bool      // the API refused because of too many requests
	spent   bool      // the API says that none are left now
	at      time.Time // when the API says to come back; zero when it does not
}

// rules are how the answers to one request are read.
type rules struct {
	provider.Retry
	retryOn []int
	// after and at are the function's own, which come before the provider's.
	after, at []string
}

func rulesOf(r provider.Retry, args *fn.HTTPArgs) rules {
	out := rules{Retry: r, retryOn: args.RetryOn}
	if h := args.RetryHeader; h != nil {
		out.after, out.at = h.After, h.At
	}
	return out
}

// judge reads an answer by its status, its headers and, where the provider
// says it there, its body.
func (r *rules) judge(status int, h http.Header, body []byte, now time.Time) verdict {
	v := verdict{limited: status == http.StatusTooManyRequests, spent: r.RemainingZero != "" && strings.TrimSpace(h.Get(r.RemainingZero)) == "0"}
	named := matchesCode(r.Codes, status)
	if status == http.StatusForbidden || named && status >= 400 && status < 500 {
		// Some APIs refuse with another status, and only their headers tell.
		v.limited = v.limited || v.spent || told(h, r.After)
	}
	var inText time.Time
	if r.InBody != nil && status >= 400 && len(body) > 0 {
		var found bool
		inText, found = inBody(r.InBody, body, now)
		v.limited = v.limited || found
	}
	v.retry = v.limited || named || len(r.Codes) == 0 && status >= 500 || slices.Contains(r.retryOn, status)
	if !v.retry {
		if v.spent && status < 400 {
			v.at = r.reset(h, now)
		}
		return v
	}
	if v.at = latest(h, r.at, now, parseAt(""), latest(h, r.after, now, parseWait(""), time.Time{})); !v.at.IsZero() {
		return v
	}
	after := r.After
	if len(after) == 0 {
		after = []string{"Retry-After"} // the standard's own
	}
	v.at = latest(h, after, now, parseWait(""), time.Time{})
	// The reset time comes with every answer of most APIs; it counts only when
	// the budget is what is used up.
	if v.at.IsZero() && v.limited && (r.RemainingZero == "" || v.spent) {
		v.at = r.reset(h, now)
	}
	if v.at.IsZero() {
		v.at = inText
	}
	return v
}

// reset is when the budget is filled again.
func (r *rules) reset(h http.Header, now time.Time) time.Time {
	return latest(h, r.At, now, parseAt(r.ResetUnit), latest(h, r.Reset, now, parseWait(r.ResetUnit), time.Time{}))
}

func told(h http.Header, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.TrimSpace(h.Get(name)) != "" })
}

// matchesCode reports whether one of codes ("403", "5xx", "500-502") is status.
func matchesCode(codes []string, status int) bool {
	return slices.ContainsFunc(codes, func(code string) bool {
		if class, ok := strings.CutSuffix(strings.ToLower(code), "xx"); ok {
			return class == strconv.Itoa(status/100)
		}
		from, to, ranged := strings.Cut(code, "-")
		low, err := strconv.Atoi(strings.TrimSpace(from))
		if err != nil {
			return false
		}
		if !ranged {
			return low == status
		}
		high, err := strconv.Atoi(strings.TrimSpace(to))
		return err == nil && status >= low && status <= high
	})
}

// latest is the latest time that one of the headers names: where an API has
// several limits, all have to have passed. other is a time found elsewhere.
func latest(h http.Header, names []string, now time.Time, parse func(string, time.Time) (time.Time, bool), other time.Time) time.Time {
	for _, name := range names {
		for _, text := range h.Values(name) {
			if t, ok := parse(strings.TrimSpace(text), now); ok && t.After(other) {
				other = t
			}
		}
	}
	return other
}

// longestWait is the most that a header can ask for; beyond, it means something else.
const longestWait = 365 * 24 * time.Hour

// parseWait reads how long to wait: a number of seconds (of milliseconds with
// the unit ms_left), fractions included, an HTTP date, or a duration in text ("6m0s").
func parseWait(unit string) func(text string, now time.Time) (time.Time, bool) {
	each := time.Second
	if unit == provider.ResetMillisecondsLeft {
		each = time.Millisecond
	}
	return func(text string, now time.Time) (time.Time, bool) {
		if n, err := strconv.ParseFloat(text, 64); err == nil {
			if d := n * float64(each); d >= 0 && d <= float64(longestWait) { // false for NaN
				return now.Add(time.Duration(d)), true
			}
			return time.Time{}, false
		}
		if d, err := time.ParseDuration(text); err == nil {
			return now.Add(d), d >= 0 && d <= longestWait
		}
		t, err := http.ParseTime(text)
		if err != nil {
			t, err = time.Parse(time.RFC3339Nano, text)
		}
		return t.UTC(), err == nil && t.Sub(now) <= longestWait
	}
}

// parseAt reads a point in time: a Unix time or a date. Without a unit the size
// of the number tells seconds, milliseconds and microseconds apart; a number too
// small for a date is seconds from now, which some APIs send under the same name.
func parseAt(unit string) func(text string, now time.Time) (time.Time, bool) {
	return func(text string, now time.Time) (time.Time, bool) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return parseWait("")(text, now)
		}
		var t time.Time
		switch {
		case !(n >= 0 && n < 1e18): // NaN too
			return time.Time{}, false
		case unit == provider.ResetEpochMicroseconds, unit == "" && n >= 1e14:
			t = time.UnixMicro(int64(n))
		case unit == provider.ResetEpochMilliseconds, unit == "" && n >= 1e11:
			t = time.UnixMilli(int64(n))
		case unit == provider.ResetEpochSeconds && n < 1e11, unit == "" && n >= 1e8:
			t = time.UnixMilli(int64(n * 1000))
		default:
			return parseWait(unit)(text, now)
		}
		return t.UTC(), t.Sub(now) <= longestWait
	}
}

// inBody finds the time in an answer's text. found says that the text is there
// and therefore the refusal is for a limit.
func inBody(b *provider.RetryInBody, body []byte, now time.Time) (at time.Time, found bool) {
	text := gjson.GetBytes(body, b.Path)
	if text.Type != gjson.String {
		return time.Time{}, false
	}
	pattern, err := regexp.Compile(b.Pattern) // checked when the catalogue was loaded
	if err != nil {
		return time.Time{}, false
	}
	match := pattern.FindStringSubmatch(text.Str)
	if len(match) < 2 {
		return time.Time{}, false
	}
	value := strings.Trim(strings.TrimSpace(match[1]), ".,;)\"'")
	parse := parseWait("")
	if n := json.Number(value); b.At {
		if _, err := n.Float64(); err == nil {
			parse = parseAt("")
		}
	}
	at, ok := parse(value, now)
	if !ok {
		return time.Time{}, true
	}
	return at, true
}

// wait is how long to wait after the given attempt (1 for the first): as long
// as the API said and a little, so that those who were told the same do not
// come back in the same moment; else exponentially longer, some of them sooner
// for the same reason. A time that has passed already counts as not said:
// clocks differ, and hammering helps nobody.
func (c *Client) wait(attempt int, v verdict, now time.Time) time.Duration {
	if told := v.at.Sub(now); !v.at.IsZero() && told > 0 {
		return told + time.Duration(c.conf.Rand()*float64(min(told/10, time.Second)))
	}
	d := doubled(c.conf.RetryBase, attempt, c.conf.RetryCap)
	return d - time.Duration(c.conf.Rand()*0.2*float64(d))
}
