package quickjs_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What globals and modules do is what Node does: testdata/expect.mjs of hostjs
// wrote down what Node makes of the expressions there.
func TestGlobalsAndModulesDoWhatNodeDoes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../hostjs/testdata/node/*.json")
	if err != nil || len(files) < 6 {
		t.Fatalf("the expectations of Node are not there: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]json.RawMessage
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			var lines strings.Builder
			for expression := range want {
				quoted, err := json.Marshal(expression)
				if err != nil {
					t.Fatal(err)
				}
				lines.WriteString(string(quoted) + ": async (m) => (" + expression + "\n),\n")
			}
			// The modules are named, so that they are loaded.
			source := `/* Intl process. modules.util modules.path modules.url */ const m = __syncline.modules; const lines = {` + lines.String() + `};
var __syncline_fn = { default: { exec: async () => {
  const out = {};
  for (const [line, f] of Object.entries(lines)) {
    try {
      const v = await f(m);
      out[line] = v === undefined ? null : v;
    } catch (e) {
      out[line] = { throws: e.name, message: e.message };
    }
  }
  return out;
} } };`
			out, err := run(t, newCall(source), &recorder{})
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]json.RawMessage
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatal(err)
			}
			for expression, w := range want {
				if g := got[expression]; !same(t, g, w) {
					t.Errorf("%s\n is   %s\n want %s", short(expression), g, w)
				}
			}
		})
	}
}

// same compares values; of errors only the name counts.
func same(t *testing.T, got, want json.RawMessage) bool {
	t.Helper()
	var error struct{ Throws string }
	if json.Unmarshal(want, &error) == nil && error.Throws != "" {
		var other struct{ Throws string }
		return json.Unmarshal(got, &other) == nil && other.Throws == error.Throws
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, want); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(compact.Bytes(), got)
}

func short(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
