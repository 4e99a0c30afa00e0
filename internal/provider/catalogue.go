package provider

import (
	"bytes"
	"embed"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"syncline"
)

// Catalogue is the providers that are known, by name.
type Catalogue struct{ providers map[string]*Provider }

//go:embed catalogue/*.yaml
var embedded embed.FS

// Builtin is the catalogue that comes with Syncline.
var Builtin = sync.OnceValue(func() *Catalogue {
	c, err := Load(embedded, "catalogue")
	if err != nil {
		panic("provider: the built-in catalogue: " + err.Error()) // a test loads it
	}
	return c
})

// Load reads a catalogue: each file name.yaml of dir is the provider of that name.
// The error names the file and the line.
func Load(fsys fs.FS, dir string) (*Catalogue, error) {
	files, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "read the catalogue: %w", err)
	}
	c := &Catalogue{providers: map[string]*Provider{}}
	for _, f := range files {
		name, isYAML := strings.CutSuffix(f.Name(), ".yaml")
		if !isYAML {
			continue
		}
		file := path.Join(dir, f.Name())
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "read the catalogue: %w", err)
		}
		p, err := parse(name, file, text)
		if err != nil {
			return nil, err
		}
		c.providers[name] = p
	}
	return c, nil
}

// parse reads one file. The error begins with file:line:column.
func parse(name, file string, text []byte) (*Provider, error) {
	p := &Provider{}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s:%s: %s", file, place(at.GetToken()), at.GetMessage())
		}
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s:1:1: %w", file, err)
	}
	p.Name = name
	if err := p.check(); err != nil {
		var e *syncline.Error
		if !errors.As(err, &e) {
			return nil, err
		}
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s:%s: %s: %s", file, locate(text, e.Field), e.Field, e.Message).WithField(e.Field)
	}
	return p, nil
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

// Provider finds a provider by name.
func (c *Catalogue) Provider(name string) (*Provider, bool) {
	p, ok := c.providers[name]
	return p, ok
}

// Names lists all providers, sorted.
func (c *Catalogue) Names() []string { return slices.Sorted(maps.Keys(c.providers)) }
