package provider

import "testing"

func TestTheBuiltinCatalogueLoads(t *testing.T) {
	t.Parallel()
	for _, name := range Builtin().Names() {
		p, ok := Builtin().Provider(name)
		if !ok || p.Name != name || p.DisplayName == "" {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if _, ok := Builtin().Provider("nobody"); ok {
		t.Error("found a provider that does not exist")
	}
}
