package provider

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

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
		p, err := parse(name, text)
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s: %w", file, err)
		}
		c.providers[name] = p
	}
	return c, nil
}

func parse(name string, text []byte) (*Provider, error) {
	p := &Provider{}
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s", yaml.FormatError(err, false, true))
	}
	p.Name = name
	return p, p.check()
}

func (p *Provider) check() error {
	switch p.AuthMode {
	case AuthOAuth2, AuthAPIKey, AuthBasic, AuthApp, AuthNone:
	default:
		return fmt.Errorf("auth_mode %q is unknown", p.AuthMode)
	}
	if p.DisplayName == "" {
		return errors.New("display_name is missing")
	}
	if p.Webhook != nil {
		return p.Webhook.Check()
	}
	return nil
}

// Provider finds a provider by name.
func (c *Catalogue) Provider(name string) (*Provider, bool) {
	p, ok := c.providers[name]
	return p, ok
}

// Names lists all providers, sorted.
func (c *Catalogue) Names() []string { return slices.Sorted(maps.Keys(c.providers)) }
