// Package secret seals small secrets (credentials, webhook secrets, signing
// keys) for storage, and makes the keys that Syncline hands out.
//
// Sealing is envelope encryption. Every value has a random data key of its own;
// the data key is wrapped by a key-encryption key that never reaches the
// database. Both layers are XChaCha20-Poly1305, whose nonces are long enough to
// be drawn at random for as many values as there may be. The environment, the
// purpose and the key id are authenticated with each layer, so that a sealed
// value opens only where it was sealed for.
//
// The package knows nothing of where sealed values are stored or what they
// hold. It never logs.
package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"syncline"
)

// The purposes for which values are sealed. A value sealed for one cannot be
// opened for another.
const (
	PurposeIntegrationCredentials = "integration.credentials"
	PurposeWebhookSecrets         = "integration.webhook_secrets"
	PurposeConnectionCredentials  = "connection.credentials"
	PurposeSigningKey             = "environment.signing_key"
	PurposeVariable               = "environment.variable"
	PurposeRecordPayload          = "record.payload" // bound to the record, see [Sealer.Bound]
)

// KeySize is the length of a key-encryption key in bytes.
const KeySize = chacha20poly1305.KeySize

// version is the first byte of sealed data: the layout that follows it.
const version = 1

// Layout of version 1: version | nonce | wrapped data key | nonce | ciphertext.
const (
	nonceSize   = chacha20poly1305.NonceSizeX
	wrappedSize = KeySize + chacha20poly1305.Overhead
	minSealed   = 1 + nonceSize + wrappedSize + nonceSize + chacha20poly1305.Overhead
)

// Sealer seals and opens secrets. It is safe for concurrent use.
type Sealer struct {
	keys     []key // the first is active: it seals; all open
	warnings []string
}

type key struct {
	id   string
	aead cipher.AEAD
}

// New returns a sealer of the given key-encryption keys, each [KeySize] bytes.
// The first seals; the others only open what was sealed while they were first.
// No key, or one of another length, is an error with code invalid_request.
func New(keys ...[]byte) (*Sealer, error) {
	if len(keys) == 0 {
		return nil, syncline.Errorf(syncline.CodeInvalid, "no encryption key was given")
	}
	s := &Sealer{}
	for i, k := range keys {
		aead, err := chacha20poly1305.NewX(k)
		if err != nil {
			return nil, syncline.Errorf(syncline.CodeInvalid, "encryption key %d has %d bytes, not %d", i+1, len(k), KeySize)
		}
		id := keyID(k)
		if !slices.ContainsFunc(s.keys, func(have key) bool { return have.id == id }) {
			s.keys = append(s.keys, key{id: id, aead: aead})
		}
	}
	return s, nil
}

// keyID names a key by a hash of it, so that ids need no configuration and two
// machines with the same key agree on its id. 64 bits tell keys apart and say
// nothing useful of a random key.
func keyID(k []byte) string {
	sum := sha256.Sum256(append([]byte("syncline key id\x00"), k...))
	return hex.EncodeToString(sum[:8])
}

// ActiveKeyID is the id of the key that seals now.
func (s *Sealer) ActiveKeyID() string { return s.keys[0].id }

// KeyIDs lists the ids of all keys, the active one first.
func (s *Sealer) KeyIDs() []string {
	ids := make([]string, len(s.keys))
	for i := range s.keys {
		ids[i] = s.keys[i].id
	}
	return ids
}

// Warnings lists what is wrong with how the keys are kept, for people; it is
// empty when all is well.
func (s *Sealer) Warnings() []string { return slices.Clone(s.warnings) }

// Seal encrypts plain for one environment and purpose under the active key.
func (s *Sealer) Seal(env int64, purpose string, plain []byte) (syncline.Sealed, error) {
	active := s.keys[0]
	aad := additionalData(env, purpose, active.id)

	// One read of randomness: data key, then both nonces.
	var random [KeySize + 2*nonceSize]byte
	if _, err := rand.Read(random[:]); err != nil {
		return syncline.Sealed{}, syncline.Errorf(syncline.CodeInternal, "secret: read randomness: %w", err)
	}
	dataKey, wrapNonce, nonce := random[:KeySize], random[KeySize:KeySize+nonceSize], random[KeySize+nonceSize:]
	aead, err := chacha20poly1305.NewX(dataKey)
	if err != nil {
		return syncline.Sealed{}, syncline.Errorf(syncline.CodeInternal, "secret: data key: %w", err)
	}
	data := make([]byte, 0, minSealed+len(plain))
	data = append(data, version)
	data = append(data, wrapNonce...)
	data = active.aead.Seal(data, wrapNonce, dataKey, aad)
	data = append(data, nonce...)
	data = aead.Seal(data, nonce, plain, aad)
	return syncline.Sealed{KeyID: active.id, Data: data}, nil
}

// Open decrypts what [Sealer.Seal] sealed for the same environment and purpose.
// The zero Sealed opens to nil. Errors have code internal: the key is not
// among the sealer's (the message names its id), or the value was changed or
// belongs elsewhere. No error holds any part of the secret.
func (s *Sealer) Open(env int64, purpose string, sealed syncline.Sealed) ([]byte, error) {
	return s.open(env, purpose, purpose, sealed)
}

// open decrypts what was sealed for bound, which messages call by its name.
func (s *Sealer) open(env int64, purpose, bound string, sealed syncline.Sealed) ([]byte, error) {
	if sealed.IsZero() {
		return nil, nil
	}
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.id == sealed.KeyID })
	if i < 0 {
		return nil, syncline.Errorf(syncline.CodeInternal, "a secret (%s) was sealed with key %q, which is not configured (configured: %s)",
			purpose, sealed.KeyID, strings.Join(s.KeyIDs(), ", ")).
			WithHint("add that key to %s, after the active one, or restore the key file of the data directory; without the key, enter the secret again", EnvVar)
	}
	damaged := syncline.Errorf(syncline.CodeInternal, "a secret (%s) sealed with key %q cannot be opened: it was changed, or it belongs to another environment or purpose",
		purpose, sealed.KeyID).WithHint("restore the row from a backup, or enter the secret again")
	if len(sealed.Data) < minSealed || sealed.Data[0] != version {
		return nil, damaged
	}
	rest := sealed.Data[1:]
	aad := additionalData(env, bound, sealed.KeyID)
	dataKey, err := s.keys[i].aead.Open(nil, rest[:nonceSize], rest[nonceSize:nonceSize+wrappedSize], aad)
	if err != nil {
		return nil, damaged
	}
	rest = rest[nonceSize+wrappedSize:]
	aead, err := chacha20poly1305.NewX(dataKey)
	if err != nil {
		return nil, damaged
	}
	plain, err := aead.Open(nil, rest[:nonceSize], rest[nonceSize:], aad)
	if err != nil {
		return nil, damaged
	}
	if plain == nil {
		plain = []byte{} // an empty secret, not a missing one
	}
	return plain, nil
}

// Reseal returns sealed under the active key. changed is false, and the value
// the same, when it is under the active key already or is zero; a rotation
// calls it for every stored value and writes those that changed.
func (s *Sealer) Reseal(env int64, purpose string, sealed syncline.Sealed) (out syncline.Sealed, changed bool, err error) {
	if sealed.IsZero() || sealed.KeyID == s.ActiveKeyID() {
		return sealed, false, nil
	}
	plain, err := s.Open(env, purpose, sealed)
	if err != nil {
		return syncline.Sealed{}, false, err
	}
	out, err = s.Seal(env, purpose, plain)
	return out, err == nil, err
}

// additionalData is what is authenticated, and not encrypted, with a value.
// Lengths are fixed or written first, so that no two inputs have the same text.
func additionalData(env int64, purpose, id string) []byte {
	b := make([]byte, 0, 32+len(purpose)+len(id))
	b = append(b, "syncline sealed value\x00"...)
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(env))
	b = binary.BigEndian.AppendUint32(b, uint32(len(purpose)))
	b = append(b, purpose...)
	return append(b, id...)
}
