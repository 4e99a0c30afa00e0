package bundle

import (
	"encoding/gob"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cache keeps what came of functions whose files did not change since. It is
// kept in memory from one round to the next, and in a file from one process to
// the next.
type cache struct {
	file string // "" keeps nothing beyond the process

	key     string // what all entries depend on
	entries map[string]*entry
	changed bool
}

// entry is what came of one function. Its fields are exported for gob.
type entry struct {
	Inputs      []stamp // the files that it was made of
	Code        []byte
	Lacks       bool
	Description []byte // JSON of what it says of itself
	Node        []byte // the bundle for node, where there is one
}

// stamp is how a file was when it was read.
type stamp struct {
	Path     string // relative to the project
	Size     int64
	Modified int64 // Unix time in ns
}

// settled is how long a file has to have been as it is to be kept: one that is
// written while it is read may have the time of both.
const settled = time.Second

// cacheName is the file of a project's cache, in its node_modules: where tools
// keep such things, and nobody commits them.
const cacheName = ".cache/syncline/functions"

// openCache opens the cache of a project; without a node_modules, and where
// keep is false, it ends with the process.
func openCache(dir string, keep bool) *cache {
	c := &cache{entries: map[string]*entry{}}
	if modules := filepath.Join(dir, "node_modules"); keep && isDir(modules) {
		c.file = filepath.Join(modules, filepath.FromSlash(cacheName))
	}
	return c
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// stored is the content of the file.
type stored struct {
	Key     string
	Entries map[string]*entry
}

// use makes the cache that of key. What was made under another is forgotten.
func (c *cache) use(key string) {
	if c.key == key {
		return
	}
	first := c.key == ""
	c.key, c.entries, c.changed = key, map[string]*entry{}, false
	if !first || c.file == "" {
		return
	}
	f, err := os.Open(c.file)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	// A file that cannot be read is as good as none: it is written anew.
	var s stored
	if gob.NewDecoder(f).Decode(&s) == nil && s.Key == key && s.Entries != nil {
		c.entries = s.Entries
	}
}

// environment is the key of a cache: this program, and what of the project
// every function depends on.
func environment(dir string, parts ...string) string {
	if exe, err := os.Executable(); err == nil {
		parts = append(parts, stampOf(exe))
	}
	for d := dir; ; d = filepath.Dir(d) {
		for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "node_modules/.package-lock.json"} {
			parts = append(parts, stampOf(filepath.Join(d, filepath.FromSlash(name))))
		}
		if d == filepath.Dir(d) || isDir(filepath.Join(d, ".git")) {
			break
		}
	}
	return strings.Join(parts, "\n")
}

func stampOf(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", file, info.Size(), info.ModTime().UnixNano())
}

// find divides functions into those that are known and those that are to be made.
func (c *cache) find(dir string, all []found) (known map[string]*entry, unknown []found) {
	known = map[string]*entry{}
	seen := map[string]stamp{}
	there := make(map[string]bool, len(all))
	for _, f := range all {
		there[f.file] = true
		e := c.entries[f.file]
		if e == nil || slices.ContainsFunc(e.Inputs, func(s stamp) bool { return look(dir, s.Path, seen) != s }) {
			unknown = append(unknown, f)
			continue
		}
		known[f.file] = e
	}
	for file := range c.entries {
		if !there[file] {
			delete(c.entries, file)
			c.changed = true
		}
	}
	return known, unknown
}

// look is how a file is now.
func look(dir, path string, seen map[string]stamp) stamp {
	if s, ok := seen[path]; ok {
		return s
	}
	s := stamp{Path: path, Size: -1}
	if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(path))); err == nil {
		s.Size, s.Modified = info.Size(), info.ModTime().UnixNano()
	}
	seen[path] = s
	return s
}

// put keeps what came of a function, made of inputs that were read after began.
func (c *cache) put(dir, file string, inputs []string, began time.Time, e *entry, seen map[string]stamp) {
	delete(c.entries, file)
	for _, path := range inputs {
		s := look(dir, path, seen)
		if s.Size < 0 || s.Modified > began.Add(-settled).UnixNano() {
			return
		}
		e.Inputs = append(e.Inputs, s)
	}
	c.entries[file] = e
	c.changed = true
}

// save writes the file. A cache that cannot be written costs time, nothing else.
func (c *cache) save() {
	if c.file == "" || !c.changed {
		return
	}
	folder := filepath.Dir(c.file)
	if os.MkdirAll(folder, 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(folder, "functions-*")
	if err != nil {
		return
	}
	err = gob.NewEncoder(f).Encode(stored{c.key, c.entries})
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), c.file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return
	}
	c.changed = false
}

// inputsOf reads which of the project's files each entry point was made of, from
// esbuild's metafile, by the entry's file. Files that left nothing in the bundle
// count too: they decide what it is made of.
func inputsOf(metafile string) (map[string][]string, error) {
	var m struct {
		Inputs map[string]struct {
			Imports []struct {
				Path     string `json:"path"`
				External bool   `json:"external"`
			} `json:"imports"`
		} `json:"inputs"`
	}
	if err := json.Unmarshal([]byte(metafile), &m); err != nil {
		return nil, err
	}
	all := map[string][]string{}
	for name := range m.Inputs {
		file, ok := strings.CutPrefix(name, entrySpace+":")
		if !ok {
			continue
		}
		reached := map[string]bool{name: true}
		next := []string{name}
		for len(next) > 0 {
			from := next[len(next)-1]
			next = next[:len(next)-1]
			if !strings.HasPrefix(from, "syncline-") {
				all[file] = append(all[file], from)
			}
			for _, i := range m.Inputs[from].Imports {
				if !i.External && !reached[i.Path] {
					reached[i.Path] = true
					next = append(next, i.Path)
				}
			}
		}
		slices.Sort(all[file])
	}
	return all, nil
}
