// Package sqlite is the embedded engine of the main store: one SQLite file in
// WAL mode, one goroutine that writes, a pool of connections that read
// snapshots. It owns the schema (migrations/) and all SQL; it knows nothing of
// what the rows mean beyond the contract in package store.
//
// Writing. Update hands its closure to the writer, which runs many of them in
// one transaction, a savepoint each, commits once, and only then tells the
// callers. While one commit waits for the disk, the next batch gathers.
//
// Times are integers, microseconds since 1970; NULL is the zero time.
package sqlite
