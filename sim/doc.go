// Package sim is a seeded simulation of everything that changes a collection
// at the same time: an external API that changes, its webhooks, polls that page
// through it while it changes, crashes between any two steps, resets, and
// readers with cursors. It runs the product's own host API, merge kernel, store
// and feed; only the external API and the order of steps are made up.
//
// Everything runs on one goroutine. Where the product would wait (a request to
// the external API), the simulation lets others take steps. The same seed gives
// the same story.
package sim
