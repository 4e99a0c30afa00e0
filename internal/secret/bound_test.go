package secret_test

import (
	"bytes"
	"strings"
	"testing"

	"syncline"
	"syncline/internal/secret"
)

func TestABoundValueOpensOnlyAtItsPlace(t *testing.T) {
	t.Parallel()
	s := newSealer(t, testKey(1))
	b := s.Bound(secret.PurposeRecordPayload)
	id, sealed, err := b.Seal(7, []byte("row 1"), []byte(`{"name":"Ada"}`))
	if err != nil || id != s.ActiveKeyID() || id != b.KeyID() || bytes.Contains(sealed, []byte("Ada")) {
		t.Fatalf("%q, %q, %v", id, sealed, err)
	}
	if got, err := b.Open(7, id, []byte("row 1"), sealed); err != nil || string(got) != `{"name":"Ada"}` {
		t.Errorf("%q, %v", got, err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"another place":       func() ([]byte, error) { return b.Open(7, id, []byte("row 2"), sealed) },
		"no place":            func() ([]byte, error) { return b.Open(7, id, nil, sealed) },
		"another environment": func() ([]byte, error) { return b.Open(8, id, []byte("row 1"), sealed) },
		"another purpose":     func() ([]byte, error) { return s.Bound("record.payloa").Open(7, id, []byte("lrow 1"), sealed) },
		"no bound value": func() ([]byte, error) {
			return s.Open(7, secret.PurposeRecordPayload, syncline.Sealed{KeyID: id, Data: sealed})
		},
		"nothing": func() ([]byte, error) { return b.Open(7, id, []byte("row 1"), nil) },
	} {
		if got, err := open(); syncline.CodeOf(err) != syncline.CodeInternal || got != nil || strings.ContainsRune(err.Error(), 0) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestABoundSealerNamesTheKeyItLacks(t *testing.T) {
	t.Parallel()
	old := newSealer(t, testKey(1)).Bound(secret.PurposeRecordPayload)
	id, sealed, _ := old.Seal(1, nil, []byte("x"))
	fresh := newSealer(t, testKey(2)).Bound(secret.PurposeRecordPayload)
	if !old.HasKey(id) || fresh.HasKey(id) {
		t.Error("HasKey is wrong")
	}
	if _, err := fresh.Open(1, id, nil, sealed); err == nil || !strings.Contains(err.Error(), id) {
		t.Errorf("%v does not name the key %s", err, id)
	}
}
