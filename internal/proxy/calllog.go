package proxy

import (
	"encoding/json"
	"time"

	"syncline"
	"syncline/internal/fn"
)

// callLog writes what happens to one request into the run's log. Nothing of
// headers and bodies is in it, and no credential of the URL.
type callLog struct {
	add    func(syncline.LogLine) // nil: nobody reads it
	method string
	url    string
	now    func() time.Time
}

// call is the data of a line about one attempt.
type call struct {
	Type       string `json:"type"` // http
	Method     string `json:"method"`
	URL        string `json:"url"`
	Status     int    `json:"status,omitempty"`
	DurationMS int64  `json:"duration_ms"`
	Attempt    int    `json:"attempt"`
	Attempts   int    `json:"max_attempts"`
	Bytes      int    `json:"bytes,omitempty"` // of the decoded body
	Code       string `json:"code,omitempty"`  // of the network error
}

func (l *callLog) attempt(began, ended time.Time, resp *Response, herr *fn.HostError, n, of int) {
	if l.add == nil {
		return
	}
	c := call{Type: "http", Method: l.method, URL: l.url, DurationMS: ended.Sub(began).Milliseconds(), Attempt: n, Attempts: of}
	line := syncline.LogLine{At: ended, Level: syncline.LogInfo}
	if herr != nil {
		c.Code = herr.NetCode
		line.Level, line.Message = syncline.LogError, sprintf("%s %s failed after %d ms: %s", l.method, l.url, c.DurationMS, herr.Message)
	} else {
		c.Status, c.Bytes = resp.Status, len(resp.Body)
		line.Message = sprintf("%s %s %d in %d ms", l.method, l.url, resp.Status, c.DurationMS)
		if resp.Status >= 400 {
			line.Level = syncline.LogError
		}
	}
	if of > 1 {
		line.Message += sprintf(" [attempt %d of %d]", n, of)
	}
	if data, err := json.Marshal(c); err == nil {
		line.Data = data
	}
	l.add(line)
}

func (l *callLog) waits(now time.Time, wait time.Duration, n, of int, resp *Response, herr *fn.HostError) {
	if l.add == nil {
		return
	}
	var why string
	switch {
	case herr != nil:
		why = herr.NetCode
	case resp.RateLimited:
		why = sprintf("rate limit, status %d", resp.Status)
	default:
		why = sprintf("status %d", resp.Status)
	}
	l.add(syncline.LogLine{At: now, Level: syncline.LogWarn, Message: sprintf("the request is tried again in %s (%s) [%d of %d]", wait.Round(time.Millisecond), why, n, of)})
}

func (l *callLog) giveUp(now time.Time, why string) {
	if l.add != nil {
		l.add(syncline.LogLine{At: now, Level: syncline.LogWarn, Message: sprintf("%s %s: %s", l.method, l.url, why)})
	}
}

func (l *callLog) refreshed() {
	if l.add != nil {
		l.add(syncline.LogLine{At: l.now(), Level: syncline.LogInfo, Message: "the credentials were refused; the request is tried again with fresh ones"})
	}
}
