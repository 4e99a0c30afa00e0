// Package postgres is the inbox in tables of a Postgres database, which may be
// that of the main store, for several processes at a time. It owns those tables
// (migrations/) and all their SQL; it knows nothing of what deliveries mean.
//
// Writing. In each process one goroutine writes: it takes what has queued up,
// commits it in one transaction and then tells everyone in the batch, so that a
// burst of deliveries costs few commits and a single one does not wait for
// company. The transaction is one journey to the server.
//
// Order. Appenders of all processes take turns: the transaction of a batch holds
// a lock until it has committed, so positions become visible in their order, and
// a reader that follows them misses nothing. Without it, the process that took
// the lower positions could commit last, when a reader has gone past them. The
// price is one commit at a time; what each may carry grows with the wait.
//
// Unknown outcomes. When the connection is lost during a commit, nobody knows
// whether the server still made it. Append then says unavailable, as it does
// when nothing was stored; the sender delivers again, and a key tells that.
package postgres
