// Package native is what the globals and modules of functions leave to Go:
// parsing URLs, cryptography, comparing texts, and long conversions. It keeps
// no state and knows neither the engine nor the host; only strings come in and
// go out.
package native

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"syncline"
)

// maxRandom is how many random bytes one call gives.
const maxRandom = 1 << 20

// Call runs one operation. The result is "" when the input is not acceptable;
// operations that can say why give an answer in JSON ({"error": …}).
func Call(op, a, b, c string) string {
	switch op {
	case "uuid":
		return syncline.NewUUID()
	case "random":
		n, err := strconv.Atoi(a)
		if err != nil || n < 0 || n > maxRandom {
			return ""
		}
		out := make([]byte, n)
		rand.Read(out) // never fails (crypto/rand)
		return base64.StdEncoding.EncodeToString(out)
	case "hash", "hmac":
		return digest(op == "hmac", a, b, c)
	case "crypto":
		return cryptography(a, b)
	case "url":
		return parseURL(a, b)
	case "seturl":
		return setURL(a, b, c)
	case "compare":
		return compare(a, b, c)
	case "utf8":
		return base64.StdEncoding.EncodeToString([]byte(a))
	case "unutf8":
		return decodeUTF8(a)
	}
	return ""
}

// decodeUTF8 is the text of base64 bytes after a "+"; "" when they are not UTF-8.
func decodeUTF8(text string) string {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !utf8.Valid(b) {
		return ""
	}
	return "+" + string(b)
}

// answer writes the answer of an operation.
func answer(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return `{"error":"the answer cannot be written"}`
	}
	return string(b)
}
