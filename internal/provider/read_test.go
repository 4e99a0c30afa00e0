package provider_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"syncline"
	"syncline/internal/provider"
)

const issueOpened = `{"action":"opened","installation":{"id":12345678901234567890},
 "repository":{"id":42,"full_name":"octo/hello","owner":{"login":"octo"}},"organization":{"login":"octo-org"},
 "issue":{"number":7,"title":"ü"}}`

func issue(headers ...syncline.Header) *syncline.Delivery {
	return &syncline.Delivery{
		Path:    "/webhook/e/i?hook=abc",
		Headers: append(headers, syncline.Header{Name: "X-GitHub-Event", Value: "issues"}, syncline.Header{Name: "X-GitHub-Delivery", Value: "72d3162e"}),
		Body:    []byte(issueOpened),
	}
}

func TestReadingAGitHubDelivery(t *testing.T) {
	t.Parallel()
	got, err := github(t).Read(issue())
	if err != nil {
		t.Fatal(err)
	}
	want := &provider.Reading{
		Type: "issues", DeliveryID: "72d3162e", OrderKey: "octo/hello#7", Payload: json.RawMessage(issueOpened),
		Matches: []provider.MatchValue{
			{Properties: []string{"connection_config.installation_id"}, Value: "12345678901234567890"}, // digit by digit
			{Properties: []string{"metadata.repository", "connection_config.repository"}, Value: "octo/hello"},
			{Properties: []string{"metadata.repository_id", "connection_config.repository_id"}, Value: "42"},
			{Properties: []string{"connection_config.organization", "metadata.organization"}, Value: "octo-org"},
			{Properties: []string{"connection_config.organization", "metadata.organization"}, Value: "octo"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFormHoldsTheSameAsItsJSON(t *testing.T) {
	t.Parallel()
	d := issue(syncline.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded; charset=utf-8"})
	d.Body = []byte(url.Values{"payload": {issueOpened}, "other": {"x"}}.Encode())
	got, err := github(t).Read(d)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Payload) != issueOpened || got.OrderKey != "octo/hello#7" {
		t.Errorf("%s: %s", got.OrderKey, got.Payload)
	}
	extracted, err := github(t).Extract(d)
	if err != nil || string(extracted) != issueOpened {
		t.Errorf("Extract = %s, %v", extracted, err)
	}
}

func TestWhatNoFunctionCouldRead(t *testing.T) {
	t.Parallel()
	form := syncline.Header{Name: "Content-Type", Value: "application/x-www-form-urlencoded"}
	for _, tc := range []struct {
		name, body string
		header     syncline.Header
		reason     string // "" can be read
	}{
		{name: "an empty body", body: "", reason: "empty"},
		{name: "white space", body: " \n", reason: "empty"},
		{name: "not JSON", body: "hello", reason: "not JSON"},
		{name: "half of it", body: `{"a":`, reason: "not JSON"},
		{name: "two values", body: `{} {}`, reason: "not JSON"},
		{name: "invalid UTF-8 in a string", body: "{\"a\":\"\xff\"}", reason: "UTF-8"},
		{name: "a byte order mark", body: "\ufeff{}", reason: "not JSON"},
		{name: "10,000 levels", body: strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), reason: "more than 1000 levels"},
		{name: "1,001 levels", body: strings.Repeat(`{"a":`, 1001) + "1" + strings.Repeat("}", 1001), reason: "more than 1000 levels"},
		{name: "1,000 levels", body: strings.Repeat("[", 1000) + strings.Repeat("]", 1000)},
		{name: "brackets in strings are no levels", body: `{"a":"` + strings.Repeat(`[{\"`, 5000) + `"}`},
		{name: "unbalanced brackets", body: strings.Repeat("]", 5000), reason: "not JSON"},
		{name: "a scalar", body: "42"},
		{name: "a form without the field", body: "a=b", header: form, reason: "no fields"},
		{name: "a form with the field twice", body: "payload={}&payload={}", header: form, reason: "2 fields"},
		{name: "a form that is none", body: "payload=%zz", header: form, reason: "form cannot be read"},
		{name: "a form whose field is not JSON", body: "payload=hello", header: form, reason: "not JSON"},
		{name: "a form whose field is empty", body: "payload=", header: form, reason: "empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := github(t).Read(&syncline.Delivery{Body: []byte(tc.body), Headers: []syncline.Header{tc.header}})
			if tc.reason == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			reason := strings.Replace(tc.reason, "no fields", "0 fields", 1)
			if syncline.CodeOf(err) != syncline.CodeInvalid || !strings.Contains(err.Error(), reason) {
				t.Errorf("error = %v; want invalid_request, %q", err, reason)
			}
		})
	}
}

func TestSources(t *testing.T) {
	t.Parallel()
	d := &syncline.Delivery{
		Path:    "/webhook/e/i?hook=a%20b&hook=second&empty=",
		Headers: []syncline.Header{{Name: "X-One", Value: "1"}, {Name: "X-One", Value: "2"}},
		Body:    []byte(`{"s":"text","n":1.50,"big":9007199254740993,"t":true,"null":null,"list":["a"],"o":{"k":{"deep":"v"}},"empty":""}`),
	}
	for source, want := range map[provider.Source]string{
		"header:x-one": "1", "header:x-two": "", "query:hook": "a b", "query:empty": "", "query:none": "",
		"body:s": "text", "body:n": "1.50", "body:big": "9007199254740993", "body:t": "true", "body:null": "", "body:list": "",
		"body:list.0": "a", "body:o": "", "body:o.k.deep": "v", "body:none.deep": "", "body:empty": "",
	} {
		w := &provider.Webhook{Type: []provider.Source{"header:none", source}}
		if err := w.Check(); err != nil {
			t.Errorf("%s: %v", source, err)
		}
		r, err := w.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		if r.Type != want {
			t.Errorf("%s = %q; want %q", source, r.Type, want)
		}
	}
}

func TestAnOrderKeyIsWholeOrNone(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"repository":{"full_name":"o/r"},"issue":{"number":5}}`: "o/r#5",
		`{"repository":{"full_name":"o/r"}}`:                      "",
		`{"issue":{"number":5}}`:                                  "",
	} {
		r, err := github(t).Read(&syncline.Delivery{Body: []byte(body)})
		if err != nil {
			t.Fatal(err)
		}
		if r.OrderKey != want {
			t.Errorf("%s: %q; want %q", body, r.OrderKey, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(issueOpened), "application/json", "/webhook/e/i")
	f.Add([]byte("payload=%7B%22action%22%3A%22opened%22%7D"), "application/x-www-form-urlencoded", "/webhook/e/i?hook=1")
	f.Add([]byte(`{"issue":{"number":[1]},"repository":"x"}`), "", "%zz")
	f.Add([]byte(strings.Repeat("[", 1001)), "text/plain", "")
	f.Fuzz(func(t *testing.T, body []byte, contentType, path string) {
		d := &syncline.Delivery{Body: body, Path: path, Headers: []syncline.Header{{Name: "Content-Type", Value: contentType}, {Name: "X-GitHub-Event", Value: "issues"}}}
		before := string(body)
		r, err := github(t).Read(d)
		if string(d.Body) != before {
			t.Fatal("reading changed the body")
		}
		if err != nil {
			if syncline.CodeOf(err) != syncline.CodeInvalid {
				t.Fatalf("error %v has another code", err)
			}
			return
		}
		if !json.Valid(r.Payload) || !utf8.Valid(r.Payload) || r.Type != "issues" {
			t.Fatalf("%+v", r)
		}
		for _, m := range r.Matches {
			if m.Value == "" || len(m.Properties) == 0 {
				t.Fatalf("a match by nothing: %+v", m)
			}
		}
	})
}
