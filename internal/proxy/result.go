package proxy

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"syncline/internal/fn"
)

// Result is the answer as it crosses into the function. The body is base64 when
// responseType is "arraybuffer" (as in [fn.HTTPArgs]) or when it is not valid
// UTF-8, and text otherwise.
func (r *Response) Result(responseType string) fn.HTTPResult {
	out := fn.HTTPResult{Status: r.Status, StatusText: r.StatusText, URL: r.URL, RateLimited: r.RateLimited, Headers: make(map[string]string, len(r.Header))}
	for name, values := range r.Header {
		out.Headers[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
	}
	if responseType == "arraybuffer" || !utf8.Valid(r.Body) {
		out.Body, out.Encoding = base64.StdEncoding.EncodeToString(r.Body), "base64"
	} else {
		out.Body = string(r.Body)
	}
	return out
}
