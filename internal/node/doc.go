// Package node wires every package into one process: it opens the stores,
// starts the loops in the order in which data flows, serves HTTP, and stops
// everything in order. It is the only package that knows them all, and it
// decides nothing that they could decide.
package node
