package api

import (
	"net/http"

	"syncline"
	"syncline/internal/provider"
)

// providerJSON is a provider as the API shows it.
type providerJSON struct {
	Name        string            `json:"name"`
	DisplayName string            `json:"display_name"`
	AuthMode    provider.AuthMode `json:"auth_mode"`
	Docs        string            `json:"docs,omitempty"`
	Proxy       map[string]string `json:"proxy,omitempty"`
}

func showProvider(p *provider.Provider) providerJSON {
	out := providerJSON{Name: p.Name, DisplayName: p.DisplayName, AuthMode: p.AuthMode, Docs: p.DocsURL}
	if p.Proxy.BaseURL != "" {
		out.Proxy = map[string]string{"base_url": p.Proxy.BaseURL}
	}
	return out
}

func (s *server) listProviders(c *call) (reply, error) {
	if _, err := c.params(); err != nil {
		return reply{}, err
	}
	names := s.Catalogue.Names()
	list := make([]providerJSON, 0, len(names))
	for _, name := range names {
		if p, ok := s.Catalogue.Provider(name); ok {
			list = append(list, showProvider(p))
		}
	}
	return ok(map[string]any{"data": list})
}

func (s *server) getProvider(c *call) (reply, error) {
	p, found := s.Catalogue.Provider(c.PathValue("provider"))
	if !found {
		return reply{}, unknown(http.StatusNotFound, "not_found", "there is no provider %q", c.PathValue("provider"))
	}
	return ok(map[string]any{"data": showProvider(p)})
}

// provider is that of an integration.
func (s *server) provider(i *syncline.Integration) (*provider.Provider, error) {
	p, found := s.Catalogue.Provider(i.Provider)
	if !found {
		return nil, syncline.Errorf(syncline.CodeConflict, "the provider %s of the integration %s is not in the catalogue any more", i.Provider, i.UniqueKey)
	}
	return p, nil
}
