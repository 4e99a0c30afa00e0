package provider

import (
	"bytes"
	"embed"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"syncline"
)

// Catalogue is the providers that are known, by name. A provider is read when it
// is first asked for. It is safe for concurrent use.
type Catalogue struct{ entries map[string]*entry }

// Origin says where the catalogue has a provider from.
type Origin string

// The origins.
const (
	OriginBuiltin Origin = "built in"
	OriginUser    Origin = "yours"
	OriginChanged Origin = "built in, changed by you"
	OriginNango   Origin = "nango"
)

// entry is one provider, read at most once.
type entry struct {
	origin Origin
	text   func() (file string, text []byte, err error) // in the catalogue's own format
	read   func() (*Provider, error)
}

func newEntry(origin Origin, text func() (string, []byte, error), read func() (*Provider, error)) *entry {
	return &entry{origin: origin, text: text, read: sync.OnceValues(read)}
}

//go:embed catalogue/*.yaml
var embedded embed.FS

// Builtin is the catalogue that comes with Syncline.
var Builtin = sync.OnceValue(func() *Catalogue {
	c, err := index(embedded, "catalogue")
	if err != nil {
		panic("provider: the built-in catalogue: " + err.Error()) // a test reads it whole
	}
	return c
})

// Load reads a catalogue: each file name.yaml of dir is the provider of that name.
// The error names the file and the line.
func Load(fsys fs.FS, dir string) (*Catalogue, error) {
	c, err := index(fsys, dir)
	if err != nil {
		return nil, err
	}
	for _, name := range c.Names() {
		if err := c.Problem(name); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// index finds the files of a catalogue without reading them.
func index(fsys fs.FS, dir string) (*Catalogue, error) {
	files, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "read the catalogue: %w", err)
	}
	c := &Catalogue{entries: make(map[string]*entry, len(files))}
	for _, f := range files {
		name, isYAML := strings.CutSuffix(f.Name(), ".yaml")
		if !isYAML {
			continue
		}
		file := path.Join(dir, f.Name())
		text := func() (string, []byte, error) {
			text, err := fs.ReadFile(fsys, file)
			if err != nil {
				err = syncline.Errorf(syncline.CodeInvalid, "read the catalogue: %w", err)
			}
			return file, text, err
		}
		c.entries[name] = newEntry(OriginBuiltin, text, func() (*Provider, error) {
			file, text, err := text()
			if err != nil {
				return nil, err
			}
			return parse(name, file, text)
		})
	}
	return c, nil
}

// Parse reads one provider in the catalogue's format. The error begins with
// file:line:column.
func Parse(name, file string, text []byte) (*Provider, error) { return parse(name, file, text) }

func parse(name, file string, text []byte) (*Provider, error) {
	p := &Provider{}
	if err := decode(file, text, p); err != nil {
		return nil, err
	}
	p.Name = name
	return p, p.checkIn(file, text)
}

// decode reads YAML whose fields must all be known.
func decode(file string, text []byte, into any) error {
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	err := d.Decode(into)
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return syncline.Errorf(syncline.CodeInvalid, "%s:%s: %s", file, place(at.GetToken()), at.GetMessage())
	}
	return syncline.Errorf(syncline.CodeInvalid, "%s:1:1: %w", file, err)
}

// checkIn checks a provider; the error names the place in the text.
func (p *Provider) checkIn(file string, text []byte) error {
	err := p.check()
	var e *syncline.Error
	if !errors.As(err, &e) {
		return err
	}
	return syncline.Errorf(syncline.CodeInvalid, "%s:%s: %s: %s", file, locate(text, e.Field), e.Field, e.Message).WithField(e.Field)
}

func place(t *token.Token) string {
	return strconv.Itoa(t.Position.Line) + ":" + strconv.Itoa(t.Position.Column)
}

// locate is the place of a field ("webhook.match[1].from"), or of the closest
// section around it when the field is not there.
func locate(text []byte, field string) string {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return "1:1"
	}
	for ; field != ""; field = field[:max(0, strings.LastIndexAny(field, ".["))] {
		path, err := yaml.PathString("$." + field)
		if err != nil {
			continue
		}
		if node, err := path.FilterFile(file); err == nil && node != nil && node.GetToken() != nil {
			return place(node.GetToken())
		}
	}
	return "1:1"
}

// Provider finds a provider by name. One that cannot be read is not there, see
// [Catalogue.Problem]; of the built-in ones all can.
func (c *Catalogue) Provider(name string) (*Provider, bool) {
	e, ok := c.entries[name]
	if !ok {
		return nil, false
	}
	p, err := e.read()
	if err != nil && e.origin == OriginBuiltin {
		panic("provider: the built-in catalogue: " + err.Error()) // a test reads it whole
	}
	return p, err == nil
}

// Problem says why a provider cannot be read; nil when it can, or is not known.
func (c *Catalogue) Problem(name string) error {
	e, ok := c.entries[name]
	if !ok {
		return nil
	}
	_, err := e.read()
	return err
}

// Origin says where a provider comes from; "" when it is not known.
func (c *Catalogue) Origin(name string) Origin {
	if e, ok := c.entries[name]; ok {
		return e.origin
	}
	return ""
}

// Text is a provider in the catalogue's format; nil when it is not known or
// cannot be read.
func (c *Catalogue) Text(name string) []byte {
	e, ok := c.entries[name]
	if !ok {
		return nil
	}
	_, text, err := e.text()
	if err != nil {
		return nil
	}
	return text
}

// Names lists all providers, sorted.
func (c *Catalogue) Names() []string { return slices.Sorted(maps.Keys(c.entries)) }

// with is c with further entries.
func (c *Catalogue) with(more map[string]*entry) *Catalogue {
	out := &Catalogue{entries: maps.Clone(c.entries)}
	maps.Copy(out.entries, more)
	return out
}

// providerName is what a provider may be called.
var providerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)
