package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"

	"syncline"
)

// paused answers a request that was not made: the API has told another request
// of the connection when to come back, and that is too far away. It is a 429 as
// the API would have sent it, so that callers need to know one kind only.
func (c *Client) paused(r Request, p *prepared, pause *pause, made int) *Response {
	now := c.conf.Clock.Now()
	left := pause.at.Sub(now)
	why := sprintf("%s takes no requests of this connection for another %s, as it told an earlier one; this one was not sent", p.host(), seconds(left))
	body, err := json.Marshal(map[string]any{"error": map[string]string{"code": string(syncline.CodeLimited), "message": why}})
	if err != nil {
		body = nil // strings: it does not fail
	}
	p.log.giveUp(now, why)
	return &Response{
		Status: http.StatusTooManyRequests, StatusText: http.StatusText(http.StatusTooManyRequests), Body: body, URL: p.shownURL(p.url),
		Header: http.Header{
			"Content-Type": {"application/json"}, "Retry-After": {strconv.FormatInt(int64(math.Ceil(left.Seconds())), 10)},
			"Content-Length": {strconv.Itoa(len(body))}, "Date": {now.UTC().Format(http.TimeFormat)},
		},
		Attempts: made, RateLimited: true, RetryAt: pause.at, Reason: why,
	}
}
