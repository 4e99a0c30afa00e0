package syncline

import (
	"encoding/json"
	"time"
)

// NotificationStatus is where a notification stands.
type NotificationStatus string

// The states of a notification.
const (
	NotificationPending   NotificationStatus = "pending"
	NotificationDelivered NotificationStatus = "delivered"
	NotificationFailed    NotificationStatus = "failed" // retried for days, given up; can be resent
)

// Notification is one signed webhook that Syncline owes the user's app. It is
// written in the commit that it speaks of.
type Notification struct {
	ID            int64
	UUID          string // stable over retries: the receiver's idempotency key
	EnvironmentID int64
	ConnectionID  int64
	RunID         int64
	// Target is which of the environment's URLs it goes to: "primary" or
	// "secondary". The URL is read when it is sent.
	Target        string
	Type          string // "sync", "auth", "async_action" or "forward"
	Payload       json.RawMessage
	Status        NotificationStatus
	Attempts      int
	NextAttemptAt time.Time
	LastError     string
	CreatedAt     time.Time
	DeliveredAt   time.Time
}
