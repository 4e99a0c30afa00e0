package syncline

import (
	"encoding/json"
	"strings"
	"time"
)

// Header is one header line of a delivery, in the order received.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Delivery is one HTTP request that an external API sent to a webhook URL, raw,
// as received. It never changes once it is in the inbox.
type Delivery struct {
	// Position is the delivery's place in the inbox, and its id. Strictly
	// increasing in the order of commit.
	Position      int64
	EnvironmentID int64
	IntegrationID int64
	// ConnectionID is the connection named in the URL (the user's id); "" when
	// the URL names none.
	ConnectionID string
	// DeliveryID is the provider's id of the delivery; "" when it has none.
	DeliveryID string
	Method     string
	Path       string // path and query, as received
	Headers    []Header
	Body       []byte
	ReceivedAt time.Time
	// Watermark is the store's position (see [Record.Seq]) when the delivery
	// was received: what is in the cache beyond it was written later.
	Watermark int64
}

// Header returns the first value of the header name (case-insensitive), or "".
func (d *Delivery) Header(name string) string {
	for i := range d.Headers {
		if strings.EqualFold(d.Headers[i].Name, name) {
			return d.Headers[i].Value
		}
	}
	return ""
}

// DeliveryStatus is where a delivery stands. Every delivery reaches an end that
// can be seen (processed, ignored, expired, dead) with the reason.
type DeliveryStatus string

// The states of a delivery. One that is in the inbox and has no state yet is
// "received".
const (
	DeliveryReceived  DeliveryStatus = "received"  // in the inbox, not yet routed
	DeliveryRouted    DeliveryStatus = "routed"    // its events wait or run
	DeliveryProcessed DeliveryStatus = "processed" // every event is done
	DeliveryIgnored   DeliveryStatus = "ignored"   // no deployed sync subscribes to its type
	DeliveryParked    DeliveryStatus = "parked"    // no connection matches yet
	DeliveryExpired   DeliveryStatus = "expired"   // parked for too long
	DeliveryDead      DeliveryStatus = "dead"      // at least one event failed for good, none is open
)

// DeliveryState is what became of a delivery. It lives in the main store,
// apart from the raw delivery in the inbox.
type DeliveryState struct {
	Position      int64
	EnvironmentID int64
	IntegrationID int64
	Status        DeliveryStatus
	Reason        string // why it is in this state; for people
	Type          string // the webhook's type, e.g. "issues.opened" or "issues"
	DeliveryID    string // the provider's id
	Events        int    // how many events it became
	OpenEvents    int    // of these, how many have not ended
	DeadEvents    int
	Duplicates    int // how many redeliveries were recognised
	ReceivedAt    time.Time
	UpdatedAt     time.Time
}

// EventStatus is where an event stands.
type EventStatus string

// The states of an event.
const (
	EventPending EventStatus = "pending"
	EventDone    EventStatus = "done"
	EventDead    EventStatus = "dead"    // attempts used up
	EventDropped EventStatus = "dropped" // its connection or sync was deleted
)

// Event is one thing that a delivery says to one sync instance.
type Event struct {
	ID            int64 // also the order within a lane
	EnvironmentID int64
	LaneID        int64 // = sync instance id
	Position      int64 // of the delivery in the inbox
	Item          int   // index within the delivery, when it is a batch
	Type          string
	OrderKey      string // the object that the event is about; "" when unknown
	DeliveryID    string
	ReceivedAt    time.Time
	Watermark     int64 // of the delivery
	Replay        int   // 0 for the first way through; n for the nth replay or re-route
	Status        EventStatus
	Attempts      int // attempts spent
	LastError     string
	RunID         int64 // newest run that handled it
	UpdatedAt     time.Time
}

// Lane is the ordered queue of one sync instance's events. Its ID is the sync
// instance's id.
type Lane struct {
	ID            int64
	EnvironmentID int64
	Lease         Lease
	Pending       int       // events waiting or running
	NotBefore     time.Time // backoff: not claimed before this
	// WaitingSince is when the world became unavailable to this lane (zero:
	// it is not waiting).
	WaitingSince time.Time
	Backoff      int    // consecutive failed attempts of the head, for the delay
	Reason       string // why the lane waits; for people
	ServedAt     time.Time
}

// WebhookInfo is what a handler sees of its delivery as nango.webhook.
type WebhookInfo struct {
	Type       string            `json:"type"`
	Headers    map[string]string `json:"headers"` // lower-case names
	DeliveryID string            `json:"deliveryId"`
	ReceivedAt time.Time         `json:"receivedAt"`
	Body       json.RawMessage   `json:"-"`
}
