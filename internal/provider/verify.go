package provider

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strconv"
	"strings"
	"time"

	"syncline"
)

// Verify checks the signature of a delivery over its raw bytes with each of
// the secrets, in constant time. It fails closed: without a section, without a
// secret, without a signature the delivery is refused. The error has code
// unauthorized and says which check failed ([RefusalOf] in a word), never what
// would have passed.
//
// publicURL is where external APIs reach this server (without a path), for those
// that sign the URL; it is configured, never taken from the request.
func (w *Webhook) Verify(d *syncline.Delivery, secrets []string, publicURL string, now time.Time) error {
	if w == nil || len(w.Signatures) == 0 {
		return refuse(RefusedUnverifiable, "the webhooks of this provider cannot be verified").
			hint("describe how they are signed in the integration's config.webhook.verify")
	}
	for i := range w.Signatures {
		if v := &w.Signatures[i]; v.applies(d) {
			return v.check(d, secrets, publicURL, now)
		}
	}
	return w.Signatures[0].check(d, secrets, publicURL, now) // says what is missing
}

// applies reports whether the delivery is signed in this way.
func (v *Signature) applies(d *syncline.Delivery) bool {
	return v.Scheme == SchemeNone || len(headerValues(d, v.Header)) > 0
}

// Refusal is which check a delivery failed: a word for counters, which tells
// nothing of secrets or signatures.
type Refusal string

// The refusals.
const (
	RefusedUnverifiable Refusal = "unverifiable" // nothing says how the delivery would be signed
	RefusedNoSecret     Refusal = "no_secret"    // the integration has no webhook secret
	RefusedMissing      Refusal = "missing"      // there is no signature
	RefusedMalformed    Refusal = "malformed"    // there is something that cannot be a signature
	RefusedStale        Refusal = "stale"        // signed too long ago, or in the future
	RefusedMismatch     Refusal = "mismatch"     // a signature of something else, or by another secret
)

// refused is the error of a delivery that does not verify.
type refused struct {
	refusal Refusal
	err     *syncline.Error
}

func (r *refused) Error() string { return r.err.Error() }

// Unwrap returns the error with its code.
func (r *refused) Unwrap() error { return r.err }

func (r *refused) hint(format string, args ...any) *refused {
	return &refused{r.refusal, r.err.WithHint(format, args...)}
}

func refuse(why Refusal, format string, args ...any) *refused {
	return &refused{why, syncline.Errorf(syncline.CodeUnauthorized, format, args...)}
}

// RefusalOf is which check failed, of an error of [Webhook.Verify]; "" of any
// other error.
func RefusalOf(err error) Refusal {
	var r *refused
	if errors.As(err, &r) {
		return r.refusal
	}
	return ""
}

func (v *Signature) check(d *syncline.Delivery, secrets []string, publicURL string, now time.Time) error {
	if v.Scheme == SchemeNone {
		return nil
	}
	given := headerValues(d, v.Header)
	switch {
	case len(given) == 0:
		return refuse(RefusedMissing, "the signature is missing: there is no header %s", v.Header).
			hint("set the webhook's secret at the provider; unsigned deliveries are refused")
	case len(given) > 1:
		return refuse(RefusedMalformed, "there are %d headers %s; there may be one", len(given), v.Header)
	case len(secrets) == 0:
		return refuse(RefusedNoSecret, "no webhook secret is set for this integration").
			hint("set config.webhook.secrets of the integration to the secret that the provider signs with")
	}
	values, stamp, err := v.values(d, given[0])
	if err != nil {
		return err
	}
	if err := v.fresh(stamp, now); err != nil {
		return err
	}
	signatures := make([][]byte, len(values))
	for i, value := range values {
		if signatures[i] = []byte(value); v.Scheme == SchemeToken {
			continue
		}
		if signatures[i], err = v.decode(value); err != nil {
			return refuse(RefusedMalformed, "the signature in %s is not %s", v.Header, v.Encoding)
		}
	}
	content := v.content(d, publicURL, stamp)
	// All secrets are tried with all signatures, so that time does not tell which
	// one it was.
	match := 0
	for _, s := range secrets {
		if s == "" {
			continue
		}
		want := []byte(s)
		if v.Scheme != SchemeToken {
			want = v.sum(content, s)
		}
		for _, signature := range signatures {
			match |= equal(signature, want)
		}
	}
	if match != 1 {
		return refuse(RefusedMismatch, "the signature in %s does not match", v.Header).
			hint("is the secret at the provider the one of this integration, and does nothing change the body on the way?")
	}
	return nil
}

// maxPairs bounds the signatures of one header.
const maxPairs = 20

// values takes the signatures and the signing time from the header's value.
func (v *Signature) values(d *syncline.Delivery, header string) (signatures []string, stamp string, err error) {
	if v.Format == "pairs" {
		for pair := range strings.SplitSeq(header, ",") {
			switch name, value, _ := strings.Cut(strings.TrimSpace(pair), "="); name {
			case v.SignatureKey:
				signatures = append(signatures, value)
			case v.Timestamp:
				if stamp != "" {
					return nil, "", refuse(RefusedMalformed, "the header %s has several times", v.Header)
				}
				stamp = value
			}
		}
		if n := len(signatures); n == 0 || n > maxPairs {
			return nil, "", refuse(RefusedMalformed, "the header %s has %d signatures %s; there may be 1 to %d", v.Header, n, v.SignatureKey, maxPairs)
		}
		return signatures, stamp, nil
	}
	value, ok := strings.CutPrefix(header, v.Prefix)
	if !ok {
		return nil, "", refuse(RefusedMalformed, "the signature in %s does not begin with %q", v.Header, v.Prefix)
	}
	if v.Timestamp == "" {
		return []string{value}, "", nil
	}
	if source, ok := v.bodyTimestamp(); ok {
		stamp, _ = source.value(d, d.Body)
		return []string{value}, stamp, nil
	}
	given := headerValues(d, v.Timestamp)
	if len(given) != 1 {
		return nil, "", refuse(RefusedMalformed, "there are %d headers %s with the signing time; there must be one", len(given), v.Timestamp)
	}
	return []string{value}, given[0], nil
}

// bodyTimestamp is the place of a signing time that is in the body.
func (v *Signature) bodyTimestamp() (Source, bool) {
	return Source(v.Timestamp), strings.HasPrefix(v.Timestamp, "body:")
}

// equal compares in constant time, whatever the lengths.
func equal(a, b []byte) int {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) & subtle.ConstantTimeEq(int32(len(a)), int32(len(b)))
}

func (v *Signature) decode(value string) ([]byte, error) {
	if v.Encoding == "base64" {
		return base64.StdEncoding.Strict().DecodeString(value)
	}
	return hex.DecodeString(value)
}

func (v *Signature) sum(content []byte, secret string) []byte {
	var maker func() hash.Hash = sha256.New
	if v.Scheme == SchemeHMACSHA1 {
		maker = sha1.New
	}
	m := hmac.New(maker, []byte(secret))
	m.Write(content)
	return m.Sum(nil)
}

// content is what is signed.
func (v *Signature) content(d *syncline.Delivery, publicURL, stamp string) []byte {
	if v.Signed == "" || v.Signed == "{raw_body}" {
		return d.Body
	}
	var out []byte
	rest := v.Signed
	for {
		before, after, ok := strings.Cut(rest, "{")
		out = append(out, before...)
		if !ok {
			return out
		}
		name, tail, _ := strings.Cut(after, "}")
		switch kind, arg, _ := strings.Cut(name, ":"); kind {
		case "raw_body":
			out = append(out, d.Body...)
		case "timestamp":
			out = append(out, stamp...)
		case "method":
			out = append(out, d.Method...)
		case "url":
			out = append(append(out, strings.TrimRight(publicURL, "/")...), d.Path...)
		case "header":
			out = append(out, d.Header(arg)...)
		}
		rest = tail
	}
}

// fresh checks that the delivery was signed within the tolerance.
func (v *Signature) fresh(stamp string, now time.Time) error {
	if v.Timestamp == "" {
		return nil
	}
	at, ok := v.parseTime(stamp)
	if !ok {
		return refuse(RefusedMalformed, "the signing time in %s is missing, or is not %s", v.Timestamp, timeUnits[v.TimestampUnit])
	}
	if age := now.Sub(at); age > time.Duration(v.Tolerance) || age < -time.Duration(v.Tolerance) {
		return refuse(RefusedStale, "the delivery was signed too long ago, or in the future: the tolerance is %s", time.Duration(v.Tolerance)).
			hint("check this machine's clock")
	}
	return nil
}

var timeUnits = map[string]string{"": "a number of seconds", "s": "a number of seconds", "ms": "a number of milliseconds", "iso8601": "a time of ISO 8601"}

func (v *Signature) parseTime(stamp string) (time.Time, bool) {
	if v.TimestampUnit == "iso8601" {
		at, err := time.Parse(time.RFC3339, stamp)
		return at, err == nil
	}
	n, err := strconv.ParseInt(stamp, 10, 64)
	switch {
	case err != nil || n < 0 || n > 1<<50:
		return time.Time{}, false
	case v.TimestampUnit == "ms":
		return time.UnixMilli(n), true
	}
	return time.Unix(n, 0), n <= 1<<40
}

func (v *Signature) formatTime(at time.Time) string {
	switch v.TimestampUnit {
	case "iso8601":
		return at.UTC().Format(time.RFC3339)
	case "ms":
		return strconv.FormatInt(at.UnixMilli(), 10)
	}
	return strconv.FormatInt(at.Unix(), 10)
}

func headerValues(d *syncline.Delivery, name string) []string {
	var values []string
	for _, h := range d.Headers {
		if strings.EqualFold(h.Name, name) {
			values = append(values, h.Value)
		}
	}
	return values
}

// Sign returns the headers that the provider would sign a delivery with, by the
// first way that the section knows. Of d it takes what is signed: body, method
// and path.
func (w *Webhook) Sign(d *syncline.Delivery, secret, publicURL string, now time.Time) ([]syncline.Header, error) {
	if w == nil || len(w.Signatures) == 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "how the webhooks of this provider are signed is not known")
	}
	v := &w.Signatures[0]
	if v.Scheme == SchemeNone {
		return nil, nil
	}
	stamp := ""
	if source, ok := v.bodyTimestamp(); ok {
		stamp, _ = source.value(d, d.Body)
	} else if v.Timestamp != "" {
		stamp = v.formatTime(now)
	}
	value := secret
	if v.Scheme != SchemeToken {
		sum := v.sum(v.content(d, publicURL, stamp), secret)
		value = hex.EncodeToString(sum)
		if v.Encoding == "base64" {
			value = base64.StdEncoding.EncodeToString(sum)
		}
	}
	if v.Format == "pairs" {
		if stamp != "" {
			stamp = v.Timestamp + "=" + stamp + ","
		}
		return []syncline.Header{{Name: v.Header, Value: stamp + v.SignatureKey + "=" + value}}, nil
	}
	headers := []syncline.Header{{Name: v.Header, Value: v.Prefix + value}}
	if _, inBody := v.bodyTimestamp(); stamp != "" && !inBody {
		headers = append([]syncline.Header{{Name: v.Timestamp, Value: stamp}}, headers...)
	}
	return headers, nil
}
