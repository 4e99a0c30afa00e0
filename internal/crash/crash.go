//go:build !crashpoints

// Package crash names the points at which tests kill the process. In the
// product it does nothing; a test builds the binary with the tag crashpoints
// and names the point in SYNCLINE_CRASH_AT ("after-commit:3" is the third time
// that it is reached).
package crash

// The points, in the order in which a delivery passes them.
const (
	AfterInboxCommit = "after-inbox-commit" // the delivery is durable, the 2xx not yet sent
	AfterRoute       = "after-route"        // its events are in their lanes
	AfterRun         = "after-run"          // the handler returned, nothing is committed
	BeforeCommit     = "before-commit"      // inside the transaction, all effects written
	AfterCommit      = "after-commit"       // committed, nobody told yet
	AfterNotify      = "after-notify"       // the app answered 2xx, not yet noted
)

// Point kills the process if a test asked for it here.
func Point(string) {}
