package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// The headers of a notification.
const (
	// HeaderHMAC holds the hex HMAC-SHA256 of the raw body under the
	// environment's signing key.
	HeaderHMAC = "X-Nango-Hmac-Sha256"
	// HeaderSignature is the older form, the hex SHA-256 of key and body in
	// one. It is sent for receivers that still check it; HeaderHMAC is the safe one.
	HeaderSignature = "X-Nango-Signature"
	// HeaderID holds the notification's UUID, the same over all attempts.
	HeaderID = "X-Syncline-Notification-Id"
)

// Sign returns the value of [HeaderHMAC] for a body.
func Sign(key string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func legacySignature(key string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(key))
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// Verify reports whether header, the value of [HeaderHMAC], signs body under
// key. It compares in constant time. An empty key verifies nothing.
func Verify(key string, body []byte, header string) bool {
	if key == "" {
		return false
	}
	return hmac.Equal([]byte(Sign(key, body)), []byte(strings.ToLower(strings.TrimSpace(header))))
}
