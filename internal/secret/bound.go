package secret

import (
	"encoding/binary"
	"slices"

	"syncline"
)

// Bound seals values of one purpose, each for a place of its own: what names
// the row is authenticated with the value, so that a sealed value opens only in
// the row that it was sealed for. It is safe for concurrent use.
type Bound struct {
	sealer  *Sealer
	purpose string
}

// Bound returns the sealer of values of a purpose that are bound to places.
func (s *Sealer) Bound(purpose string) *Bound { return &Bound{s, purpose} }

// KeyID is the id of the key that seals now.
func (b *Bound) KeyID() string { return b.sealer.ActiveKeyID() }

// HasKey reports whether values sealed with the key of this id can be opened.
func (b *Bound) HasKey(id string) bool { return slices.Contains(b.sealer.KeyIDs(), id) }

// Seal encrypts plain for an environment and a place in it.
func (b *Bound) Seal(env int64, place, plain []byte) (keyID string, sealed []byte, err error) {
	out, err := b.sealer.Seal(env, b.at(place), plain)
	return out.KeyID, out.Data, err
}

// Open decrypts what [Bound.Seal] sealed for the same environment and place.
// Its errors are those of [Sealer.Open].
func (b *Bound) Open(env int64, keyID string, place, sealed []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, syncline.Errorf(syncline.CodeInternal, "a secret (%s) sealed with key %q is empty", b.purpose, keyID)
	}
	return b.sealer.open(env, b.purpose, b.at(place), syncline.Sealed{KeyID: keyID, Data: sealed})
}

// at is the purpose with the place. The purpose's length comes first of the
// two, so that no two pairs have the same text; no bare purpose begins so.
func (b *Bound) at(place []byte) string {
	text := make([]byte, 0, 5+len(b.purpose)+len(place))
	text = append(text, 0)
	text = binary.BigEndian.AppendUint32(text, uint32(len(b.purpose)))
	text = append(text, b.purpose...)
	return string(append(text, place...))
}
