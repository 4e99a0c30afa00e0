package provider_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/provider"
)

// vector is one published or derived signature.
type vector struct {
	Name      string            `json:"name"`
	Provider  string            `json:"provider"`
	Scheme    string            `json:"scheme"`
	Secret    string            `json:"secret"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      string            `json:"body"`
	Signature string            `json:"expected_signature"`
	Valid     bool              `json:"valid"`
	Now       int64             `json:"now_unix"`
	// Expect is what reading the delivery must give, where the vector says so.
	Expect json.RawMessage `json:"expect"`
}

// expectation is that of a vector of the catalogue's providers.
type expectation struct {
	Type       string `json:"event_type"`
	DeliveryID string `json:"delivery_id"`
	Account    any    `json:"account"`
}

// vectorsFile holds the vectors; it is kept outside of the repository.
const vectorsFile = "../../../shared/reference/webhook-vectors.json"

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile(vectorsFile)
	if os.IsNotExist(err) {
		t.Skipf("%s is not here: the published vectors are not checked", vectorsFile)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []vector `json:"vectors"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Vectors
}

func (v vector) delivery() *syncline.Delivery {
	d := &syncline.Delivery{Method: v.Method, Path: "/webhook/e/i", Body: []byte(v.Body)}
	if u, err := url.Parse(v.URL); err == nil && v.URL != "" {
		d.Path = u.RequestURI()
	}
	for name, value := range v.Headers {
		d.Headers = append(d.Headers, syncline.Header{Name: name, Value: value})
	}
	return d
}

// at is when the vector is verified.
func (v vector) at() time.Time {
	if v.Now == 0 {
		return now
	}
	return time.Unix(v.Now, 0)
}

// public is the public URL of the server that the vector was sent to.
func (v vector) public() string {
	u, err := url.Parse(v.URL)
	if err != nil || v.URL == "" {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func github(t *testing.T) *provider.Webhook {
	t.Helper()
	p, ok := provider.Builtin().Provider("github")
	if !ok {
		t.Fatal("github is not in the catalogue")
	}
	return p.Webhook
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestVectorsOfTheCataloguesProviders(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, v := range vectors(t) {
		p, known := provider.Builtin().Provider(v.Provider)
		if !known || p.Webhook == nil {
			continue
		}
		if kind, _, _ := strings.Cut(v.Scheme, "/"); !strings.HasPrefix(kind, "hmac-") {
			continue // a way that the engine does not have: such deliveries are refused
		}
		checked++
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			err := p.Webhook.Verify(v.delivery(), []string{v.Secret}, v.public(), v.at())
			if v.Valid && err != nil {
				t.Errorf("a good signature was refused: %v", err)
			}
			if !v.Valid && syncline.CodeOf(err) != syncline.CodeUnauthorized {
				t.Errorf("error = %v; want unauthorized", err)
			}
			if !v.Valid {
				return
			}
			if v.Name != "stripe-dotnet" { // verified later than it was signed
				headers, err := p.Webhook.Sign(v.delivery(), v.Secret, v.public(), v.at())
				if err != nil || len(headers) == 0 || !strings.HasSuffix(headers[len(headers)-1].Value, v.Signature) {
					t.Errorf("Sign = %v, %v; want %s", headers, err, v.Signature)
				}
			}
			if v.Expect == nil {
				return
			}
			var want expectation
			if err := json.Unmarshal(v.Expect, &want); err != nil {
				t.Fatal(err)
			}
			r, err := p.Webhook.Read(v.delivery())
			if err != nil {
				t.Fatal(err)
			}
			if r.Type != want.Type || want.DeliveryID != "" && r.DeliveryID != want.DeliveryID {
				t.Errorf("read as %s, %s; want %+v", r.Type, r.DeliveryID, want)
			}
			if account := fmt.Sprint(want.Account); want.Account != nil &&
				!slices.ContainsFunc(r.Matches, func(m provider.MatchValue) bool { return m.Value == account }) {
				t.Errorf("matches by %+v; want the account %s among them", r.Matches, account)
			}
		})
	}
	if checked < 10 {
		t.Errorf("only %d vectors were checked", checked)
	}
}

// signed is GitHub's published example, so that tampering is tested without
// the file of vectors too.
func signed() *syncline.Delivery {
	return &syncline.Delivery{
		Headers: []syncline.Header{{Name: "X-Hub-Signature-256", Value: "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}},
		Body:    []byte("Hello, World!"),
	}
}

const published = "It's a Secret to Everybody"

func TestGitHubDeliveries(t *testing.T) {
	t.Parallel()
	header := func(value string) func(d *syncline.Delivery) {
		return func(d *syncline.Delivery) { d.Headers[0].Value = value }
	}
	for _, tc := range []struct {
		name    string
		change  func(d *syncline.Delivery)
		secrets []string
		reason  string // "" is verified
		refusal provider.Refusal
	}{
		{name: "the published example is verified"},
		{name: "one of several secrets is enough", secrets: []string{"old", published, "new"}},
		{name: "upper-case hex is verified", change: func(d *syncline.Delivery) {
			d.Headers[0].Value = "sha256=" + strings.ToUpper(strings.TrimPrefix(d.Headers[0].Value, "sha256="))
		}},
		{name: "a flipped byte of the body is refused", change: func(d *syncline.Delivery) { d.Body[3] ^= 1 }, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "a flipped digit of the signature is refused", change: func(d *syncline.Delivery) {
			d.Headers[0].Value = strings.Replace(d.Headers[0].Value, "757107", "757106", 1)
		}, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "one byte more is refused", change: func(d *syncline.Delivery) { d.Body = append(d.Body, '\n') }, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "no signature is refused", change: func(d *syncline.Delivery) { d.Headers = nil }, reason: "missing", refusal: provider.RefusedMissing},
		{name: "an empty signature is refused", change: header(""), reason: "does not begin", refusal: provider.RefusedMalformed},
		{name: "the prefix alone is refused", change: header("sha256="), reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "another secret is refused", secrets: []string{"It's a secret to everybody"}, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "another prefix is refused", change: func(d *syncline.Delivery) {
			d.Headers[0].Value = strings.Replace(d.Headers[0].Value, "sha256=", "sha1=", 1)
		}, reason: "does not begin", refusal: provider.RefusedMalformed},
		{name: "no prefix is refused", change: func(d *syncline.Delivery) {
			d.Headers[0].Value = strings.TrimPrefix(d.Headers[0].Value, "sha256=")
		}, reason: "does not begin", refusal: provider.RefusedMalformed},
		{name: "a truncated signature is refused", change: func(d *syncline.Delivery) { d.Headers[0].Value = d.Headers[0].Value[:39] }, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "half a byte is refused", change: func(d *syncline.Delivery) { d.Headers[0].Value = d.Headers[0].Value[:70] }, reason: "is not hex", refusal: provider.RefusedMalformed},
		{name: "what is not hex is refused", change: header("sha256=" + strings.Repeat("zz", 32)), reason: "is not hex", refusal: provider.RefusedMalformed},
		{name: "an empty body is refused", change: func(d *syncline.Delivery) { d.Body = nil }, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "no secret is refused", secrets: []string{}, reason: "no webhook secret is set", refusal: provider.RefusedNoSecret},
		{name: "an empty secret is refused", secrets: []string{""}, reason: "does not match", refusal: provider.RefusedMismatch},
		{name: "two signatures are refused", change: func(d *syncline.Delivery) { d.Headers = append(d.Headers, d.Headers[0]) }, reason: "there may be one", refusal: provider.RefusedMalformed},
		{name: "the older SHA-1 signature is not enough", change: func(d *syncline.Delivery) {
			d.Headers = []syncline.Header{{Name: "X-Hub-Signature", Value: "sha1=abc"}}
		}, reason: "missing", refusal: provider.RefusedMissing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := signed()
			if tc.change != nil {
				tc.change(d)
			}
			if tc.secrets == nil {
				tc.secrets = []string{published}
			}
			err := github(t).Verify(d, tc.secrets, "", now)
			if tc.reason == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if syncline.CodeOf(err) != syncline.CodeUnauthorized || !strings.Contains(err.Error(), tc.reason) {
				t.Fatalf("error = %v; want unauthorized, %q", err, tc.reason)
			}
			if got := provider.RefusalOf(err); got != tc.refusal {
				t.Errorf("counted as %s; want %s", got, tc.refusal)
			}
			for _, s := range tc.secrets {
				if s != "" && strings.Contains(err.Error(), s) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
		})
	}
}

func TestAnEmptySecretNeverVerifies(t *testing.T) {
	t.Parallel()
	headers, err := github(t).Sign(&syncline.Delivery{Body: []byte("{}")}, "", "", now)
	if err != nil {
		t.Fatal(err)
	}
	d := &syncline.Delivery{Body: []byte("{}"), Headers: headers}
	if err := github(t).Verify(d, []string{""}, "", now); err == nil {
		t.Error("a signature by the empty secret was taken")
	}
}

func TestASectionWithoutVerificationRefuses(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]*provider.Webhook{"no section": nil, "no way to verify": {}} {
		if err := w.Verify(signed(), []string{published}, "", now); syncline.CodeOf(err) != syncline.CodeUnauthorized {
			t.Errorf("%s: %v; want unauthorized", name, err)
		}
	}
}

func TestSchemes(t *testing.T) {
	t.Parallel()
	body := []byte(`{"n":1}`)
	minute := provider.Duration(time.Minute)
	for name, v := range map[string]provider.Signature{
		"sha256 hex":    {Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig"},
		"sha256 base64": {Scheme: "hmac-sha256", Encoding: "base64", Header: "x-sig", Prefix: "v1="},
		"sha1 hex":      {Scheme: "hmac-sha1", Encoding: "hex", Header: "x-sig"},
		"sha1 base64":   {Scheme: "hmac-sha1", Encoding: "base64", Header: "x-sig"},
		"token":         {Scheme: "token", Header: "authorization", Prefix: "Bearer "},
		"milliseconds":  {Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig", Signed: "{method}{url}{raw_body}{timestamp}", Timestamp: "x-time", TimestampUnit: "ms", Tolerance: minute},
		"iso8601":       {Scheme: "hmac-sha256", Encoding: "base64", Header: "x-sig", Signed: "{timestamp}{raw_body}", Timestamp: "x-time", TimestampUnit: "iso8601", Tolerance: minute},
		"timestamp":     {Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig", Prefix: "v0=", Signed: "v0:{timestamp}:{raw_body}", Timestamp: "x-time", Tolerance: minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &provider.Webhook{Signatures: []provider.Signature{v}}
			if err := w.Check(); err != nil {
				t.Fatal(err)
			}
			headers, err := w.Sign(&syncline.Delivery{Body: body}, "s3cret", "", now)
			if err != nil {
				t.Fatal(err)
			}
			try := func(body []byte, headers []syncline.Header, secret string, at time.Time) error {
				return w.Verify(&syncline.Delivery{Body: body, Headers: headers}, []string{"another", secret}, "", at)
			}
			if err := try(body, headers, "s3cret", now); err != nil {
				t.Errorf("its own signature is refused: %v", err)
			}
			if err := try(body, headers, "s3cre", now); err == nil {
				t.Error("another secret was taken")
			}
			if err := try(body, headers[:len(headers)-1], "s3cret", now); err == nil {
				t.Error("no signature was taken")
			}
			if v.Scheme != "token" {
				if err := try(append(body[:len(body):len(body)], ' '), headers, "s3cret", now); err == nil {
					t.Error("another body was taken")
				}
			}
			if v.Timestamp == "" {
				return
			}
			for after, fresh := range map[time.Duration]bool{time.Minute: true, 61 * time.Second: false, -time.Minute: true, -61 * time.Second: false} {
				if err := try(body, headers, "s3cret", now.Add(after)); (err == nil) != fresh {
					t.Errorf("%s after it was signed: %v", after, err)
				}
			}
			for _, value := range []string{"", "soon", "-1", "99999999999999999999", "9223372036854775807"} {
				changed := slices.Clone(headers)
				changed[0].Value = value
				if err := try(body, changed, "s3cret", now); err == nil {
					t.Errorf("signing time %q was taken", value)
				}
			}
			changed := slices.Clone(headers)
			later, err := w.Sign(&syncline.Delivery{Body: body}, "another one", "", now.Add(time.Second)) // within the tolerance
			if err != nil {
				t.Fatal(err)
			}
			changed[0].Value = later[0].Value
			if err := try(body, changed, "s3cret", now); err == nil {
				t.Error("a changed signing time was taken")
			}
		})
	}
}

func TestSignaturesInPairs(t *testing.T) {
	t.Parallel()
	w := &provider.Webhook{Signatures: []provider.Signature{{
		Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig", Format: "pairs", SignatureKey: "v1",
		Signed: "{timestamp}.{raw_body}", Timestamp: "t", Tolerance: provider.Duration(time.Minute),
	}}}
	if err := w.Check(); err != nil {
		t.Fatal(err)
	}
	d := &syncline.Delivery{Body: []byte("{}")}
	headers, err := w.Sign(d, "secret", "", now)
	if err != nil {
		t.Fatal(err)
	}
	good := headers[0].Value // t=…,v1=…
	stamp, signature, _ := strings.Cut(good, ",")
	for value, ok := range map[string]bool{
		good:                    true,
		signature + "," + stamp: true,
		good + ",v0=decoy":      true,
		good + ", v2=x, other":  true,
		stamp + ",v1=" + strings.Repeat("00", 32) + "," + signature: true, // of two secrets
		stamp + ",v0=" + signature[3:]:                              false,
		stamp:                                                       false,
		signature:                                                   false, // no time
		stamp + "," + good:                                          false, // two times
		stamp + ",v1=" + strings.Repeat("00", 32):                   false,
		stamp + ",v1=xyz":                                           false,
		stamp + strings.Repeat(","+signature, 21):                   false,
		"": false,
	} {
		d.Headers = []syncline.Header{{Name: "X-Sig", Value: value}}
		if err := w.Verify(d, []string{"secret"}, "", now); (err == nil) != ok {
			t.Errorf("%q: %v", value, err)
		}
	}
	d.Headers = headers
	if err := w.Verify(d, []string{"secret"}, "", now.Add(2*time.Minute)); provider.RefusalOf(err) != provider.RefusedStale {
		t.Errorf("two minutes later: %v", err)
	}
}

func TestASigningTimeInTheBody(t *testing.T) {
	t.Parallel()
	w := &provider.Webhook{Signatures: []provider.Signature{{
		Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig", Timestamp: "body:at", TimestampUnit: "ms", Tolerance: provider.Duration(time.Minute),
	}}}
	if err := w.Check(); err != nil {
		t.Fatal(err)
	}
	for body, ok := range map[string]bool{
		fmt.Sprintf(`{"at":%d}`, now.UnixMilli()):                     true,
		fmt.Sprintf(`{"at":%d}`, now.Add(-2*time.Minute).UnixMilli()): false,
		fmt.Sprintf(`{"at":%d}`, now.Add(2*time.Minute).UnixMilli()):  false,
		`{"at":"soon"}`: false,
		`{}`:            false,
		`not JSON`:      false,
	} {
		d := &syncline.Delivery{Body: []byte(body)}
		headers, err := w.Sign(d, "secret", "", now)
		if err != nil {
			t.Fatal(err)
		}
		d.Headers = headers
		if err := w.Verify(d, []string{"secret"}, "", now); (err == nil) != ok {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestTheURLThatIsSignedIsTheConfiguredOne(t *testing.T) {
	t.Parallel()
	w := &provider.Webhook{Signatures: []provider.Signature{{Scheme: "hmac-sha256", Encoding: "hex", Header: "x-sig", Signed: "{method}{url}{raw_body}"}}}
	d := &syncline.Delivery{Method: "POST", Path: "/webhook/e/i?x=1", Body: []byte("{}")}
	headers, err := w.Sign(d, "secret", "https://hooks.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	d.Headers = append(headers, syncline.Header{Name: "Host", Value: "evil.example.com"}, syncline.Header{Name: "X-Forwarded-Host", Value: "evil.example.com"})
	if err := w.Verify(d, []string{"secret"}, "https://hooks.example.com/", now); err != nil {
		t.Error(err)
	}
	if err := w.Verify(d, []string{"secret"}, "https://evil.example.com", now); err == nil {
		t.Error("another public URL was taken")
	}
	d.Path = "/webhook/e/i?x=2"
	if err := w.Verify(d, []string{"secret"}, "https://hooks.example.com", now); err == nil {
		t.Error("another query was taken")
	}
}

func TestAWrongSignatureIsNotMadeGoodByAnother(t *testing.T) {
	t.Parallel()
	w := &provider.Webhook{Signatures: []provider.Signature{
		{Scheme: "hmac-sha256", Encoding: "hex", Header: "x-new"}, {Scheme: "hmac-sha1", Encoding: "hex", Header: "x-old"},
	}}
	body := []byte("{}")
	old, err := (&provider.Webhook{Signatures: w.Signatures[1:]}).Sign(&syncline.Delivery{Body: body}, "s", "", now)
	if err != nil {
		t.Fatal(err)
	}
	d := &syncline.Delivery{Body: body, Headers: old}
	if err := w.Verify(d, []string{"s"}, "", now); err != nil {
		t.Errorf("the older way alone: %v", err)
	}
	d.Headers = append(d.Headers, syncline.Header{Name: "X-New", Value: strings.Repeat("00", 32)})
	if err := w.Verify(d, []string{"s"}, "", now); err == nil {
		t.Error("a wrong signature passed, because the older one was right")
	}
}

func TestNoneVerifiesAnything(t *testing.T) {
	t.Parallel()
	w, err := (*provider.Webhook)(nil).Override([]byte(`{"verify":[{"scheme":"none"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Verify(&syncline.Delivery{}, nil, "", now); err != nil {
		t.Error(err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte("Hello, World!"), "X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")
	f.Add([]byte("{}"), "x-hub-signature-256", "sha256=")
	f.Add([]byte{}, "", "")
	f.Fuzz(func(t *testing.T, body []byte, name, value string) {
		d := &syncline.Delivery{Body: body, Headers: []syncline.Header{{Name: name, Value: value}}}
		err := github(t).Verify(d, []string{published}, "", now)
		if err != nil && syncline.CodeOf(err) != syncline.CodeUnauthorized {
			t.Fatalf("error %v has another code", err)
		}
		want, signErr := github(t).Sign(&syncline.Delivery{Body: body}, published, "", now)
		if signErr != nil {
			t.Fatal(signErr)
		}
		good := strings.EqualFold(name, want[0].Name) && strings.HasPrefix(value, "sha256=") && strings.EqualFold(value, want[0].Value)
		if good != (err == nil) {
			t.Fatalf("verified = %v; want %v", err == nil, good)
		}
		d.Headers = want
		if err := github(t).Verify(d, []string{published}, "", now); err != nil {
			t.Fatalf("its own signature is refused: %v", err)
		}
		if len(body) > 0 {
			d.Body = bytes.Clone(body)
			d.Body[len(body)/2] ^= 0x10
			if github(t).Verify(d, []string{published}, "", now) == nil {
				t.Fatal("a flipped bit was taken")
			}
		}
	})
}
