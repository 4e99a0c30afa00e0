package proxy

import (
	"context"
	"errors"
	"strings"

	"syncline"
	"syncline/internal/fn"
)

// Fetch makes a request that has nothing to do with a connection: without
// credentials, base URL and retries. The outbound policy and the limits of
// bodies, times and redirects hold as for any other; headers that may carry a
// credential do not follow a redirect to another origin. The body of the answer
// is in base64.
//
// Errors are those of [Client.Do], named TypeError as those of fetch are.
func (c *Client) Fetch(ctx context.Context, args fn.FetchArgs) (*fn.HTTPResult, error) {
	if !isAbsolute(strings.TrimSpace(args.URL)) {
		return nil, &fn.HostError{Code: syncline.CodeInvalid, Name: "TypeError", NetCode: "ERR_INVALID_URL", Message: "uncontrolledFetch: the URL is not an absolute one"}
	}
	r, err := c.Do(ctx, Request{Args: fn.HTTPArgs{
		Method: args.Method, Endpoint: args.URL, Headers: args.Headers, Body: args.Body, BodyEncoding: args.BodyEncoding, ResponseType: "arraybuffer",
	}})
	var failed *fn.HostError
	switch {
	case errors.As(err, &failed):
		own := *failed
		own.Name, own.Message = "TypeError", "uncontrolledFetch: "+failed.Message
		return nil, &own
	case err != nil:
		return nil, err
	}
	result := r.Result("arraybuffer")
	return &result, nil
}
