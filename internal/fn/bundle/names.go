package bundle

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// packageNames says under which name the files of packages are to stand in a
// bundle, by the name that esbuild gives them. Those lead to where a package is
// installed, which may be above the project or behind a symbolic link: a bundle
// has to be the same on every machine, and to tell nothing of the machine.
func packageNames(metafile string) (map[string]string, error) {
	var m struct {
		Inputs map[string]struct{} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &m); err != nil {
		return nil, err
	}
	names := map[string]string{}
	for path := range m.Inputs {
		if i := strings.LastIndex(path, "node_modules/"); i > 0 {
			names[path] = path[i:]
		}
	}
	return names, nil
}

// fileLine is a line on which esbuild names a file: the comment above what it
// holds, or the key of a CommonJS module.
var fileLine = regexp.MustCompile(`(?m)^(?: *// (.+)| *"([^"\\]+)"\((?:exports(?:, module)?)?\) \{)$`)

// rename gives the files of packages their names. Lines keep their number, so
// a source map of other files still holds.
func rename(code []byte, names map[string]string) []byte {
	if len(names) == 0 || !bytes.Contains(code, []byte("node_modules/")) {
		return code
	}
	var out bytes.Buffer
	end := 0
	for _, m := range fileLine.FindAllSubmatchIndex(code, -1) {
		from, to := m[2], m[3]
		if from < 0 {
			from, to = m[4], m[5]
		}
		if name, ok := names[string(code[from:to])]; ok {
			out.Write(code[end:from])
			out.WriteString(name)
			end = to
		}
	}
	out.Write(code[end:])
	return out.Bytes()
}
