// Package host answers the host calls of running functions: HTTP through the
// proxy, records, checkpoints, metadata. A [Poll] commits batch by batch; an
// [Event] stages everything on a [Drain], which commits with the lane. The
// package does not know which engine runs the function, nor who started it.
package host
