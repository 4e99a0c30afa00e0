// Package sdk is for functions written in Go: syncs, actions and on-event
// functions that are compiled into a Syncline binary of your own (package
// [syncline/app]) and have the same abilities as those in TypeScript.
//
//	type Issue struct {
//		ID    int64  `json:"id"`
//		Title string `json:"title"`
//	}
//
//	type Cursor struct {
//		Since time.Time `json:"since"`
//	}
//
//	var cursor sdk.Checkpoint[Cursor]
//
//	var issues = sdk.Sync[Issue]{
//		Name:                 "issues",
//		Integration:          "github",
//		Every:                5 * time.Minute,
//		Model:                sdk.Model[Issue]{Merge: sdk.IgnoreIfModifiedAfter},
//		Checkpoint:           cursor,
//		WebhookSubscriptions: []string{"issues"},
//		Exec:                 poll,
//		OnWebhook:            webhook,
//	}
//
//	func main() { app.Main(sdk.Functions{issues}) }
//
// A [Sync] keeps records of a Go type fresh: Exec polls, OnWebhook handles the
// API's webhooks, and both write to one cache. Types with json tags say what
// records, checkpoints, metadata, inputs and outputs look like: their JSON
// Schemas are derived and are part of what is deployed.
//
// # Handles
//
// A handler gets a [Handle], or a [SyncHandle] with the records of its model,
// through which it does everything: requests with the connection's credentials
// ([Handle.Get], [Paginate], or any Go client over [Handle.HTTPClient]), records
// ([Records]), checkpoints ([Checkpoint]) and metadata ([Metadata]), logs
// ([Handle.Logger]), locks, and other functions. It may be used by several
// goroutines, until the handler returns; wait for them before you do. Calls that
// are made later are refused.
//
// # Errors
//
// A handler that returns an error, or panics, has failed. In a webhook run
// nothing of it remains; a poll keeps the batches and checkpoints that it saved.
// What is retried, and how, follows from the error: an [*HTTPError] with 401, 408,
// 429 or 5xx, or a [*HostError] for an API that did not answer, means that the
// world is unavailable, so the run waits without spending attempts; any other is
// the function's own. Wrap errors with %w to keep that. [Unavailable] says it of
// an error that does not show it, [ActionError] answers an action's caller.
//
// # Limits
//
// Functions share the server's process. Their wall time, host calls, log lines
// and output are limited; their CPU time and memory are not. Code that does not
// heed its context cannot be stopped: pass ctx on. A panic in a goroutine that a
// function started ends the whole server, as everywhere in Go; use [Handle.Go].
package sdk
