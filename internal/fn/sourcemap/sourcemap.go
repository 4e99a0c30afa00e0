// Package sourcemap reads and writes source maps (version 3), as far as places
// in stack traces need them: lines and columns, no names and no contents. It
// knows nothing of bundles or engines.
package sourcemap

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Map tells which place of a source a place of the generated file comes from.
type Map struct {
	sources []string
	rows    [][]mapping // by generated line, each by column
}

// mapping says where a generated line comes from, from a column on.
type mapping struct {
	generated    int // column
	source       int // -1: from no source
	line, column int
}

// Place is a place in a source. Line and Column count from 1.
type Place struct {
	Source       string
	Line, Column int
}

// file is a source map as it is stored.
type file struct {
	Version  int      `json:"version"`
	Sources  []string `json:"sources"`
	Names    []string `json:"names"`
	Mappings string   `json:"mappings"`
}

// Parse reads a source map.
func Parse(text []byte) (*Map, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read a source map: %w", err)
	}
	if f.Version != 3 {
		return nil, fmt.Errorf("read a source map: version %d is not 3", f.Version)
	}
	m := &Map{sources: f.Sources}
	var source, line, column int
	for row := range strings.SplitSeq(f.Mappings, ";") {
		var list []mapping
		generated := 0
		for segment := range strings.SplitSeq(row, ",") {
			if segment == "" {
				continue
			}
			fields, err := decode(segment)
			if err != nil {
				return nil, fmt.Errorf("read a source map: %w", err)
			}
			generated += fields[0]
			p := mapping{generated: generated, source: -1}
			if len(fields) >= 4 {
				source, line, column = source+fields[1], line+fields[2], column+fields[3]
				if source < 0 || source >= len(f.Sources) {
					return nil, errors.New("read a source map: a mapping names a source that is not there")
				}
				p.source, p.line, p.column = source, line, column
			}
			list = append(list, p)
		}
		m.rows = append(m.rows, list)
	}
	return m, nil
}

// At returns where a place of the generated file comes from; false when it
// comes from no source. Line and column count from 1.
func (m *Map) At(line, column int) (Place, bool) {
	if line < 1 || line > len(m.rows) {
		return Place{}, false
	}
	row := m.rows[line-1]
	i, exact := slices.BinarySearchFunc(row, column-1, func(p mapping, column int) int { return cmp.Compare(p.generated, column) })
	if !exact {
		i--
	}
	if i < 0 || row[i].source < 0 {
		return Place{}, false
	}
	return Place{m.sources[row[i].source], row[i].line + 1, row[i].column + 1}, true
}

// Keep returns the map with only the sources that keep accepts.
func (m *Map) Keep(keep func(source string) bool) *Map {
	kept := &Map{rows: make([][]mapping, len(m.rows))}
	places := make([]int, len(m.sources))
	for i, s := range m.sources {
		places[i] = -1
		if keep(s) {
			places[i] = len(kept.sources)
			kept.sources = append(kept.sources, s)
		}
	}
	for i, row := range m.rows {
		from := -1 // no source, as a line begins
		for _, p := range row {
			if p.source >= 0 {
				p.source = places[p.source]
			}
			if p.source < 0 && from < 0 {
				continue // one mapping stands for a stretch without sources
			}
			from = p.source
			kept.rows[i] = append(kept.rows[i], p)
		}
	}
	return kept
}

// Encode writes the map as JSON.
func (m *Map) Encode() ([]byte, error) {
	var out strings.Builder
	var source, line, column int
	for i, row := range m.rows {
		if i > 0 {
			out.WriteByte(';')
		}
		generated := 0
		for j, p := range row {
			if j > 0 {
				out.WriteByte(',')
			}
			encode(&out, p.generated-generated)
			generated = p.generated
			if p.source >= 0 {
				encode(&out, p.source-source)
				encode(&out, p.line-line)
				encode(&out, p.column-column)
				source, line, column = p.source, p.line, p.column
			}
		}
	}
	// Lines at the end that come from nowhere need no mention.
	f := file{Version: 3, Sources: m.sources, Names: []string{}, Mappings: strings.TrimRight(out.String(), ";")}
	if f.Sources == nil {
		f.Sources = []string{}
	}
	return json.Marshal(f)
}

const comment = "//# sourceMappingURL=data:application/json;base64,"

// Inline is the line that carries the map in the generated file, its last.
func (m *Map) Inline() ([]byte, error) {
	text, err := m.Encode()
	if err != nil {
		return nil, err
	}
	return []byte(comment + base64.StdEncoding.EncodeToString(text) + "\n"), nil
}

// Inlined reads the map that a generated file carries; nil when it carries none.
func Inlined(generated []byte) (*Map, error) {
	i := bytes.LastIndex(generated, []byte(comment))
	if i < 0 {
		return nil, nil
	}
	line, _, _ := bytes.Cut(generated[i+len(comment):], []byte("\n"))
	text, err := base64.StdEncoding.DecodeString(string(line))
	if err != nil {
		return nil, fmt.Errorf("read a source map: %w", err)
	}
	return Parse(text)
}
