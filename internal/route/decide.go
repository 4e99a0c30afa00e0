// Package route turns deliveries into events. [Decide] is pure: which syncs of
// which connections a delivery concerns, or why none. [Router] reads the inbox
// in order and writes what was decided, exactly once, into the main store. The
// package does not know how events are handled.
package route

import (
	"fmt"
	"strings"

	"syncline"
	"syncline/internal/provider"
)

// Target is one sync of one connection that a delivery concerns.
type Target struct {
	Connection *syncline.Connection
	Function   *syncline.Function
}

// Decision is what becomes of a delivery.
type Decision struct {
	Status  syncline.DeliveryStatus // routed, ignored or parked
	Reason  string
	Targets []Target
}

// Decide routes a delivery. connections are those that it matches, functions
// all that are deployed for the integration; named is the connection in the
// URL, "" when there is none.
func Decide(r *provider.Reading, named string, connections []syncline.Connection, functions []syncline.Function) Decision {
	var subscribed []*syncline.Function
	webhooks := 0
	for i := range functions {
		f := &functions[i]
		if f.Type != syncline.FunctionSync || !f.Enabled || !f.Active.Manifest.HasOnWebhook {
			continue
		}
		webhooks++
		if f.Active.Manifest.Subscribes(r.Type) {
			subscribed = append(subscribed, f)
		}
	}
	if len(subscribed) == 0 {
		reason := fmt.Sprintf("no deployed sync subscribes to the type %q", r.Type)
		if webhooks == 0 {
			reason = "no deployed sync handles webhooks"
		}
		return Decision{Status: syncline.DeliveryIgnored, Reason: reason}
	}
	if len(connections) == 0 {
		return Decision{Status: syncline.DeliveryParked, Reason: unmatched(r, named)}
	}
	d := Decision{Status: syncline.DeliveryRouted}
	for i := range connections {
		for _, f := range subscribed {
			d.Targets = append(d.Targets, Target{&connections[i], f})
		}
	}
	return d
}

func unmatched(r *provider.Reading, named string) string {
	if named != "" {
		return fmt.Sprintf("there is no connection %q, which the URL names", named)
	}
	if len(r.Matches) == 0 {
		return "nothing in the delivery says whose it is; put the connection's id at the end of the webhook URL"
	}
	var tried []string
	for _, m := range r.Matches {
		tried = append(tried, fmt.Sprintf("%s = %q", strings.Join(m.Properties, " or "), m.Value))
	}
	return "no connection has " + strings.Join(tried, ", nor ")
}
