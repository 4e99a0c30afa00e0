package provider

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/goccy/go-yaml"

	"syncline"
)

// WithDir is c with the providers of a directory: a file name.yaml adds the
// provider of that name, or changes the one that is known, key by key. A key
// that is null is taken away; lists are replaced whole. Every file is checked; the
// error is of the first mistake and begins with file:line:column.
func (c *Catalogue) WithDir(fsys fs.FS, shown string) (*Catalogue, error) {
	files, err := fs.ReadDir(fsys, ".")
	if err != nil {
		var at *fs.PathError
		if errors.As(err, &at) {
			err = at.Err
		}
		return nil, syncline.Errorf(syncline.CodeInvalid, "the providers of %s cannot be read: %w", shown, err).
			WithHint("--providers-dir names a directory of files name.yaml")
	}
	more := map[string]*entry{}
	for _, f := range files {
		name, isYAML := strings.CutSuffix(f.Name(), ".yaml")
		if !isYAML {
			name, isYAML = strings.CutSuffix(f.Name(), ".yml")
		}
		if f.IsDir() || !isYAML || strings.HasPrefix(name, ".") {
			continue
		}
		file := strings.TrimSuffix(shown, "/") + "/" + f.Name()
		if !providerName.MatchString(name) {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s: %q cannot be the name of a provider: it takes letters, digits, dots, - and _", file, name)
		}
		if more[name] != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "%s: there is another file of the provider %s", file, name)
		}
		text, err := fs.ReadFile(fsys, f.Name())
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "read the providers: %w", err)
		}
		if more[name], err = c.overlay(name, file, text); err != nil {
			return nil, err
		}
	}
	return c.with(more), nil
}

// overlay is the entry of a file that adds or changes a provider.
func (c *Catalogue) overlay(name, file string, text []byte) (*entry, error) {
	base, known := c.entries[name]
	if !known {
		p, err := parse(name, file, text)
		if err != nil {
			return nil, err
		}
		return newEntry(OriginUser, func() (string, []byte, error) { return file, text, nil }, func() (*Provider, error) { return p, nil }), nil
	}
	_, below, err := base.text()
	if err != nil {
		return nil, err
	}
	// Alone first, so that a wrong key is reported where the user wrote it.
	if err := decode(file, text, &Provider{}); err != nil {
		return nil, err
	}
	merged, err := merge(below, text)
	if err != nil {
		return nil, syncline.Errorf(syncline.CodeInvalid, "%s:1:1: %w", file, err)
	}
	p := &Provider{}
	if err := decode(file, merged, p); err != nil {
		return nil, err
	}
	p.Name = name
	if err := p.checkIn(file, text); err != nil {
		return nil, err
	}
	return newEntry(OriginChanged, func() (string, []byte, error) { return file, merged, nil }, func() (*Provider, error) { return p, nil }), nil
}

// merge lays one document over another.
func merge(below, above []byte) ([]byte, error) {
	var a, b map[string]any
	if err := yaml.Unmarshal(below, &a); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(above, &b); err != nil {
		return nil, err
	}
	return yaml.Marshal(laidOver(a, b))
}

func laidOver(below, above map[string]any) map[string]any {
	out := make(map[string]any, len(below)+len(above))
	for k, v := range below {
		out[k] = v
	}
	for k, v := range above {
		inner, isMap := v.(map[string]any)
		base, wasMap := out[k].(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap && wasMap:
			out[k] = laidOver(base, inner)
		default:
			out[k] = v
		}
	}
	return out
}
