package syncline

import (
	"encoding/json"
	"sort"
	"strconv"
	"time"
)

// Connection is one customer's account on an integration.
type Connection struct {
	ID            int64 // internal id, never reused
	EnvironmentID int64
	IntegrationID int64
	ConnectionID  string // the user's id, unique among an integration's live connections
	// Credentials seals the credentials' JSON in Nango's shape ({"type": "OAUTH2", …}).
	Credentials      Sealed
	ConnectionConfig map[string]any
	Metadata         map[string]any
	Tags             map[string]string
	CreatedAt        time.Time
	UpdatedAt        time.Time
	LastFetchedAt    time.Time
	// DeletingAt is when its deletion began: nothing is routed to it any more,
	// while the functions run that clean up. Zero otherwise.
	DeletingAt time.Time
	DeletedAt  time.Time // zero while live
}

// MaxMatchKeys bounds how many properties of one connection can be matched by
// webhook routing; further ones (in sorted order) are not indexed.
const MaxMatchKeys = 256

// MatchKey is one property of a connection by which a delivery can be routed
// to it: Property is "connection_config.x", "metadata.x", "tags.x" or
// "connection_id".
type MatchKey struct{ Property, Value string }

// MatchKeys lists the properties by which deliveries can be routed to c: its
// connection id and the top-level scalars, and scalars in top-level arrays, of
// its connection_config, metadata and tags. Numbers are in their shortest
// decimal form, so that 42 and "42" match alike.
func (c *Connection) MatchKeys() []MatchKey {
	keys := []MatchKey{{"connection_id", c.ConnectionID}}
	add := func(prefix string, m map[string]any) {
		names := make([]string, 0, len(m))
		for name := range m {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			values, ok := m[name].([]any)
			if !ok {
				values = []any{m[name]}
			}
			for _, v := range values {
				if s, ok := ScalarString(v); ok && s != "" && len(keys) < MaxMatchKeys {
					keys = append(keys, MatchKey{prefix + "." + name, s})
				}
			}
		}
	}
	add("connection_config", c.ConnectionConfig)
	add("metadata", c.Metadata)
	tags := make(map[string]any, len(c.Tags))
	for k, v := range c.Tags {
		tags[k] = v
	}
	add("tags", tags)
	return keys
}

// ScalarString returns the text of a JSON scalar (string, number or boolean);
// ok is false for anything else, null included.
func ScalarString(v any) (s string, ok bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int64:
		return strconv.FormatInt(v, 10), true
	case int:
		return strconv.Itoa(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
