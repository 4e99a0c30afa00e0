package proxy

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"syncline/internal/fn"
	"syncline/internal/provider"
)

func TestWhatAnAnswerSaysOfAFurtherAttempt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	s := time.Second
	at := func(d time.Duration) time.Time { return now.Add(d) }
	inText := &provider.RetryInBody{Path: "error.message", Pattern: `Retry after (\S+)`}
	for name, tc := range map[string]struct {
		rules   provider.Retry
		args    fn.HTTPArgs
		status  int
		header  map[string]string
		body    string
		retry   bool
		limited bool
		wait    time.Duration // 0: not told
	}{
		"epoch seconds":                           {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "1777636890"}, retry: true, limited: true, wait: 90 * s},
		"epoch milliseconds":                      {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "1777636890500"}, retry: true, limited: true, wait: 90*s + s/2},
		"epoch microseconds":                      {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "1777636890000000"}, retry: true, limited: true, wait: 90 * s},
		"epoch milliseconds, declared":            {rules: provider.Retry{At: []string{"x-reset"}, ResetUnit: provider.ResetEpochMilliseconds}, status: 429, header: map[string]string{"X-Reset": "1777636890000"}, retry: true, limited: true, wait: 90 * s},
		"epoch microseconds, declared":            {rules: provider.Retry{At: []string{"x-reset"}, ResetUnit: provider.ResetEpochMicroseconds}, status: 429, header: map[string]string{"X-Reset": "1777636890000000"}, retry: true, limited: true, wait: 90 * s},
		"epoch seconds with a fraction":           {rules: provider.Retry{At: []string{"x-reset"}, ResetUnit: provider.ResetEpochSeconds}, status: 429, header: map[string]string{"X-Reset": "1777636890.5"}, retry: true, limited: true, wait: 90*s + s/2},
		"ISO 8601":                                {rules: provider.Retry{At: []string{"x-reset"}, ResetUnit: provider.ResetISO8601}, status: 429, header: map[string]string{"X-Reset": "2026-05-01T12:01:30.000Z"}, retry: true, limited: true, wait: 90 * s},
		"ISO 8601 with a zone":                    {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "2026-05-01T14:01:30+02:00"}, retry: true, limited: true, wait: 90 * s},
		"an HTTP date as point in time":           {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "Fri, 01 May 2026 12:01:30 GMT"}, retry: true, limited: true, wait: 90 * s},
		"seconds left under the name of a time":   {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "45"}, retry: true, limited: true, wait: 45 * s},
		"seconds left":                            {rules: provider.Retry{Reset: []string{"ratelimit-reset"}, ResetUnit: provider.ResetSecondsLeft}, status: 429, header: map[string]string{"Ratelimit-Reset": "45"}, retry: true, limited: true, wait: 45 * s},
		"milliseconds left":                       {rules: provider.Retry{Reset: []string{"x-reset-ms"}, ResetUnit: provider.ResetMillisecondsLeft}, status: 429, header: map[string]string{"X-Reset-Ms": "1500"}, retry: true, limited: true, wait: 3 * s / 2},
		"a duration in text":                      {rules: provider.Retry{Reset: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "6m0s"}, retry: true, limited: true, wait: 6 * time.Minute},
		"milliseconds do not touch Retry-After":   {rules: provider.Retry{ResetUnit: provider.ResetMillisecondsLeft}, status: 429, header: map[string]string{"Retry-After": "2"}, retry: true, limited: true, wait: 2 * s},
		"of several limits the latest counts":     {rules: provider.Retry{Reset: []string{"x-user", "x-org"}}, status: 429, header: map[string]string{"X-User": "3", "X-Org": "30"}, retry: true, limited: true, wait: 30 * s},
		"a year away is something else":           {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "1909636890"}, retry: true, limited: true},
		"infinity":                                {status: 429, header: map[string]string{"Retry-After": "Inf"}, retry: true, limited: true},
		"not a number":                            {status: 429, header: map[string]string{"Retry-After": "NaN"}, retry: true, limited: true},
		"a huge number":                           {rules: provider.Retry{At: []string{"x-reset"}}, status: 429, header: map[string]string{"X-Reset": "1e300"}, retry: true, limited: true},
		"codes replace the default":               {rules: provider.Retry{Codes: []string{"409", "429"}}, status: 500},
		"a code that is listed":                   {rules: provider.Retry{Codes: []string{"409"}}, status: 409, retry: true},
		"a class of codes":                        {rules: provider.Retry{Codes: []string{"5xx"}}, status: 529, retry: true},
		"a range of codes":                        {rules: provider.Retry{Codes: []string{"500-502"}}, status: 501, retry: true},
		"outside of a range":                      {rules: provider.Retry{Codes: []string{"500-502"}}, status: 503},
		"a 429 is one whatever the codes":         {rules: provider.Retry{Codes: []string{"503"}}, status: 429, retry: true, limited: true},
		"the request's own beside the codes":      {rules: provider.Retry{Codes: []string{"503"}}, args: fn.HTTPArgs{RetryOn: []int{418}}, status: 418, retry: true},
		"a 400 that is a limit":                   {rules: provider.Retry{Codes: []string{"400"}, RemainingZero: "x-left", At: []string{"x-reset"}}, status: 400, header: map[string]string{"X-Left": "0", "X-Reset": "1777636890000"}, retry: true, limited: true, wait: 90 * s},
		"a 404 with nothing left is a 404":        {rules: provider.Retry{RemainingZero: "x-left", At: []string{"x-reset"}}, status: 404, header: map[string]string{"X-Left": "0", "X-Reset": "1777636890"}},
		"the function's own headers come first":   {rules: provider.Retry{At: []string{"x-reset"}}, args: fn.HTTPArgs{RetryHeader: &fn.RetryHeader{After: fn.HeaderNames{"x-mine"}}}, status: 503, header: map[string]string{"X-Reset": "1777636890", "X-Mine": "7"}, retry: true, wait: 7 * s},
		"the function's own time":                 {args: fn.HTTPArgs{RetryHeader: &fn.RetryHeader{At: fn.HeaderNames{"x-mine"}}}, status: 429, header: map[string]string{"X-Mine": "1777636890", "Retry-After": "3"}, retry: true, limited: true, wait: 90 * s},
		"the function's own, when it is not sent": {args: fn.HTTPArgs{RetryHeader: &fn.RetryHeader{At: fn.HeaderNames{"x-mine"}}}, status: 429, header: map[string]string{"Retry-After": "3"}, retry: true, limited: true, wait: 3 * s},
		"a date in the text":                      {rules: provider.Retry{InBody: inText}, status: 403, body: `{"error":{"message":"User-rate limit exceeded.  Retry after 2026-05-01T12:01:30.000Z"}}`, retry: true, limited: true, wait: 90 * s},
		"seconds in the text":                     {rules: provider.Retry{InBody: inText}, status: 429, body: `{"error":{"message":"Retry after 12."}}`, retry: true, limited: true, wait: 12 * s},
		"a Unix time in the text":                 {rules: provider.Retry{InBody: &provider.RetryInBody{Path: "m", Pattern: `at (\d+)`, At: true}}, status: 429, body: `{"m":"at 1777636890"}`, retry: true, limited: true, wait: 90 * s},
		"another text":                            {rules: provider.Retry{InBody: inText}, status: 403, body: `{"error":{"message":"The caller does not have permission"}}`},
		"a text that is none":                     {rules: provider.Retry{InBody: inText}, status: 403, body: `{"error":{"message":5}}`},
		"a body that is no JSON":                  {rules: provider.Retry{InBody: inText}, status: 403, body: `<html>Retry after 5</html>`},
		"a header before the text":                {rules: provider.Retry{InBody: inText}, status: 429, header: map[string]string{"Retry-After": "3"}, body: `{"error":{"message":"Retry after 60"}}`, retry: true, limited: true, wait: 3 * s},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			for k, v := range tc.header {
				h.Set(k, v)
			}
			r := rulesOf(tc.rules, &tc.args)
			v := r.judge(tc.status, h, []byte(tc.body), now)
			if v.retry != tc.retry || v.limited != tc.limited {
				t.Errorf("retry %v, limited %v", v.retry, v.limited)
			}
			if tc.wait == 0 && !v.at.IsZero() || tc.wait != 0 && !v.at.Equal(at(tc.wait)) {
				t.Errorf("at = %v; want in %s", v.at, tc.wait)
			}
		})
	}
	last := rulesOf(provider.Retry{RemainingZero: "x-left", At: []string{"x-reset"}}, &fn.HTTPArgs{})
	if v := last.judge(200, http.Header{"X-Left": {"0"}, "X-Reset": {"1777636890"}}, nil, now); v.retry || !v.spent || !v.at.Equal(at(90*s)) {
		t.Errorf("the last request of a budget: %+v", v)
	}
}

func TestWaitsAreSpread(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		attempt   int
		told      time.Duration
		low, high time.Duration
	}{
		"the first":                   {1, 0, 2400 * time.Millisecond, 3 * time.Second},
		"the fourth":                  {4, 0, 19200 * time.Millisecond, 24 * time.Second},
		"the last":                    {30, 0, 8 * time.Minute, 10 * time.Minute},
		"never sooner than was asked": {1, 5 * time.Second, 5 * time.Second, 5500 * time.Millisecond},
		"by a second at most":         {1, time.Hour, time.Hour, time.Hour + time.Second},
	} {
		seen := map[time.Duration]bool{}
		for i := range 100 {
			c := &Client{conf: Config{Rand: func() float64 { return float64(i) / 100 }}.withDefaults()}
			v := verdict{}
			if tc.told > 0 {
				v.at = now.Add(tc.told)
			}
			d := c.wait(tc.attempt, v, now)
			if seen[d] = true; d < tc.low || d > tc.high {
				t.Errorf("%s: %s", name, d)
			}
		}
		if len(seen) < 50 {
			t.Errorf("%s: only %d different waits", name, len(seen))
		}
	}
}

func TestRetryHeadersComeAsAStringOrAList(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{`{"retryHeader":{"at":"x-reset"}}`: 1, `{"retryHeader":{"at":["a","b"]}}`: 2, `{"retryHeader":{"at":""}}`: 0, `{"retryHeader":{"at":null}}`: 0} {
		var args fn.HTTPArgs
		if err := json.Unmarshal([]byte(text), &args); err != nil || len(args.RetryHeader.At) != want {
			t.Errorf("%s: %v, %v", text, args.RetryHeader, err)
		}
	}
}

// FuzzJudge: whatever an API answers, the wait is within bounds.
func FuzzJudge(f *testing.F) {
	f.Add(429, "Retry-After", "3", "epoch_s", `{"error":{"message":"Retry after 5"}}`)
	f.Add(403, "X-Reset", "1777636890000", "", "{}")
	f.Add(503, "X-Wait", "-1e999", "ms_left", "")
	f.Fuzz(func(t *testing.T, status int, name, value, unit, body string) {
		now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
		r := rulesOf(provider.Retry{After: []string{"Retry-After"}, At: []string{"X-Reset"}, Reset: []string{"X-Wait"}, ResetUnit: unit, RemainingZero: "X-Left", Codes: []string{"4xx"},
			InBody: &provider.RetryInBody{Path: "error.message", Pattern: "after (.+)"}}, &fn.HTTPArgs{})
		v := r.judge(status, http.Header{http.CanonicalHeaderKey(name): {value}, "X-Left": {"0"}}, []byte(body), now)
		if !v.at.IsZero() && v.at.Sub(now) > longestWait {
			t.Errorf("it waits until %v", v.at)
		}
	})
}
