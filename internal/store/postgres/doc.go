// Package postgres is the engine of the main store for several processes: one
// Postgres database, which all of them open. It owns the schema (migrations/)
// and all SQL; it knows nothing of what the rows mean beyond the contract in
// package store.
//
// Writing. Update runs its closure in a READ COMMITTED transaction of its own,
// and again when the server breaks a deadlock with it. Methods that check
// before they write lock what they checked: a parent that must stay live, a
// collection, an instance, a lane. They lock downwards (integration, connection,
// function, instance, lane, events, delivery), which keeps deadlocks rare. What
// may fail for a reason that a caller goes on from, such as a name that exists,
// does not fail as a statement: Postgres would give up the transaction.
//
// Reading. View runs its closure on a REPEATABLE READ snapshot.
//
// Positions (syncline.Record.Seq) come from a sequence, n at a time under a
// lock of their own that lasts as long as the call: collections do not wait for
// each other's commits. A writer takes them while it holds its collection, so
// within a collection they become visible in order. Across collections a
// position can become visible before a lower one; the order is that in which
// they were taken. Position is the newest committed one: every position at or
// below it was taken before it was read, so what such a position stands for was
// in a writer's hands by then.
//
// Several processes. What one of them does at a time, who of them lives, and how
// they wake each other is in peers.go and signals.go.
//
// Texts that Postgres cannot keep are escaped, see text.go. The database's
// encoding must be UTF8.
package postgres
