package nodejs_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"syncline"
	"syncline/internal/fn"
	"syncline/internal/fn/worker"
)

// host answers host calls by a function.
type host func(method string, args json.RawMessage) (json.RawMessage, error)

func (h host) Call(_ context.Context, method string, args json.RawMessage) (json.RawMessage, error) {
	return h(method, args)
}

func (host) Log(syncline.LogLine) {}

func newCall(statements string) fn.Call {
	source := `var __syncline_fn = { default: { exec: async (nango, input) => {` + statements + `} } };`
	return fn.Call{
		Engine: syncline.EngineNode, EnvironmentID: 1, Entry: fn.EntryExec, BundleHash: source, Limits: fn.Limits{Wall: 20 * time.Second},
		Bundle: func(context.Context) ([]byte, error) { return []byte(source), nil },
	}
}

// What packages send with Node's own modules goes through the host.
func TestHTTPOfPackagesGoesThroughTheHost(t *testing.T) {
	t.Parallel()
	r := node(t, worker.Options{})
	send := `const send = (module, url, options, body) => new Promise((resolve, reject) => {
		const request = require(module).request(url, options, (response) => {
			let text = '';
			response.on('data', (part) => (text += part)).on('end', () => resolve([response.statusCode, response.headers['x-a'], text]));
		});
		request.on('error', reject).end(body);
	}); `
	var asked []fn.FetchArgs
	h := host(func(method string, args json.RawMessage) (json.RawMessage, error) {
		if method != fn.MethodUncontrolledFetch {
			t.Errorf("asked %s %s", method, args)
		}
		var a fn.FetchArgs
		if err := json.Unmarshal(args, &a); err != nil {
			t.Error(err)
		}
		asked = append(asked, a)
		if strings.Contains(a.URL, "refused") {
			return nil, &fn.HostError{Code: syncline.CodeForbidden, Message: "the address is private"}
		}
		return json.Marshal(fn.HTTPResult{
			Status: 201, StatusText: "Created", Headers: map[string]string{"x-a": "b", "content-encoding": "gzip"}, Encoding: "base64",
			Body: base64.StdEncoding.EncodeToString([]byte(strings.Repeat("é", 100_000))),
		})
	})
	out, err := r.Run(t.Context(), newCall(send+`
		const [status, header, text] = await send('https', 'https://h.example/p?q=1', { method: 'POST', headers: { 'content-type': 'text/xml' } }, '<é/>');
		const plain = await send('http', 'http://h.example:8080/', {});
		let failed;
		try { await send('https', 'https://refused.example/', {}); } catch (e) { failed = e.message; }
		return [status, header, text.length, plain[0], failed]`), h)
	if err != nil || string(out) != `[201,"b",100000,201,"the address is private"]` {
		t.Fatalf("got %s, %v", out, err)
	}
	if a := asked[0]; a.URL != "https://h.example/p?q=1" && a.URL != "https://h.example:443/p?q=1" || a.Method != "POST" || a.Headers["content-type"] != "text/xml" {
		t.Errorf("the host was asked %+v", a)
	}
	if asked[1].URL != "http://h.example:8080/" || asked[1].Method != "GET" {
		t.Errorf("the host was asked %+v", asked[1])
	}
}
