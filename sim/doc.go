// Package sim is a seeded simulation of everything that changes a collection
// at the same time: an external API that changes, its webhooks, polls that page
// through it while it changes, crashes between any two steps, leases that are
// lost, resets, clocks that jump, and readers with cursors. It runs the
// product's own host API, merge kernel, store and feed; only the external API,
// the functions and the order of steps are made up.
//
// A story is a list of [Action]s, made from a seed. Each holds all choices that
// it needs, so a story can be told again without some of its actions: that is
// how a story that fails is shrunk to the few that matter (see [Shrink]).
// Whoever takes longer than one action is a coroutine that stands between two
// of its steps: there others go on, and there it can crash. Everything runs on
// one goroutine at a time; the same story has the same end.
//
// docs/testing.md says what is checked, and how to run and replay a story.
package sim
