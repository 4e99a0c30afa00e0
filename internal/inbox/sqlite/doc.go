// Package sqlite is the inbox in an SQLite file of its own. One goroutine
// writes: it takes what has queued up, commits it with one fsync and then tells
// everyone in the batch, so that a burst of deliveries costs few fsyncs and a single
// one does not wait for company.
package sqlite
