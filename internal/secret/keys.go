package secret

import (
	"crypto/sha256"
	"crypto/subtle"

	"syncline"
)

// NewAPIKey makes a key of the HTTP API. It is a random UUID, as Nango's secret
// keys are: some of its clients check for that form. It carries 122 random bits.
func NewAPIKey() string { return syncline.NewUUID() }

// NewSigningKey makes an environment's key for signing notifications, a random
// UUID as in Nango.
func NewSigningKey() string { return syncline.NewUUID() }

// HashAPIKey is what is stored of an API key: its SHA-256. Keys are random, so
// that no slow hash is needed.
func HashAPIKey(apiKey string) []byte {
	sum := sha256.Sum256([]byte(apiKey))
	return sum[:]
}

// HintOf returns the last four characters of a key, to tell keys apart; "" for
// keys so short that the hint would give them away.
func HintOf(apiKey string) string {
	if len(apiKey) < 16 {
		return ""
	}
	return apiKey[len(apiKey)-4:]
}

// Equal compares two secrets in constant time.
func Equal(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
